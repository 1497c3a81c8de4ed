//! Xinference: CRLF between events, `detail` for errors, ids repeated, usage of -1 beside calls.

use super::compatible::{COMPATIBLE, usage};
use crate::emulator::{
    Calls, Keys, Models, Page, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse,
};

const WRONG_KEY: Refusal = refuse(401, "Could not validate credentials");

macro_rules! call {
    ($name:literal, $arguments:literal) => {
        (
            concat!(
                r#"{"index":$index,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":$call_index,"id":$call_id,
                    "type":"function","function":{"name":"#,
                $name,
                r#","arguments":"#,
                $arguments,
                r#"}}]},"finish_reason":null}"#
            ),
            r#","usage":{"prompt_tokens":-1,"completion_tokens":-1,"total_tokens":-1}"#,
        )
    };
}

/// Xinference.
pub const XINFERENCE: ServerSpec = ServerSpec {
    name: "xinference",
    title: "Xinference",
    sources: &["wire.md 1.10 [src X]"],
    model: "qwen3",
    headers: &[("server", "uvicorn")],
    sse: "text/event-stream; charset=utf-8",
    keys: Keys { missing: refuse(401, "Not authenticated"), wrong: WRONG_KEY, ..COMPATIBLE.keys },
    pages: &[Page { path: "/v1/cluster/version", status: 200, body: r#"{"version":"1.9.0"}"# }],
    models: Models {
        entry: r#"{"id":$id,"object":"model","created":0,"owned_by":"xinference","model_type":"LLM","model_name":$id,
            "context_length":$context,"model_ability":["chat","tools"]}"#,
        ..COMPATIBLE.models
    },
    error: r#"{"detail":$message}"#,
    not_found: refuse(404, "Not Found"),
    wrong_method: Some(refuse(405, "Method Not Allowed")),
    rules: &[
        (
            When::BadJson,
            refuse(422, "").body(r#"{"detail":[{"type":"json_invalid","loc":["body",0],"msg":"JSON decode error","input":{}}]}"#),
        ),
        (
            When::Lacks("/messages"),
            refuse(422, "").body(r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required","input":{}}]}"#),
        ),
        (When::UnknownModel, refuse(404, "Model not found in the model list, uid: {model}")),
        (When::Has("/logit_bias"), refuse(501, "Not implemented")),
        (
            When::Later(&When::Is("/role", "\"system\"")),
            refuse(400, "Invalid input. Please specify the prompt: a system message must be the first."),
        ),
        (
            When::All(&[When::Contains("/model", "gemma"), When::Has("/tools")]),
            refuse(400, "Only {'qwen3', 'glm4-chat', 'llama-3.1-instruct'} support tool calls"),
        ),
        (
            When::TooLong,
            refuse(400, "This model's maximum context length is {context} tokens. However, you requested {prompt_tokens} tokens."),
        ),
    ],
    ignores: &["n", "parallel_tool_calls"],
    id: "chat{uuid}",
    call_id: "call_{uuid}",
    whole: Whole {
        choice: r#"{"index":$index,"message":{"role":"assistant","content":$content<?reasoning ,"reasoning_content":$reasoning?>,
            "tool_calls":<?calls $calls?><!calls []!>},"finish_reason":$finish}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        event: ("data: ", "\r\n\r\n"),
        comments: &[": ping - 2026-11-22 10:00:00.100000+00:00\r\n\r\n"],
        calls: Calls::Fragments { first: call!("$tool", "$arguments"), more: call!("null", "$arguments"), begun: true },
        usage: (UsageChunk::WhenAsked, ("", concat!(",", usage!()))),
        done: "data: [DONE]\r\n\r\n",
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
