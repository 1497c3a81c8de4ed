//! What servers have in common that follow OpenAI's format without OpenAI's strictness: the base of most others.

use super::OPENAI;
use crate::emulator::{Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

/// `"usage":{…}`, as most servers write it.
macro_rules! usage {
    () => {
        r#""usage":{"prompt_tokens":$prompt_tokens,"completion_tokens":$completion_tokens,"total_tokens":$total_tokens}"#
    };
}
pub(super) use usage;

/// A request that is wrong, in OpenAI's words for the type.
pub(super) const fn bad(message: &'static str) -> Refusal {
    refuse(400, message).kind("invalid_request_error")
}

/// The prompt has an image.
pub(super) const IMAGE: When =
    When::Any("/messages", &When::Any("/content", &When::Is("/type", "\"image_url\"")));
/// Thinking is switched on, in the way of DeepSeek, Kimi and Zhipu.
pub(super) const THINKING: When = When::Is("/thinking/type", "\"enabled\"");
/// A call in the history has lost its thoughts.
pub(super) const THOUGHTLESS_CALL: When =
    When::Any("/messages", &When::All(&[When::Has("/tool_calls"), When::Lacks("/reasoning_content")]));
/// The arguments of a call in the history are no JSON.
pub(super) const BROKEN_ARGUMENTS: When =
    When::Any("/messages", &When::Any("/tool_calls", &When::NoJsonText("/function/arguments")));

/// A server without manners of its own.
pub(super) const COMPATIBLE: ServerSpec = ServerSpec {
    name: "compatible",
    title: "any other server",
    sources: &["wire.md 0.3"],
    headers: &[],
    ok_headers: &[],
    model: "model",
    context: 32_768,
    strict: false,
    rules: &[
        (When::BadJson, bad("The body is not JSON.")),
        (When::Lacks("/messages"), bad("'messages' is required").param("messages")),
        (
            When::UnknownModel,
            refuse(404, "The model `{model}` does not exist.")
                .kind("invalid_request_error")
                .code("model_not_found"),
        ),
        (When::TooLong, TOO_LONG),
    ],
    id: "chatcmpl-{hex24}",
    call_id: "call_{alnum24}",
    whole: Whole {
        body: concat!(
            r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"choices":[$choices],"#,
            usage!(),
            "}"
        ),
        choice: r#"{"index":$index,"message":{"role":"assistant","content":$content
            <?reasoning ,"reasoning_content":$reasoning?><?calls ,"tool_calls":$calls?>},"finish_reason":$finish}"#,
        ..OPENAI.whole
    },
    stream: Stream {
        chunk: r#"{"id":$id,"object":"chat.completion.chunk","created":$created,"model":$model,"choices":[$choice]$more}"#,
        first: (r#"{"index":$index,"delta":{"role":"assistant","content":""},"finish_reason":null}"#, ""),
        reasoning: (r#"{"index":$index,"delta":{"reasoning_content":$reasoning},"finish_reason":null}"#, ""),
        text: (r#"{"index":$index,"delta":{"content":$text},"finish_reason":null}"#, ""),
        finish: (r#"{"index":$index,"delta":{},"finish_reason":$finish}"#, ""),
        usage: (UsageChunk::WhenAsked, ("", concat!(",", usage!()))),
        asked: "",
        ..OPENAI.stream
    },
    ..OPENAI
};

/// The words for a prompt that is too long which most servers have copied.
pub(super) const TOO_LONG: Refusal = bad(
    "This model's maximum context length is {context} tokens. However, your messages resulted in {prompt_tokens} tokens. \
     Please reduce the length of the messages.",
)
.code("context_length_exceeded");
