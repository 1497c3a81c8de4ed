//! The end of an answer: what it means that it ended so, and the closing events.

use crate::answer::AnswerDecoder;
use crate::answer::read::empty_answer;
use crate::error::{ErrorKind, LlmError};
use crate::event::{Event, FinishReason, Usage};
use crate::ledger::Rule;

impl AnswerDecoder {
    /// `[DONE]` came, or the end of a stream that had said why it ends.
    pub(super) fn close_stream(&mut self, out: &mut Vec<Event>) -> Result<(), LlmError> {
        self.reader.release_cut(out)?;
        if !self.reader.fold.has_begun() {
            return Err(empty_answer());
        }
        self.reader.ledger.at_event(None);
        if !self.stream_wanted {
            self.reader.ledger.note(Rule::StreamForWhole, "the server streamed unasked");
        }
        if !self.reader.fold.is_finished() {
            // `""` on each chunk is this server's way (Snowflake). Nothing at all means that generation was cut:
            // llama-cpp-python ends an interrupted stream with `[DONE]`, FastChat one whose worker died.
            if !self.reader.fold.only_empty_finish() {
                return Err(LlmError::new(
                    ErrorKind::StreamInterrupted,
                    "the stream ended with [DONE] but without a finish reason: the answer was cut off",
                ));
            }
            self.reader.ledger.note(Rule::EmptyFinishReason, "taken as stop");
            return self.close(Some(FinishReason::Stop), out);
        }
        self.close(None, out)
    }

    pub(super) fn close(
        &mut self,
        finish: Option<FinishReason>,
        out: &mut Vec<Event>,
    ) -> Result<(), LlmError> {
        self.reader.ledger.at_event(None);
        let from = out.len();
        self.reader.fold.end_text(&self.reader.sum.content, &mut self.reader.ledger, out);
        self.reader.add_up(out, from);
        let said_something = !self.reader.sum.is_empty();
        let refusal = self.reader.fold.refusal().map(str::to_owned);
        if self.reader.sum.content.is_empty() && refusal.is_none() && self.reader.fold.ran_out_of_tokens() {
            let why = nothing_said(self.reader.sum.reasoning.is_some(), self.reader.fold.usage());
            self.reader.ledger.note(Rule::NothingSaid, why);
        }
        let refused_nothing = refusal.is_none();
        let from = out.len();
        self.reader.fold.close(
            &self.reader.sum.content,
            self.request_id.clone(),
            &mut self.reader.ledger,
            out,
        );
        if let (Some(finish), Some(Event::Finish(last))) = (finish, out.last_mut()) {
            last.finish_reason.get_or_insert(finish);
        }
        let says = |event: &Event| matches!(event, Event::ToolCalls { .. } | Event::ContentDelta { .. });
        let calls = out.iter().skip(from).any(says);
        let filtered = matches!(out.last(), Some(Event::Finish(last)) if last.finish_reason == Some(FinishReason::ContentFilter));
        if !said_something && !calls && (filtered || refusal.is_some()) {
            let usage_only: Vec<Event> =
                out.drain(from..).filter(|event| matches!(event, Event::Usage(_))).collect();
            out.extend(usage_only);
            self.reader.add_up(out, from);
            return Err(LlmError::new(
                ErrorKind::ContentFilter,
                match refusal {
                    Some(text) => format!("the model refused: {text}"),
                    None => "the provider's content filter stopped the answer before it began".to_owned(),
                },
            ));
        }
        self.reader.add_up(out, from);
        // Nothing but thinking, and a call that some parser has lost: no answer.
        let lost = self.reader.sum.ledger.iter().any(|entry| entry.rule == Rule::ToolCallsMissing);
        if lost && self.reader.sum.content.trim().is_empty() && refused_nothing {
            return Err(LlmError::bad_response(
                "the finish reason says that the model calls tools, but the answer holds neither a call nor a text",
            )
            .with_retryable(true)
            .with_hint("the server's own parser may have lost the call: see its log"));
        }
        self.reader.check_calls()
    }
}

/// Why there was no room for an answer.
fn nothing_said(has_thought: bool, usage: Option<Usage>) -> String {
    if has_thought {
        return "thinking used up the tokens: raise max_tokens, or let the model think less".to_owned();
    }
    let answered = usage.and_then(|usage| usage.completion_tokens).unwrap_or(0);
    match usage.and_then(|usage| usage.prompt_tokens) {
        // Tokens of the answer that show as nothing: the limit was on them.
        _ if answered > 0 => format!("the answer's {answered} tokens hold no text: raise max_tokens"),
        Some(tokens) => format!(
            "the prompt took {tokens} tokens and left no room: shorten it, or raise the server's context (Ollama: num_ctx)"
        ),
        None => "max_tokens or the server's context left no room".to_owned(),
    }
}
