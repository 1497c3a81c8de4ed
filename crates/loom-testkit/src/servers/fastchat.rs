//! FastChat: no tools, no JSON mode, errors of its own.

use super::OPENAI;
use crate::emulator::{Keys, Models, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

/// A mistake that the validation finds; the code is 40001.
const fn invalid(message: &'static str) -> Refusal {
    refuse(400, message).code("40001")
}

/// What the code does not expect.
const CRASH: Refusal = refuse(500, "").body("Internal Server Error").crash();
const WRONG_KEY: Refusal = refuse(401, "")
    .body(r#"{"detail":{"error":{"message":"","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}}"#);

/// FastChat 0.2.36 with a worker.
pub const FASTCHAT: ServerSpec = ServerSpec {
    name: "fastchat",
    title: "FastChat 0.2.36",
    sources: &["wire.md 1.7", "tests/corpus/captures/fastchat"],
    model: "vicuna-7b-v1.5",
    context: 4096,
    headers: &[("server", "uvicorn")],
    sse: "text/event-stream; charset=utf-8",
    keys: Keys { missing: WRONG_KEY, wrong: WRONG_KEY, ..OPENAI.keys },
    models: Models {
        entry: r#"{"id":$id,"object":"model","created":$created,"owned_by":"fastchat","root":$id,"parent":null,
            "permission":[{"id":"modelperm-{alnum22}","object":"model_permission","created":$created,
            "allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":true,
            "allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}]}"#,
        single: false,
        ..OPENAI.models
    },
    error: r#"{"object":"error","message":$message,"code":$number}"#,
    not_found: refuse(404, "").body(r#"{"detail":"Not Found"}"#),
    wrong_method: Some(refuse(405, "").body(r#"{"detail":"Method Not Allowed"}"#)),
    strict: false,
    rules: &[
        (
            When::ContentType,
            invalid("1 validation error:\n  {'loc': ('body',), 'msg': 'value is not a valid dict', 'type': 'type_error.dict'}"),
        ),
        (
            When::BadJson,
            invalid("1 validation error:\n  {'type': 'json_invalid', 'loc': ('body', 31), 'msg': 'JSON decode error', 'input': {}}"),
        ),
        (
            When::NotObject,
            invalid("1 validation error:\n  {'loc': ('body',), 'msg': 'value is not a valid dict', 'type': 'type_error.dict'}"),
        ),
        (
            When::Lacks("/messages"),
            invalid("1 validation error:\n  {'loc': ('body', 'messages'), 'msg': 'field required', 'type': 'value_error.missing'}"),
        ),
        (
            When::NotA("/max_tokens", "integer"),
            invalid(
                "1 validation error:\n  {'loc': ('body', 'max_tokens'), 'msg': 'value is not a valid integer', 'type': \
                 'type_error.integer'}",
            ),
        ),
        (
            When::Any("/messages", &When::Null("/content")),
            invalid(
                "4 validation errors:\n  {'loc': ('body', 'messages', 1, 'content'), 'msg': 'none is not an allowed value', \
                 'type': 'type_error.none.not_allowed'}",
            ),
        ),
        (When::UnknownModel, refuse(400, "Only {models} allowed now, your model {model}").code("40301")),
        (
            When::Below("/max_tokens", 1.0),
            refuse(400, "{value} is less than the minimum of 1 - 'max_tokens'").code("40302"),
        ),
        (
            When::Below("/temperature", 0.0),
            refuse(400, "{value} is less than the minimum of 0 - 'temperature'").code("40302"),
        ),
        (
            When::Above("/temperature", 2.0),
            refuse(400, "{value} is greater than the maximum of 2 - 'temperature'").code("40302"),
        ),
        (When::Any("/messages", &When::NoneOf("/role", &["system", "user", "assistant"])), CRASH),
        (When::Any("/messages", &When::NotA("/content", "string")), CRASH),
        (
            When::TooLong,
            refuse(
                400,
                "This model's maximum context length is {context} tokens. However, your messages resulted in {prompt_tokens} \
                 tokens. Please reduce the length of the messages.",
            )
            .code("40303"),
        ),
    ],
    ignores: &["tools", "tool_choice", "parallel_tool_calls", "response_format", "max_completion_tokens", "stream_options"],
    id: "chatcmpl-{alnum22}",
    whole: Whole {
        body: r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"choices":[$choices],"usage":{
            "prompt_tokens":$prompt_tokens,"total_tokens":$total_tokens,"completion_tokens":$completion_tokens}}"#,
        choice: r#"{"index":$index,"message":{"role":"assistant","content":$text},"finish_reason":$finish}"#,
        ..OPENAI.whole
    },
    stream: Stream {
        chunk: r#"{"id": $id, $more"model": $model, "choices": [$choice]}"#,
        first: (r#"{"index": $index, "delta": {"role": "assistant"}, "finish_reason": null}"#, ""),
        text: (r#"{"index": $index, "delta": {"content": $text}, "finish_reason": null}"#, ""),
        // Only the last chunk says what it is and when it was made.
        finish: (
            r#"{"index": $index, "delta": {}, "finish_reason": $finish}"#,
            r#""object": "chat.completion.chunk", "created": $created, "#,
        ),
        usage: (UsageChunk::Never, ("", "")),
        asked: "",
        one_by_one: true,
        ..OPENAI.stream
    },
    ..OPENAI
};
