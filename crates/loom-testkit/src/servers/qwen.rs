//! Qwen in the compatible mode of DashScope.

use super::compatible::{BROKEN_ARGUMENTS, COMPATIBLE, TOO_LONG, bad, usage};
use crate::emulator::{Calls, Keys, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

const fn invalid(message: &'static str) -> Refusal {
    bad(message).code("invalid_parameter_error")
}

const WRONG_KEY: Refusal = refuse(
    401,
    "Incorrect API key provided. For details, see: https://help.aliyun.com/zh/model-studio/error-code#apikey-error",
)
.kind("invalid_request_error")
.code("invalid_api_key");

const SCHEMA_OR_OBJECT: When = When::Has("/response_format/type");

/// dashscope.aliyuncs.com/compatible-mode/v1.
pub const QWEN: ServerSpec = ServerSpec {
    name: "qwen",
    title: "Qwen (DashScope, compatible mode)",
    sources: &["wire.md 2.3 [rec, iss, doc]", "the words of the 401: from memory"],
    base: "/compatible-mode/v1",
    model: "qwen-plus",
    context: 131_072,
    headers: &[("x-request-id", "{uuid}")],
    keys: Keys { missing: WRONG_KEY, wrong: WRONG_KEY, ..COMPATIBLE.keys },
    error: r#"{"error":{"message":$message,"type":$type,"param":$param,"code":$code},"id":"chatcmpl-{uuid}","request_id":"{uuid}"}"#,
    rules: &[
        (When::BadJson, invalid("<400> InternalError.Algo.InvalidParameter: the body is not JSON")),
        (
            When::Lacks("/messages"),
            invalid("<400> InternalError.Algo.InvalidParameter: 'messages' is a required property"),
        ),
        (
            When::UnknownModel,
            refuse(404, "The model `{model}` does not exist or you do not have access to it.")
                .kind("invalid_request_error")
                .code("model_not_found"),
        ),
        (
            When::Not(&When::Any("/messages", &When::Is("/role", "\"user\""))),
            invalid(
                "<400> InternalError.Algo.InvalidParameter: The input messages do not contain elements with the role of user",
            ),
        ),
        (
            BROKEN_ARGUMENTS,
            invalid(
                "<400> InternalError.Algo.InvalidParameter: The \"function.arguments\" parameter of the code model must be in \
                 JSON format.",
            ),
        ),
        (
            When::All(&[When::Is("/enable_thinking", "true"), When::Not(&When::Is("/stream", "true"))]),
            invalid("parameter.enable_thinking must be set to false for non-streaming calls"),
        ),
        (
            When::All(&[When::Is("/enable_thinking", "true"), SCHEMA_OR_OBJECT]),
            invalid(
                "<400> InternalError.Algo.InvalidParameter: Json mode response is not supported when enable_thinking is true",
            ),
        ),
        (
            When::All(&[When::Is("/response_format/type", "\"json_object\""), When::NoWord("json")]),
            invalid(
                "<400> InternalError.Algo.InvalidParameter: 'messages' must contain the word 'json' in some form, to use \
                 'response_format' of type 'json_object'.",
            ),
        ),
        (When::TooLong, TOO_LONG),
    ],
    id: "chatcmpl-{uuid}",
    call_id: "call_{hex24}",
    whole: Whole {
        body: concat!(
            r#"{"choices":[$choices],"object":"chat.completion","#,
            usage!(),
            r#","created":$created,"system_fingerprint":null,"model":$model,"id":$id}"#
        ),
        choice: r#"{"message":{"content":$text<?reasoning ,"reasoning_content":$reasoning?>,"role":"assistant"
            <?calls ,"tool_calls":$calls?>},"finish_reason":$finish,"index":$index,"logprobs":null}"#,
        call: r#"{"function":{"arguments":$arguments,"name":$tool},"id":$call_id,"index":$call_index,"type":"function"}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        chunk: r#"{"choices":[$choice],"object":"chat.completion.chunk",$more"created":$created,"system_fingerprint":null,
            "model":$model,"id":$id}"#,
        first: (
            r#"{"delta":{"content":"","role":"assistant"},"index":$index,"logprobs":null,"finish_reason":null}"#,
            r#""usage":null,"#,
        ),
        reasoning: (
            r#"{"delta":{"content":null,"reasoning_content":$reasoning},"index":$index,"logprobs":null,"finish_reason":null}"#,
            r#""usage":null,"#,
        ),
        text: (
            r#"{"delta":{"content":$text},"finish_reason":null,"index":$index,"logprobs":null}"#,
            r#""usage":null,"#,
        ),
        calls: Calls::Fragments {
            first: (
                r#"{"delta":{"content":null,"tool_calls":[{"index":$call_index,"id":$call_id,"type":"function",
                    "function":{"name":$tool,"arguments":""}}],"role":"assistant"},"finish_reason":null,"index":$index,
                    "logprobs":null}"#,
                r#""usage":null,"#,
            ),
            // The id is there and empty, and the finish reason is not there at all.
            more: (
                r#"{"delta":{"tool_calls":[{"function":{"arguments":$arguments},"index":$call_index,"id":"",
                    "type":"function"}]},"index":$index}"#,
                r#""usage":null,"#,
            ),
            begun: false,
        },
        finish: (
            r#"{"finish_reason":$finish,"delta":{},"index":$index,"logprobs":null}"#,
            r#""usage":null,"#,
        ),
        usage: (UsageChunk::WhenAsked, ("", concat!(usage!(), ","))),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
