//! text-generation-webui: any model name, no JSON mode, calls in the last chunk, mistakes in a stream end it without a word.

use super::compatible::{COMPATIBLE, usage};
use crate::emulator::{
    Calls, Keys, Models, Page, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse,
};

/// What is found while a stream is prepared breaks the stream: 200 and nothing.
const fn bad(message: &'static str) -> Refusal {
    refuse(400, message).kind("InvalidRequestError").streamed("")
}

const WRONG_KEY: Refusal = refuse(401, "").body(r#"{"detail":"Unauthorized"}"#);

/// text-generation-webui with `--api`.
pub const TEXTGEN: ServerSpec = ServerSpec {
    name: "textgen",
    title: "text-generation-webui",
    sources: &["wire.md 1.6 [src W]"],
    model: "Qwen3-8B-Q4_K_M.gguf",
    context: 8192,
    headers: &[("server", "uvicorn")],
    sse: "text/event-stream; charset=utf-8",
    keys: Keys { missing: WRONG_KEY, wrong: WRONG_KEY, ..COMPATIBLE.keys },
    pages: &[Page { path: "/v1/internal/model/info", status: 200, body: r#"{"model_name":$served,"lora_names":[]}"# }],
    models: Models {
        entry: r#"{"id":$id,"object":"model","created":0,"owned_by":"user"}"#,
        ..COMPATIBLE.models
    },
    not_found: refuse(404, "").body(r#"{"detail":"Not Found"}"#),
    wrong_method: Some(refuse(405, "").body(r#"{"detail":"Method Not Allowed"}"#)),
    rules: &[
        (
            When::BadJson,
            refuse(422, "").body(r#"{"detail":[{"type":"json_invalid","loc":["body",0],"msg":"JSON decode error","input":{}}]}"#),
        ),
        (
            When::Lacks("/messages"),
            refuse(422, "").body(r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required","input":{}}]}"#),
        ),
        (When::Has("/functions"), bad("functions is not supported.").param("functions")),
        (
            When::Any("/messages", &When::Is("/role", "\"function\"")),
            bad("role: function is not supported.").param("messages"),
        ),
        (
            When::Any("/messages", &When::All(&[When::Lacks("/content"), When::Lacks("/tool_calls")])),
            bad("messages: missing content").param("messages"),
        ),
    ],
    ignores: &["response_format", "n", "tool_choice=required"],
    truncates: true,
    id: "chatcmpl-{digits19}",
    call_id: "call_{alnum8}",
    whole: Whole {
        body: concat!(
            r#"{"id":$id,"object":"chat.completion","created":$created,"model":$served,"choices":[$choices],"#,
            usage!(),
            "}"
        ),
        choice: r#"{"index":$index,"finish_reason":$finish,"message":{"role":"assistant","refusal":null,"content":$text
            <?reasoning ,"reasoning_content":$reasoning?><?calls ,"tool_calls":$calls?>},"logprobs":null}"#,
        call: r#"{"type":"function","function":{"name":$tool,"arguments":$arguments},"id":$call_id,"index":"{call_index}"}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        event: ("data: ", "\n\n"),
        chunk: r#"{"id":$id,"object":"chat.completion.chunk","created":$created,"model":$served,"choices":[$choice]$more}"#,
        first: (
            r#"{"index":$index,"finish_reason":null,"delta":{"role":"assistant","refusal":null,"content":""},"logprobs":null}"#,
            "",
        ),
        reasoning: (r#"{"index":$index,"finish_reason":null,"delta":{"reasoning_content":$reasoning},"logprobs":null}"#, ""),
        text: (r#"{"index":$index,"finish_reason":null,"delta":{"content":$text},"logprobs":null}"#, ""),
        calls: Calls::InFinish((
            r#"{"index":$index,"finish_reason":$finish,"delta":{"tool_calls":$calls},"logprobs":null}"#,
            "",
        )),
        finish: (r#"{"index":$index,"finish_reason":$finish,"delta":{},"logprobs":null}"#, ""),
        usage: (UsageChunk::WhenAsked, ("", concat!(",", usage!()))),
        done: "data: [DONE]\n\n",
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
