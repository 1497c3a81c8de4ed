//! Zhipu GLM: business codes as texts, the finish reason only in the last chunk, no JSON schemas.

use super::compatible::{COMPATIBLE, bad, usage};
use crate::emulator::{Calls, Keys, Refusal, ServerSpec, Stream, UsageChunk, When, Whole, refuse};

const WRONG_KEY: Refusal = refuse(401, "身份验证失败。").code("1000");

/// open.bigmodel.cn and api.z.ai.
pub const ZHIPU: ServerSpec = ServerSpec {
    name: "zhipu",
    title: "Zhipu GLM (BigModel, Z.ai)",
    sources: &[
        "wire.md 2.5 [doc, rec, peer]",
        "the words of 1214, which parameters it is for, HTTP statuses: from memory",
    ],
    base: "/api/paas/v4",
    bases: &["/api/coding/paas/v4"],
    model: "glm-5.3",
    context: 131_072,
    keys: Keys {
        missing: WRONG_KEY, wrong: refuse(401, "身份验证失败。").code("1002"), ..COMPATIBLE.keys
    },
    error: r#"{"error":{"code":$code,"message":$message},"request_id":"{digits20}"}"#,
    not_found: refuse(404, "").body(
        r#"{"timestamp":"2026-11-22T10:00:00.000+00:00","status":404,"error":"Not Found","path":"{path}"}"#,
    ),
    rules: &[
        (When::BadJson, bad("请求体格式错误").code("1210")),
        (When::Lacks("/messages"), bad("messages 参数非法。请检查文档。").code("1214")),
        (When::Empty("/messages"), bad("messages 参数非法。请检查文档。").code("1214")),
        (When::UnknownModel, bad("模型不存在，请检查模型代码。").code("1211")),
        (
            When::Not(&When::Any("/messages", &When::NoneOf("/role", &["system"]))),
            bad("messages 参数非法。请检查文档。").code("1214"),
        ),
        (
            When::Any("/messages", &When::NoneOf("/role", &["system", "user", "assistant", "tool"])),
            bad("messages.role 参数非法。请检查文档。").code("1214"),
        ),
        (
            When::All(&[When::Has("/tool_choice"), When::Not(&When::Is("/tool_choice", "\"auto\""))]),
            bad("tool_choice 参数非法。请检查文档。").code("1214"),
        ),
        (
            When::Is("/response_format/type", "\"json_schema\""),
            bad("response_format.type 参数非法。请检查文档。").code("1214"),
        ),
        (When::Above("/temperature", 1.0), bad("temperature 参数非法。请检查文档。").code("1214")),
        (When::TooLong, bad("Prompt 超长").code("1261")),
    ],
    ignores: &["max_completion_tokens", "n", "parallel_tool_calls", "stream_options"],
    id: "20260701{digits14}",
    call_id: "call_{digits19}",
    whole: Whole {
        body: concat!(
            r#"{"choices":[$choices],"created":$created,"id":$id,"model":$model,"request_id":$id,"#,
            usage!(),
            "}"
        ),
        choice: r#"{"finish_reason":$finish,"index":$index,"message":{"content":$content
            <?reasoning ,"reasoning_content":$reasoning?>,"role":"assistant"<?calls ,"tool_calls":$calls?>}}"#,
        call: r#"{"function":{"arguments":$arguments,"name":$tool},"id":$call_id,"index":$call_index,"type":"function"}"#,
        ..COMPATIBLE.whole
    },
    stream: Stream {
        chunk: r#"{"id":$id,"created":$created,"model":$model,"choices":[$choice]$more}"#,
        first: ("", ""),
        reasoning: (r#"{"index":$index,"delta":{"role":"assistant","reasoning_content":$reasoning}}"#, ""),
        text: (r#"{"index":$index,"delta":{"role":"assistant","content":$text}}"#, ""),
        calls: Calls::Whole((
            r#"{"index":$index,"delta":{"role":"assistant","tool_calls":[{"id":$call_id,"index":$call_index,"type":"function",
                "function":{"name":$tool,"arguments":$arguments}}]}}"#,
            "",
        )),
        finish: (
            r#"{"index":$index,"finish_reason":$finish,"delta":{"role":"assistant","content":""}}"#,
            concat!(",", usage!()),
        ),
        usage: (UsageChunk::Never, ("", "")),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
