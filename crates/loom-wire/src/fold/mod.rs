//! The fold: chunks in, [`Event`]s out, and the state that a cut-off answer leaves behind.
//!
//! Rules where servers differ: an error wins over the rest of its chunk; `""`, `null` and missing mean the same for
//! ids, names and finish reasons; two calls are two calls even with one index or none; names never grow by
//! concatenation; the last usage counts, and usages are never summed.

mod calls;
mod close;
mod message;

use serde_json::Value;

use crate::api_error::ApiError;
use crate::chunk::{Choice, Chunk, Delta, WireUsage};
use crate::event::{Completion, Event, FinishReason, Usage};
use crate::ledger::{Ledger, Rule};
use crate::lenient::{Aside, Reason, Said};
use crate::repeat::{Part, Repeat};
use crate::text::{Expected, TextReader};
use crate::tool::ToolCall;
use calls::Calls;
use message::{Messages, Place};

/// The state of an answer under way.
#[derive(Debug, Default)]
pub struct Fold {
    model: String,
    id: String,
    text: TextReader,
    /// The chunk before, which the next one may repeat.
    last: Repeat,
    calls: Calls,
    /// The arguments of the calls are the answer's text.
    answer_is_call: bool,
    /// How many bytes of the first call's arguments were delivered as text.
    answered: usize,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
    empty_finish: bool,
    refusal: String,
    reasoning_details: Vec<Value>,
    /// The index of the choice that is delivered: the lowest of the first chunk that has any.
    followed: Option<i64>,
    /// An answer was seen: at least one chunk with choices.
    begun: bool,
    /// A delta has brought text, thinking or calls.
    said_by_deltas: bool,
    /// A delta has brought text.
    content_by_deltas: bool,
    /// This is not the one message of a whole answer.
    more_may_follow: bool,
    /// What the messages of a stream have said.
    messages: Option<Box<Messages>>,
    /// Bytes taken in that wait for the end: calls, refusal, details.
    held: usize,
}

impl Fold {
    /// A fold for the answer to a request.
    pub fn new(expected: Expected) -> Self {
        let answer_is_call = expected.answer_is_call;
        Self { text: TextReader::new(expected), answer_is_call, ..Self::default() }
    }

    /// The answer is a stream: a message in it need not be all.
    pub fn expect_more(&mut self) {
        self.more_may_follow = true;
    }

