//! The body of an answer → events, whatever form it comes in.
//!
//! The form is judged by the first bytes, not by the content type: `{` is a whole answer, `data:` a stream, `<` a web
//! page. A stream that ends without saying so is an error which carries what had arrived.

mod close;
mod prose;
mod read;

use serde::de::IgnoredAny;

use crate::chunk;
use crate::error::{ErrorKind, LlmError};
use crate::event::{Completion, Event, Finish, FinishReason};
use crate::fold::Fold;
use crate::json_answer;
use crate::ledger::{self, LedgerEntry, Rule};
use crate::limits;
use crate::mend;
use crate::sse::{BOM, Frame, SseDecoder};
use read::{
    GZIP, Reader, beginning, empty_answer, empty_body, error_in_stream, looks_like_stream, not_an_answer,
    stray_error,
};

pub use crate::limits::Limits;
pub use crate::text::{Dialect, Expected};

/// How the bytes ended.
#[derive(Clone, Debug)]
pub enum End {
    /// As the transport says they should.
    Clean,
    /// The connection broke or a clock ran out.
    Broken(LlmError),
}

/// Bytes in, events out; keeps the sum, so that an error can carry it.
#[derive(Debug)]
pub struct AnswerDecoder {
    form: Form,
    reader: Reader,
    stream_wanted: bool,
    json_wanted: bool,
    strict: bool,
    /// JSON is to come, and nothing but this prose has: it waits for the first bracket.
    prose: Option<String>,
    request_id: Option<String>,
    done: bool,
    /// How many payloads were seen: what is not a mere sign of life.
    payloads: u64,
    /// No line end has come yet in what looks like a whole answer.
    in_first_line: bool,
}

#[derive(Debug)]
enum Form {
    /// Nothing but blanks so far.
    Unknown(Vec<u8>),
    Stream(Box<SseDecoder>),
    Whole(Vec<u8>),
}

impl AnswerDecoder {
    /// A decoder for the answer to a request that asked for a stream or did not.
    pub fn new(limits: Limits, stream_wanted: bool, request_id: Option<String>) -> Self {
        Self {
            form: Form::Unknown(Vec::new()),
            reader: Reader::new(limits),
            stream_wanted,
            json_wanted: false,
            strict: false,
            prose: None,
            request_id,
            done: false,
            payloads: 0,
            in_first_line: true,
        }
    }

    /// Says what is known about the request: which tools may be called in the text, and where thinking begins.
    #[must_use]
    pub fn expecting(mut self, expected: Expected) -> Self {
        self.reader.fold = Fold::new(expected);
        self
    }

    /// Whether answers like this one begin in the middle of their thinking, if it showed that: to be given to
    /// [`Expected`] the next time.
    pub fn begins_thinking(&self) -> Option<bool> {
        self.reader.fold.begins_thinking()
    }

    /// Notes a leniency that was used outside the body.
    pub fn note(&mut self, entry: LedgerEntry) {
        self.reader.ledger.add(entry);
    }

    /// The text must be JSON: see [`json_answer`].
    pub fn expect_json(&mut self) {
        self.json_wanted = true;
    }

    /// Each leniency is an error.
    pub fn be_strict(&mut self) {
        self.strict = true;
    }

    /// The leniencies used so far.
    pub fn ledger(&self) -> &[LedgerEntry] {
        if self.reader.sum.ledger.is_empty() { self.reader.ledger.entries() } else { &self.reader.sum.ledger }
    }

    /// Whether the answer is complete: what may follow does not count.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the server said why the answer ended, though it may not have closed it.
    pub fn is_finished(&self) -> bool {
        self.reader.fold.is_finished()
    }

    /// Whether this is a whole answer, or an error, that has begun to arrive.
    pub fn is_whole(&self) -> bool {
        matches!(self.form, Form::Whole(_))
    }

    /// How many payloads have arrived; signs of life (comments, blank lines) do not count.
    pub fn payloads(&self) -> u64 {
        self.payloads
    }

