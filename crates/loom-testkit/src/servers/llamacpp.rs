//! llama.cpp's llama-server, started with `--jinja`.

use super::OPENAI;
use crate::emulator::{
    Calls, FormatOver, Keys, Models, Page, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse,
};

const fn bad(message: &'static str) -> Refusal {
    refuse(400, message).kind("invalid_request_error")
}

/// Many mistakes of the client are a 500 here.
const fn broken(message: &'static str) -> Refusal {
    refuse(500, message).kind("server_error")
}

const WRONG_KEY: Refusal = refuse(401, "Invalid API Key").kind("authentication_error");

macro_rules! timings {
    () => {
        r#","timings":{"cache_n":0,"prompt_n":$prompt_tokens,"prompt_ms":1.5,"prompt_per_token_ms":0.1,
            "prompt_per_second":10000.5,"predicted_n":$completion_tokens,"predicted_ms":2.5,"predicted_per_token_ms":0.2,
            "predicted_per_second":5000.5}"#
    };
}

macro_rules! usage {
    () => {
        r#""usage":{"completion_tokens":$completion_tokens,"prompt_tokens":$prompt_tokens,"total_tokens":$total_tokens,
            "prompt_tokens_details":{"cached_tokens":0}}"#
    };
}

/// llama-server, build b11434.
pub const LLAMACPP: ServerSpec = ServerSpec {
    name: "llamacpp",
    title: "llama.cpp server (b11434, --jinja)",
    sources: &["wire.md 1.4", "tests/corpus/captures/llama-server"],
    bases: &[""],
    model: "qwen3-8b-q4_k_m.gguf",
    context: 4096,
    headers: &[("server", "llama.cpp")],
    json: "application/json; charset=utf-8",
    sse: "text/event-stream",
    keys: Keys {
        headers: &[("authorization", "Bearer "), ("x-api-key", "")],
        open: &["/health", "/models", "/v1/models"],
        missing: WRONG_KEY,
        wrong: WRONG_KEY,
    },
    pages: &[
        Page { path: "/health", status: 200, body: r#"{"status":"ok"}"# },
        Page { path: "/props", status: 200, body: r#"{"default_generation_settings":{"n_ctx":$context},"model_path":$served}"# },
    ],
    models: Models {
        list: r#"{"models":[{"name":$model,"model":$model,"modified_at":"","size":"","digest":"","type":"model",
            "description":"","tags":[""],"capabilities":["completion"],"parameters":"","details":{"parent_model":"",
            "format":"gguf","family":"","families":[""],"parameter_size":"","quantization_level":""}}],"object":"list",
            "data":[$entries]}"#,
        entry: r#"{"id":$id,"aliases":[$id],"tags":[],"object":"model","architecture":{"input_modalities":["text"],
            "output_modalities":["text"]},"created":$created,"owned_by":"llamacpp","meta":{"vocab_type":1,"n_vocab":474,
            "n_ctx":$context,"n_ctx_train":$context,"n_embd":64,"n_params":142912,"size":571648,"ftype":"all F32"}}"#,
        single: false,
    },
    error: r#"{"error":{"code":$status,"message":$message,"type":$type}}"#,
    not_found: refuse(404, "File Not Found").kind("not_found_error"),
    wrong_method: None,
    strict: false,
    rules: &[
        (
            When::BadJson,
            bad(
                "[json.exception.parse_error.101] parse error at line 1, column 32: syntax error while parsing value - \
                 unexpected end of input; expected '[', '{', or a literal",
            ),
        ),
        (When::Lacks("/messages"), bad("'messages' is required")),
        (When::NotA("/messages", "array"), bad("Expected 'messages' to be an array")),
        (
            When::NotA("/max_tokens", "number"),
            bad("Field 'max_tokens': [json.exception.type_error.302] type must be number, but is string"),
        ),
        (
            When::Any("/messages", &When::All(&[When::Lacks("/content"), When::NoneOf("/role", &["assistant"])])),
            bad("All non-assistant messages must contain 'content'"),
        ),
        (
            When::Any("/messages", &When::All(&[When::Lacks("/content"), When::Lacks("/tool_calls")])),
            bad("Assistant message must contain either 'content' or 'tool_calls'!"),
        ),
        (
            When::Any("/messages", &When::Any("/content", &When::Is("/type", "\"image_url\""))),
            broken("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        ),
        (
            When::Any("/messages", &When::Any("/content", &When::NoneOf("/type", &["text"]))),
            bad("unsupported content[].type"),
        ),
        (
            When::NoneOf("/response_format/type", &["text", "json_object", "json_schema"]),
            bad("response_format type must be one of \"text\" or \"json_object\", but got: {value}"),
        ),
        (
            When::Is("/response_format/json_schema/schema/type", "\"nonsense\""),
            bad(
                "Unable to generate parser for this template. Automatic parser generation failed: JSON schema error at #: \
                 unrecognized type nonsense",
            ),
        ),
        (
            When::All(&[When::Has("/grammar"), When::Has("/tools")]),
            bad("Cannot use custom grammar constraints with tools."),
        ),
        (
            When::All(&[When::Has("/top_logprobs"), When::Lacks("/logprobs")]),
            bad("top_logprobs requires logprobs to be set to true"),
        ),
        (
            When::TooLong,
            bad("request ({prompt_tokens} tokens) exceeds the available context size ({context} tokens), try increasing it").body(
                r#"{"error":{"code":400,"message":$message,"type":"exceed_context_size_error",
                    "n_prompt_tokens":$prompt_tokens,"n_ctx":$context}}"#,
            ),
        ),
    ],
    grammars: &["/json_schema"],
    // A named choice is silently taken as "auto"; with a format no tool is called, not even by "required".
    ignores: &["tool_choice={}"],
    format_over: FormatOver::AllCalls,
    id: "chatcmpl-{alnum32}",
    call_id: "{alnum32}",
    whole: Whole {
        body: concat!(
            r#"{"choices":[$choices],"created":$created,"model":$served,"system_fingerprint":"b11434-6d05498",
                "object":"chat.completion","#,
            usage!(),
            r#","id":$id"#,
            timings!(),
            "}"
        ),
        choice: r#"{"finish_reason":$finish,"index":$index,"message":{"role":"assistant"
            <?reasoning ,"reasoning_content":$reasoning?>,"content":$text<?calls ,"tool_calls":$calls?>}}"#,
        call: r#"{"type":"function","function":{"name":$tool,"arguments":$arguments},"id":$call_id}"#,
        before: "",
    },
    stream: Stream {
        chunk: r#"{"choices":[$choice],"created":$created,"id":$id,"model":$served,"system_fingerprint":"b11434-6d05498",
            "object":"chat.completion.chunk"$more}"#,
        first: (r#"{"finish_reason":null,"index":$index,"delta":{"role":"assistant","content":null}}"#, ""),
        reasoning: (r#"{"finish_reason":null,"index":$index,"delta":{"reasoning_content":$reasoning}}"#, ""),
        text: (r#"{"finish_reason":null,"index":$index,"delta":{"content":$text}}"#, ""),
        calls: Calls::Fragments {
            first: (
                r#"{"finish_reason":null,"index":$index,"delta":{"tool_calls":[{"index":$call_index,"id":$call_id,
                    "type":"function","function":{"name":$tool,"arguments":$arguments}}]}}"#,
                "",
            ),
            more: (
                r#"{"finish_reason":null,"index":$index,"delta":{"tool_calls":[{"index":$call_index,
                    "function":{"arguments":$arguments}}]}}"#,
                "",
            ),
            begun: true,
        },
        finish: (r#"{"finish_reason":$finish,"index":$index,"delta":{}}"#, ""),
        usage: (UsageChunk::WhenAsked, ("", concat!(",", usage!()))),
        asked: "",
        tail: timings!(),
        ..OPENAI.stream
    },
    ..OPENAI
};
