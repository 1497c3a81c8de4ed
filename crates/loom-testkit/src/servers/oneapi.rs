//! one-api and new-api, gateways to other providers: errors of their own, in Chinese, with the request's id in the message.

use super::compatible::{COMPATIBLE, TOO_LONG};
use crate::emulator::{Keys, Refusal, ServerSpec, Stream, When, refuse};

const fn refused(status: u16, message: &'static str) -> Refusal {
    refuse(status, message).kind("one_api_error")
}

/// one-api before an ordinary server.
pub const ONEAPI: ServerSpec = ServerSpec {
    name: "oneapi",
    title: "one-api / new-api",
    sources: &["wire.md 1.12 [src A1, NA]"],
    model: "gpt-4o",
    headers: &[("x-oneapi-request-id", "20251122{digits20}")],
    keys: Keys {
        missing: refused(401, "未提供令牌 (request id: 20251122{digits20})"),
        wrong: refused(401, "无效的令牌 (request id: 20251122{digits20})"),
        ..COMPATIBLE.keys
    },
    error: r#"{"error":{"message":$message,"type":$type<?param ,"param":$param?><?code ,"code":$code?>}}"#,
    not_found: refuse(404, "Invalid URL ({method} {path})").kind("invalid_request_error"),
    wrong_method: None,
    rules: &[
        (When::BadJson, refused(400, "无效的请求: unexpected EOF (request id: 20251122{digits20})")),
        (
            When::Lacks("/messages"),
            refused(400, "field messages is required (request id: 20251122{digits20})"),
        ),
        // Not a server that is busy: a model that no channel serves.
        (
            When::UnknownModel,
            refused(503, "当前分组 default 下对于模型 {model} 无可用渠道 (request id: 20251122{digits20})"),
        ),
        (When::TooLong, TOO_LONG),
    ],
    stream: Stream { comments: &[": PING\n\n"], ..COMPATIBLE.stream },
    ..COMPATIBLE
};
