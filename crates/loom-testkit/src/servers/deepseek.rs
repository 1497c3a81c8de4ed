//! DeepSeek: keeps connections alive with comments and blank lines, thinks in `reasoning_content`, has no JSON schemas.

use super::compatible::{COMPATIBLE, IMAGE, THINKING, THOUGHTLESS_CALL, bad};
use crate::emulator::{Keys, Models, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

const fn invalid(message: &'static str) -> Refusal {
    bad(message).code("invalid_request_error")
}

/// Its body is read by serde, whose words these are.
const fn unreadable(status: u16, message: &'static str) -> Refusal {
    refuse(status, message).kind("invalid_request_error").code("invalid_request_error")
}

const WRONG_KEY: Refusal = refuse(401, "Authentication Fails, Your api key: ****-key is invalid")
    .kind("authentication_error")
    .code("invalid_request_error");

macro_rules! usage_with_cache {
    () => {
        r#""usage":{"prompt_tokens":$prompt_tokens,"completion_tokens":$completion_tokens,"total_tokens":$total_tokens,
            "prompt_tokens_details":{"cached_tokens":0},"prompt_cache_hit_tokens":0,"prompt_cache_miss_tokens":$prompt_tokens}"#
    };
}

/// api.deepseek.com.
pub const DEEPSEEK: ServerSpec = ServerSpec {
    name: "deepseek",
    title: "DeepSeek",
    sources: &["wire.md 2.2 [rec, doc]", "words of json refusals, strict types: from memory"],
    bases: &["/beta", ""],
    model: "deepseek-flash",
    context: 131_072,
    keys: Keys { missing: WRONG_KEY, wrong: WRONG_KEY, ..COMPATIBLE.keys },
    models: Models { entry: r#"{"id":$id,"object":"model","owned_by":"deepseek"}"#, ..COMPATIBLE.models },
    rules: &[
        (
            When::BadJson,
            unreadable(
                400,
                "Failed to parse the request body as JSON: EOF while parsing a value at line 1 column 0",
            ),
        ),
        (
            When::Lacks("/messages"),
            unreadable(
                422,
                "Failed to deserialize the JSON body into the target type: missing field `messages` at line 1 column 2",
            ),
        ),
        (When::UnknownModel, invalid("The supported API model names are {models} but you passed {model}.")),
        (
            IMAGE,
            invalid(
                "Failed to deserialize the JSON body into the target type: messages[0]: unknown variant `image_url`, expected \
                 `text` at line 1 column 216",
            ),
        ),
        (
            When::Any("/messages", &When::NoneOf("/role", &["system", "user", "assistant", "tool"])),
            unreadable(
                422,
                "Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant `{value}`, expected \
                 one of `system`, `user`, `assistant`, `tool` at line 1 column 60",
            ),
        ),
        (
            When::Is("/response_format/type", "\"json_schema\""),
            invalid("This response_format type is unavailable now"),
        ),
        (
            When::All(&[When::Is("/response_format/type", "\"json_object\""), When::NoWord("json")]),
            invalid(
                "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.",
            ),
        ),
        (
            When::All(&[
                THINKING,
                When::Either(&[
                    When::Is("/tool_choice", "\"required\""),
                    When::NotA("/tool_choice", "string"),
                ]),
            ]),
            invalid("Thinking mode does not support this tool_choice"),
        ),
        (
            When::All(&[THINKING, THOUGHTLESS_CALL]),
            invalid("The reasoning_content in the thinking mode must be passed back to the API."),
        ),
        (
            When::Above("/temperature", 2.0),
            invalid("Invalid temperature value, the valid range of temperature is [0, 2]"),
        ),
        (
            When::TooLong,
            invalid(
                "This model's maximum context length is {context} tokens. However, you requested {prompt_tokens} tokens. Please \
                 reduce the length of the messages or completion.",
            ),
        ),
    ],
    ignores: &["parallel_tool_calls", "max_completion_tokens", "n"],
    id: "{uuid}",
    call_id: "call_00_{alnum20}",
    whole: Whole {
        body: concat!(
            r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"choices":[$choices],"#,
            usage_with_cache!(),
            r#","system_fingerprint":"fp_loom_testkit"}"#
        ),
        choice: r#"{"index":$index,"message":{"role":"assistant","content":$text<?reasoning ,"reasoning_content":$reasoning?>
            <?calls ,"tool_calls":$calls?>},"logprobs":null,"finish_reason":$finish}"#,
        // Blank lines, for as long as the model has not begun.
        before: "\n\n",
        ..COMPATIBLE.whole
    },
    stream: Stream {
        comments: &[": keep-alive\n\n", ": keep-alive\n\n"],
        chunk: r#"{"id":$id,"object":"chat.completion.chunk","created":$created,"model":$model,
            "system_fingerprint":"fp_loom_testkit","choices":[$choice]$more}"#,
        first: (
            r#"{"index":$index,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}"#,
            r#","usage":null"#,
        ),
        reasoning: (
            r#"{"index":$index,"delta":{"content":null,"reasoning_content":$reasoning},"logprobs":null,"finish_reason":null}"#,
            r#","usage":null"#,
        ),
        text: (
            r#"{"index":$index,"delta":{"content":$text},"logprobs":null,"finish_reason":null}"#,
            r#","usage":null"#,
        ),
        finish: (
            r#"{"index":$index,"delta":{"content":""},"logprobs":null,"finish_reason":$finish}"#,
            concat!(",", usage_with_cache!()),
        ),
        usage: (UsageChunk::Never, ("", "")),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
