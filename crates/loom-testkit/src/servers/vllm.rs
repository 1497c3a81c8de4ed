//! vLLM, with the Hermes tool parser; and without any, as it is started when nobody thinks of tools.

use super::OPENAI;
use crate::emulator::{
    Calls, FormatOver, Keys, LastText, Models, Page, Refusal, ServerSpec, Stream, UsageChunk, When, Whole,
    refuse,
};

const fn bad(message: &'static str) -> Refusal {
    refuse(400, message).kind("BadRequestError")
}

const fn invalid(message: &'static str) -> Refusal {
    refuse(400, message).kind("Bad Request")
}

const DETAIL: Refusal = refuse(404, "").body(r#"{"detail":"Not Found"}"#);
const UNAUTHORIZED: Refusal = refuse(401, "").body(r#"{"error":"Unauthorized"}"#);

/// What any vLLM refuses.
macro_rules! rules {
    ($($extra:expr),*) => {
        &[
            (When::ContentType, invalid("1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed")),
            (
                When::BadJson,
                invalid(
                    "1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.31', 'msg': 'JSON decode error', \
                     'input': '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}}",
                )
                .param("body.31"),
            ),
            (
                When::NotObject,
                invalid(
                    "1 validation error:\n  {'type': 'model_attributes_type', 'loc': 'body', 'msg': 'Input should be a \
                     valid dictionary or object to extract fields from', 'input': '<list of 2 items>'}",
                )
                .param("body"),
            ),
            (
                When::Lacks("/messages"),
                invalid(
                    "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', 'input': \
                     '<dict of 1 items>'}",
                )
                .param("body.messages"),
            ),
            (
                When::NotA("/max_tokens", "integer"),
                invalid(
                    "1 validation error:\n  {'type': 'int_parsing', 'loc': 'body.max_tokens', 'msg': 'Input should be a \
                     valid integer, unable to parse string as an integer', 'input': '{value}'}",
                )
                .param("body.max_tokens"),
            ),
            (
                When::Empty("/tools"),
                bad("`tools` must not be an empty array. Either provide at least one tool or omit the field entirely."),
            ),
            (
                When::All(&[When::Has("/tool_choice"), When::Lacks("/tools"), When::Not(&When::Is("/tool_choice", "\"none\""))]),
                bad("When using `tool_choice`, `tools` must be set."),
            ),
            (
                When::UnofferedTool,
                bad("The tool specified in `tool_choice` does not match any of the specified `tools` (parameter=tool_choice)")
                    .param("tool_choice"),
            ),
            $($extra,)*
            (
                When::All(&[When::Has("/stream_options"), When::Not(&When::Is("/stream", "true"))]),
                bad("Stream options can only be defined when `stream=True`. (parameter=stream_options)").param("stream_options"),
            ),
            (
                When::UnknownModel,
                refuse(404, "The model `{model}` does not exist. Valid aliases: {models}.").kind("NotFoundError").param("model"),
            ),
            (
                When::Empty("/messages"),
                bad("Cannot apply chat template to an empty conversation. Provide at least one message."),
            ),
            (
                When::Any("/messages", &When::Any("/content", &When::Is("/type", "\"image_url\""))),
                bad("{served} is not a multimodal model"),
            ),
            (
                When::Any("/messages", &When::Any("/tool_calls", &When::NoJsonText("/function/arguments"))),
                bad("Expecting value: line 1 column 1 (char 0)"),
            ),
            (
                When::Is("/response_format/json_schema/schema/type", "\"nonsense\""),
                bad("Grammar error: Invalid type: nonsense"),
            ),
            (
                When::Below("/max_tokens", 1.0),
                bad("max_tokens must be at least 1, got {value}. (parameter=max_tokens, value={value})").param("max_tokens"),
            ),
            (
                When::Below("/temperature", 0.0),
                bad("temperature must be non-negative, got {value}. (parameter=temperature, value={value})").param("temperature"),
            ),
            (
                When::TooLong,
                bad(
                    "This model's maximum context length is {context} tokens. However, your prompt contains at least \
                     {prompt_tokens} input tokens, which exceeds this limit even without any output tokens. Please reduce the \
                     length of the input prompt. (parameter=input_tokens, value={prompt_tokens})",
                )
                .param("input_tokens"),
            ),
            (
                When::TooMuch,
                bad(
                    "max_tokens={max_tokens} cannot be greater than max_model_len={context}. Please request fewer output \
                     tokens. (parameter=max_tokens, value={max_tokens})",
                )
                .param("max_tokens"),
            ),
        ]
    };
}

/// vLLM 0.32 with `--enable-auto-tool-choice --tool-call-parser hermes`.
pub const VLLM: ServerSpec = ServerSpec {
    name: "vllm",
    title: "vLLM 0.32, tool parser hermes",
    sources: &["wire.md 1.1", "tests/corpus/captures/vllm"],
    model: "Qwen/Qwen3-8B",
    context: 32_768,
    headers: &[("server", "uvicorn")],
    sse: "text/event-stream; charset=utf-8",
    keys: Keys {
        // Only what lies under /v1 is guarded.
        open: &["/health", "/version", "/ping", "/metrics"],
        missing: UNAUTHORIZED,
        wrong: UNAUTHORIZED,
        ..OPENAI.keys
    },
    pages: &[
        Page { path: "/health", status: 200, body: "" },
        Page { path: "/version", status: 200, body: r#"{"version":"0.32.0"}"# },
    ],
    models: Models {
        entry: r#"{"id":$id,"object":"model","created":$created,"owned_by":"vllm","root":$id,"parent":null,
            "max_model_len":$context,"permission":[{"id":"modelperm-{hex16}","object":"model_permission","created":$created,
            "allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":false,
            "allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}]}"#,
        single: false,
        ..OPENAI.models
    },
    error: r#"{"error":{"message":$message,"type":$type,"param":$param,"code":$status}}"#,
    not_found: DETAIL,
    wrong_method: Some(refuse(405, "").body(r#"{"detail":"Method Not Allowed"}"#)),
    strict: false,
    rules: rules!(),
    grammars: &["/structured_outputs/json"],
    format_over: FormatOver::FreeCalls,
    finish: &[("tool_calls_named", "stop")],
    id: "chatcmpl-{hex16}",
    call_id: "chatcmpl-tool-{hex16}",
    whole: Whole {
        body: r#"{"id":$id,"object":"chat.completion","created":$created,"model":$model,"choices":[$choices],
            "service_tier":null,"system_fingerprint":"vllm-0.32.0-fdac5755","usage":{"prompt_tokens":$prompt_tokens,
            "total_tokens":$total_tokens,"completion_tokens":$completion_tokens,"prompt_tokens_details":null,
            "completion_tokens_details":null},"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,
            "kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}"#,
        choice: r#"{"index":$index,"message":{"role":"assistant","content":$text,"refusal":null,"annotations":null,
            "audio":null,"function_call":null<?calls ,"tool_calls":$calls?>,"reasoning":$reasoning},"logprobs":null,
            "finish_reason":$finish,"stop_reason":$stop,"token_ids":null,"routed_experts":null}"#,
        ..OPENAI.whole
    },
    stream: Stream {
        chunk: r#"{"id":$id,"object":"chat.completion.chunk","created":$created,"model":$model,"choices":[$choice]$more}"#,
        first: (
            r#"{"index":$index,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}"#,
            r#","prompt_token_ids":null,"prompt_text":null"#,
        ),
        // Only `reasoning`, since 0.16; wire.md 1.1.
        reasoning: (
            r#"{"index":$index,"delta":{"reasoning":$reasoning},"logprobs":null,"finish_reason":null,"token_ids":null}"#,
            "",
        ),
        text: (
            r#"{"index":$index,"delta":{"content":$text},"logprobs":null,"finish_reason":null,"token_ids":null}"#,
            "",
        ),
        calls: Calls::Fragments {
            first: (
                r#"{"index":$index,"delta":{"content":null,"tool_calls":[{"id":$call_id,"type":"function",
                    "index":$call_index,"function":{"name":$tool}}]},"logprobs":null,"finish_reason":null,"token_ids":null}"#,
                "",
            ),
            more: (
                r#"{"index":$index,"delta":{"content":null,"tool_calls":[{"index":$call_index,
                    "function":{"arguments":$arguments}}]},"logprobs":null,"finish_reason":null,"token_ids":null}"#,
                "",
            ),
            begun: false,
        },
        finish: (
            r#"{"index":$index,"delta":{},"logprobs":null,"finish_reason":$finish,"stop_reason":$stop,"token_ids":null}"#,
            "",
        ),
        last_text: Some((
            LastText::IfHeldBack,
            (
                r#"{"index":$index,"delta":{"content":$text},"logprobs":null,"finish_reason":$finish,"stop_reason":$stop,
                    "token_ids":null}"#,
                "",
            ),
        )),
        usage: (
            UsageChunk::WhenAsked,
            (
                "",
                r#","usage":{"prompt_tokens":$prompt_tokens,"total_tokens":$total_tokens,
                    "completion_tokens":$completion_tokens}"#,
            ),
        ),
        asked: "",
        tail: r#","system_fingerprint":"vllm-0.32.0-fdac5755""#,
        ..OPENAI.stream
    },
    ..OPENAI
};

