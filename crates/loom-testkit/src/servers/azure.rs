//! Azure OpenAI: OpenAI's strictness, deployments in the path, filter results in the first chunk.

use super::OPENAI;
use crate::emulator::{Keys, Refusal, ServerSpec, Stream, When, Whole, refuse};

const WRONG_KEY: Refusal = refuse(
    401,
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active \
     subscription and use a correct regional API endpoint for your resource.",
)
.body(r#"{"error":{"code":"401","message":$message}}"#);

const NOT_FOUND: Refusal = refuse(404, "").body(r#"{"error":{"code":"404","message":"Resource not found"}}"#);

macro_rules! filters {
    () => {
        r#"{"hate":{"filtered":false,"severity":"safe"},"self_harm":{"filtered":false,"severity":"safe"},
            "sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}"#
    };
}

/// RESOURCE.openai.azure.com, with the paths of before and after 2025.
pub const AZURE: ServerSpec = ServerSpec {
    name: "azure",
    title: "Azure OpenAI",
    sources: &["wire.md 2.13", "the words of the 401: from memory"],
    base: "/openai/v1",
    bases: &["/openai/deployments/*"],
    model: "my-deployment",
    headers: &[("apim-request-id", "{uuid}"), ("x-ms-region", "East US"), ("x-request-id", "{uuid}")],
    keys: Keys {
        headers: &[("api-key", ""), ("authorization", "Bearer ")],
        missing: WRONG_KEY,
        wrong: WRONG_KEY,
        ..OPENAI.keys
    },
    not_found: NOT_FOUND,
    wrong_method: None,
    rules: &[
        (When::All(&[When::Path("/deployments/"), When::NoQuery("api-version")]), NOT_FOUND),
        (
            When::UnknownModel,
            refuse(
                404,
                "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, \
                 please wait a moment and try again.",
            )
            .code("DeploymentNotFound")
            .body(r#"{"error":{"code":$code,"message":$message}}"#),
        ),
        (
            When::TooLong,
            refuse(
                400,
                "This model's maximum context length is {context} tokens. However, your messages resulted in {prompt_tokens} \
                 tokens. Please reduce the length of the messages.",
            )
            .kind("invalid_request_error")
            .param("messages")
            .code("context_length_exceeded"),
        ),
    ],
    id: "chatcmpl-{alnum29}",
    call_id: "call_{alnum24}",
    whole: Whole {
        body: concat!(
            r#"{"choices":[$choices],"created":$created,"id":$id,"model":$model,"object":"chat.completion",
                "prompt_filter_results":[{"prompt_index":0,"content_filter_results":"#,
            filters!(),
            r#"}],"system_fingerprint":"fp_loom","usage":{"prompt_tokens":$prompt_tokens,
                "completion_tokens":$completion_tokens,"total_tokens":$total_tokens}}"#
        ),
        choice: concat!(
            r#"{"content_filter_results":"#,
            filters!(),
            r#","finish_reason":$finish,"index":$index,"logprobs":null,"message":{"annotations":[],"content":$content,
                "refusal":null,"role":"assistant"<?calls ,"tool_calls":$calls?>}}"#
        ),
        ..OPENAI.whole
    },
    stream: Stream {
        opening: &[concat!(
            r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,
                "content_filter_results":"#,
            filters!(),
            "}]}"
        )],
        ..OPENAI.stream
    },
    ..OPENAI
};
