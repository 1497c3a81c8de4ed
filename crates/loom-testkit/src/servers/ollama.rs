//! Ollama: no keys, much ignored, long prompts cut without a word.

use super::compatible::{BROKEN_ARGUMENTS, COMPATIBLE, bad, usage};
use crate::emulator::{
    Calls, FormatOver, Keys, Models, Page, ServerSpec, Stream, UsageChunk, When, Whole, refuse,
};

/// Ollama, by its layer for OpenAI's format.
pub const OLLAMA: ServerSpec = ServerSpec {
    name: "ollama",
    title: "Ollama",
    sources: &[
        "wire.md 1.3 [src O]",
        "a model with gemma in its name has no tools: only the words, from memory",
    ],
    model: "qwen3:8b",
    context: 4096,
    keys: Keys { headers: &[], ..COMPATIBLE.keys },
    pages: &[
        Page { path: "/", status: 200, body: "Ollama is running" },
        Page { path: "/api/version", status: 200, body: r#"{"version":"0.12.6"}"# },
    ],
    models: Models {
        list: r#"{"object":"list","data":<?model [$entries]?><!model null!>}"#,
        entry: r#"{"id":$id,"object":"model","created":$created,"owned_by":"library"}"#,
        single: true,
    },
    not_found: refuse(404, "").body("404 page not found"),
    wrong_method: Some(refuse(405, "").body("405 method not allowed")),
    format_over: FormatOver::FreeCalls,
    rules: &[
        (When::BadJson, bad("unexpected EOF")),
        (
            When::Either(&[When::Lacks("/messages"), When::Empty("/messages")]),
            bad("[] is too short - 'messages'"),
        ),
        (
            When::Any("/messages", &When::All(&[When::Lacks("/content"), When::Lacks("/tool_calls")])),
            bad("invalid message content type: <nil>"),
        ),
        (
            When::Any("/messages", &When::Any("/content", &When::Contains("/image_url/url", "http"))),
            bad("image URLs are not currently supported, please use base64 encoded data instead"),
        ),
        (BROKEN_ARGUMENTS, bad("invalid tool call arguments")),
        (
            When::NoneOf(
                "/reasoning_effort",
                &["none", "minimal", "low", "medium", "high", "max", "xhigh", "ultra"],
            ),
            bad("invalid reasoning value: \"{value}\" (must be \"high\", \"medium\", \"low\", or \"none\")"),
        ),
        (When::UnknownModel, refuse(404, "model '{model}' not found").kind("not_found_error")),
        (
            When::All(&[When::Contains("/model", "gemma"), When::Has("/tools")]),
            bad("registry.ollama.ai/library/{model} does not support tools"),
        ),
    ],
    ignores: &["tool_choice", "parallel_tool_calls", "max_completion_tokens", "n"],
    truncates: true,
    id: "chatcmpl-{digits3}",
    call_id: "call_{alnum8}",
    whole: Whole {
        body: concat!(
            r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"system_fingerprint":"fp_ollama",
                "choices":[$choices],"#,
            usage!(),
            "}\n"
        ),
        choice: r#"{"index":$index,"message":{"role":"assistant","content":$text<?reasoning ,"reasoning":$reasoning?>
            <?calls ,"tool_calls":$calls?>},"finish_reason":$finish}"#,
        call: r#"{"id":$call_id,"index":$call_index,"type":"function","function":{"name":$tool,"arguments":$arguments}}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        chunk: r#"{"id":$id,"object":"chat.completion.chunk","created":$created,"model":$model,"system_fingerprint":"fp_ollama",
            "choices":[$choice]$more}"#,
        reasoning: (
            r#"{"index":$index,"delta":{"content":"","reasoning":$reasoning},"finish_reason":null}"#,
            "",
        ),
        calls: Calls::Whole((
            r#"{"index":$index,"delta":{"content":"","tool_calls":[{"id":$call_id,"index":$call_index,"type":"function",
                "function":{"name":$tool,"arguments":$arguments}}]},"finish_reason":null}"#,
            "",
        )),
        usage: (UsageChunk::WhenAsked, ("", concat!(",", usage!()))),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
