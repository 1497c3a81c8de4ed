//! One payload → the fold, and the errors that payloads and bodies are or hold.

use serde_json::Value;

use crate::api_error::{self, ApiError};
use crate::chunk::{self, Chunk};
use crate::error::{ErrorKind, LlmError};
use crate::event::{Completion, Event};
use crate::fold::Fold;
use crate::ledger::{Ledger, Rule};
use crate::limits::{self, Limits};
use crate::mend;
use crate::sse::BOM;

/// A body without the blanks and byte order marks that it may begin with.
pub(super) fn beginning(mut body: &[u8]) -> &[u8] {
    loop {
        body = body.trim_ascii_start();
        match body.strip_prefix(BOM) {
            Some(rest) => body = rest,
            None => return body,
        }
    }
}

pub(super) const GZIP: &[u8] = b"\x1f\x8b";

/// Whether the start of a body is a stream (`true`) or something whole; `None` while that is open.
pub(super) fn looks_like_stream(start: &[u8]) -> Option<bool> {
    const FIELDS: [&[u8]; 6] = [b"data:", b"event:", b"id:", b"retry:", b"error:", b":"];
    let begins =
        |text: &[u8], with: &[u8]| text.get(..with.len()).is_some_and(|it| it.eq_ignore_ascii_case(with));
    if FIELDS.iter().any(|field| begins(start, field)) {
        return Some(true);
    }
    if BOM.starts_with(start) || FIELDS.iter().any(|field| begins(field, start)) {
        return None;
    }
    Some(false)
}

/// Reads payloads, and keeps what they come to.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) fold: Fold,
    pub(super) ledger: Ledger,
    pub(super) sum: Completion,
    pub(super) limits: Limits,
    /// A chunk that ends within a character: it waits for the next one.
    cut: Option<String>,
}

impl Reader {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            fold: Fold::default(),
            ledger: Ledger::default(),
            sum: Completion::default(),
            limits,
            cut: None,
        }
    }

    /// Reads one payload: a chunk, or a whole answer.
    pub(super) fn payload(&mut self, data: &[u8], out: &mut Vec<Event>) -> Result<(), LlmError> {
        let from = out.len();
        let result = match self.cut.take() {
            None if self.fold.absorb_repeat(data, &mut self.ledger, out) => Ok(()),
            cut => {
                let text = chunk::text(data, &mut self.ledger);
                match cut {
                    None => self.chunk(&text, out),
                    Some(first) => self.completed(&first, &text, out),
                }
            }
        };
        self.add_up(out, from);
        result?;
        self.check_calls()
    }

    /// A chunk that ends within a character, and nothing comes that completes it.
    pub(super) fn release_cut(&mut self, out: &mut Vec<Event>) -> Result<(), LlmError> {
        let Some(first) = self.cut.take() else { return Ok(()) };
        let from = out.len();
        let result = self.without_half(&first, out);
        self.add_up(out, from);
        result
    }

    /// Adds the new events to the sum.
    pub(super) fn add_up(&mut self, out: &[Event], from: usize) {
        for event in out.get(from..).unwrap_or_default() {
            self.sum.absorb(event);
        }
    }

    pub(super) fn check_calls(&self) -> Result<(), LlmError> {
        let most = self.limits.tool_calls;
        if self.fold.tool_calls() > most {
            let what = format!("the answer holds more than {most} tool calls");
            return Err(limits::passed(what, "tool_calls"));
        }
        Ok(())
    }

    /// Reads a chunk after one that ends within a character.
    fn completed(&mut self, first: &str, text: &str, out: &mut Vec<Event>) -> Result<(), LlmError> {
        let Some((first, text)) = mend::joined(first, text) else {
            self.without_half(first, out)?;
            return self.chunk(text, out);
        };
        self.ledger.note(Rule::JsonMended, "a character cut between two chunks");
        self.chunk(&first, out)?;
        self.chunk(&text, out)
    }

    fn without_half(&mut self, text: &str, out: &mut Vec<Event>) -> Result<(), LlmError> {
        self.ledger.note(Rule::InvalidUtf8, "half a surrogate pair in the answer");
        self.chunk(mend::surrogates(text).as_deref().unwrap_or(text), out)
    }

    fn chunk(&mut self, text: &str, out: &mut Vec<Event>) -> Result<(), LlmError> {
        // The parser itself keeps the most; what it skips unread may be deeper.
        if self.limits.json_depth < Limits::MAX_JSON_DEPTH && is_deeper(text, self.limits.json_depth) {
            return Err(too_deep(&self.limits));
        }
        match serde_json::from_str::<Chunk<'_>>(text) {
            Ok(chunk) if chunk.is_answer() => {
                self.fold.keep(text, &chunk);
                self.fold.absorb(chunk, &self.sum, &mut self.ledger, out).map_err(|api| named(api, text))
            }
            Ok(chunk) => {
                // No choices: a usage on its own, or an error in one of the shapes that have no `error` key.
                let shape = serde_json::from_str::<Value>(text).ok();
                if let Some((key, answer)) = shape.as_ref().and_then(mend::unwrapped) {
                    self.ledger.note(Rule::AnswerUnwrapped, key);
                    return self.chunk(&answer, out);
                }
                let fails = |shape: &&Value| {
                    api_error::is_failure(shape) || chunk.choices.is_none() && !api_error::is_success(shape)
                };
                if let Some(api) = shape.as_ref().filter(fails).and_then(ApiError::from_body) {
                    return Err(named(api, text));
                }
                self.fold.absorb(chunk, &self.sum, &mut self.ledger, out).map_err(|api| named(api, text))
            }
            Err(cause) => {
                if mend::surrogates(text).is_some() {
                    if mend::ends_in_half(text) {
                        self.cut = Some(text.to_owned());
                        return Ok(());
                    }
                    return self.without_half(text, out);
                }
                if let Some(objects) = mend::several(text) {
                    self.ledger.note(Rule::FramingMended, "several objects in one event");
                    self.fold.expect_more();
                    return objects.iter().try_for_each(|object| self.chunk(object, out));
                }
                if let Some(mended) = mend::control_characters(text) {
                    self.ledger.note(Rule::JsonMended, "control characters in a string");
                    return self.chunk(&mended, out);
                }
                if let Some(mended) = mend::numbers(text) {
                    self.ledger.note(Rule::JsonMended, "numbers that JSON has not");
                    return self.chunk(&mended, out);
                }
                if let Some(answer) = serde_json::from_str::<String>(text)
                    .ok()
                    .filter(|text| text.trim_start().starts_with('{'))
                {
                    self.ledger.note(Rule::AnswerUnwrapped, "a text that is JSON");
                    return self.chunk(&answer, out);
                }
                // A list of errors is no chunk, but an answer all the same (Gemini).
                if let Some(api) =
                    serde_json::from_str::<Value>(text).ok().as_ref().and_then(ApiError::from_body)
                {
                    return Err(named(api, text));
                }
                // serde_json tells its limit apart by its words only.
                if cause.to_string().starts_with("recursion limit exceeded") {
                    return Err(too_deep(&self.limits));
                }
                Err(LlmError::bad_response(format!(
                    "the server sent something that is not the chat format ({cause}): {}",
                    excerpt(text)
                )))
            }
        }
    }
}

