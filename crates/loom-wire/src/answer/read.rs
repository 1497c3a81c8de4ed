//! One payload → the fold, and the errors that payloads and bodies are or hold.

use std::borrow::Cow;

use serde_json::Value;

use crate::api_error::{self, ApiError};
use crate::chunk::{self, Chunk};
use crate::error::{ErrorKind, LlmError};
use crate::event::Event;
use crate::fold::Fold;
use crate::ledger::{Ledger, Rule};
use crate::limits::{self, Limits};
use crate::mend;

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

const BOM: &[u8] = b"\xef\xbb\xbf";

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

/// Reads a chunk after one that ends within a character.
pub(super) fn read_with(
    first: &str,
    text: &str,
    limits: &Limits,
    fold: &mut Fold,
    ledger: &mut Ledger,
    cut: &mut Option<String>,
    out: &mut Vec<Event>,
) -> Result<(), LlmError> {
    let (first, text) = match mend::joined(first, text) {
        Some((first, text)) => {
            ledger.note(Rule::JsonMended, "a character cut between two chunks");
            (Some(first), Cow::Owned(text))
        }
        None => {
            ledger.note(Rule::InvalidUtf8, "half a surrogate pair in the answer");
            (mend::surrogates(first), Cow::Borrowed(text))
        }
    };
    if let Some(first) = first {
        read_chunk(&first, limits, fold, ledger, cut, out)?;
    }
    read_chunk(&text, limits, fold, ledger, cut, out)
}

/// Reads one chunk, or a whole answer. `cut` gets one that ends within a character.
pub(super) fn read_chunk(
    text: &str,
    limits: &Limits,
    fold: &mut Fold,
    ledger: &mut Ledger,
    cut: &mut Option<String>,
    out: &mut Vec<Event>,
) -> Result<(), LlmError> {
    // The parser itself keeps the most; what it skips unread may be deeper.
    if limits.json_depth < Limits::MAX_JSON_DEPTH && is_deeper(text, limits.json_depth) {
        return Err(too_deep(limits));
    }
    match serde_json::from_str::<Chunk<'_>>(text) {
        Ok(chunk) if chunk.choices.is_some() || chunk.error.as_ref().is_some_and(chunk::is_error) => {
            fold.keep(text, &chunk);
            fold.absorb(chunk, ledger, out).map_err(|api| named(api, text))
        }
        Ok(chunk) => {
            // No choices: a usage on its own, or an error in one of the shapes that have no `error` key.
            let shape = serde_json::from_str::<Value>(text).ok();
            if let Some((key, answer)) = shape.as_ref().and_then(mend::unwrapped) {
                ledger.note(Rule::AnswerUnwrapped, key);
                return read_chunk(&answer, limits, fold, ledger, cut, out);
            }
            if let Some(api) = shape.as_ref().and_then(ApiError::from_body) {
                return Err(named(api, text));
            }
            fold.absorb(chunk, ledger, out).map_err(|api| named(api, text))
        }
        Err(cause) => {
            if mend::ends_in_half(text) {
                *cut = Some(text.to_owned());
                return Ok(());
            }
            if let Some(mended) = mend::surrogates(text) {
                ledger.note(Rule::InvalidUtf8, "half a surrogate pair in the answer");
                return read_chunk(&mended, limits, fold, ledger, cut, out);
            }
            if let Some(objects) = mend::several(text) {
                ledger.note(Rule::FramingMended, "several objects in one event");
                return objects
                    .iter()
                    .try_for_each(|object| read_chunk(object, limits, fold, ledger, cut, out));
            }
            if let Some(mended) = mend::control_characters(text) {
                ledger.note(Rule::JsonMended, "control characters in a string");
                return read_chunk(&mended, limits, fold, ledger, cut, out);
            }
            if let Some(answer) =
                serde_json::from_str::<String>(text).ok().filter(|text| text.trim_start().starts_with('{'))
            {
                ledger.note(Rule::AnswerUnwrapped, "a text that is JSON");
                return read_chunk(&answer, limits, fold, ledger, cut, out);
            }
            // A list of errors is no chunk, but an answer all the same (Gemini).
            if let Some(api) = serde_json::from_str::<Value>(text).ok().as_ref().and_then(ApiError::from_body)
            {
                return Err(named(api, text));
            }
            // serde_json tells its limit apart by its words only.
            if cause.to_string().starts_with("recursion limit exceeded") {
                return Err(too_deep(limits));
            }
            Err(LlmError::bad_response(format!(
                "the server sent something that is not the chat format ({cause}): {}",
                excerpt(text)
            )))
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
