//! The body of an answer → events, whatever form it comes in.
//!
//! The form is judged by the first bytes, not by the content type: `{` is a whole answer, `data:` a stream, `<` a web
//! page. A stream that ends without saying so is an error which carries what had arrived.

use serde_json::Value;

use crate::api_error::{self, ApiError};
use crate::chunk::{self, Chunk};
use crate::error::{ErrorKind, LlmError};
use crate::event::{Completion, Event, FinishReason, Usage};
use crate::fold::Fold;
use crate::json_answer;
use crate::ledger::{self, Ledger, LedgerEntry, Rule};
use crate::sse::{Frame, SseDecoder};

/// What a hostile or broken server cannot pass, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one event of a stream.
    pub event: usize,
    /// Of a whole answer, and of the text and calls that a stream adds up to.
    pub body: usize,
}

impl Default for Limits {
    /// 16 MiB an event, 64 MiB a body.
    fn default() -> Self {
        Self { event: 16 << 20, body: 64 << 20 }
    }
}

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
    fold: Fold,
    ledger: Ledger,
    sum: Completion,
    limits: Limits,
    stream_wanted: bool,
    json_wanted: bool,
    strict: bool,
    request_id: Option<String>,
    /// Bytes of text and thinking delivered.
    said: usize,
    done: bool,
    /// How many payloads were seen: what is not a mere sign of life.
    payloads: u64,
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
            fold: Fold::default(),
            ledger: Ledger::default(),
            sum: Completion::default(),
            limits,
            stream_wanted,
            json_wanted: false,
            strict: false,
            request_id,
            said: 0,
            done: false,
            payloads: 0,
        }
    }

    /// Notes a leniency that was used outside the body.
    pub fn note(&mut self, entry: LedgerEntry) {
        self.ledger.add(entry);
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
        if self.sum.ledger.is_empty() { self.ledger.entries() } else { &self.sum.ledger }
    }

    /// Whether the answer is complete: what may follow does not count.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the server said why the answer ended, though it may not have closed it.
    pub fn is_finished(&self) -> bool {
        self.fold.is_finished()
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
        let mut partial = self.sum.clone();
        partial.usage = partial.usage.or(self.fold.usage());
        partial.ledger = self.ledger().to_vec();
        partial
    }

    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), LlmError> {
        let from = out.len();
        let result = self.push_inner(bytes, out);
        self.settle(from, result, out)
    }

    /// The bytes have ended.
    pub fn end(&mut self, end: End, out: &mut Vec<Event>) -> Result<(), LlmError> {
        let from = out.len();
        let result = self.end_inner(end, out);
        self.settle(from, result, out)
    }

    /// Adds the new events to the sum, checks the answer if it is complete, and completes an error.
    fn settle(
        &mut self,
        from: usize,
        result: Result<(), LlmError>,
        out: &mut Vec<Event>,
    ) -> Result<(), LlmError> {
        for event in out.get(from..).unwrap_or_default() {
            self.sum.absorb(event);
        }
        let result = result.and_then(|()| self.check_answer(out));
        result.map_err(|error| {
            // What was asked for did not come: the text stays delivered, the end is the error.
            out.retain(|event| !matches!(event, Event::ToolCalls { .. } | Event::Finish(_)));
            self.complete_error(error)
        })
    }

    fn check_answer(&mut self, out: &mut [Event]) -> Result<(), LlmError> {
        if let Some(Event::Finish(finish)) = out.last_mut().filter(|_| self.json_wanted)
            && let Some(json) = json_answer::check(&self.sum)?
        {
            let entry = LedgerEntry::new(Rule::JsonExtracted, self.sum.content.as_str());
            ledger::merge(&mut finish.ledger, [entry]);
            finish.content = Some(json);
            self.sum.absorb(&Event::Finish(finish.clone()));
        }
        match self.ledger().first().filter(|_| self.strict) {
            Some(entry) => Err(entry.clone().into_error()),
            None => Ok(()),
        }
    }

    fn complete_error(&self, mut error: LlmError) -> LlmError {
        error.request_id = error.request_id.take().or_else(|| self.request_id.clone());
        error.ledger = self.ledger().to_vec();
        error.with_partial(self.partial())
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
                    self.payloads += 1;
                    self.form = Form::Whole(start);
                    return self.check_body();
                }
                let mut decoder = SseDecoder::new(self.limits.event);
                decoder.push(&start);
                self.form = Form::Stream(Box::new(decoder));
                self.read_frames(out)
            }
            Form::Whole(body) => {
                self.payloads += 1;
                body.extend_from_slice(bytes);
                self.check_body()
            }
            Form::Stream(decoder) => {
                decoder.push(bytes);
                self.read_frames(out)
            }
        }
    }

    fn check_body(&self) -> Result<(), LlmError> {
        match &self.form {
            Form::Whole(body) if body.len() > self.limits.body => Err(self.too_large()),
            _ => Ok(()),
        }
    }

    fn too_large(&self) -> LlmError {
        LlmError::bad_response(format!("the answer is larger than {} bytes", self.limits.body))
    }

    fn read_frames(&mut self, out: &mut Vec<Event>) -> Result<(), LlmError> {
        let Form::Stream(decoder) = &mut self.form else {
            return Ok(());
        };
        while !self.done {
            let frame = decoder.next_frame().map_err(|too_large| {
                LlmError::bad_response(format!(
                    "an event of the stream is larger than {} bytes",
                    too_large.limit
                ))
            })?;
            let (data, is_error) = match frame {
                None => break,
                Some(Frame::KeepAlive) => continue,
                Some(Frame::Data { data, is_error }) => (data, is_error),
                Some(Frame::Stray(line)) => {
                    if let Some(error) = stray_error(line) {
                        self.payloads += 1;
                        return Err(error);
                    }
                    self.ledger.note(
                        Rule::StrayLine,
                        String::from_utf8_lossy(line).chars().take(80).collect::<String>(),
                    );
                    continue;
                }
            };
            let data = data.trim_ascii();
            if data.starts_with(b"[DONE]") {
                self.payloads += 1;
                self.done = true;
                break;
            }
            if data.is_empty() || data == b"null" {
                continue;
            }
            self.payloads += 1;
            self.ledger.at_event(Some(self.payloads));
            let text = chunk::text(data, &mut self.ledger);
            if is_error {
                return Err(error_in_stream(&text));
            }
            let from = out.len();
            read_chunk(&text, &mut self.fold, &mut self.ledger, out)?;
            for event in out.get(from..).unwrap_or_default() {
                if let Event::ContentDelta { content } | Event::ReasoningDelta { content } = event {
                    self.said += content.len();
                }
            }
            if self.said + self.fold.held() > self.limits.body {
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
                    End::Clean if start.is_empty() => Err(empty_answer()),
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
                self.ledger.at_event(None);
                if self.fold.is_finished() {
                    match end {
                        End::Clean => self.ledger.note(Rule::MissingDone, "the stream ended without [DONE]"),
                        End::Broken(error) => self.ledger.note(Rule::BrokenAfterEnd, error.message.clone()),
                    }
                    self.done = true;
                    return self.close_stream(out);
                }
                match end {
                    End::Broken(error) => Err(error),
                    End::Clean if !self.fold.has_begun() => Err(empty_answer()),
                    End::Clean => Err(LlmError::new(
                        ErrorKind::StreamInterrupted,
                        "the stream ended before the answer did: neither a finish reason nor [DONE] came",
                    )
                    .with_hint("the server or a proxy cut the answer off; `partial` holds what had arrived")),
                }
            }
        }
    }

    /// `[DONE]` came, or the end of a stream that had said why it ends.
    fn close_stream(&mut self, out: &mut Vec<Event>) -> Result<(), LlmError> {
        if !self.fold.has_begun() {
            return Err(empty_answer());
        }
        self.ledger.at_event(None);
        if !self.stream_wanted {
            self.ledger.note(Rule::StreamForWhole, "the server streamed unasked");
        }
        if !self.fold.is_finished() {
            // `""` on each chunk is this server's way (Snowflake). Nothing at all means that generation was cut:
            // llama-cpp-python ends an interrupted stream with `[DONE]`, FastChat one whose worker died.
            if !self.fold.only_empty_finish() {
                return Err(LlmError::new(
                    ErrorKind::StreamInterrupted,
                    "the stream ended with [DONE] but without a finish reason: the answer was cut off",
                ));
            }
            self.ledger.note(Rule::EmptyFinishReason, "taken as stop");
            return self.close(Some(FinishReason::Stop), out);
        }
        self.close(None, out)
    }

    fn close(&mut self, finish: Option<FinishReason>, out: &mut Vec<Event>) -> Result<(), LlmError> {
        let said_something =
            !self.sum.is_empty() || out.iter().any(|event| matches!(event, Event::ContentDelta { .. }));
        let refusal = self.fold.refusal().map(str::to_owned);
        self.ledger.at_event(None);
        let has_text = !self.sum.content.is_empty()
            || out.iter().any(|event| matches!(event, Event::ContentDelta { .. }));
        if !has_text && refusal.is_none() && self.fold.ran_out_of_tokens() {
            let has_thought = self.sum.reasoning.is_some()
                || out.iter().any(|event| matches!(event, Event::ReasoningDelta { .. }));
            self.ledger.note(Rule::NothingSaid, nothing_said(has_thought, self.fold.usage()));
        }
        let from = out.len();
        self.fold.close(self.request_id.clone(), &mut self.ledger, out);
        if let (Some(finish), Some(Event::Finish(last))) = (finish, out.last_mut()) {
            last.finish_reason.get_or_insert(finish);
        }
        let calls = out.iter().skip(from).any(|event| matches!(event, Event::ToolCalls { .. }));
        let filtered = matches!(out.last(), Some(Event::Finish(last)) if last.finish_reason == Some(FinishReason::ContentFilter));
        if !said_something && !calls && (filtered || refusal.is_some()) {
            let usage_only: Vec<Event> =
                out.drain(from..).filter(|event| matches!(event, Event::Usage(_))).collect();
            out.extend(usage_only);
            return Err(LlmError::new(
                ErrorKind::ContentFilter,
                match refusal {
                    Some(text) => format!("the model refused: {text}"),
                    None => "the provider's content filter stopped the answer before it began".to_owned(),
                },
            ));
        }
        Ok(())
    }

    fn read_whole(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<(), LlmError> {
        if body.trim_ascii_start().starts_with(b"<") {
            return Err(not_an_answer(body));
        }
        let text = chunk::text(body, &mut self.ledger);
        read_chunk(&text, &mut self.fold, &mut self.ledger, out).map_err(|mut error| {
            error.body.get_or_insert_with(|| text.chars().take(64 * 1024).collect());
            error
        })?;
        if !self.fold.has_begun() {
            let mut error = empty_answer();
            error.body = Some(text.chars().take(64 * 1024).collect());
            return Err(error);
        }
        if self.stream_wanted {
            self.ledger.note(Rule::WholeForStream, "the server answered in one piece");
        }
        let finish = (!self.fold.is_finished() && self.fold.only_empty_finish()).then(|| {
            self.ledger.note(Rule::EmptyFinishReason, "taken as stop");
            FinishReason::Stop
        });
        self.close(finish, out)
    }
}

