//! An answer under way: its bytes are read, translated, decoded, and watched by the clocks.

use std::time::Duration;

use bytes::Bytes;
use loom_wire::answer::{AnswerDecoder, End};
use loom_wire::{ErrorKind, Event, LlmError, Retry, api_error, json_answer};

use crate::endpoint::{Answer, Clocks, Pass, soon};
use crate::model::adapter::Translation;
use crate::model::format_check::FormatCheck;
use crate::model::habits::Habit;
use crate::model::record::LastCall;
use crate::model::unified::Inner;

/// How long a stream may stay open once it has said why it ends: usage and `[DONE]` follow at once, or never.
const GRACE: Duration = Duration::from_secs(5);

/// An answer under way.
pub(super) struct Reading {
    /// What is answered, to tell a server's own words from what it quotes.
    pub(super) sent: Bytes,
    pub(super) answer: Answer,
    /// From an API that is not OpenAI-like.
    pub(super) translation: Option<Translation>,
    pub(super) decoder: AnswerDecoder,
    pub(super) attempts: u32,
    /// The tries before this one.
    pub(super) retries: Vec<Retry>,
    pub(super) pass: Pass,
    pub(super) has_token: bool,
    /// What answers to such requests are like, as far as earlier ones have shown.
    pub(super) habit: Habit,
    /// The JSON that was asked for.
    pub(super) format: Option<FormatCheck>,
}

impl Reading {
    /// The call as it stands, for the record.
    pub(super) fn so_far(&self, llm: &Inner) -> LastCall {
        let mut ledger = self.decoder.ledger().to_vec();
        llm.endpoint.scrub_ledger(&mut ledger);
        LastCall { attempts: self.attempts, request_id: self.answer.request_id.clone(), ledger }
    }

    /// The tokens that were used count against the endpoint's limit instead of the estimate; how long the call waited
    /// for its turn is a fact of the answer.
    pub(super) fn settle(&mut self, out: &mut [Event]) {
        if let (false, Some(Event::Finish(finish))) = (self.pass.waited.is_zero(), out.last_mut()) {
            finish.queue_seconds = Some(self.pass.waited.as_secs_f64());
        }
        if self.pass.counts_tokens()
            && let Some(total) = self.decoder.partial().usage.and_then(|usage| usage.total_tokens)
        {
            self.pass.settle(total);
        }
    }

    /// What an API that is not OpenAI-like leaves for the end.
    fn end_translation(&mut self, out: &mut Vec<Event>) -> Result<(), LlmError> {
        let Some(translation) = &mut self.translation else { return Ok(()) };
        match translation.end() {
            Ok(bytes) => self.decoder.push(&bytes, out)?,
            Err(error) => return self.decoder.end(End::Broken(error), out),
        }
        // The mark of the end is OpenAI's alone.
        if self.decoder.is_finished() { self.decoder.push(b"data: [DONE]\n\n", out) } else { Ok(()) }
    }

    /// Reads once, but does not wait for long. A read that is given up loses nothing: what has come stays in the answer.
    async fn ending(&mut self, clocks: &Clocks) -> Result<Option<Bytes>, LlmError> {
        if let Some(read) = soon(self.answer.chunk(clocks)).await {
            return read;
        }
        Box::pin(tokio::time::timeout(GRACE, self.answer.chunk(clocks))).await.unwrap_or_else(|_| {
            Err(LlmError::new(ErrorKind::StreamInterrupted, "the server did not end its stream"))
        })
    }

    /// Reads once and decodes what came.
    pub(super) async fn advance(
        &mut self,
        clocks: &mut Clocks,
        out: &mut Vec<Event>,
    ) -> Result<(), LlmError> {
        let payloads = self.decoder.payloads();
        let read = match self.decoder.is_finished() {
            false => self.answer.chunk(clocks).await,
            true => self.ending(clocks).await,
        };
        let result = match read {
            Ok(Some(bytes)) => {
                let result = match &mut self.translation {
                    None => self.decoder.push(&bytes, out),
                    Some(translation) => match translation.push(&bytes) {
                        Ok(bytes) => self.decoder.push(&bytes, out),
                        Err(error) => self.decoder.end(End::Broken(error), out),
                    },
                };
                // A role alone is no token: some servers send it before they read the prompt.
                self.has_token |= !out.is_empty() || self.decoder.holds_all();
                // A whole answer that has begun comes without a pause.
                self.has_token |= self.decoder.is_whole();
                if self.has_token && self.decoder.payloads() > payloads {
                    clocks.payload_arrived();
                }
                result
            }
            Ok(None) => self.end_translation(out).and_then(|()| self.decoder.end(End::Clean, out)),
            Err(error) => self.decoder.end(End::Broken(error), out),
        };
        let result = match (&self.format, result) {
            (Some(format), Ok(())) if self.decoder.is_done() => format.check(&mut self.decoder, out),
            (Some(format), Err(mut error)) => {
                if error.kind == ErrorKind::BadResponse && error.param.as_deref() == Some(json_answer::PARAM)
                {
                    format.passed_over_by(&mut error);
                }
                Err(error)
            }
            (_, result) => result,
        };
        result.map_err(|error| {
            let mut error = api_error::without_echo(error, &self.sent);
            if error.kind == ErrorKind::Timeout && error.status_code.is_none() {
                let arrived = arrived(error.partial.as_deref(), self.decoder.payloads());
                error.message = format!("{}: {arrived}", error.message);
            }
            error.url.get_or_insert_with(|| self.answer.url());
            error.attempts = self.attempts;
            error.retries.clone_from(&self.retries);
            error
        })
    }
}

/// What had arrived when a clock ran out, in words.
fn arrived(partial: Option<&loom_wire::Completion>, payloads: u64) -> String {
    let said = partial.map_or(0, |partial| partial.content.chars().count());
    let thought =
        partial.and_then(|partial| partial.reasoning.as_ref()).map_or(0, |text| text.chars().count());
    match (said, thought, payloads) {
        (0, 0, 0) => "the server has accepted the request, but nothing of the answer had arrived".to_owned(),
        (0, 0, _) => "the answer had begun, but no text had arrived".to_owned(),
        (0, thought, _) => format!("{thought} characters of thinking had arrived, none of the answer"),
        (said, ..) => format!("{said} characters of the answer had arrived"),
    }
}
