//! Groq: whole calls, usage in two places, unknown parameters refused.

use super::compatible::{COMPATIBLE, TOO_LONG, bad, usage};
use crate::emulator::{Calls, Keys, Models, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

const WRONG_KEY: Refusal =
    refuse(401, "Invalid API Key").kind("invalid_request_error").code("invalid_api_key");

/// The parameters that it knows.
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "seed",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "user",
    "reasoning_effort",
    "reasoning_format",
    "include_reasoning",
    "service_tier",
    "metadata",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "functions",
    "function_call",
    "search_settings",
    "documents",
    "citation_options",
    "store",
];

/// api.groq.com.
pub const GROQ: ServerSpec = ServerSpec {
    name: "groq",
    title: "Groq",
    sources: &["wire.md 2.9 [rec, doc]", "names, n and unknown parameters refused: from memory"],
    base: "/openai/v1",
    model: "openai/gpt-oss-120b",
    context: 131_072,
    headers: &[("x-request-id", "req_{alnum26}")],
    ok_headers: &[("x-ratelimit-remaining-tokens", "7900"), ("x-ratelimit-reset-tokens", "7.66s")],
    keys: Keys { missing: WRONG_KEY, wrong: WRONG_KEY, ..COMPATIBLE.keys },
    models: Models {
        entry: r#"{"id":$id,"object":"model","created":$created,"owned_by":"OpenAI","active":true,"context_window":$context,
            "public_apps":null,"max_completion_tokens":65536}"#,
        ..COMPATIBLE.models
    },
    error: r#"{"error":{"message":$message,"type":$type<?param ,"param":$param?><?code ,"code":$code?>}}"#,
    rules: &[
        (When::BadJson, bad("The JSON body of the request could not be parsed")),
        (When::OtherKey(KNOWN), bad("property '{value}' is unsupported")),
        (When::Lacks("/messages"), bad("'messages' : minimum number of items is 1")),
        (
            When::UnknownModel,
            refuse(404, "The model `{model}` does not exist or you do not have access to it.")
                .kind("invalid_request_error")
                .code("model_not_found"),
        ),
        (When::Above("/n", 1.0), bad("'n' : number must be at most 1").param("n")),
        (When::Any("/messages", &When::Has("/name")), bad("'messages.0' : property 'name' is unsupported")),
        (
            When::Either(&[When::Has("/logprobs"), When::Has("/logit_bias")]),
            bad("logprobs is not supported with this model"),
        ),
        (
            When::All(&[When::Has("/tools"), When::NoneOf("/response_format/type", &["text"])]),
            bad("json mode cannot be combined with tool/function calling"),
        ),
        (
            When::All(&[When::Is("/response_format/type", "\"json_object\""), When::NoWord("json")]),
            bad(
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            ),
        ),
        (When::TooLong, TOO_LONG),
    ],
    id: "chatcmpl-{uuid}",
    call_id: "fc_{uuid}",
    whole: Whole {
        body: concat!(
            r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"choices":[$choices],"#,
            usage!(),
            r#","usage_breakdown":null,"system_fingerprint":"fp_loom","x_groq":{"id":"req_{alnum26}"},"service_tier":"on_demand"}"#
        ),
        // Beside calls there is no content at all.
        choice: r#"{"index":$index,"message":{"role":"assistant"<!calls ,"content":$text!><?reasoning ,"reasoning":$reasoning?>
            <?calls ,"tool_calls":$calls?>},"logprobs":null,"finish_reason":$finish}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        chunk: r#"{"id":$id,"object":"chat.completion.chunk","created":$created,"model":$model,"system_fingerprint":"fp_loom",
            "choices":[$choice]$more}"#,
        first: (
            r#"{"index":$index,"delta":{"role":"assistant","content":$content},"logprobs":null,"finish_reason":null}"#,
            r#","x_groq":{"id":"req_{alnum26}"}"#,
        ),
        reasoning: (
            r#"{"index":$index,"delta":{"reasoning":$reasoning,"channel":"analysis"},"logprobs":null,"finish_reason":null}"#,
            "",
        ),
        calls: Calls::Whole((
            r#"{"index":$index,"delta":{"tool_calls":[{"id":$call_id,"type":"function","function":{"name":$tool,
                "arguments":$arguments},"index":$call_index}]},"logprobs":null,"finish_reason":null}"#,
            "",
        )),
        finish: (
            r#"{"index":$index,"delta":{},"logprobs":null,"finish_reason":$finish}"#,
            concat!(r#","x_groq":{"id":"req_{alnum26}","#, usage!(), "},", usage!()),
        ),
        usage: (UsageChunk::WhenAsked, ("", concat!(",", usage!()))),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
