//! How to put an answer on the wire: as one completion, or as a stream of chunks.

use serde_json::{Value, json};

use super::plan::{Answer, Call};
use super::quirks::{Quirks, UsageChunk};
use super::validate::ChatRequest;
use crate::reply::{Framing, Piece, Reply};

/// When every answer was given, in seconds since 1970: the same request gets the same bytes on any day.
const CREATED: u64 = 1_700_000_000;
const FINGERPRINT: &str = "fp_loom_testkit";

/// The answer as one `chat.completion`.
pub(super) fn whole(request: &ChatRequest, answer: &Answer) -> Reply {
    let content = (!answer.content.is_empty() || answer.calls.is_empty()).then(|| answer.content.concat());
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !answer.calls.is_empty() {
        let calls = answer.calls.iter().map(|call| whole_call(call, &call.arguments.concat()));
        set(&mut message, "tool_calls", calls.collect());
    }
    let choices: Vec<Value> = (0..request.n)
        .map(|index| {
            let finish_reason = answer.finish_reason;
            json!({"index": index, "message": message, "logprobs": null, "finish_reason": finish_reason})
        })
        .collect();
    let completion = json!({
        "id": format!("chatcmpl-{}", answer.number),
        "object": "chat.completion",
        "created": CREATED,
        "model": request.model,
        "choices": choices,
        "usage": usage(request, answer),
        "system_fingerprint": FINGERPRINT,
    });
    Reply::json(200, &completion)
}

/// The answer as a stream: the role, the tokens, the finish reason, the usage if it is due, and `[DONE]`.
pub(super) fn stream(request: &ChatRequest, answer: &Answer, quirks: &Quirks) -> Reply {
    let with_usage = match quirks.usage {
        UsageChunk::WhenAsked => request.include_usage,
        UsageChunk::Never => false,
        UsageChunk::Always => true,
    };
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", answer.number),
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": request.model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        });
        if with_usage {
            // OpenAI adds the key to all chunks, with null in those before the last.
            set(&mut chunk, "usage", usage);
        }
        chunk.to_string()
    };
    let mut events = Vec::new();
    let mut say = |delta: &Value, finish_reason: Option<&str>| {
        for index in 0..request.n {
            let choice =
                json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
            events.push(chunk(json!([choice]), Value::Null));
        }
    };
    for delta in deltas(answer, quirks) {
        say(&delta, None);
    }
    say(&json!({}), Some(answer.finish_reason));
    if with_usage {
        events.push(chunk(json!([]), usage(request, answer)));
    }
    if quirks.done {
        events.push("[DONE]".to_owned());
    }

    let prefix = if quirks.data_space { "data: " } else { "data:" };
    let reply = Reply::new(200).header("content-type", "text/event-stream").framing(Framing::Chunked);
    events
        .into_iter()
        .fold(reply, |reply, event| reply.then(Piece::Bytes(format!("{prefix}{event}\n\n").into_bytes())))
}

fn deltas(answer: &Answer, quirks: &Quirks) -> Vec<Value> {
    let content = if answer.calls.is_empty() { json!("") } else { Value::Null };
    let mut deltas = vec![json!({"role": "assistant", "content": content, "refusal": null})];
    deltas.extend(answer.content.iter().map(|token| json!({ "content": token })));
    for (index, call) in answer.calls.iter().enumerate() {
        let first = if quirks.fragments { String::new() } else { call.arguments.concat() };
        let mut start = json!({ "index": index });
        if let (Value::Object(start), Value::Object(call)) = (&mut start, whole_call(call, &first)) {
            start.extend(call);
        }
        deltas.push(json!({ "tool_calls": [start] }));
        for arguments in call.arguments.iter().filter(|_| quirks.fragments) {
            deltas.push(json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}));
        }
    }
    deltas
}

fn whole_call(call: &Call, arguments: &str) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

fn usage(request: &ChatRequest, answer: &Answer) -> Value {
    let (prompt, completion) = (answer.prompt_tokens, answer.tokens() * request.n);
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(key.to_owned(), value);
    }
}
