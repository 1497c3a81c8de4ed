//! The shape of an answer: everything about it that does not depend on what the model said.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::client::Answer;

/// The headers that tell servers apart or steer a client.
const HEADERS: &[&str] = &["content-type", "server", "x-request-id", "openai-processing-ms", "retry-after"];
/// Of these the value counts, not only that there is one.
const EXACT_HEADERS: &[&str] = &["content-type", "server"];
/// The fields whose texts are words of the protocol.
const WORDS: &[&str] = &["object", "type", "owned_by", "role", "param", "code", "finish_reason"];
/// The fields that hold an error's words.
const MESSAGES: &[&str] = &["message", "detail", "error"];

/// How the shapes of two answers differ, in words.
pub(crate) fn differences(real: &Answer, emulated: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, real: &Value, emulated: &Value| {
        if real != emulated {
            found.push(format!("{what}\n    real     {real}\n    emulated {emulated}"));
        }
    };
    compare("status", &real.status.into(), &emulated.status.into());
    for name in HEADERS {
        let shown = |answer: &Answer| {
            let value = answer.header(name);
            if EXACT_HEADERS.contains(name) { json!(value) } else { json!(value.is_some()) }
        };
        compare(name, &shown(real), &shown(emulated));
    }
    if is_stream(real) && is_stream(emulated) {
        let (ours, theirs) = (chunk_shapes(emulated), chunk_shapes(real));
        compare("first chunk", &json!(theirs.first()), &json!(ours.first()));
        let kinds = |shapes: &[Value]| shapes.iter().map(Value::to_string).collect::<BTreeSet<_>>();
        let (their_kinds, our_kinds) = (kinds(&theirs), kinds(&ours));
        compare(
            "kinds of chunks that are missing",
            &json!([]),
            &json!(their_kinds.difference(&our_kinds).collect::<Vec<_>>()),
        );
        compare(
            "kinds of chunks that are too many",
            &json!([]),
            &json!(our_kinds.difference(&their_kinds).collect::<Vec<_>>()),
        );
        compare("order of the kinds", &json!(theirs), &json!(ours));
        let end = |answer: &Answer| answer.events().last().map(|last| *last == "[DONE]");
        compare("[DONE] at the end", &json!(end(real)), &json!(end(emulated)));
        let style = |answer: &Answer| {
            answer
                .body
                .lines()
                .find(|line| line.starts_with("data:"))
                .map(|line| line.starts_with("data: {\""))
        };
        compare("data: and a blank", &json!(style(real)), &json!(style(emulated)));
    } else {
        compare("body", &body_shape(real), &body_shape(emulated));
    }
    found
}

fn is_stream(answer: &Answer) -> bool {
    answer.header("content-type").is_some_and(|value| value.starts_with("text/event-stream"))
}

fn body_shape(answer: &Answer) -> Value {
    match serde_json::from_str::<Value>(answer.body.trim()) {
        Ok(value) => shape(&value, "", answer.status >= 400),
        Err(_) => json!(answer.body),
    }
}

/// The shapes of the chunks in order, each once as long as it repeats.
fn chunk_shapes(answer: &Answer) -> Vec<Value> {
    let mut shapes: Vec<Value> = answer.chunks().iter().map(|chunk| shape(chunk, "", false)).collect();
    shapes.dedup();
    // Several calls or choices repeat a sequence; what counts is when each kind came first.
    let mut seen = BTreeSet::new();
    shapes.retain(|shape| seen.insert(shape.to_string()));
    shapes
}

/// Keys and types; of lists, each kind of item once.
fn shape(value: &Value, key: &str, is_error: bool) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            let shapes = fields.into_iter().map(|(name, value)| (name.clone(), shape(value, name, is_error)));
            Value::Object(shapes.collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            let kinds: BTreeSet<String> =
                items.iter().map(|item| shape(item, key, is_error).to_string()).collect();
            json!(kinds)
        }
        // Which of the two it is depends on what the model said.
        Value::String(text) if key == "finish_reason" && (text == "stop" || text == "length") => {
            json!("stop or length")
        }
        Value::String(text) if WORDS.contains(&key) => json!(text),
        // Counts and limits are the model's.
        Value::String(text) if is_error && MESSAGES.contains(&key) => json!(without_digits(text)),
        Value::String(_) => json!("string"),
        Value::Number(number) if key == "code" => json!(number),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("bool"),
        Value::Null => Value::Null,
    }
}

/// What a validator goes on to say is its own.
fn without_digits(text: &str) -> String {
    let text = text.split_once("validation error").map_or(text, |(before, _)| before);
    let mut masked = String::new();
    for c in text.chars() {
        if !c.is_ascii_digit() {
            masked.push(c);
        } else if !masked.ends_with('#') {
            masked.push('#');
        }
    }
    masked.replace("#.#", "#")
}
