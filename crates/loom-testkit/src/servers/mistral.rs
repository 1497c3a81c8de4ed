//! Mistral: extra fields refused, calls in the finish chunk, thoughts as parts of the content, ids of nine characters.

use super::compatible::{COMPATIBLE, usage};
use crate::emulator::{Calls, Keys, Models, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

const WRONG_KEY: Refusal = refuse(401, "").body(r#"{"detail":"Invalid API Key"}"#);

/// The parameters that it knows.
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "stream",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "stop",
    "max_tokens",
    "n",
    "random_seed",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "safe_prompt",
    "prediction",
    "prompt_mode",
    "metadata",
    "reasoning_effort",
    "guardrails",
];

const fn invalid(message: &'static str) -> Refusal {
    refuse(400, message).kind("invalid_request_message_order").code("3230")
}

/// api.mistral.ai.
pub const MISTRAL: ServerSpec = ServerSpec {
    name: "mistral",
    title: "Mistral AI",
    sources: &["wire.md 2.10 [rec]", "422, order of messages, ids: from memory and peers"],
    model: "mistral-small-latest",
    context: 131_072,
    keys: Keys { missing: WRONG_KEY, wrong: WRONG_KEY, ..COMPATIBLE.keys },
    models: Models {
        entry: r#"{"id":$id,"object":"model","created":$created,"owned_by":"mistralai","capabilities":{"completion_chat":true,
            "function_calling":true},"name":$id,"max_context_length":$context,"aliases":[],"type":"base"}"#,
        ..COMPATIBLE.models
    },
    error: r#"{"object":"error","message":$message,"type":$type,"param":$param,"code":$code,"raw_status_code":$status}"#,
    not_found: refuse(404, "").body(r#"{"message":"no Route matched with those values","request_id":"{hex32}"}"#),
    rules: &[
        (
            When::BadJson,
            refuse(422, "").body(r#"{"detail":[{"type":"json_invalid","loc":["body",0],"msg":"JSON decode error","input":{}}]}"#),
        ),
        (
            When::OtherKey(KNOWN),
            refuse(422, "").body(
                r#"{"detail":[{"type":"extra_forbidden","loc":["body","{value}"],"msg":"Extra inputs are not permitted","input":null}]}"#,
            ),
        ),
        (
            When::Lacks("/messages"),
            refuse(422, "").body(r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required","input":null}]}"#),
        ),
        (When::UnknownModel, refuse(400, "Invalid model: {model}").kind("invalid_model").code("1500")),
        (
            When::Any("/messages", &When::NoneOf("/role", &["system", "user", "assistant", "tool"])),
            refuse(422, "").body(
                r#"{"detail":[{"type":"literal_error","loc":["body","messages",0,"role"],"msg":"Input should be 'system', 'user', 'assistant' or 'tool'","input":"{value}"}]}"#,
            ),
        ),
        (
            When::Last(&When::All(&[When::Is("/role", "\"assistant\""), When::Lacks("/prefix")])),
            invalid("Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"),
        ),
        (
            When::Any("/messages", &When::NotAlnum("/tool_call_id", 9)),
            refuse(400, "Tool call id was {value} but must be a-z, A-Z, 0-9, with a length of 9.")
                .kind("invalid_function_call")
                .code("3280"),
        ),
        (
            When::Any("/messages", &When::Any("/tool_calls", &When::NotAlnum("/id", 9))),
            refuse(400, "Tool call id was {value} but must be a-z, A-Z, 0-9, with a length of 9.")
                .kind("invalid_function_call")
                .code("3280"),
        ),
        (
            When::TooLong,
            refuse(400, "Prompt contains {prompt_tokens} tokens … too large for model with {context} maximum context length")
                .kind("invalid_request_prompt")
                .code("3051"),
        ),
    ],
    id: "{hex32}",
    call_id: "{alnum9}",
    // Of a tool without parameters the arguments are an empty text.
    no_arguments: "",
    whole: Whole {
        body: concat!(
            r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"choices":[$choices],"#,
            usage!(),
            "}"
        ),
        choice: r#"{"index":$index,"finish_reason":$finish,"message":{"role":"assistant","tool_calls":$calls,
            "content":<?reasoning [{"type":"thinking","thinking":[{"type":"text","text":$reasoning}]},{"type":"text","text":$text}]?>
            <!reasoning $text!>}}"#,
        call: r#"{"id":$call_id,"function":{"name":$tool,"arguments":$arguments},"index":$call_index}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        chunk: r#"{"id":$id,"object":"chat.completion.chunk","created":$created,"model":$model,"choices":[$choice]$more,"p":"abcdef"}"#,
        reasoning: (
            r#"{"index":$index,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":$reasoning}]}]},
                "finish_reason":null}"#,
            "",
        ),
        calls: Calls::InFinish((
            r#"{"index":$index,"delta":{"content":"","tool_calls":$calls},"finish_reason":$finish}"#,
            concat!(",", usage!()),
        )),
        finish: (
            r#"{"index":$index,"delta":{"content":""},"finish_reason":$finish}"#,
            concat!(",", usage!()),
        ),
        usage: (UsageChunk::Never, ("", "")),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
