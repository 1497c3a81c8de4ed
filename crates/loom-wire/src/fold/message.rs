//! A stream whose chunks hold a `message` instead of a `delta`, or beside it.
//!
//! Some such messages hold everything said so far, some hold the next piece, and nothing says which. A text that begins with
//! all that came before has grown, and what is new of it is added; any other text is the next piece. A message beside
//! deltas repeats them: of it counts what they have not said.

use serde_json::Value;

use crate::chunk::Delta;
use crate::event::{Completion, Event};
use crate::fold::Fold;
use crate::ledger::{Ledger, Rule};
use crate::lenient::{Arguments, Text};

/// Where a piece of an answer stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a chunk's `delta`.
    Delta,
    /// In one of several messages.
    Message,
    /// In the one message that is all of the answer.
    Whole,
}

/// What the messages of a stream have said, each field by itself.
#[derive(Debug, Default)]
pub(super) struct Messages {
    content: Heard,
    reasoning_content: Heard,
    reasoning: Heard,
    refusal: String,
    function_arguments: String,
    /// Bytes kept here.
    held: usize,
}

/// What one field has said.
#[derive(Debug, Default)]
struct Heard {
    text: String,
    /// Half a character at the end, which the next message may hold whole.
    half: String,
    thinking: String,
    refusal: String,
}

impl Messages {
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Half a character that no later message has completed.
    pub(super) fn take_half(&mut self) -> String {
        std::mem::take(&mut self.content.half)
    }

    /// Leaves in a message what is new in it.
    fn keep_new(&mut self, message: &mut Delta<'_>, ends: bool) {
        let held = &mut self.held;
        self.content.keep_whole_characters(&mut message.content.text, ends);
        for (heard, said) in [
            (&mut self.content, &mut message.content),
            (&mut self.reasoning_content, &mut message.reasoning_content),
            (&mut self.reasoning, &mut message.reasoning),
        ] {
            keep_new(&mut heard.text, &mut said.text, held);
            keep_new(&mut heard.thinking, &mut said.thinking, held);
            let new = new_in(&mut heard.refusal, &said.refusal, held);
            said.refusal.drain(..said.refusal.len() - new);
        }
        keep_new(&mut self.refusal, &mut message.refusal, held);
        if let Some(function) = &mut message.function_call
            && let Arguments::Text(text) = &mut function.arguments
        {
            let new = new_in(&mut self.function_arguments, text, held);
            let from = text.len() - new;
            *text = text.get(from..).unwrap_or_default().to_owned().into();
        }
    }
}

impl Heard {
    /// Holds back what a decoder writes for half a character at the end of the text so far (`H\u{fffd}`, then `Hé`).
    fn keep_whole_characters(&mut self, said: &mut Text<'_>, ends: bool) {
        let half = std::mem::take(&mut self.half);
        if said.0.is_empty() {
            self.half = half;
        } else if !half.is_empty() && !said.0.starts_with(self.text.as_str()) {
            said.0.to_mut().insert_str(0, &half);
        }
        if ends {
            let half = std::mem::take(&mut self.half);
            said.0.to_mut().push_str(&half);
        } else if said.0.ends_with('\u{fffd}') {
            let whole = said.0.trim_end_matches('\u{fffd}').len();
            self.half = said.0.to_mut().split_off(whole);
        }
    }
}

fn keep_new(heard: &mut String, said: &mut Text<'_>, held: &mut usize) {
    let new = new_in(heard, &said.0, held);
    if new < said.0.len() {
        let from = said.0.len() - new;
        said.0.to_mut().drain(..from);
    }
}

/// How many bytes at the end of a text are new, which are then heard, too.
fn new_in(heard: &mut String, text: &str, held: &mut usize) -> usize {
    let new = text.strip_prefix(heard.as_str()).unwrap_or(text);
    heard.push_str(new);
    *held += new.len();
    new.len()
}

/// Whether a record of thinking holds all of the one before: entries may have grown, and more may stand behind them.
pub(super) fn has_grown(before: &[Value], now: &[Value]) -> bool {
    let grown = |(before, now): (&Value, &Value)| match (thought(before), thought(now)) {
        (Some(before), Some(now)) => now.starts_with(before),
        _ => before == now,
    };
    now.len() >= before.len() && before.iter().zip(now).all(grown)
}

/// The thinking in a record, without that in the entries of the record before that it has grown from.
pub(super) fn thoughts(before: &[Value], now: &[Value]) -> String {
    let known =
        before.iter().map(|detail| thought(detail).unwrap_or_default().len()).chain(std::iter::repeat(0));
    now.iter().zip(known).filter_map(|(detail, known)| thought(detail)?.get(known..)).collect()
}

/// The readable text of an entry of `reasoning_details`.
fn thought(detail: &Value) -> Option<&str> {
    ["text", "summary"].iter().find_map(|key| detail.get(key)?.as_str())
}

impl Fold {
    /// Adds the message of a choice, with the delta beside it. `ends` says that the choice ends here, `said` is the
    /// answer before this chunk, of which nothing else has been delivered yet.
    pub(super) fn absorb_message(
        &mut self,
        delta: Option<Delta<'_>>,
        mut message: Delta<'_>,
        (ends, said): (bool, Option<&Completion>),
        ledger: &mut Ledger,
        out: &mut Vec<Event>,
    ) {
        if let Some(delta) = delta {
            let repeated = self.note_delta(&delta);
            self.absorb_delta(delta, Place::Delta, ledger, out);
            // Only at the end is it certain that no delta will say it.
            if repeated || !ends {
                return;
            }
        }
        if self.said_by_deltas {
            message = self.unsaid(message, said);
            if !message.says_something() {
                return;
            }
        }
        if !self.more_may_follow {
            return self.absorb_delta(message, Place::Whole, ledger, out);
        }
        ledger.note(Rule::MessageForDelta, "");
        let is_all = ends && self.messages.is_none() && !self.said_by_deltas;
        self.messages.get_or_insert_default().keep_new(&mut message, ends);
        let place = if is_all { Place::Whole } else { Place::Message };
        self.absorb_delta(message, place, ledger, out);
    }

    /// What a message says that the deltas have left out.
    fn unsaid<'a>(&self, message: Delta<'a>, said: Option<&Completion>) -> Delta<'a> {
        let mut rest = Delta::default();
        if self.calls.is_empty() && self.text.found() == 0 {
            rest.tool_calls = message.tool_calls;
            rest.function_call = message.function_call;
        }
        if self.refusal.is_empty() {
            rest.refusal = message.refusal;
            rest.content.refusal = message.content.refusal;
        }
        let Some(said) = said else { return rest };
        if said.reasoning.is_none() && self.text.held() == 0 {
            rest.reasoning_content = message.reasoning_content;
            rest.reasoning = message.reasoning;
            rest.content.thinking.clone_from(&message.content.thinking);
        }
        // What was taken out of the deltas' text (tags, calls) is missing in `said`; such a message begins otherwise.
        let is_told_apart = !said.content.is_empty() && self.text.held() == 0 && self.text.found() == 0;
        if !self.content_by_deltas {
            rest.content.text = message.content.text;
        } else if is_told_apart && let Some(more) = message.content.text.0.strip_prefix(said.content.as_str())
        {
            rest.content.text = Text(more.to_owned().into());
        }
        rest
    }
}
