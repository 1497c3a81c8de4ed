//! Text Generation Inference: no blank after `data:`, a strict body, errors of streams on a 200, `stop` beside calls.

use super::compatible::{COMPATIBLE, usage};
use crate::emulator::{
    Calls, Keys, LastText, Models, Page, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse,
};

/// What the body's types do not allow: plain text.
const fn unreadable(message: &'static str) -> Refusal {
    refuse(422, message).body("Failed to deserialize the JSON body into the target type: {message}")
}

/// What the validation finds: in a stream on a 200.
const fn invalid(message: &'static str) -> Refusal {
    refuse(422, message)
        .kind("validation")
        .streamed("data:{\"error\":{\"message\":$message,\"http_status_code\":$status}}\n\ndata:[DONE]\n\n")
}

/// Text Generation Inference 3.
pub const TGI: ServerSpec = ServerSpec {
    name: "tgi",
    title: "Text Generation Inference 3",
    sources: &["wire.md 1.9 [src T, iss]"],
    model: "Qwen/Qwen2.5-7B-Instruct",
    context: 4096,
    headers: &[("x-compute-type", "1-cpu"), ("x-compute-time", "0.1")],
    keys: Keys { headers: &[], ..COMPATIBLE.keys },
    pages: &[
        Page { path: "/health", status: 200, body: "" },
        Page {
            path: "/info",
            status: 200,
            body: r#"{"model_id":$served,"max_total_tokens":$context,"router":"text-generation-router"}"#,
        },
    ],
    models: Models {
        entry: r#"{"id":$id,"object":"model","created":0,"owned_by":$id}"#,
        ..COMPATIBLE.models
    },
    error: r#"{"error":$message,"error_type":$type}"#,
    not_found: refuse(404, "").body(""),
    wrong_method: Some(refuse(405, "").body("")),
    rules: &[
        (When::ContentType, refuse(415, "").body("Expected request with `Content-Type: application/json`")),
        (
            When::BadJson,
            refuse(400, "").body(
                "Failed to parse the request body as JSON: EOF while parsing a value at line 1 column 0",
            ),
        ),
        (When::Lacks("/messages"), unreadable("missing field `messages` at line 1 column 2")),
        (
            When::NotA("/stop", "array"),
            unreadable("stop: invalid type: string \"{value}\", expected a sequence at line 1 column 90"),
        ),
        (
            When::NotA("/logit_bias", "array"),
            unreadable("logit_bias: invalid type: map, expected a sequence at line 1 column 90"),
        ),
        (
            When::Any(
                "/tools",
                &When::All(&[When::Lacks("/function/parameters"), When::Lacks("/function/arguments")]),
            ),
            unreadable("tools[0].function: missing field `parameters` at line 1 column 120"),
        ),
        (
            When::All(&[
                When::NoneOf("/response_format/type", &["text"]),
                When::Lacks("/response_format/value"),
            ]),
            unreadable("response_format: missing field `value` at line 1 column 120"),
        ),
        (
            When::All(&[When::Has("/tools"), When::Has("/response_format")]),
            refuse(422, "Tool error: Grammar and tools are mutually exclusive").kind("tool_error").streamed(
                "data:{\"error\":{\"message\":$message,\"http_status_code\":$status}}\n\ndata:[DONE]\n\n",
            ),
        ),
        (
            When::Either(&[When::Above("/top_p", 0.999_999), When::Below("/top_p", 0.000_001)]),
            invalid("Input validation error: `top_p` must be > 0.0 and < 1.0"),
        ),
        (
            When::Below("/temperature", 0.0),
            invalid("Input validation error: `temperature` must be strictly positive"),
        ),
        (
            When::TooLong,
            invalid(
                "Input validation error: `inputs` must have less than {context} tokens. Given: {prompt_tokens}",
            ),
        ),
        (
            When::TooMuch,
            invalid(
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= {context}. Given: {prompt_tokens} `inputs` \
                 tokens and {max_tokens} `max_new_tokens`",
            ),
        ),
    ],
    ignores: &["n", "parallel_tool_calls", "max_completion_tokens"],
    // The grammar makes one call, and that is a stop like any other.
    parallel_calls: false,
    finish: &[("tool_calls", "stop"), ("tool_calls_named", "stop"), ("stop_sequence", "stop_sequence")],
    id: "",
    call_id: "{i}",
    whole: Whole {
        body: concat!(
            r#"{"object":"chat.completion","id":"","created":$created,"model":$served,"system_fingerprint":"3.3.6-native",
                "choices":[$choices],"#,
            usage!(),
            "}"
        ),
        choice: r#"{"index":$index,"message":{"role":"assistant"<!calls ,"content":$text!><?calls ,"tool_calls":$calls?>},
            "logprobs":null,"finish_reason":$finish}"#,
        call: r#"{"id":$call_id,"type":"function","function":{"description":null,"name":$tool,"arguments":$arguments}}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        event: ("data:", "\n\n"),
        chunk: r#"{"object":"chat.completion.chunk","id":"","created":$created,"model":$served,
            "system_fingerprint":"3.3.6-native","choices":[$choice]$more}"#,
        first: ("", ""),
        // It does not tell thoughts from text.
        reasoning: (
            r#"{"index":$index,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}"#,
            "",
        ),
        text: (
            r#"{"index":$index,"delta":{"role":"assistant","content":$text},"logprobs":null,"finish_reason":null}"#,
            "",
        ),
        calls: Calls::Fragments {
            first: (
                r#"{"index":$index,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":$call_id,"type":"function",
                    "function":{"name":$tool,"arguments":$arguments}}]},"logprobs":null,"finish_reason":null}"#,
                "",
            ),
            more: (
                r#"{"index":$index,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"","type":"function",
                    "function":{"name":null,"arguments":$arguments}}]},"logprobs":null,"finish_reason":null}"#,
                "",
            ),
            begun: true,
        },
        finish: (
            r#"{"index":$index,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":$finish}"#,
            "",
        ),
        last_text: Some((
            LastText::Always,
            (
                r#"{"index":$index,"delta":{"role":"assistant","content":$text},"logprobs":null,"finish_reason":$finish}"#,
                "",
            ),
        )),
        usage: (UsageChunk::WhenAsked, ("", concat!(",", usage!()))),
        done: "data:[DONE]\n\n",
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
