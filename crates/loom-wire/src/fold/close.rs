//! The end of an answer: its closing events; and the answer that was asked for as the arguments of a call.

use serde_json::{Map, Value};

use crate::event::{Event, Finish, FinishReason};
use crate::fold::Fold;
use crate::ledger::{Ledger, Rule};
use crate::tool::ToolCall;

impl Fold {
    /// The closing events, after [`Fold::end_text`]: calls, usage, finish. `said` is the text so far.
    pub fn close(
        &mut self,
        said: &str,
        request_id: Option<String>,
        ledger: &mut Ledger,
        out: &mut Vec<Event>,
    ) {
        let by_length = self.finish == Some(FinishReason::Length);
        let cut = by_length.then_some("the call was cut off by the token limit (finish_reason \"length\")");
        let mut calls = self.calls.take(cut, &self.id, ledger);
        let mut content = None;
        if self.answer_is_call && !calls.is_empty() {
            content = self.end_answer(&std::mem::take(&mut calls), said, ledger, out);
        }
        match (&self.finish, calls.is_empty()) {
            (Some(FinishReason::ToolCalls), true) => {
                ledger.note(Rule::ToolCallsMissing, "taken as stop");
                self.finish = Some(FinishReason::Stop);
            }
            (Some(FinishReason::Stop) | None, false) => {
                ledger.note(Rule::FinishReasonOverCalls, "there are tool calls");
                self.finish = Some(FinishReason::ToolCalls);
            }
            _ => {}
        }
        if !calls.is_empty() {
            out.push(Event::ToolCalls { tool_calls: calls });
        }
        if let Some(usage) = self.usage {
            out.push(Event::Usage(usage));
        }
        let mut extra = Map::new();
        if !self.reasoning_details.is_empty() {
            let details = std::mem::take(&mut self.reasoning_details);
            extra.insert("reasoning_details".to_owned(), Value::Array(details));
        }
        let filled = |text: &mut String| Some(std::mem::take(text)).filter(|text| !text.is_empty());
        out.push(Event::Finish(Box::new(Finish {
            finish_reason: self.finish.take(),
            model: filled(&mut self.model),
            id: filled(&mut self.id),
            request_id,
            refusal: filled(&mut self.refusal),
            content,
            queue_seconds: None,
            ledger: ledger.take(),
            extra,
        })));
    }

    /// What has come of the call that is the answer, as text.
    pub(super) fn say_answer(&mut self, out: &mut Vec<Event>) {
        if !self.answer_is_call {
            return;
        }
        let arguments = self.calls.first_arguments();
        if let Some(more) = arguments.get(self.answered..).filter(|more| !more.is_empty()) {
            self.answered = arguments.len();
            out.push(Event::ContentDelta { content: more.to_owned() });
        }
    }

    /// The first call as the answer's text, and the whole text where it is not what the deltas say. What is called after it
    /// is no second answer: the first one is whole, wherever the token limit cut the others.
    fn end_answer(
        &mut self,
        calls: &[ToolCall],
        said: &str,
        ledger: &mut Ledger,
        out: &mut Vec<Event>,
    ) -> Option<String> {
        if calls.len() > 1 {
            ledger.note(Rule::ExtraCall, "the answer is the first of them");
        }
        if calls.len() > 1 || self.finish != Some(FinishReason::Length) {
            self.finish = Some(FinishReason::Stop);
        }
        let text = calls.first().map(|call| call.arguments.clone()).unwrap_or_default();
        if said.is_empty() {
            out.push(Event::ContentDelta { content: text });
            return None;
        }
        (text != said).then_some(text)
    }
}
