//! Properties: no bytes at all make the decoder panic or grow without bound, and no split of a stream changes its
//! result. `PROPTEST_CASES` sets how many cases each one tries.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::path::Path;
use std::sync::LazyLock;

use loom_wire::answer::{AnswerDecoder, End, Limits};
use loom_wire::{
    Completion, ErrorKind, Event, LlmError, Message, Request, ToolCall, api_error, models, request,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The bodies of the corpus, some hundred streams and whole answers of every shape.
static BODIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus");
    let mut bodies = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("4.")) {
            let family: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            for case in family["cases"].as_array().unwrap() {
                let responses = case["responses"].as_array().unwrap().iter();
                bodies.extend(
                    responses.map(|response| body(&response["body"])).filter(|body| !body.is_empty()),
                );
            }
        }
    }
    bodies.retain(|body| body.len() < 20_000);
    assert!(bodies.len() > 300);
    bodies
});

fn body(body: &Value) -> Vec<u8> {
    match body {
        Value::String(text) => text.clone().into_bytes(),
        Value::Array(pieces) => pieces.iter().filter_map(Value::as_str).collect::<String>().into_bytes(),
        _ => Vec::new(),
    }
}

/// Everything that an answer came to, in a form in which two can be compared.
#[derive(Debug, PartialEq)]
struct Outcome {
    sum: Completion,
    /// Adjacent deltas of one kind as one.
    events: Vec<Event>,
    error: Option<(ErrorKind, String, Option<Completion>)>,
}

fn decode<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: Limits,
    stream: bool,
    clean: bool,
) -> Outcome {
    let mut decoder = AnswerDecoder::new(limits, stream, None);
    let mut events = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        result = decoder.push(piece, &mut events);
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        let lost = LlmError::new(ErrorKind::StreamInterrupted, "lost");
        result = decoder.end(if clean { End::Clean } else { End::Broken(lost) }, &mut events);
    }
    let mut sum = Completion::default();
    let mut merged: Vec<Event> = Vec::new();
    for event in events {
        sum.absorb(&event);
        match (merged.last_mut(), &event) {
            (Some(Event::ContentDelta { content: before }), Event::ContentDelta { content })
            | (Some(Event::ReasoningDelta { content: before }), Event::ReasoningDelta { content }) => {
                before.push_str(content);
            }
            _ => merged.push(event),
        }
    }
    let error =
        result.err().map(|error| (error.kind, error.message.clone(), error.partial.as_deref().cloned()));
    Outcome { sum, events: merged, error }
}

fn cut<'a>(body: &'a [u8], at: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = at.iter().map(|index| index.index(body.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let (mut rest, mut from) = (body, 0);
    for place in places {
        let (piece, after) = rest.split_at(place - from);
        pieces.push(piece);
        (rest, from) = (after, place);
    }
    pieces.push(rest);
    pieces
}

/// Small limits, so that reaching them is likely.
fn limits() -> impl Strategy<Value = Limits> {
    (1usize..4000, 1usize..8000).prop_map(|(event_bytes, body_bytes)| Limits {
        event_bytes,
        body_bytes,
        ..Limits::default()
    })
}

/// Bytes that look like a stream more often than noise does.
fn like_a_stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"data: ".to_vec()),
        Just(b"data:".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\n\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b": ping\n\n".to_vec()),
        Just(b"event: error\n".to_vec()),
        Just(b"error: ".to_vec()),
        Just(b"\xef\xbb\xbf".to_vec()),
        Just(b"[DONE]".to_vec()),
        Just(b"<!doctype html>".to_vec()),
        any_chunk().prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..20),
        "[\\[\\]{}\",:0-9a-z\\\\u ]{0,30}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!("{\"a\":1}")),
        Just(json!("")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(KEYS), inner), 0..4).prop_map(|fields| {
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Value>()
            }),
        ]
    })
}

const KEYS: &[&str] = &[
    "id",
    "model",
    "choices",
    "usage",
    "error",
    "index",
    "delta",
    "message",
    "finish_reason",
    "content",
    "text",
    "type",
    "thinking",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "function_call",
    "extra_content",
    "prompt_tokens",
    "code",
    "status",
    "detail",
    "errors",
    "refusal",
];

