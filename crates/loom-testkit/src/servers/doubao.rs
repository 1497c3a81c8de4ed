//! Doubao on Volcengine's Ark: dotted codes, the request id inside the message.

use super::compatible::{COMPATIBLE, usage};
use crate::emulator::{Keys, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

const fn invalid(message: &'static str) -> Refusal {
    refuse(400, message).kind("BadRequest").code("InvalidParameter")
}

const WRONG_KEY: Refusal =
    refuse(401, "The API key in the request is missing or invalid. Request id: 0217{digits28}")
        .kind("Unauthorized")
        .code("AuthenticationError");

/// ark.cn-beijing.volces.com/api/v3.
pub const DOUBAO: ServerSpec = ServerSpec {
    name: "doubao",
    title: "Doubao (Volcengine Ark)",
    sources: &["wire.md 2.6 [doc]"],
    base: "/api/v3",
    model: "doubao-seed-2-0-pro-260628",
    context: 131_072,
    headers: &[("x-request-id", "0217{digits28}")],
    keys: Keys { missing: WRONG_KEY, wrong: WRONG_KEY, ..COMPATIBLE.keys },
    error: r#"{"error":{"code":$code,"message":$message,"param":"{param}","type":$type}}"#,
    rules: &[
        (When::BadJson, invalid("The request body is not valid JSON. Request id: 0217{digits28}")),
        (
            When::Lacks("/messages"),
            refuse(400, "The request failed because it is missing `messages` parameter. Request id: 0217{digits28}")
                .kind("BadRequest")
                .code("MissingParameter"),
        ),
        (
            When::UnknownModel,
            refuse(
                404,
                "The model or endpoint {model} does not exist or you do not have access to it. Request id: 0217{digits28}",
            )
            .kind("NotFound")
            .code("InvalidEndpointOrModel.NotFound"),
        ),
        (
            When::TooLong,
            invalid(
                "Total tokens of image and text exceed max message tokens: the input exceeds the maximum context length of \
                 {context} tokens. Request id: 0217{digits28}",
            ),
        ),
    ],
    id: "0217{digits28}",
    whole: Whole {
        body: concat!(
            r#"{"choices":[$choices],"created":$created,"id":$id,"model":$model,"service_tier":"default",
                "object":"chat.completion","#,
            usage!(),
            "}"
        ),
        choice: r#"{"finish_reason":$finish,"index":$index,"logprobs":null,"message":{"content":$text
            <?reasoning ,"reasoning_content":$reasoning?>,"role":"assistant"<?calls ,"tool_calls":$calls?>}}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        chunk: r#"{"choices":[$choice],"created":$created,"id":$id,"model":$model,"service_tier":"default",
            "object":"chat.completion.chunk"$more}"#,
        usage: (UsageChunk::WhenAsked, ("", concat!(",", usage!()))),
        asked: r#","usage":null"#,
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
