//! What stands inside an answer's text: thinking between tags, and tool calls that no parser of the server took out.
//!
//! [`TextReader`] gets the text as it comes and hands on what is plainly the answer at once. It holds back only what may
//! still turn out to be a tag, never more. Its results do not depend on how the text is cut up.
//!
//! | module | owns |
//! |---|---|
//! | `think` | thinking between tags |
//! | `unopened` | thinking whose opening tag is missing, in a whole text |
//! | `nested` | thinking between tags within tags |
//! | `channels` | the messages of gpt-oss |
//! | `marked` | the messages of gpt-oss without their tokens, and of Kimi K3 |
//! | `calls` | tool calls written as text, and the dialects they are written in |
//! | `code` | whether a place in the text lies in code, where a tag is only mentioned |
//! | `meet` | a tag against the start of a text that may go on |

pub(crate) mod calls;
mod channels;
mod code;
mod marked;
mod meet;
mod nested;
pub(crate) mod think;
mod unopened;

use std::borrow::Cow;
use std::sync::Arc;

pub use calls::Dialect;
use calls::{CallFilter, WrittenCall};
use think::{Piece, ThinkFilter};

use crate::event::Event;
use crate::ledger::{Ledger, Rule};
use crate::request::{Request, ToolChoice};

/// What is known about a request that decides how the text of its answer is read.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The request, whose tools may be called in the text. Without one, no call is looked for.
    pub request: Option<Arc<Request>>,
    /// The dialect that the prompt asked for; a call in it is no leniency and leaves no trace in the ledger.
    pub dialect: Option<Dialect>,
    /// The prompt's template opens the thinking itself, so that streams begin in the middle of it (DeepSeek-R1, QwQ).
    pub begins_thinking: bool,
    /// The model is gpt-oss, whose messages may have lost their special tokens, so that words stand for them. Of any other
    /// model, text that begins like such a word is not held back.
    pub is_gpt_oss: bool,
    /// Text is left as it is: nothing is looked for.
    pub verbatim: bool,
    /// The answer was asked for as the arguments of a tool: they are its text.
    pub answer_is_call: bool,
}

/// Text in, events out.
#[derive(Debug, Default)]
pub(crate) struct TextReader {
    think: ThinkFilter,
    calls: Option<CallFilter>,
    verbatim: bool,
    /// What the answer showed about where its thinking begins.
    begins_thinking: Option<bool>,
}

impl TextReader {
    pub(crate) fn new(expected: Expected) -> Self {
        let offers = |request: &Arc<Request>| {
            !request.tools.is_empty() && request.tool_choice != Some(ToolChoice::None)
        };
        let calls = expected.request.filter(offers).filter(|_| !expected.verbatim);
        Self {
            think: ThinkFilter::new(expected.begins_thinking, expected.is_gpt_oss),
            calls: calls.map(|request| CallFilter::new(request, expected.dialect)),
            verbatim: expected.verbatim,
            begins_thinking: None,
        }
    }

    /// Adds text. `whole` says that it is the whole text of the answer, so that thinking whose opening tag is missing
    /// can be told from the answer.
    pub(crate) fn push(
        &mut self,
        text: Cow<'_, str>,
        whole: bool,
        ledger: &mut Ledger,
        out: &mut Vec<Event>,
    ) {
        if text.is_empty() {
            return;
        }
        if self.verbatim || self.think.is_over() {
            // The common case: the answer is under way and did not begin with a tag.
            return answer(text, &mut self.calls, out);
        }
        let unopened = || {
            let split = unopened::split_unopened(&text)?;
            Some((split, "the opening tag is missing"))
        };
        let nested = || Some((nested::split_nested(&text)?, "tags within tags"));
        if whole && let Some(((thinking, said), why)) = nested().or_else(unopened) {
            ledger.note(Rule::ReasoningInText, why);
            self.begins_thinking = nested().is_none().then_some(true);
            if !thinking.is_empty() {
                out.push(Event::ReasoningDelta { content: thinking.to_owned() });
            }
            self.think = ThinkFilter::default();
            return self.think.push(Cow::Borrowed(said), |piece| {
                deliver(piece, &mut self.calls, ledger, out);
            });
        }
        if whole {
            self.think.forget_habit();
        }
        self.think.push(text, |piece| deliver(piece, &mut self.calls, ledger, out));
    }

    /// How many bytes are held back.
    pub(crate) fn held(&self) -> usize {
        self.think.held() + self.calls.as_ref().map_or(0, CallFilter::held)
    }

    /// How many calls were found so far.
    pub(crate) fn found(&self) -> usize {
        self.calls.as_ref().map_or(0, CallFilter::found)
    }

    /// Whether answers like this one begin in the middle of their thinking, if this one showed it.
    pub(crate) fn begins_thinking(&self) -> Option<bool> {
        self.begins_thinking
    }

    /// The answer has ended: what is held is text after all, or the calls that are returned. `by_length` says that the
    /// token limit cut it off, `said` is the answer's text as far as it was delivered.
    pub(crate) fn end(
        &mut self,
        by_length: bool,
        said: &str,
        ledger: &mut Ledger,
        out: &mut Vec<Event>,
    ) -> Vec<WrittenCall> {
        if self.verbatim {
            return Vec::new();
        }
        let disproved = self.think.end(by_length, |piece| deliver(piece, &mut self.calls, ledger, out));
        if disproved {
            self.begins_thinking = Some(false);
        } else if self.begins_thinking.is_none() && unopened::split_unopened(said).is_some() {
            // What was delivered cannot be taken back; the next answer can be read better.
            ledger.note(Rule::ReasoningInText, "the opening tag is missing; it was delivered as text");
            self.begins_thinking = Some(true);
        }
        self.calls.as_mut().map_or_else(Vec::new, |calls| calls.end(ledger, out))
    }

    /// The answer has failed: what is held was text, and is delivered as it is.
    pub(crate) fn release(&mut self, out: &mut Vec<Event>) {
        let calls = &mut self.calls;
        let mut ledger = Ledger::default();
        self.think.end(true, |piece| deliver(piece, calls, &mut ledger, out));
        if let Some(calls) = calls {
            calls.release(out);
        }
    }
}

fn deliver(piece: Piece<'_>, calls: &mut Option<CallFilter>, ledger: &mut Ledger, out: &mut Vec<Event>) {
    match piece {
        Piece::Tag(tag) => ledger.note(Rule::ReasoningInText, tag),
        Piece::Thinking(content) => out.push(Event::ReasoningDelta { content }),
        Piece::Answer(text) => answer(text, calls, out),
    }
}

fn answer(text: Cow<'_, str>, calls: &mut Option<CallFilter>, out: &mut Vec<Event>) {
    match calls {
        Some(calls) => calls.push(text, out),
        None => out.push(Event::ContentDelta { content: text.into_owned() }),
    }
}