/// Why there was no room for an answer.
fn nothing_said(has_thought: bool, usage: Option<Usage>) -> String {
    if has_thought {
        return "thinking used up the tokens: raise max_tokens, or let the model think less".to_owned();
    }
    match usage.and_then(|usage| usage.prompt_tokens) {
        Some(tokens) => format!(
            "the prompt took {tokens} tokens and left no room: shorten it, or raise the server's context (Ollama: num_ctx)"
        ),
        None => "max_tokens or the server's context left no room".to_owned(),
    }
}

/// A body without the blanks and byte order marks that it may begin with.
fn beginning(mut body: &[u8]) -> &[u8] {
    loop {
        body = body.trim_ascii_start();
        match body.strip_prefix(BOM) {
            Some(rest) => body = rest,
            None => return body,
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Whether the start of a body is a stream (`true`) or something whole; `None` while that is open.
fn looks_like_stream(start: &[u8]) -> Option<bool> {
    const FIELDS: [&[u8]; 6] = [b"data:", b"event:", b"id:", b"retry:", b"error:", b":"];
    if FIELDS.iter().any(|field| start.starts_with(field)) {
        return Some(true);
    }
    if BOM.starts_with(start) || FIELDS.iter().any(|field| field.starts_with(start)) {
        return None;
    }
    Some(false)
}

fn read_chunk(
    text: &str,
    fold: &mut Fold,
    ledger: &mut Ledger,
    out: &mut Vec<Event>,
) -> Result<(), LlmError> {
    match serde_json::from_str::<Chunk<'_>>(text) {
        Ok(chunk) if chunk.choices.is_some() || chunk.error.as_ref().is_some_and(chunk::is_error) => {
            fold.absorb(chunk, ledger, out).map_err(|api| named(api, text))
        }
        Ok(chunk) => {
            // No choices: a usage on its own, or an error in one of the shapes that have no `error` key.
            let shape = serde_json::from_str::<Value>(text).ok();
            if let Some(api) = shape.as_ref().and_then(ApiError::from_body) {
                return Err(named(api, text));
            }
            fold.absorb(chunk, ledger, out).map_err(|api| named(api, text))
        }
        Err(cause) => {
            if let Some(mended) = chunk::mend_surrogates(text) {
                ledger.note(Rule::InvalidUtf8, "half a surrogate pair in the answer");
                return read_chunk(&mended, fold, ledger, out);
            }
            // A list of errors is no chunk, but an answer all the same (Gemini).
            if let Some(api) = serde_json::from_str::<Value>(text).ok().as_ref().and_then(ApiError::from_body)
            {
                return Err(named(api, text));
            }
            Err(LlmError::bad_response(format!(
                "the server sent something that is not the chat format ({cause}): {}",
                excerpt(text)
            )))
        }
    }
}

fn named(api: ApiError, text: &str) -> LlmError {
    let unexpected_endpoint = api.message.starts_with("Unexpected endpoint or method");
    let mut error = api.into_error(None);
    if unexpected_endpoint {
        // LM Studio answers a wrong path with 200.
        error.kind = ErrorKind::NotFound;
        error.retryable = false;
        error.hint = Some("is `/v1` missing at the end of the base URL?".to_owned());
    }
    error.body = Some(text.chars().take(64 * 1024).collect());
    error
}

fn error_in_stream(text: &str) -> LlmError {
    let api = match serde_json::from_str::<Value>(text) {
        Ok(value) => ApiError::from_body(&value).unwrap_or_else(|| ApiError::from_error_value(&value)),
        Err(_) => ApiError::from_message(excerpt(text)),
    };
    named(api, text)
}

/// A line outside the format counts only if it is a JSON object with an error.
fn stray_error(line: &[u8]) -> Option<LlmError> {
    let line = line.trim_ascii();
    if !line.starts_with(b"{") {
        return None;
    }
    let value: Value = serde_json::from_slice(line).ok()?;
    value.get("error").filter(|error| chunk::is_error(error))?;
    Some(named(ApiError::from_body(&value)?, &String::from_utf8_lossy(line)))
}

fn empty_answer() -> LlmError {
    LlmError::bad_response("the server sent an empty answer (HTTP 200 without any choice)")
        .with_retryable(true)
}

fn not_an_answer(body: &[u8]) -> LlmError {
    let text = String::from_utf8_lossy(body);
    let mut error = if api_error::is_html(&text) {
        LlmError::bad_response(api_error::html_summary(200, &text))
            .with_hint("the base URL leads to a web page and not to an API: is `/v1` missing?")
    } else {
        LlmError::bad_response(format!(
            "the server sent something that is not the chat format: {}",
            excerpt(&text)
        ))
    };
    error.body = Some(text.chars().take(64 * 1024).collect());
    error
}

fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(200).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