/// A chunk whose known fields hold anything.
fn any_chunk() -> impl Strategy<Value = String> {
    let delta = prop::collection::vec((prop::sample::select(KEYS), any_json()), 0..5);
    let call = (any_json(), any_json(), any_json(), any_json());
    (delta, call, any_json(), any_json(), any::<bool>()).prop_map(|(delta, call, finish, usage, with_call)| {
        let mut delta: Value = delta.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        if with_call {
            let (index, id, name, arguments) = call;
            delta["tool_calls"] =
                json!([{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]);
        }
        json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": usage})
            .to_string()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_split_changes_nothing_in_the_corpus(
        which in any::<prop::sample::Index>(),
        at in prop::collection::vec(any::<prop::sample::Index>(), 1..30),
        (stream, clean) in any::<(bool, bool)>(),
    ) {
        let body = which.get(&BODIES);
        let whole = decode([body.as_slice()], Limits::default(), stream, clean);
        let split = decode(cut(body, &at), Limits::default(), stream, clean);
        prop_assert_eq!(whole, split);
    }

    #[test]
    fn a_split_changes_nothing_in_any_bytes(
        body in prop_oneof![like_a_stream(), prop::collection::vec(any::<u8>(), 0..300)],
        at in prop::collection::vec(any::<prop::sample::Index>(), 1..30),
        (stream, clean) in any::<(bool, bool)>(),
    ) {
        let whole = decode([body.as_slice()], Limits::default(), stream, clean);
        let split = decode(cut(&body, &at), Limits::default(), stream, clean);
        prop_assert_eq!(whole, split);
    }

    #[test]
    fn what_is_kept_of_any_bytes_is_bounded(
        pieces in prop::collection::vec(like_a_stream(), 1..12),
        limits in limits(),
        stream in any::<bool>(),
    ) {
        let outcome = decode(pieces.iter().map(Vec::as_slice), limits, stream, true);
        let largest = pieces.iter().map(Vec::len).max().unwrap_or_default();
        let sum = outcome.error.as_ref().and_then(|(_, _, partial)| partial.clone()).unwrap_or(outcome.sum);
        let said = sum.content.len() + sum.reasoning.map_or(0, |text| text.len());
        // The last event may go beyond it, by its own size; invalid bytes take three where they were one.
        prop_assert!(said <= limits.body_bytes + 3 * limits.event_bytes.max(largest), "{said} of {limits:?}");
        prop_assert!(sum.ledger.len() <= 64);
        if let Some((_, message, _)) = outcome.error {
            prop_assert!(!message.trim().is_empty());
            prop_assert!(message.chars().count() <= 5000, "{}", message.len());
        }
    }

    #[test]
    fn events_keep_their_order(body in like_a_stream()) {
        let outcome = decode([body.as_slice()], Limits::default(), true, true);
        let rank = |event: &Event| match event {
            Event::ContentDelta { .. } | Event::ReasoningDelta { .. } => 0,
            Event::ToolCalls { .. } => 1,
            Event::Usage(_) => 2,
            Event::Finish(_) => 3,
            Event::Retry(_) => panic!("bytes are never retried"),
        };
        let ranks: Vec<i32> = outcome.events.iter().map(rank).collect();
        prop_assert!(ranks.is_sorted(), "{:?}", outcome.events);
        prop_assert_eq!(ranks.iter().filter(|rank| **rank == 3).count(), usize::from(outcome.error.is_none()));
        let mut ids: Vec<&str> = outcome.sum.tool_calls.iter().map(|call| call.id.as_str()).collect();
        ids.sort_unstable();
        prop_assert!(ids.first() != Some(&"") && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
        for call in &outcome.sum.tool_calls {
            prop_assert!(call.invalid.is_some() || serde_json::from_str::<serde_json::Map<String, Value>>(&call.arguments).is_ok());
        }
    }

    #[test]
    fn any_refusal_says_something(status in 400u16..600, body in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        any_json().prop_map(|value| value.to_string().into_bytes()),
    ]) {
        let error = api_error::from_http(status, &body);
        prop_assert_eq!(error.status_code, Some(status));
        prop_assert!(!error.message.trim().is_empty());
        prop_assert!(error.message.chars().count() <= 2100);
    }

    #[test]
    fn any_list_of_models_is_read_or_refused(body in any_json()) {
        let _ = models::listed(body.to_string().as_bytes());
    }

    #[test]
    fn any_history_is_sent_as_valid_json(
        texts in prop::collection::vec(".{0,20}", 1..5),
        arguments in ".{0,20}",
        stop in any_json(),
    ) {
        let mut messages: Vec<Message> = texts.iter().map(|text| Message::user(text.as_str())).collect();
        let mut called = Message::assistant("");
        called.tool_calls = vec![ToolCall::new("id", "f", &arguments)];
        messages.push(called);
        let mut asked = Request::new(messages);
        asked.params.insert("stop".to_owned(), stop);
        let bytes = request::encode(&asked, "m", &loom_wire::Profile::default()).unwrap().body;
        let sent: Value = serde_json::from_slice(&bytes).unwrap();
        let call = &sent["messages"][texts.len()]["tool_calls"][0]["function"]["arguments"];
        prop_assert!(serde_json::from_str::<serde_json::Map<String, Value>>(call.as_str().unwrap()).is_ok());
        let back: Message = serde_json::from_value(sent["messages"][texts.len()].clone()).unwrap();
        prop_assert_eq!(&back.tool_calls[0], &ToolCall::new("id", "f", &arguments));
    }
}
