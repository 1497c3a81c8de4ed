//! OpenAI's own API: the reference, from which the other servers are made, and the strictest about requests.

use crate::emulator::{Calls, FormatOver, Keys, Models, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

/// OpenAI's chat completions.
pub const OPENAI: ServerSpec = ServerSpec {
    name: "openai",
    title: "OpenAI",
    sources: &["wire.md 2.1", "https://developers.openai.com/api/reference/resources/chat"],
    base: "/v1",
    bases: &[],
    model: "gpt-5.4-mini",
    context: 128_000,
    headers: &[("x-request-id", "req_{hex32}")],
    ok_headers: &[],
    json: "application/json",
    sse: "text/event-stream",
    keys: Keys {
        headers: &[("authorization", "Bearer ")],
        open: &[],
        missing: refuse(
            401,
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer \
             auth (i.e. Authorization: Bearer YOUR_KEY).",
        )
        .kind("invalid_request_error"),
        // The key itself is never repeated: what a server says ends up in logs.
        wrong: refuse(401, "Incorrect API key provided.").kind("invalid_request_error").code("invalid_api_key"),
    },
    pages: &[],
    models: Models {
        list: r#"{"object":"list","data":[$entries]}"#,
        entry: r#"{"id":$id,"object":"model","created":$created,"owned_by":"loom-testkit"}"#,
        single: true,
    },
    error: r#"{"error":{"message":$message,"type":$type,"param":$param,"code":$code}}"#,
    not_found: refuse(404, "Invalid URL ({method} {path})").kind("invalid_request_error"),
    wrong_method: Some(
        refuse(405, "Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)")
            .kind("invalid_request_error")
            .code("method_not_supported"),
    ),
    strict: true,
    rules: &[
        (
            When::UnknownModel,
            refuse(404, "The model `{model}` does not exist or you do not have access to it.")
                .kind("invalid_request_error")
                .code("model_not_found"),
        ),
        (
            When::TooLong,
            refuse(
                400,
                "This model's maximum context length is {context} tokens. However, your messages resulted in \
                 {prompt_tokens} tokens. Please reduce the length of the messages.",
            )
            .kind("invalid_request_error")
            .param("messages")
            .code("context_length_exceeded"),
        ),
    ],
    ignores: &[],
    truncates: false,
    grammars: &[],
    format_over: FormatOver::Nothing,
    calls_in_text: false,
    parallel_calls: true,
    finish: &[],
    id: "chatcmpl-{n}",
    call_id: "call_{n}_{i}",
    no_arguments: "{}",
    whole: Whole {
        body: r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"choices":[$choices],
            "usage":{"prompt_tokens":$prompt_tokens,"completion_tokens":$completion_tokens,"total_tokens":$total_tokens},
            "system_fingerprint":"fp_loom_testkit"}"#,
        choice: r#"{"index":$index,"message":{"role":"assistant","content":$content<?calls ,"tool_calls":$calls?>,
            "refusal":null},"logprobs":null,"finish_reason":$finish}"#,
        call: r#"{"id":$call_id,"type":"function","function":{"name":$tool,"arguments":$arguments}}"#,
        before: "",
    },
    stream: Stream {
        event: ("data: ", "\n\n"),
        comments: &[],
        opening: &[],
        chunk: r#"{"id":$id,"object":"chat.completion.chunk","created":$created,"model":$model,
            "system_fingerprint":"fp_loom_testkit","choices":[$choice]$more}"#,
        first: (
            r#"{"index":$index,"delta":{"role":"assistant","content":$content,"refusal":null},"logprobs":null,
                "finish_reason":null}"#,
            "",
        ),
        // OpenAI keeps the thoughts to itself.
        reasoning: (r#"{"index":$index,"delta":{},"logprobs":null,"finish_reason":null}"#, ""),
        text: (r#"{"index":$index,"delta":{"content":$text},"logprobs":null,"finish_reason":null}"#, ""),
        calls: Calls::Fragments {
            first: (
                r#"{"index":$index,"delta":{"tool_calls":[{"index":$call_index,"id":$call_id,"type":"function",
                    "function":{"name":$tool,"arguments":""}}]},"logprobs":null,"finish_reason":null}"#,
                "",
            ),
            more: (
                r#"{"index":$index,"delta":{"tool_calls":[{"index":$call_index,"function":{"arguments":$arguments}}]},
                    "logprobs":null,"finish_reason":null}"#,
                "",
            ),
            begun: false,
        },
        finish: (r#"{"index":$index,"delta":{},"logprobs":null,"finish_reason":$finish}"#, ""),
        last_text: None,
        usage: (
            UsageChunk::WhenAsked,
            (
                "",
                r#","usage":{"prompt_tokens":$prompt_tokens,"completion_tokens":$completion_tokens,
                    "total_tokens":$total_tokens}"#,
            ),
        ),
        // The key is in all chunks, with null in those before the last.
        asked: r#","usage":null"#,
        tail: "",
        done: "data: [DONE]\n\n",
        one_by_one: false,
    },
};
