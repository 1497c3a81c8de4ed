//! The server of llama-cpp-python, started with `--chat_format chatml-function-calling`.

use super::OPENAI;
use crate::emulator::{Calls, Keys, Models, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

/// The mistakes that its validation finds are a 500, too.
const fn broken(message: &'static str) -> Refusal {
    refuse(500, message).kind("internal_server_error")
}

const WRONG_KEY: Refusal = refuse(401, "").body(r#"{"detail":"Invalid API key"}"#);

/// llama-cpp-python 0.3.36.
pub const LLAMA_CPP_PYTHON: ServerSpec = ServerSpec {
    name: "llama-cpp-python",
    title: "llama-cpp-python 0.3.36 (chatml-function-calling)",
    sources: &["wire.md 1.5", "tests/corpus/captures/llama-cpp-python"],
    model: "qwen3-8b-q4_k_m.gguf",
    context: 2048,
    headers: &[("server", "uvicorn"), ("x-request-id", "{hex32}")],
    ok_headers: &[("openai-processing-ms", "22")],
    sse: "text/event-stream; charset=utf-8",
    keys: Keys { missing: WRONG_KEY, wrong: WRONG_KEY, ..OPENAI.keys },
    models: Models {
        entry: r#"{"id":$id,"object":"model","owned_by":"me","permissions":[]}"#,
        single: false,
        ..OPENAI.models
    },
    not_found: refuse(404, "").body(r#"{"detail":"Not Found"}"#),
    wrong_method: Some(refuse(405, "").body(r#"{"detail":"Method Not Allowed"}"#)),
    strict: false,
    rules: &[
        (
            When::ContentType,
            broken(
                "1 validation error:\n  {'type': 'model_attributes_type', 'loc': ('body',), 'msg': 'Input should be a valid \
                 dictionary or object to extract fields from', 'input': b'…'}",
            ),
        ),
        (When::BadJson, refuse(500, "").body("Internal Server Error").crash()),
        (
            When::NotObject,
            broken(
                "1 validation error:\n  {'type': 'model_attributes_type', 'loc': ('body',), 'msg': 'Input should be a valid \
                 dictionary or object to extract fields from', 'input': […]}",
            ),
        ),
        (
            When::NotA("/max_tokens", "integer"),
            broken(
                "1 validation error:\n  {'type': 'int_parsing', 'loc': ('body', 'max_tokens'), 'msg': 'Input should be a \
                 valid integer, unable to parse string as an integer', 'input': '{value}'}",
            ),
        ),
        (
            When::Any("/messages", &When::NoneOf("/role", &["system", "user", "assistant", "tool", "function", "developer"])),
            broken(
                "7 validation errors:\n  {'type': 'literal_error', 'loc': ('body', 'messages', 0, \
                 'ChatCompletionRequestSystemMessage', 'role'), 'msg': \"Input should be 'system'\", 'input': '{value}'}",
            ),
        ),
        (
            When::Any("/messages", &When::Null("/content")),
            broken(
                "7 validation errors:\n  {'type': 'string_type', 'loc': ('body', 'messages', 1, \
                 'ChatCompletionRequestAssistantMessage', 'content'), 'msg': 'Input should be a valid string', 'input': None}",
            ),
        ),
        (
            When::NoneOf("/response_format/type", &["text", "json_object"]),
            broken(
                "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': \"Input \
                 should be 'text' or 'json_object'\", 'input': '{value}', 'ctx': {'expected': \"'text' or 'json_object'\"}}",
            ),
        ),
        (When::UnofferedTool, broken("Tool with name '{value}' not found in tools").streamed("")),
        // Of these three the stream is there, empty, and ends as if all were well.
        (When::Is("/tool_choice", "\"required\""), broken("").streamed("")),
        (
            When::TooLong,
            refuse(
                400,
                "This model's maximum context length is {context} tokens. However, you requested {total_tokens} tokens \
                 ({prompt_tokens} in the messages, {max_tokens} in the completion). Please reduce the length of the messages \
                 or completion.",
            )
            .kind("invalid_request_error")
            .param("messages")
            .code("context_length_exceeded")
            .streamed(""),
        ),
        (
            When::All(&[When::Is("/tool_choice", "\"auto\""), When::Has("/tools"), When::Is("/stream", "true")]),
            broken("").streamed(""),
        ),
    ],
    ignores: &["n", "max_completion_tokens", "parallel_tool_calls", "stream_options"],
    id: "chatcmpl-{uuid}",
    call_id: "call__{i}_{tool}_cmpl-{uuid}",
    whole: Whole {
        body: r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"choices":[$choices],"usage":{
            "prompt_tokens":$prompt_tokens,"completion_tokens":$completion_tokens,"total_tokens":$total_tokens}}"#,
        choice: r#"{"index":$index,"message":{"content":$content<?calls ,"tool_calls":$calls?>,"role":"assistant"
            <?calls ,"function_call":{"name":"{first_tool}","arguments":"{first_arguments}"}?>},"logprobs":null,
            "finish_reason":$finish}"#,
        ..OPENAI.whole
    },
    stream: Stream {
        chunk: r#"{"id": $id, "model": $model, "created": $created, "object": "chat.completion.chunk", "choices": [$choice]$more}"#,
        first: (
            r#"{"index": $index, "delta": {"role": "assistant"<?calls , "content": null, "function_call": null,
                 "tool_calls": null?>}, "logprobs": null, "finish_reason": null}"#,
            "",
        ),
        text: (r#"{"index": $index, "delta": {"content": $text}, "logprobs": null, "finish_reason": null}"#, ""),
        calls: Calls::Fragments {
            first: CALL,
            more: CALL,
            begun: true,
        },
        finish: (
            r#"{"index": $index, "delta": {<?calls "role": null, "content": null, "function_call": null,
                 "tool_calls": null?>}, "logprobs": null, "finish_reason": $finish}"#,
            "",
        ),
        usage: (UsageChunk::Never, ("", "")),
        asked: "",
        ..OPENAI.stream
    },
    ..OPENAI
};

/// Each piece has the id and the whole name, and the legacy form beside it.
const CALL: (&str, &str) = (
    r#"{"index": $index, "finish_reason": null, "logprobs": null, "delta": {"role": null, "content": null,
         "function_call": {"name": $tool, "arguments": $arguments}, "tool_calls": [{"index": $call_index, "id": $call_id,
         "type": "function", "function": {"name": $tool, "arguments": $arguments}}]}}"#,
    "",
);
