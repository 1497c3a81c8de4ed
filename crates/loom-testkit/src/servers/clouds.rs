//! Cloud providers that follow OpenAI closely: a few lines of difference each.

use super::compatible::{COMPATIBLE, TOO_LONG, bad, usage};
use crate::emulator::{Calls, Keys, Models, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

/// api.lingyiwanwu.com. Nothing is verified but that it follows OpenAI.
pub const YI: ServerSpec = ServerSpec {
    name: "yi",
    title: "Yi (01.AI)",
    sources: &["wire.md 2.7 [peer], not verified"],
    model: "yi-lightning",
    ..COMPATIBLE
};

const SILICONFLOW_KEY: Refusal = refuse(401, "").body(r#""Invalid token""#);

/// api.siliconflow.cn.
pub const SILICONFLOW: ServerSpec = ServerSpec {
    name: "siliconflow",
    title: "SiliconFlow",
    sources: &["wire.md 0.1, 0.2 [doc]", "the words of the 401: from memory"],
    model: "Qwen/Qwen3-8B",
    keys: Keys { missing: SILICONFLOW_KEY, wrong: SILICONFLOW_KEY, ..COMPATIBLE.keys },
    error: r#"{"code":$number,"message":$message,"data":null}"#,
    not_found: refuse(404, "").body("404 page not found"),
    rules: &[
        (When::BadJson, refuse(400, "The parameter is invalid. Please check again.").code("20015")),
        (
            When::Lacks("/messages"),
            refuse(400, "The parameter is invalid. Please check again.").code("20015"),
        ),
        (When::UnknownModel, refuse(400, "Model does not exist. Please check it carefully.").code("20012")),
        (
            When::TooLong,
            refuse(400, "input is too long: maximum context length is {context} tokens").code("20015"),
        ),
    ],
    ..COMPATIBLE
};

const TOGETHER_KEY: Refusal = refuse(401, "Invalid API key provided. You can find your API key at https://api.together.ai/settings/api-keys.")
    .body(r#"{"id":"{hex16}","error":{"message":$message,"type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#);

/// api.together.ai.
pub const TOGETHER: ServerSpec = ServerSpec {
    name: "together",
    title: "Together AI",
    sources: &["wire.md 2.12 [rec]", "the words of the 401: from memory"],
    model: "Qwen/Qwen3-235B-A22B",
    keys: Keys { missing: TOGETHER_KEY, wrong: TOGETHER_KEY, ..COMPATIBLE.keys },
    models: Models { list: "[$entries]", ..COMPATIBLE.models },
    whole: Whole {
        body: concat!(
            r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"prompt":[],"choices":[$choices],"#,
            usage!(),
            "}"
        ),
        choice: r#"{"finish_reason":$finish,"seed":1,"logprobs":null,"index":$index,"message":{"role":"assistant",
            "content":$content<?reasoning ,"reasoning":$reasoning?>,"tool_calls":<?calls $calls?><!calls []!>}}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        text: (
            r#"{"index":$index,"text":$text,"logprobs":null,"finish_reason":null,"seed":null,"delta":{"token_id":1,
                "role":"assistant","content":$text,"tool_calls":null}}"#,
            r#","usage":null"#,
        ),
        reasoning: (
            r#"{"index":$index,"delta":{"role":"assistant","content":"","reasoning":$reasoning},"finish_reason":null}"#,
            "",
        ),
        finish: (
            r#"{"index":$index,"text":"","finish_reason":$finish,"seed":1,"delta":{"role":"assistant","content":"",
                "tool_calls":null}}"#,
            concat!(",", usage!()),
        ),
        usage: (UsageChunk::Never, ("", "")),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};

