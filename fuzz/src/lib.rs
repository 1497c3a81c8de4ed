//! What each fuzz target promises, for any bytes. `crates/loom-wire/tests/fuzz_corpus.rs` runs the saved corpus through
//! the same functions as an ordinary test.
//!
//! The first byte of an input says how the rest is cut up; results must not depend on it.

use std::sync::Arc;

use loom_wire::answer::{AnswerDecoder, End, Expected, Limits};
use loom_wire::chunk::Chunk;
use loom_wire::sse::{Frame, SseDecoder};
use loom_wire::{Completion, ErrorKind, Event, LlmError, Request, ToolCall, ToolSpec};
use serde_json::{Value, json};

/// SSE: the same frames however the bytes are cut up, and never more of them than bytes.
pub fn sse(data: &[u8]) {
    let (seed, body) = split_seed(data);
    let whole = frames([body]);
    assert_eq!(frames(cut(seed, body)), whole);
    assert_eq!(frames(body.chunks(1)), whole);
}

fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<(u8, Vec<u8>)>, bool) {
    let mut decoder = SseDecoder::new(4096);
    let mut found = Vec::new();
    let mut drain = |decoder: &mut SseDecoder| loop {
        match decoder.next_frame() {
            Ok(Some(Frame::Data { data, is_error, .. })) => found.push((u8::from(is_error), data.to_vec())),
            Ok(Some(Frame::Stray(line))) => found.push((2, line.to_vec())),
            Ok(Some(Frame::KeepAlive)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    };
    let mut too_large = false;
    for piece in pieces {
        decoder.push(piece);
        too_large = too_large || drain(&mut decoder);
        if too_large {
            break;
        }
    }
    if !too_large {
        decoder.end();
        too_large = drain(&mut decoder);
    }
    (found, too_large)
}

/// Chunks: any JSON is a chunk or an error, and so is what is nearly JSON.
pub fn chunk(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = serde_json::from_str::<Chunk<'_>>(text);
        let _ = loom_wire::mend::surrogates(text);
    }
    let _ = loom_wire::models::listed(data);
    let error = loom_wire::api_error::from_http(400, data);
    assert!(!error.message.trim().is_empty());
}

/// The fold, behind the decoder: the same answer however the bytes are cut up, in order, ended once.
pub fn fold(data: &[u8]) {
    let (seed, body) = split_seed(data);
    let whole = answer([body], &expected());
    assert_eq!(answer(cut(seed, body), &expected()), whole);
    assert_eq!(answer(body.chunks(1), &expected()), whole);
    whole.check();
}

/// Thinking in the text: kept apart the same way however the text is cut into chunks; without a tag nothing changes.
pub fn think(data: &[u8]) {
    let (seed, text) = split_seed(data);
    let text = String::from_utf8_lossy(text);
    for begins_thinking in [false, true] {
        let expected = Expected { begins_thinking, is_gpt_oss: true, ..Expected::default() };
        let whole = streamed(&text, 0, &expected);
        assert_eq!(streamed(&text, seed, &expected), whole);
        assert_eq!(streamed(&text, 1, &expected), whole);
        if !begins_thinking && whole.sum.reasoning.is_none() && whole.sum.ledger.is_empty() {
            assert_eq!(whole.sum.content, text);
        }
        let said = whole.sum.content.len() + whole.sum.reasoning.as_ref().map_or(0, String::len);
        assert!(said <= text.len() * if begins_thinking { 2 } else { 1 });
    }
}

/// Calls in the text: found the same way however the text is cut into chunks, only of offered tools; without one
/// nothing changes.
pub fn calls(data: &[u8]) {
    let (seed, text) = split_seed(data);
    let text = String::from_utf8_lossy(text);
    let expected = expected();
    let whole = streamed(&text, 0, &expected);
    assert_eq!(streamed(&text, seed, &expected), whole);
    assert_eq!(streamed(&text, 1, &expected), whole);
    whole.check();
    for call in &whole.sum.tool_calls {
        assert!(["f", "get_weather"].contains(&call.name.as_str()), "{}", call.name);
    }
    if whole.sum.tool_calls.is_empty() && whole.sum.reasoning.is_none() && whole.sum.ledger.is_empty() {
        assert_eq!(whole.sum.content, text);
    }
    // The same text in one piece must not be read otherwise where it has no thinking.
    let one = body_of(&text);
    let one = answer([one.as_bytes()], &expected);
    if one.sum.reasoning.is_none() && whole.sum.reasoning.is_none() {
        assert_eq!(one.sum.content, whole.sum.content);
        assert_eq!(one.sum.tool_calls.len(), whole.sum.tool_calls.len());
    }
}

/// Arguments: an object or a reason, and an object stays what it is.
pub fn arguments(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let call = ToolCall::new("id", "f", &text);
    match &call.invalid {
        Some(reason) => {
            assert!(!reason.is_empty());
            assert_eq!(call.arguments, text);
        }
        None => {
            serde_json::from_str::<serde_json::Map<String, Value>>(&call.arguments).expect("an object");
            assert_eq!(ToolCall::new("id", "f", &call.arguments), call);
            // What is cut off is never completed.
            if let Some(at) = call.arguments.rfind('}').filter(|_| text.trim() == call.arguments) {
                assert!(ToolCall::new("id", "f", &call.arguments[..at]).invalid.is_some() || at == 0);
            }
        }
    }
}

fn expected() -> Expected {
    let mut f = ToolSpec::new("f", "");
    f.parameters = json!({"type": "object", "properties": {
        "a": {"type": "integer"}, "text": {"type": "string"}, "list": {"type": "array"},
    }});
    let tools = vec![f, ToolSpec::new("get_weather", "")];
    Expected {
        request: Some(Arc::new(Request { tools, stream: true, ..Request::default() })),
        is_gpt_oss: true,
        ..Expected::default()
    }
}

fn split_seed(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(seed, rest)| (*seed, rest))
}

