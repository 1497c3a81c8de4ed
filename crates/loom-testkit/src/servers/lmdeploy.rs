//! LMDeploy with a tool parser: flat errors, a role in every delta, the end on the last delta.

use super::compatible::{COMPATIBLE, usage};
use crate::emulator::{
    Calls, Keys, LastText, Models, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse,
};

const fn bad(message: &'static str) -> Refusal {
    refuse(400, message).kind("invalid_request_error")
}

const WRONG_KEY: Refusal = refuse(401, "Unauthorized.").kind("authentication_error");

/// LMDeploy's api_server.
pub const LMDEPLOY: ServerSpec = ServerSpec {
    name: "lmdeploy",
    title: "LMDeploy with a tool parser",
    sources: &["wire.md 1.8 [src L]"],
    model: "internlm/internlm3-8b-instruct",
    context: 4096,
    headers: &[("server", "uvicorn")],
    sse: "text/event-stream; charset=utf-8",
    keys: Keys { open: &["/health"], missing: WRONG_KEY, wrong: WRONG_KEY, ..COMPATIBLE.keys },
    models: Models {
        entry: r#"{"id":$id,"object":"model","created":$created,"owned_by":"lmdeploy","root":$id,"parent":null,
            "permission":[{"id":"modelperm-{alnum22}","object":"model_permission"}]}"#,
        ..COMPATIBLE.models
    },
    error: r#"{"message":$message,"type":$type,"code":$status,"param":$param,"object":"error"}"#,
    not_found: refuse(404, "").body(r#"{"detail":"Not Found"}"#),
    wrong_method: Some(refuse(405, "").body(r#"{"detail":"Method Not Allowed"}"#)),
    rules: &[
        (When::BadJson, bad("0: JSON decode error")),
        (When::Lacks("/messages"), bad("messages: Field required")),
        (
            When::UnknownModel,
            refuse(404, "The model '{model}' does not exist.").kind("invalid_request_error"),
        ),
        (When::Above("/temperature", 2.0), bad("The temperature {value} must be in [0, 2]")),
        (When::Below("/temperature", 0.0), bad("The temperature {value} must be in [0, 2]")),
        (
            When::TooLong,
            bad("Input length ({prompt_tokens}) must be smaller than the model context length ({context})."),
        ),
    ],
    id: "{digits6}",
    call_id: "chatcmpl-tool-{alnum22}",
    whole: Whole {
        choice: r#"{"index":$index,"message":{"role":"assistant","content":$content,"reasoning_content":$reasoning,
            "tool_calls":$calls},"logprobs":null,"finish_reason":$finish}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        first: ("", ""),
        reasoning: (
            r#"{"index":$index,"delta":{"role":"assistant","reasoning_content":$reasoning},"finish_reason":null}"#,
            "",
        ),
        text: (r#"{"index":$index,"delta":{"role":"assistant","content":$text},"finish_reason":null}"#, ""),
        calls: Calls::Fragments {
            first: (
                r#"{"index":$index,"delta":{"role":"assistant","tool_calls":[{"id":$call_id,"index":$call_index,
                    "type":"function","function":{"name":$tool,"arguments":""}}]},"finish_reason":null}"#,
                "",
            ),
            more: (
                r#"{"index":$index,"delta":{"role":"assistant","tool_calls":[{"index":$call_index,
                    "function":{"arguments":$arguments}}]},"finish_reason":null}"#,
                "",
            ),
            begun: false,
        },
        finish: (r#"{"index":$index,"delta":{"role":"assistant","content":""},"finish_reason":$finish}"#, ""),
        last_text: Some((
            LastText::Always,
            (r#"{"index":$index,"delta":{"role":"assistant","content":$text},"finish_reason":$finish}"#, ""),
        )),
        usage: (UsageChunk::WhenAsked, ("", concat!(",", usage!()))),
        asked: r#","usage":null"#,
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