const FIREWORKS_KEY: Refusal = refuse(403, "Forbidden").body(r#"{"error":"unauthorized"}"#);

/// api.fireworks.ai.
pub const FIREWORKS: ServerSpec = ServerSpec {
    name: "fireworks",
    title: "Fireworks AI",
    sources: &["wire.md 2.12 [doc]", "bodies of errors: from memory"],
    base: "/inference/v1",
    model: "accounts/fireworks/models/qwen3-8b",
    keys: Keys { missing: FIREWORKS_KEY, wrong: FIREWORKS_KEY, ..COMPATIBLE.keys },
    error: r#"{"error":{"object":"error","type":$type,"code":$code,"message":$message}}"#,
    rules: &[
        (When::BadJson, bad("invalid JSON")),
        (When::Lacks("/messages"), bad("messages: Field required")),
        (
            When::UnknownModel,
            refuse(404, "Model not found, inaccessible, and/or not deployed")
                .kind("invalid_request_error")
                .code("NOT_FOUND"),
        ),
        (
            When::TooLong,
            bad("The prompt is too long: {prompt_tokens}, model maximum context length: {context}"),
        ),
    ],
    ..COMPATIBLE
};

const fn xai(message: &'static str) -> Refusal {
    refuse(400, message).code("Client specified an invalid argument")
}

/// api.x.ai, with a model that thinks: it takes no penalties and no stop sequences.
pub const XAI: ServerSpec = ServerSpec {
    name: "xai",
    title: "xAI Grok",
    sources: &["wire.md 2.11 [rec, iss]"],
    model: "grok-4.5",
    context: 131_072,
    keys: Keys {
        missing: xai("No API key provided.").code("invalid-argument"),
        wrong: xai("Incorrect API key provided. You can obtain an API key from https://console.x.ai.")
            .code("invalid-argument"),
        ..COMPATIBLE.keys
    },
    error: r#"{"code":$code,"error":$message}"#,
    rules: &[
        (When::BadJson, xai("Failed to parse the request body as JSON")),
        (
            When::Lacks("/messages"),
            xai("Failed to deserialize the JSON body into the target type: missing field `messages`"),
        ),
        (
            When::UnknownModel,
            refuse(404, "The model {model} does not exist or your team does not have access to it.")
                .code("Some requested entity was not found"),
        ),
        (When::Has("/presence_penalty"), xai("Argument not supported on this model: presencePenalty")),
        (When::Has("/frequency_penalty"), xai("Argument not supported on this model: frequencyPenalty")),
        (When::Has("/stop"), xai("Argument not supported on this model: stop")),
        (
            When::TooLong,
            xai(
                "This model's maximum prompt length is {context} but the request contains {prompt_tokens} tokens.",
            ),
        ),
    ],
    id: "{uuid}",
    call_id: "call_{digits8}",
    stream: Stream {
        first: ("", ""),
        reasoning: (r#"{"index":$index,"delta":{"role":"assistant","reasoning_content":$reasoning}}"#, ""),
        text: (r#"{"index":$index,"delta":{"role":"assistant","content":$text}}"#, ""),
        calls: Calls::Whole((
            r#"{"index":$index,"delta":{"role":"assistant","tool_calls":[{"id":$call_id,"function":{"name":$tool,
                "arguments":$arguments},"index":$call_index,"type":"function"}]}}"#,
            "",
        )),
        // The thoughts are counted apart: the total is more than the sum.
        usage: (
            UsageChunk::Always,
            (
                "",
                r#","usage":{"prompt_tokens":$prompt_tokens,"completion_tokens":$completion_tokens,"total_tokens":$total_tokens,
                    "completion_tokens_details":{"reasoning_tokens":$reasoning_tokens},"num_sources_used":0,
                    "cost_in_usd_ticks":1}"#,
            ),
        ),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};

const ANTHROPIC_KEY: Refusal =
    refuse(401, "Invalid Anthropic API Key").kind("authentication_error").code("invalid_api_key");

/// api.anthropic.com, by its layer for OpenAI's format.
pub const ANTHROPIC: ServerSpec = ServerSpec {
    name: "anthropic",
    title: "Anthropic Claude (OpenAI layer)",
    sources: &["wire.md 2.15 [doc, rec]", "bodies of errors: their type only"],
    model: "claude-sonnet-5",
    context: 200_000,
    headers: &[("request-id", "req_{alnum24}")],
    keys: Keys {
        headers: &[("authorization", "Bearer "), ("x-api-key", "")],
        missing: ANTHROPIC_KEY,
        wrong: ANTHROPIC_KEY,
        ..COMPATIBLE.keys
    },
    rules: &[
        (When::BadJson, bad("The request body is not valid JSON")),
        (When::Lacks("/messages"), bad("messages: Field required")),
        (When::UnknownModel, refuse(404, "model: {model}").kind("not_found_error")),
        (When::Above("/n", 1.0), bad("n: must be 1")),
        (When::TooLong, TOO_LONG),
    ],
    ignores: &["response_format"],
    id: "msg_{alnum24}",
    call_id: "toolu_{alnum24}",
    ..COMPATIBLE
};