fn too_deep(limits: &Limits) -> LlmError {
    limits::passed(
        format!("the JSON of the answer is nested deeper than {}", limits.json_depth),
        "json_depth",
    )
}

/// Whether a JSON text is nested deeper than the limit. Few texts have as many brackets as that, so most are only scanned.
fn is_deeper(text: &str, limit: usize) -> bool {
    memchr::memchr2_iter(b'{', b'[', text.as_bytes()).count() > limit && depth(text) > limit
}

/// How deep a JSON text is nested.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
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

pub(super) fn error_in_stream(text: &str) -> LlmError {
    let api = match serde_json::from_str::<Value>(text) {
        Ok(value) => ApiError::from_body(&value).unwrap_or_else(|| ApiError::from_error_value(&value)),
        Err(_) => ApiError::from_message(excerpt(text)),
    };
    named(api, text)
}

/// A line outside the format counts only if it is a JSON object with an error.
pub(super) fn stray_error(line: &[u8]) -> Option<LlmError> {
    let line = line.trim_ascii();
    if !line.starts_with(b"{") {
        return None;
    }
    let value: Value = serde_json::from_slice(line).ok()?;
    value.get("error").filter(|error| chunk::is_error(error))?;
    Some(named(ApiError::from_body(&value)?, &String::from_utf8_lossy(line)))
}

pub(super) fn empty_answer() -> LlmError {
    LlmError::bad_response("the server sent an empty answer (success without any choice)")
        .with_retryable(true)
}

/// Success, and nothing behind it. llama-cpp-python (0.3) ends a stream so when it should refuse: a prompt that is too long,
/// tools that the model's template has not. It tells why only where no stream is asked for.
pub(super) fn empty_body() -> LlmError {
    empty_answer().with_hint(
        "some servers (llama-cpp-python) send an empty stream instead of a refusal, for one when the prompt is longer than the \
         model's context: ask without streaming, and they say why; the server's own log does, too",
    )
}

pub(super) fn not_an_answer(body: &[u8]) -> LlmError {
    let text = String::from_utf8_lossy(body);
    let mut error = if body.starts_with(GZIP) {
        LlmError::bad_response(
            "the server sent compressed bytes (gzip) without a content-encoding header that says so",
        )
    } else if api_error::is_html(&text) {
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
