//! Kimi: a temperature that is fixed, usage inside the choice, thoughts that must come back.

use super::compatible::{COMPATIBLE, THINKING, THOUGHTLESS_CALL, bad, usage};
use crate::emulator::{Keys, Refusal, ServerSpec, Stream, UsageChunk, When, refuse};

const WRONG_KEY: Refusal = refuse(401, "Invalid Authentication").kind("invalid_authentication_error");

/// api.moonshot.cn and api.moonshot.ai, with a model that takes no temperature but 1.
pub const KIMI: ServerSpec = ServerSpec {
    name: "kimi",
    title: "Kimi (Moonshot AI)",
    sources: &["wire.md 2.4 [doc, iss, peer]", "the words about tool_choice: from memory"],
    model: "kimi-k3",
    context: 262_144,
    keys: Keys { missing: WRONG_KEY, wrong: WRONG_KEY, ..COMPATIBLE.keys },
    error: r#"{"error":{"message":$message,"type":$type}}"#,
    rules: &[
        (When::BadJson, bad("Invalid request: the body is not JSON")),
        (When::Lacks("/messages"), bad("Invalid request: messages must not be empty")),
        (
            When::UnknownModel,
            refuse(404, "Not found the model {model} or Permission denied").kind("resource_not_found_error"),
        ),
        (
            When::All(&[
                When::Has("/temperature"),
                When::Either(&[When::Below("/temperature", 1.0), When::Above("/temperature", 1.0)]),
            ]),
            bad("invalid temperature: only 1 is allowed for this model"),
        ),
        (When::Is("/tool_choice", "\"required\""), bad("tool_choice 'required' is not supported")),
        (When::Is("/reasoning_effort", "\"none\""), bad("invalid reasoning_effort: none")),
        (
            When::All(&[THINKING, THOUGHTLESS_CALL]),
            bad(
                "thinking is enabled but reasoning_content is missing in assistant tool call message at index 1",
            ),
        ),
        (When::TooLong, bad("Invalid request: Your request exceeded model token limit: {context}")),
    ],
    call_id: "{tool}:{i}",
    stream: Stream {
        finish: (
            concat!(r#"{"index":$index,"delta":{},"finish_reason":$finish,"#, usage!(), "}"),
            r#","system_fingerprint":"fpv0_loom""#,
        ),
        usage: (UsageChunk::WhenAsked, ("", concat!(",", usage!()))),
        ..COMPATIBLE.stream
    },
    ..COMPATIBLE
};
