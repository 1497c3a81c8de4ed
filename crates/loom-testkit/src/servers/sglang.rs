//! SGLang with parsers for tools and thoughts: flat errors, explicit nulls, any model name.

use super::compatible::COMPATIBLE;
use crate::emulator::{
    Calls, FormatOver, Keys, Models, Page, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse,
};

const fn bad(message: &'static str) -> Refusal {
    refuse(400, message).kind("BadRequestError")
}

const WRONG_KEY: Refusal = refuse(401, "").body(r#"{"error":"Unauthorized"}"#);

macro_rules! usage {
    () => {
        r#""usage":{"prompt_tokens":$prompt_tokens,"total_tokens":$total_tokens,"completion_tokens":$completion_tokens,
            "prompt_tokens_details":null,"reasoning_tokens":$reasoning_tokens}"#
    };
}

/// SGLang 0.5.
pub const SGLANG: ServerSpec = ServerSpec {
    name: "sglang",
    title: "SGLang 0.5 with parsers",
    sources: &["wire.md 1.2 [src S]"],
    model: "Qwen/Qwen3-8B",
    headers: &[("server", "uvicorn")],
    sse: "text/event-stream; charset=utf-8",
    keys: Keys {
        open: &["/health", "/health_generate", "/metrics"],
        missing: WRONG_KEY,
        wrong: WRONG_KEY,
        ..COMPATIBLE.keys
    },
    pages: &[
        Page { path: "/health", status: 200, body: "" },
        Page { path: "/health_generate", status: 200, body: "" },
        Page {
            path: "/get_model_info",
            status: 200,
            body: r#"{"model_path":$served,"tokenizer_path":$served,"is_generation":true}"#,
        },
        // Ollama's page on a server that is none.
        Page { path: "/api/tags", status: 200, body: r#"{"models":[{"name":$served,"model":$served}]}"# },
    ],
    models: Models {
        entry: r#"{"id":$id,"object":"model","created":$created,"owned_by":"sglang","root":$id,"parent":null,
            "max_model_len":$context}"#,
        ..COMPATIBLE.models
    },
    error: r#"{"object":"error","message":$message,"type":$type,"param":$param,"code":$status}"#,
    not_found: refuse(404, "").body(r#"{"detail":"Not Found"}"#),
    wrong_method: Some(refuse(405, "").body(r#"{"detail":"Method Not Allowed"}"#)),
    format_over: FormatOver::FreeCalls,
    rules: &[
        (
            When::BadJson,
            bad("[{'type': 'json_invalid', 'loc': ('body', 1), 'msg': 'JSON decode error', 'input': {}}]"),
        ),
        (
            When::Lacks("/messages"),
            bad("[{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required'}]"),
        ),
        (When::Empty("/messages"), bad("Messages cannot be empty.")),
        (
            When::All(&[When::Is("/tool_choice", "\"required\""), When::Lacks("/tools")]),
            bad("Tools cannot be empty if tool choice is set to required."),
        ),
        (When::UnofferedTool, bad("Tool '{value}' not found in tools list.")),
        (
            When::TooLong,
            bad(
                "The input ({prompt_tokens} tokens) is longer than the model's context length ({context} tokens).",
            ),
        ),
        (
            When::TooMuch,
            bad(
                "Requested token count exceeds the model's maximum context length of {context} tokens. You requested a total of \
                 {total_tokens} tokens: {prompt_tokens} tokens from the input messages and {max_tokens} tokens for the completion.",
            ),
        ),
    ],
    id: "{hex32}",
    call_id: "call_{hex24}",
    whole: Whole {
        body: concat!(
            r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"choices":[$choices],"#,
            usage!(),
            r#","metadata":{"weight_version":"default"}}"#
        ),
        choice: r#"{"index":$index,"message":{"role":"assistant","content":$content,"reasoning_content":$reasoning,
            "tool_calls":$calls},"logprobs":null,"finish_reason":$finish,"matched_stop":$stop}"#,
        call: r#"{"id":$call_id,"index":$call_index,"type":"function","function":{"name":$tool,"arguments":$arguments}}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        chunk: r#"{"id":$id,"object":"chat.completion.chunk","created":$created,"model":$model,"choices":[$choice]$more}"#,
        first: (
            r#"{"index":$index,"delta":{"reasoning_content":null,"role":"assistant","content":""},"logprobs":null,
                "finish_reason":null,"matched_stop":null}"#,
            r#","usage":null"#,
        ),
        reasoning: (
            r#"{"index":$index,"delta":{"reasoning_content":$reasoning},"logprobs":null,"finish_reason":null,"matched_stop":null}"#,
            r#","usage":null"#,
        ),
        text: (
            r#"{"index":$index,"delta":{"reasoning_content":null,"content":$text},"logprobs":null,"finish_reason":null,
                "matched_stop":null}"#,
            r#","usage":null"#,
        ),
        calls: Calls::Fragments {
            first: (
                r#"{"index":$index,"delta":{"role":null,"content":null,"reasoning_content":null,"tool_calls":[{"id":$call_id,
                    "index":$call_index,"type":"function","function":{"name":$tool,"arguments":""}}]},"logprobs":null,
                    "finish_reason":null,"matched_stop":null}"#,
                r#","usage":null"#,
            ),
            more: (
                r#"{"index":$index,"delta":{"role":null,"content":null,"reasoning_content":null,"tool_calls":[{"id":null,
                    "index":$call_index,"type":"function","function":{"name":null,"arguments":$arguments}}]},"logprobs":null,
                    "finish_reason":null,"matched_stop":null}"#,
                r#","usage":null"#,
            ),
            begun: false,
        },
        finish: (
            r#"{"index":$index,"delta":{"reasoning_content":null},"logprobs":null,"finish_reason":$finish,"matched_stop":$stop}"#,
            r#","usage":null"#,
        ),
        usage: (UsageChunk::WhenAsked, ("", concat!(",", usage!()))),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