    /// Adds a chunk or a whole answer. Events go to `out`; an error that the chunk carries is returned, and
    /// everything that came before stays. `said` is the answer so far.
    pub fn absorb(
        &mut self,
        chunk: Chunk<'_>,
        said: &Completion,
        ledger: &mut Ledger,
        out: &mut Vec<Event>,
    ) -> Result<(), ApiError> {
        if self.model.is_empty() {
            self.model.push_str(chunk.model.0.as_str());
        }
        if self.id.is_empty() {
            self.id.push_str(chunk.id.0.as_str());
        }
        for usage in chunk.x_groq.value.map(|extras| extras.usage).iter().chain([&chunk.usage]) {
            self.set_usage(usage, ledger);
        }
        if let Some(error) = chunk.error.filter(crate::chunk::is_error) {
            return Err(ApiError::from_error_value(&error));
        }
        let from = out.len();
        let choices = chunk.choices.map(|list| list.0).unwrap_or_default();
        // A list tells apart what has no index.
        let listed = choices.len() > 1;
        let index = |position: usize, choice: &Choice<'_>| {
            choice.index.value.or_else(|| i64::try_from(position).ok().filter(|_| listed))
        };
        if self.followed.is_none() {
            let said = choices.iter().enumerate().filter(|(_, choice)| !choice.says_nothing());
            self.followed = said.map(|(position, choice)| index(position, choice).unwrap_or_default()).min();
        }
        let mut is_whole = false;
        for (position, choice) in choices.into_iter().enumerate() {
            if choice.says_nothing() {
                continue;
            }
            self.begun = true;
            let is_other = index(position, &choice).is_some_and(|index| Some(index) != self.followed);
            // Two whole messages are two answers, whatever their index.
            if is_other || is_whole && choice.message.is_some() {
                ledger.note(Rule::ExtraChoice, "only the first choice is delivered");
                continue;
            }
            is_whole |= choice.message.is_some();
            let said = Some(said).filter(|_| out.len() == from);
            self.absorb_choice(choice, said, ledger, out)?;
        }
        Ok(())
    }

    /// Adds a chunk that is the one before but for its text, without decoding it; `false` if it is another one.
    pub fn absorb_repeat(&mut self, data: &[u8], ledger: &mut Ledger, out: &mut Vec<Event>) -> bool {
        match self.last.read(data) {
            None => return false,
            Some((Part::Content, text)) => self.text.push(text, false, ledger, out),
            Some((Part::Reasoning, text)) => out.push(Event::ReasoningDelta { content: text.into_owned() }),
        }
        true
    }

    /// Keeps the chunk that is about to be absorbed for [`Fold::absorb_repeat`]; `text` is what it was decoded from.
    pub fn keep(&mut self, text: &str, chunk: &Chunk<'_>) {
        if self.followed.is_none_or(|index| index == 0) {
            self.last.learn(text, chunk);
        }
    }

    /// Whether any chunk held a choice.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the server said why the answer ended.
    pub fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether nothing was said that is still to be delivered, and no reason given.
    pub fn is_hollow(&self) -> bool {
        self.finish.is_none()
            && !self.empty_finish
            && self.calls.is_empty()
            && self.refusal.is_empty()
            && self.text.held() == 0
    }

    /// Whether finish reasons were seen, but only ever as `""`.
    pub fn only_empty_finish(&self) -> bool {
        self.finish.is_none() && self.empty_finish
    }

    /// Whether the token limit ended the answer, and no call was begun.
    pub fn ran_out_of_tokens(&self) -> bool {
        self.finish == Some(FinishReason::Length) && self.calls.is_empty()
    }

    /// The usage so far.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// How many bytes wait here for the end of the answer.
    pub fn held(&self) -> usize {
        let messages = self.messages.as_ref().map_or(0, |messages| messages.held());
        self.held + self.calls.held() + self.text.held() + messages
    }

    /// How many tool calls there are so far.
    pub fn tool_calls(&self) -> usize {
        self.calls.len() + self.text.found()
    }

    /// Whether answers like this one begin in the middle of their thinking, without an opening tag, if it showed that.
    pub fn begins_thinking(&self) -> Option<bool> {
        self.text.begins_thinking()
    }

    /// What the model said when it refused.
    pub fn refusal(&self) -> Option<&str> {
        (!self.refusal.is_empty()).then_some(&self.refusal)
    }

    /// The text has ended: what of it was held back is delivered. `said` is the text so far.
    pub fn end_text(&mut self, said: &str, ledger: &mut Ledger, out: &mut Vec<Event>) {
        self.end_messages(ledger, out);
        let by_length = self.finish == Some(FinishReason::Length);
        let written = self.text.end(by_length, said, ledger, out);
        self.calls.add_written(written);
    }

    fn end_messages(&mut self, ledger: &mut Ledger, out: &mut Vec<Event>) {
        let half = self.messages.as_mut().map(|messages| messages.take_half()).unwrap_or_default();
        self.text.push(half.into(), false, ledger, out);
    }

    /// The answer has failed: what of its text was held back is delivered as it is.
    pub fn release_text(&mut self, out: &mut Vec<Event>) {
        self.end_messages(&mut Ledger::default(), out);
        self.text.release(out);
    }

    /// The answer has failed: the calls as far as they had come. One that may lack something is marked as invalid.
    pub fn broken_calls(&mut self) -> Vec<ToolCall> {
        let why = "the answer broke off within this call";
        self.calls.take(Some(why), &self.id, &mut Ledger::default())
    }

    fn set_usage(&mut self, usage: &Aside<WireUsage>, ledger: &mut Ledger) {
        if usage.odd {
            ledger.note(Rule::UsageInvalid, "usage is no object");
        }
        if let Some(usage) = usage.value.as_ref().and_then(|usage| usage.known(ledger)) {
            self.usage = Some(usage);
        }
    }

    fn absorb_choice(
        &mut self,
        choice: Choice<'_>,
        said: Option<&Completion>,
        ledger: &mut Ledger,
        out: &mut Vec<Event>,
    ) -> Result<(), ApiError> {
        self.set_usage(&choice.usage, ledger);
        let in_delta = choice.delta.as_ref().and_then(|delta| delta.error.as_deref());
        let in_message = choice.message.as_ref().and_then(|message| message.error.as_deref());
        let errors = [choice.error.as_ref(), in_delta, in_message];
        if let Some(error) = errors.into_iter().flatten().find(|error| crate::chunk::is_error(error)) {
            return Err(ApiError::from_error_value(error));
        }
        let ends = !self.more_may_follow || matches!(choice.finish_reason, Reason::Given(_));
        match (choice.delta, choice.message) {
            (Some(mut delta), None) => {
                // Together writes the text into both.
                if !self.note_delta(&delta) && !self.content_by_deltas {
                    delta.content = choice.text;
                }
                self.absorb_delta(delta, Place::Delta, ledger, out);
            }
            (delta, Some(message)) => self.absorb_message(delta, *message, (ends, said), ledger, out),
            (None, None) => {
                let delta = Delta { content: choice.text, ..Delta::default() };
                self.absorb_delta(delta, Place::Delta, ledger, out);
            }
        }
        match choice.finish_reason {
            Reason::Absent => {}
            Reason::Empty => self.empty_finish = true,
            Reason::Given(word) => {
                if let Some(failure) = ApiError::from_finish_reason(&word) {
                    return Err(failure);
                }
                let (reason, renamed) = FinishReason::from_wire(&word);
                if renamed {
                    ledger.note(Rule::FinishReasonRenamed, word);
                }
                // What was cut off stays so, whatever a gateway appends.
                let was_cut = matches!(self.finish, Some(FinishReason::Length | FinishReason::ContentFilter));
                if was_cut && reason == FinishReason::Stop {
                    ledger.note(Rule::FinishReasonRenamed, "a second reason: stop");
                } else {
                    self.finish = Some(reason);
                }
            }
        }
        Ok(())
    }

    /// Notes what deltas say; returns whether this one says something.
    fn note_delta(&mut self, delta: &Delta<'_>) -> bool {
        let says_something = delta.says_something();
        self.said_by_deltas |= says_something;
        self.content_by_deltas |= delta.content.text.filled().is_some();
        says_something
    }

    fn absorb_delta(&mut self, delta: Delta<'_>, place: Place, ledger: &mut Ledger, out: &mut Vec<Event>) {
        let details = match delta.reasoning_details {
            Some(Value::Array(details)) => details,
            _ => Vec::new(),
        };
        let known = match place {
            Place::Message if message::has_grown(&self.reasoning_details, &details) => {
                std::mem::take(&mut self.reasoning_details)
            }
            _ => Vec::new(),
        };
        let in_details = || message::thoughts(&known, &details);
        self.add_reasoning(&delta.reasoning_content, &delta.reasoning, &delta.content, in_details, out);
        self.held += details.iter().map(json_size).sum::<usize>();
        self.held -= known.iter().map(json_size).sum::<usize>();
        self.reasoning_details.extend(details);
        if delta.content.odd_parts {
            ledger.note(Rule::ContentPart, "of unknown form");
        }
        self.text.push(delta.content.text.0, place == Place::Whole, ledger, out);
        // `false` is how some say that there is none.
        let refused =
            delta.refusal.filled().filter(|said| *said != "false").unwrap_or(&delta.content.refusal);
        self.held += refused.len();
        self.refusal.push_str(refused);
        if let Some(function) = delta.function_call {
            self.calls.add_function(*function, ledger);
        }
        self.calls.add(delta.tool_calls.0, place, ledger);
        if place != Place::Whole {
            self.say_answer(out);
        }
    }

    /// vLLM 0.11–0.15 sends the same thinking under both names; others use one of them.
    fn add_reasoning(
        &self,
        reasoning_content: &Said<'_>,
        reasoning: &Said<'_>,
        content: &Said<'_>,
        in_details: impl Fn() -> String,
        out: &mut Vec<Event>,
    ) {
        let field = |said: &Said<'_>| said.text.filled().or(said.thinking.filled()).map(str::to_owned);
        let in_details = || Some(in_details()).filter(|text| !text.is_empty());
        for text in [
            field(reasoning_content).or_else(|| field(reasoning)).or_else(in_details),
            content.thinking.filled().map(str::to_owned),
        ]
        .into_iter()
        .flatten()
        {
            out.push(Event::ReasoningDelta { content: text });
        }
    }
}

/// About how much memory a value takes.
fn json_size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 32,
        Value::Array(items) => items.iter().map(json_size).sum::<usize>() + 32,
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| key.len() + json_size(value)).sum::<usize>() + 32
        }
        _ => 32,
    }
}
