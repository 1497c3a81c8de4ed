//! `transformers serve`: no keys, no list of models, tool choice and JSON mode ignored, unknown parameters refused, no `[DONE]`.

use super::compatible::COMPATIBLE;
use crate::emulator::{Keys, Models, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

/// What the code does not expect.
const CRASH: Refusal = refuse(500, "").body("Internal Server Error").crash();

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
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "generation_config",
    "reasoning_effort",
    "metadata",
    "store",
];

macro_rules! usage {
    () => {
        r#""usage":{"completion_tokens":$completion_tokens,"prompt_tokens":$prompt_tokens,"total_tokens":$total_tokens}"#
    };
}

/// transformers serve 5.23.
pub const TRANSFORMERS: ServerSpec = ServerSpec {
    name: "transformers",
    title: "transformers serve 5.23",
    sources: &["servers/README.md", "tests/corpus/captures/transformers"],
    model: "Qwen/Qwen3-8B",
    headers: &[("server", "uvicorn"), ("x-request-id", "{uuid}")],
    sse: "text/event-stream; charset=utf-8",
    keys: Keys { headers: &[], ..COMPATIBLE.keys },
    models: Models { list: r#"{"object":"list","data":[]}"#, single: false, ..COMPATIBLE.models },
    error: r#"{"detail":$message}"#,
    not_found: refuse(404, "Not Found"),
    wrong_method: Some(refuse(405, "Method Not Allowed")),
    rules: &[
        (
            When::ContentType,
            refuse(422, "").body(
                r#"{"detail":[{"type":"dict_type","loc":["body"],"msg":"Input should be a valid dictionary","input":"…"}]}"#,
            ),
        ),
        (
            When::BadJson,
            refuse(422, "").body(
                r#"{"detail":[{"type":"json_invalid","loc":["body",31],"msg":"JSON decode error","input":{},
                    "ctx":{"error":"Expecting value"}}]}"#,
            ),
        ),
        (
            When::NotObject,
            refuse(422, "").body(
                r#"{"detail":[{"type":"dict_type","loc":["body"],"msg":"Input should be a valid dictionary","input":[1,2]}]}"#,
            ),
        ),
        (When::OtherKey(KNOWN), refuse(422, "Unexpected fields in the request: {'{value}'}")),
        (When::UnknownModel, refuse(400, "Server is pinned to '{served}'; requested '{model}'.")),
        (When::Either(&[When::Lacks("/messages"), When::Empty("/messages")]), CRASH),
        (When::NotA("/max_tokens", "integer"), CRASH),
        (When::Below("/max_tokens", 1.0), CRASH),
        (When::Below("/temperature", 0.0), CRASH),
    ],
    // The model's template shows the tools; calls are parsed only of models that come with a template of answers.
    calls_in_text: true,
    ignores: &["tool_choice", "parallel_tool_calls", "response_format", "n"],
    id: "{uuid}",
    whole: Whole {
        body: concat!(
            r#"{"id":$id,"choices":[$choices],"created":$created,"model":"{served}@main","object":"chat.completion","#,
            usage!(),
            "}"
        ),
        choice: r#"{"finish_reason":$finish,"index":$index,"message":{"content":$text,"role":"assistant"}}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        chunk: r#"{"id":$id,"choices":[$choice],"created":$created,"model":"{served}@main","object":"chat.completion.chunk",
            "system_fingerprint":""$more}"#,
        first: (r#"{"delta":{"role":"assistant"},"index":$index}"#, ""),
        // It does not tell thoughts from text.
        reasoning: (r#"{"delta":{"content":""},"index":$index}"#, ""),
        text: (r#"{"delta":{"content":$text},"index":$index}"#, ""),
        // The usage comes with the end, asked for or not; then the stream just ends.
        finish: (r#"{"delta":{},"index":$index,"finish_reason":$finish}"#, concat!(",", usage!())),
        usage: (UsageChunk::Never, ("", "")),
        done: "",
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
