//! OpenRouter: comments while it waits, the finish twice, thoughts twice, errors with a number for a code.

use super::compatible::{COMPATIBLE, usage};
use crate::emulator::{Calls, Keys, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

const WRONG_KEY: Refusal = refuse(401, "User not found.");

macro_rules! details {
    () => {
        r#""reasoning":$reasoning,"reasoning_details":[{"type":"reasoning.text","text":$reasoning,"format":"unknown","index":0}]"#
    };
}

/// openrouter.ai.
pub const OPENROUTER: ServerSpec = ServerSpec {
    name: "openrouter",
    title: "OpenRouter",
    sources: &["wire.md 2.8 [doc, rec]"],
    base: "/api/v1",
    model: "openrouter/auto",
    context: 131_072,
    headers: &[("x-generation-id", "gen-{digits10}-{alnum20}")],
    keys: Keys { missing: refuse(401, "No auth credentials found"), wrong: WRONG_KEY, ..COMPATIBLE.keys },
    error: r#"{"error":{"message":$message,"code":$status},"user_id":"user_{alnum27}"}"#,
    rules: &[
        (When::BadJson, refuse(400, "Invalid JSON in the request body")),
        (When::Lacks("/messages"), refuse(400, "Input required: specify \"prompt\" or \"messages\"")),
        (When::UnknownModel, refuse(400, "{model} is not a valid model ID")),
        (
            When::TooLong,
            refuse(
                400,
                "This endpoint's maximum context length is {context} tokens. However, you requested about {prompt_tokens} tokens. \
                 Please reduce the length of either one.",
            ),
        ),
    ],
    id: "gen-{digits10}-{alnum20}",
    whole: Whole {
        body: concat!(
            r#"{"id":$id,"provider":"Loom","model":$model,"object":"chat.completion","created":$created,"choices":[$choices],
                "system_fingerprint":null,"#,
            usage!(),
            "}"
        ),
        choice: concat!(
            r#"{"logprobs":null,"finish_reason":$finish,"native_finish_reason":$finish,"index":$index,"message":{
                "role":"assistant","content":$text,"refusal":null<?reasoning ,"#,
            details!(),
            r#"?><?calls ,"tool_calls":$calls?>}}"#
        ),
        call: r#"{"index":$call_index,"id":$call_id,"type":"function","function":{"name":$tool,"arguments":$arguments}}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        comments: &[": OPENROUTER PROCESSING\n\n", ": OPENROUTER PROCESSING\n\n", ": \n\n"],
        chunk: r#"{"id":$id,"provider":"Loom","model":$model,"object":"chat.completion.chunk","created":$created,
            "choices":[$choice]$more}"#,
        first: ("", ""),
        reasoning: (
            concat!(
                r#"{"index":$index,"delta":{"role":"assistant","content":"","#,
                details!(),
                r#"},"finish_reason":null,"native_finish_reason":null,"logprobs":null}"#
            ),
            "",
        ),
        text: (
            r#"{"index":$index,"delta":{"role":"assistant","content":$text},"finish_reason":null,"native_finish_reason":null,
                "logprobs":null}"#,
            "",
        ),
        calls: Calls::Fragments {
            first: (
                r#"{"index":$index,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":$call_index,"id":$call_id,
                    "type":"function","function":{"name":$tool,"arguments":""}}]},"finish_reason":null,
                    "native_finish_reason":null,"logprobs":null}"#,
                "",
            ),
            more: (
                r#"{"index":$index,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":$call_index,
                    "type":"function","function":{"arguments":$arguments}}]},"finish_reason":null,"native_finish_reason":null,
                    "logprobs":null}"#,
                "",
            ),
            begun: false,
        },
        finish: (
            r#"{"index":$index,"delta":{"role":"assistant","content":""},"finish_reason":$finish,"native_finish_reason":$finish,
                "logprobs":null}"#,
            "",
        ),
        // The finish once more, now with the usage, asked for or not.
        usage: (
            UsageChunk::Always,
            (
                r#"{"index":$index,"delta":{"role":"assistant","content":""},"finish_reason":$finish,
                    "native_finish_reason":$finish,"logprobs":null}"#,
                concat!(",", usage!()),
            ),
        ),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
