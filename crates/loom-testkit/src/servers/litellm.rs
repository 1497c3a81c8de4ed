//! The proxy of LiteLLM, without a database, before llama-server: whose errors it wraps.

use super::compatible::COMPATIBLE;
use crate::emulator::{
    Calls, FormatOver, Keys, Models, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse,
};

const fn bad(message: &'static str) -> Refusal {
    refuse(400, message).kind("invalid_request_error")
}

/// What the server behind said, with the names of the exceptions that it went through.
macro_rules! passed_on {
    ($message:literal) => {
        concat!(
            "litellm.BadRequestError: OpenAIException - ",
            $message,
            "\n\nLiteLLM: model group '{model}' failed with the error above. No fallback was attempted."
        )
    };
}

macro_rules! usage {
    () => {
        r#""usage":{"completion_tokens":$completion_tokens,"prompt_tokens":$prompt_tokens,"total_tokens":$total_tokens,
            "prompt_tokens_details":{"cached_tokens":0}}"#
    };
}

/// LiteLLM proxy 1.106 with a master key.
pub const LITELLM: ServerSpec = ServerSpec {
    name: "litellm",
    title: "LiteLLM proxy 1.106",
    sources: &["servers/README.md", "tests/corpus/captures/litellm"],
    bases: &[""],
    model: "gpt-4o",
    context: 4096,
    headers: &[],
    ok_headers: &[("x-litellm-call-id", "{uuid}"), ("x-litellm-version", "1.106.2"), ("llm_provider-server", "llama.cpp")],
    sse: "text/event-stream; charset=utf-8",
    keys: Keys {
        missing: refuse(500, "").body("Internal Server Error"),
        wrong: bad("No connected db.").kind("no_db_connection"),
        ..COMPATIBLE.keys
    },
    models: Models {
        list: r#"{"data":[$entries],"object":"list"}"#,
        entry: r#"{"id":$id,"object":"model","created":1677610602,"owned_by":"openai"}"#,
        single: true,
    },
    error: r#"{"error":{"message":$message,"type":$type,"param":$param,"code":"{status}"}}"#,
    not_found: refuse(404, "").body(r#"{"detail":"Not Found"}"#),
    wrong_method: Some(refuse(405, "").body(r#"{"detail":"Method Not Allowed"}"#)),
    rules: &[
        (
            When::BadJson,
            bad("Invalid JSON payload: unexpected end of data: line 1 column 32 (char 31)").param("request_body"),
        ),
        (When::NotObject, refuse(500, "").body("Internal Server Error")),
        (When::Lacks("/messages"), bad("/chat/completions: Missing required parameter: 'messages'.").param("messages")),
        (
            When::UnknownModel,
            bad(
                "/chat/completions: Invalid model name passed in model={model}. Call `/v1/models` to view available models for \
                 your key.",
            )
            .body(
                r#"{"error":{"message":$message,"type":$type,"param":null,"code":"400",
                    "provider_specific_fields":{"error":$message}}}"#,
            ),
        ),
        (
            When::NotA("/max_tokens", "number"),
            bad(passed_on!("Field 'max_tokens': [json.exception.type_error.302] type must be number, but is string")),
        ),
        (
            When::Any("/messages", &When::Any("/content", &When::Is("/type", "\"image_url\""))),
            refuse(
                500,
                "litellm.InternalServerError: InternalServerError: OpenAIException - image input is not supported - hint: if this \
                 is unexpected, you may need to provide the mmproj\n\nLiteLLM: model group '{model}' failed with the error above. \
                 No fallback was attempted.",
            )
            .kind("internal_server_error"),
        ),
        (
            When::Is("/response_format/json_schema/schema/type", "\"nonsense\""),
            bad(passed_on!(
                "Unable to generate parser for this template. Automatic parser generation failed: JSON schema error at #: \
                 unrecognized type nonsense"
            )),
        ),
        (
            When::TooLong,
            bad(
                "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: OpenAIException - request \
                 ({prompt_tokens} tokens) exceeds the available context size ({context} tokens), try increasing it\nmodel={model}. \
                 context_window_fallbacks=None. fallbacks=None.\n\nSet 'context_window_fallback' - \
                 https://docs.litellm.ai/docs/routing#fallbacks\n\nLiteLLM: model group '{model}' failed with the error above. No \
                 fallback was attempted.",
            ),
        ),
    ],
    ignores: &["tool_choice={}"],
    format_over: FormatOver::AllCalls,
    id: "chatcmpl-{alnum32}",
    call_id: "{alnum32}",
    whole: Whole {
        body: concat!(
            r#"{"id":$id,"created":$created,"model":$model,"object":"chat.completion","system_fingerprint":"b11434-6d05498",
                "choices":[$choices],"#,
            usage!(),
            r#","timings":{"cache_n":0,"prompt_n":$prompt_tokens,"prompt_ms":1.5,"prompt_per_token_ms":0.1,
                "prompt_per_second":10000.5,"predicted_n":$completion_tokens,"predicted_ms":2.5,"predicted_per_token_ms":0.2,
                "predicted_per_second":5000.5}}"#
        ),
        choice: r#"{"finish_reason":$finish,"index":$index,"message":{"content":$text,"role":"assistant"
            <?calls ,"tool_calls":$calls?><?reasoning ,"reasoning_content":$reasoning?>,"provider_specific_fields":{
            "refusal":null}},"provider_specific_fields":{}}"#,
        call: r#"{"function":{"arguments":$arguments,"name":$tool},"id":$call_id,"type":"function"}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        chunk: r#"{"id":$id,"created":$created,"model":$model,"object":"chat.completion.chunk",
            "system_fingerprint":"b11434-6d05498","choices":[$choice]$more}"#,
        first: (r#"{"index":$index,"delta":{"role":"assistant"}}"#, ""),
        reasoning: (r#"{"index":$index,"delta":{"reasoning_content":$reasoning}}"#, ""),
        text: (r#"{"index":$index,"delta":{"content":$text}}"#, ""),
        calls: Calls::Fragments {
            first: (
                r#"{"index":$index,"delta":{"tool_calls":[{"id":$call_id,"function":{"arguments":$arguments,"name":$tool},
                    "type":"function","index":$call_index}]}}"#,
                "",
            ),
            more: (
                r#"{"index":$index,"delta":{"tool_calls":[{"function":{"arguments":$arguments},"type":"function",
                    "index":$call_index}]}}"#,
                "",
            ),
            begun: true,
        },
        finish: (r#"{"finish_reason":$finish,"index":$index,"delta":{}}"#, ""),
        // A choice, but without a finish reason, after the one that has it.
        usage: (UsageChunk::WhenAsked, (
                r#"{"index":0,"delta":{}}"#,
                r#","usage":{"completion_tokens":$completion_tokens,"prompt_tokens":$prompt_tokens,"total_tokens":$total_tokens
                    <!calls ,"completion_tokens_details":{"reasoning_tokens":0,"text_tokens":$completion_tokens}!>,
                    "prompt_tokens_details":{"cached_tokens":0}}"#,
            )),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