/// vLLM as it is started without the flags for tools.
pub const VLLM_NO_TOOLS: ServerSpec = ServerSpec {
    name: "vllm-no-tools",
    title: "vLLM 0.32 without a tool parser",
    sources: &["wire.md 1.1", "tests/corpus/captures/vllm-no-tool-parser"],
    rules: rules!(
        (
            When::Is("/tool_choice", "\"required\""),
            bad("tool_choice=\"required\" requires --tool-call-parser to be set")
        ),
        (
            When::NotA("/tool_choice", "string"),
            bad("tool_choice=function \"{tool}\" requires --tool-call-parser to be set")
        ),
        (
            When::All(&[When::Has("/tools"), When::Not(&When::Is("/tool_choice", "\"none\""))]),
            bad("\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set")
        )
    ),
    ..VLLM
};

/// vLLM of 2024, before `json_schema`: it has a field of its own, and refuses fields that it does not know.
pub const VLLM_OLD: ServerSpec = ServerSpec {
    name: "vllm-old",
    title: "vLLM 0.5, tool parser hermes",
    sources: &["vllm v0.5 entrypoints/openai/protocol.py: ResponseFormat, guided_json, extra=\"forbid\""],
    rules: rules!(
        (
            When::NoneOf("/response_format/type", &["text", "json_object"]),
            bad(
                "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': \"Input should be 'text' or \
                 'json_object'\", 'input': '{value}', 'ctx': {'expected': \"'text' or 'json_object'\"}}]"
            )
        ),
        (
            When::Has("/structured_outputs"),
            bad(
                "[{'type': 'extra_forbidden', 'loc': ('body', 'structured_outputs'), 'msg': 'Extra inputs are not permitted', \
                 'input': {}}]"
            )
        )
    ),
    grammars: &["/guided_json"],
    ..VLLM
};