    /// What has arrived so far.
    pub fn partial(&self) -> Completion {
        let mut partial = self.reader.sum.clone();
        partial.usage = partial.usage.or(self.reader.fold.usage());
        partial.ledger = self.ledger().to_vec();
        partial
    }

    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), LlmError> {
        let from = out.len();
        let result = self.push_inner(bytes, out);
        self.settle(result, from, out)
    }

    /// The bytes have ended.
    pub fn end(&mut self, end: End, out: &mut Vec<Event>) -> Result<(), LlmError> {
        let from = out.len();
        let result = self.end_inner(end, out);
        self.settle(result, from, out)
    }

    /// Checks the answer if it is complete, and completes an error.
    fn settle(
        &mut self,
        result: Result<(), LlmError>,
        from: usize,
        out: &mut Vec<Event>,
    ) -> Result<(), LlmError> {
        let result = result.and_then(|()| self.check_answer(out));
        let result = result.map_err(|error| {
            // What was asked for did not come: the text stays delivered, the end is the error.
            out.retain(|event| !matches!(event, Event::ToolCalls { .. } | Event::Finish(_)));
            self.complete_error(error, out)
        });
        self.keep_prose(from, self.done || result.is_err(), out);
        result
    }

    fn check_answer(&mut self, out: &mut [Event]) -> Result<(), LlmError> {
        if let Some(Event::Finish(finish)) = out.last_mut().filter(|_| self.json_wanted)
            && let Some(json) = json_answer::check(&self.reader.sum)?
        {
            self.read_as(json, Rule::JsonExtracted, finish);
        }
        match self.ledger().first().filter(|_| self.strict) {
            Some(entry) => Err(entry.clone().into_error()),
            None => Ok(()),
        }
    }

    /// The text of a complete answer is taken as another one; `finish` is its end.
    pub fn read_as(&mut self, text: String, rule: Rule, finish: &mut Box<Finish>) {
        ledger::merge(&mut finish.ledger, [LedgerEntry::new(rule, self.reader.sum.content.as_str())]);
        finish.content = Some(text);
        self.reader.sum.absorb(&Event::Finish(finish.clone()));
    }

    /// The error of an answer that fails: what was still held back is delivered before it.
    fn complete_error(&mut self, mut error: LlmError, out: &mut Vec<Event>) -> LlmError {
        let from = out.len();
        self.reader.fold.release_text(out);
        self.reader.add_up(out, from);
        error.request_id = error.request_id.take().or_else(|| self.request_id.clone());
        error.ledger = self.ledger().to_vec();
        let mut partial = self.partial();
        if partial.tool_calls.is_empty() {
            partial.tool_calls = self.reader.fold.broken_calls();
        }
        error.with_partial(partial)
    }

    fn push_inner(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), LlmError> {
        if self.done {
            return Ok(());
        }
        match &mut self.form {
            Form::Unknown(start) => {
                start.extend_from_slice(bytes);
                // Blank lines keep the connection alive (DeepSeek) and need not be kept.
                let blank = start.len() - beginning(start).len();
                start.drain(..blank);
                let Some(stream) = looks_like_stream(start) else { return Ok(()) };
                let start = std::mem::take(start);
                if !stream {
                    self.form = Form::Whole(Vec::new());
                    return self.read_body(&start, out);
                }
                let mut decoder = SseDecoder::new(self.reader.limits.event_bytes);
                decoder.push(&start);
                self.reader.fold.expect_more();
                self.form = Form::Stream(Box::new(decoder));
                self.read_frames(out)
            }
            Form::Whole(_) => self.read_body(bytes, out),
            Form::Stream(decoder) => {
                decoder.push(bytes);
                self.read_frames(out)
            }
        }
    }

    /// More of a whole answer; or what looks like one and is a stream of JSON lines.
    fn read_body(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), LlmError> {
        let Form::Whole(body) = &mut self.form else { return Ok(()) };
        let before = body.len();
        body.extend_from_slice(bytes);
        // Each byte is looked at once, however small the pieces are.
        let found = memchr::memchr(b'\n', bytes).filter(|_| self.in_first_line);
        self.in_first_line &= found.is_none();
        let line = found.and_then(|at| body.get(..before + at));
        if self.stream_wanted && line.is_some_and(mend::is_chunk) {
            let mut decoder = SseDecoder::new(self.reader.limits.event_bytes);
            decoder.push(body);
            self.reader.fold.expect_more();
            self.form = Form::Stream(Box::new(decoder));
            self.payloads = 0;
            return self.read_frames(out);
        }
        self.payloads += 1;
        if body.len() > self.reader.limits.body_bytes { Err(self.too_large()) } else { Ok(()) }
    }

    fn too_large(&self) -> LlmError {
        limits::passed(
            format!("the answer is larger than {} bytes", self.reader.limits.body_bytes),
            "body_bytes",
        )
    }

    fn read_frames(&mut self, out: &mut Vec<Event>) -> Result<(), LlmError> {
        let Form::Stream(decoder) = &mut self.form else {
            return Ok(());
        };
        while !self.done {
            let frame = decoder.next_frame().map_err(|too_large| {
                let what = format!("an event of the stream is larger than {} bytes", too_large.limit);
                limits::passed(what, "event_bytes")
            })?;
            let (data, is_error, mended) = match frame {
                None => break,
                Some(Frame::KeepAlive) => continue,
                Some(Frame::Data { data, is_error, mended }) => (data, is_error, mended),
                // JSON lines: what would be the data of an event stands by itself.
                Some(Frame::Stray(line)) if mend::is_chunk(line) => {
                    (line, false, Some("lines without data:"))
                }
                Some(Frame::Stray(line)) => {
                    if let Some(error) = stray_error(line) {
                        self.payloads += 1;
                        return Err(error);
                    }
                    self.reader.ledger.note(
                        Rule::StrayLine,
                        String::from_utf8_lossy(line).chars().take(80).collect::<String>(),
                    );
                    continue;
                }
            };
            let mut data = data.trim_ascii();
            let mut mended = mended;
            while let Some(rest) = data.strip_prefix(b"data:") {
                mended = Some("data: twice");
                data = rest.trim_ascii_start();
            }
            if data.starts_with(BOM) {
                mended = Some("a byte order mark within the stream");
                data = beginning(data);
            }
            if data.is_empty() || data == b"null" {
                continue;
            }
            self.payloads += 1;
            self.reader.ledger.at_event(Some(self.payloads));
            if let Some(what) = mended {
                self.reader.ledger.note(Rule::FramingMended, what);
            }
            if is_done(data) {
                self.done = true;
                break;
            }
            if is_error {
                return Err(error_in_stream(&chunk::text(data, &mut self.reader.ledger)));
            }
            self.reader.payload(data, out)?;
            let said =
                self.reader.sum.content.len() + self.reader.sum.reasoning.as_ref().map_or(0, String::len);
            if said + self.reader.fold.held() > self.reader.limits.body_bytes {
                return Err(self.too_large());
            }
        }
        if self.done { self.close_stream(out) } else { Ok(()) }
    }

    fn end_inner(&mut self, end: End, out: &mut Vec<Event>) -> Result<(), LlmError> {
        if self.done {
            return Ok(());
        }
        match &mut self.form {
            Form::Unknown(start) => {
                let start = std::mem::take(start);
                match end {
                    End::Broken(error) => Err(error),
                    End::Clean if start.is_empty() => Err(empty_body()),
                    End::Clean => Err(not_an_answer(&start)),
                }
            }
            Form::Whole(body) => {
                let body = std::mem::take(body);
                match (self.read_whole(&body, out), end) {
                    // A whole answer that parses is whole, however the connection went down.
                    (Ok(()), End::Broken(_)) => {
                        self.done = true;
                        Ok(())
                    }
                    (Err(_), End::Broken(error)) => Err(error),
                    (result, End::Clean) => {
                        self.done = true;
                        result
                    }
                }
            }
            Form::Stream(decoder) => {
                if matches!(end, End::Clean) {
                    decoder.end();
                    self.read_frames(out)?;
                    if self.done {
                        return Ok(());
                    }
                }
                self.reader.release_cut(out)?;
                self.reader.ledger.at_event(None);
                if self.reader.fold.is_finished() {
                    match end {
                        End::Clean => {
                            self.reader.ledger.note(Rule::MissingDone, "the stream ended without [DONE]")
                        }
                        End::Broken(error) => {
                            self.reader.ledger.note(Rule::BrokenAfterEnd, error.message.clone())
                        }
                    }
                    self.done = true;
                    return self.close_stream(out);
                }
                match end {
                    End::Broken(error) => Err(error),
                    End::Clean if !self.reader.fold.has_begun() => Err(empty_body()),
                    End::Clean => Err(LlmError::new(
                        ErrorKind::StreamInterrupted,
                        "the stream ended before the answer did: neither a finish reason nor [DONE] came",
                    )
                    .with_hint("the server or a proxy cut the answer off; `partial` holds what had arrived")),
                }
            }
        }
    }

    fn read_whole(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<(), LlmError> {
        if body.trim_ascii_start().starts_with(b"<") || body.starts_with(GZIP) {
            return Err(not_an_answer(body));
        }
        let shown = || String::from_utf8_lossy(body).chars().take(64 * 1024).collect();
        self.reader.payload(body, out).and_then(|()| self.reader.release_cut(out)).map_err(|mut error| {
            error.body.get_or_insert_with(shown);
            if serde_json::from_slice::<IgnoredAny>(body).is_err_and(|error| error.is_eof()) {
                error.kind = ErrorKind::StreamInterrupted;
                error.retryable = true;
                error.message = format!("the answer ends in the middle of its JSON: {}", error.message);
            }
            error
        })?;
        if !self.reader.fold.has_begun() || self.reader.fold.is_hollow() && self.reader.sum.is_empty() {
            let mut error = empty_answer();
            error.body = Some(shown());
            return Err(error);
        }
        if self.stream_wanted {
            self.reader.ledger.note(Rule::WholeForStream, "the server answered in one piece");
        }
        let finish = (!self.reader.fold.is_finished() && self.reader.fold.only_empty_finish()).then(|| {
            self.reader.ledger.note(Rule::EmptyFinishReason, "taken as stop");
            FinishReason::Stop
        });
        self.close(finish, out)
    }
}

/// Whether an event says that the stream is over: some proxies write it in lower case or as a JSON text.
fn is_done(data: &[u8]) -> bool {
    let word = data.strip_prefix(b"\"").unwrap_or(data);
    word.get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"[DONE]"))
}