/// Cuts bytes up in pieces of changing length.
fn cut(seed: u8, body: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let (mut rest, mut length) = (body, usize::from(seed));
    while !rest.is_empty() {
        length = (length * 31 + 7) % 64 + 1;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Everything that an answer came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    sum: Completion,
    kinds: Vec<u8>,
    error: Option<(ErrorKind, String)>,
    finished: usize,
}

impl Outcome {
    fn check(&self) {
        assert!(self.kinds.is_sorted_by_key(|kind| *kind), "out of order: {:?}", self.kinds);
        assert_eq!(self.finished, usize::from(self.error.is_none()));
        let mut ids: Vec<&str> = self.sum.tool_calls.iter().map(|call| call.id.as_str()).collect();
        ids.sort_unstable();
        assert!(ids.first() != Some(&"") && ids.windows(2).all(|pair| pair[0] != pair[1]));
        for call in &self.sum.tool_calls {
            assert!(
                call.invalid.is_some()
                    || serde_json::from_str::<serde_json::Map<String, Value>>(&call.arguments).is_ok()
            );
        }
        assert!(self.sum.ledger.len() <= 64);
    }
}

fn answer<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, expected: &Expected) -> Outcome {
    let limits = Limits { event_bytes: 1 << 16, body_bytes: 1 << 18, ..Limits::default() };
    let mut decoder = AnswerDecoder::new(limits, true, None).expecting(expected.clone());
    let mut events = Vec::new();
    let mut result: Result<(), LlmError> = Ok(());
    for piece in pieces {
        result = decoder.push(piece, &mut events);
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = decoder.end(End::Clean, &mut events);
    }
    let mut sum = Completion::default();
    let mut kinds = Vec::new();
    for event in &events {
        sum.absorb(event);
        let kind = match event {
            Event::ContentDelta { .. } | Event::ReasoningDelta { .. } => 0,
            Event::ToolCalls { .. } => 1,
            Event::Usage(_) => 2,
            Event::Finish(_) => 3,
            Event::Retry(_) => 4,
        };
        if kinds.last() != Some(&kind) {
            kinds.push(kind);
        }
    }
    let finished = events.iter().filter(|event| matches!(event, Event::Finish(_))).count();
    Outcome { sum, kinds, finished, error: result.err().map(|error| (error.kind, error.message.clone())) }
}

/// A text as a stream of chunks, cut up by the seed: 0 is one chunk, 1 a chunk for each character.
fn streamed(text: &str, seed: u8, expected: &Expected) -> Outcome {
    let mut pieces: Vec<String> = Vec::new();
    let mut length = usize::from(seed);
    let mut rest = text;
    while !rest.is_empty() {
        length = match seed {
            0 => rest.len(),
            1 => 1,
            _ => (length * 31 + 7) % 24 + 1,
        };
        let at = rest.char_indices().map(|(at, _)| at).nth(length).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(at);
        pieces.push(piece.to_owned());
        rest = after;
    }
    let mut body = String::new();
    for piece in &pieces {
        let chunk = json!({"id": "c", "choices": [{"index": 0, "delta": {"content": piece}}]});
        body.push_str(&format!("data: {chunk}\n\n"));
    }
    body.push_str(
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    );
    let mut outcome = answer([body.as_bytes()], expected);
    // Which chunk a rule was used on depends on the cut.
    for entry in &mut outcome.sum.ledger {
        entry.event = None;
    }
    outcome
}

fn body_of(text: &str) -> String {
    json!({"id": "c", "choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]})
        .to_string()
}
