//! LM Studio: a wrong path is a 200, no `json_object`, no named choice of tools, errors as events.

use super::compatible::COMPATIBLE;
use crate::emulator::{Page, Refusal, ServerSpec, Stream, When, Whole, refuse};

/// Errors are texts; in a stream they are an event on a 200.
const fn bad(message: &'static str) -> Refusal {
    refuse(400, message).streamed("event: error\ndata: {\"error\":{\"message\":$message}}\n\n")
}

/// LM Studio 0.3.
pub const LMSTUDIO: ServerSpec = ServerSpec {
    name: "lmstudio",
    title: "LM Studio 0.3",
    sources: &["wire.md 1.11 [doc LM, iss]", "the words for an unknown model: from memory"],
    model: "qwen3-8b",
    context: 4096,
    headers: &[("x-powered-by", "Express")],
    json: "application/json; charset=utf-8",
    pages: &[
        Page { path: "/", status: 200, body: r#"{"error":"Unexpected endpoint or method. (GET /)"}"# },
        Page {
            path: "/api/v0/models",
            status: 200,
            body: r#"{"object":"list","data":[{"id":$served,"object":"model","type":"llm"}]}"#,
        },
    ],
    error: r#"{"error":$message}"#,
    not_found: refuse(200, "Unexpected endpoint or method. ({method} {path})"),
    wrong_method: None,
    rules: &[
        (When::BadJson, refuse(400, "Invalid JSON in the request body")),
        (When::Lacks("/messages"), bad("'messages' field is required")),
        (
            When::UnknownModel,
            refuse(404, "Model \"{model}\" not found. Please specify a valid model.")
                .body(r#"{"error":{"message":$message}}"#),
        ),
        (
            When::NoneOf("/response_format/type", &["json_schema", "text"]),
            refuse(400, "'response_format.type' must be 'json_schema' or 'text'"),
        ),
        (
            When::NotA("/tool_choice", "string"),
            refuse(400, "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"),
        ),
        (
            When::TooLong,
            bad(
                "Trying to keep the first {prompt_tokens} tokens when context the overflows. However, the model is loaded with \
                 context length of only {context} tokens, which is not enough. Try to load the model with a larger context \
                 length, or provide a shorter input",
            ),
        ),
    ],
    ignores: &["n", "parallel_tool_calls"],
    id: "chatcmpl-{alnum24}",
    call_id: "{digits9}",
    whole: Whole {
        body: r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"choices":[$choices],"usage":{
            "prompt_tokens":$prompt_tokens,"completion_tokens":$completion_tokens,"total_tokens":$total_tokens},"stats":{},
            "system_fingerprint":$model}"#,
        // Beside calls there is no content at all.
        choice: r#"{"index":$index,"message":{"role":"assistant"<!calls ,"content":$text!>
            <?reasoning ,"reasoning_content":$reasoning?><?calls ,"tool_calls":$calls?>},"logprobs":null,"finish_reason":$finish}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        chunk: r#"{"id":$id,"object":"chat.completion.chunk","created":$created,"model":$model,"system_fingerprint":$model,
            "choices":[$choice]$more}"#,
        first: (r#"{"index":$index,"delta":{"role":"assistant"},"logprobs":null,"finish_reason":null}"#, ""),
        reasoning: (
            r#"{"index":$index,"delta":{"reasoning_content":$reasoning},"logprobs":null,"finish_reason":null}"#,
            "",
        ),
        text: (
            r#"{"index":$index,"delta":{"role":"assistant","content":$text},"logprobs":null,"finish_reason":null}"#,
            "",
        ),
        finish: (r#"{"index":$index,"delta":{},"logprobs":null,"finish_reason":$finish}"#, ""),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
