//! Raw answers of real servers (`tests/corpus/captures`, made with curl) replayed: whole, byte by byte and in random
//! splits they give one result, and it is the one in `captures.expected.json`.
//!
//! That file was computed by a script that shares no code with Loom, and reviewed against the notes on the servers.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests may fail as tests do"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use loom_wire::answer::{AnswerDecoder, End, Limits};
use loom_wire::{Completion, ErrorKind, LlmError, api_error};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus")
}

/// One capture: the request's wish for a stream, what curl said about the end, and the answer.
struct Capture {
    status: u16,
    streams: bool,
    broken: bool,
    body: Vec<u8>,
}

/// The capture in a file, or `None` if it asked for something else than chat.
fn parse(bytes: &[u8]) -> Option<Capture> {
    let mut rest = bytes;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        String::from_utf8_lossy(line).trim_end().to_owned()
    };
    let command = line();
    if !command.contains("/chat/completions") || !command.contains("-X POST") {
        return None;
    }
    let mut broken = false;
    let status = loop {
        let line = line();
        if let Some(exit) = line.strip_prefix("# curl exit ") {
            broken = !exit.starts_with("0,");
        }
        if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
            break status.split(' ').next()?.parse().ok()?;
        }
    };
    while !line().is_empty() {}
    Some(Capture { status, streams: command.contains(r#""stream": true"#), broken, body: rest.to_vec() })
}

/// What an answer comes to, as the expectations write it.
fn decode<'a>(capture: &Capture, pieces: impl IntoIterator<Item = &'a [u8]>) -> Value {
    if capture.status != 200 {
        let pieces: Vec<&[u8]> = pieces.into_iter().collect();
        return failure(&api_error::from_http(capture.status, &pieces.concat()));
    }
    let mut decoder = AnswerDecoder::new(Limits::default(), capture.streams, None);
    let mut events = Vec::new();
    let run = || {
        for piece in pieces {
            decoder.push(piece, &mut events)?;
        }
        let lost = LlmError::new(ErrorKind::StreamInterrupted, "the connection broke");
        decoder.end(if capture.broken { End::Broken(lost) } else { End::Clean }, &mut events)
    };
    let result = run();
    let mut sum = Completion::default();
    for event in &events {
        sum.absorb(event);
    }
    match result {
        Ok(()) => answer(&sum),
        Err(error) => failure(&error),
    }
}

fn answer(sum: &Completion) -> Value {
    let mut fields = said(sum);
    fields["finish_reason"] = sum.finish_reason.as_ref().map_or(Value::Null, |reason| reason.as_str().into());
    let rule = |entry: &loom_wire::LedgerEntry| {
        serde_json::to_value(entry.rule).unwrap().as_str().unwrap_or_default().to_owned()
    };
    let rules: BTreeSet<String> = sum.ledger.iter().map(rule).collect();
    if !rules.is_empty() {
        fields["ledger"] = rules.into_iter().collect();
    }
    fields
}

fn said(sum: &Completion) -> Value {
    let mut fields = json!({"content": sum.content.chars().count()});
    if let Some(reasoning) = &sum.reasoning {
        fields["reasoning"] = reasoning.chars().count().into();
    }
    if !sum.tool_calls.is_empty() {
        let calls = sum.tool_calls.iter().map(|call| json!([call.name, call.invalid.is_none()]));
        fields["calls"] = calls.collect();
    }
    if let Some(usage) = sum.usage {
        fields["usage"] = json!([usage.prompt_tokens, usage.completion_tokens, usage.total_tokens]);
    }
    fields
}

fn failure(error: &LlmError) -> Value {
    assert!(!error.message.trim().is_empty(), "an error always says something");
    let mut fields = json!({"error": error.kind.as_str(), "retryable": error.retryable});
    if let Some(status) = error.status_code {
        fields["status"] = status.into();
    }
    if let Some(partial) = &error.partial {
        fields["partial"] = said(partial);
    }
    fields
}

/// Byte by byte, then in eleven ways that are the same in each run.
fn splits(body: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let mut seed = body.len() as u64;
    (0..12).map(move |round| {
        let (mut pieces, mut rest) = (Vec::new(), body);
        while !rest.is_empty() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size = if round == 0 { 1 } else { 1 + (seed >> 40) as usize % [7, 90, 1500][round % 3] };
            let (piece, after) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces
    })
}

#[test]
fn every_capture_replays_to_the_right_result() {
    let expected = std::fs::read(folder().join("captures.expected.json")).unwrap();
    let mut expected: BTreeMap<String, Value> = serde_json::from_slice(&expected).unwrap();
    let mut failures = Vec::new();
    let mut count = 0;
    for server in std::fs::read_dir(folder().join("captures")).unwrap() {
        let server = server.unwrap();
        for file in std::fs::read_dir(server.path()).unwrap() {
            let path = file.unwrap().path();
            let Some(capture) = parse(&std::fs::read(&path).unwrap()) else { continue };
            let case = path.file_stem().unwrap().to_string_lossy();
            let name = format!("{}/{case}", server.file_name().to_string_lossy());
            count += 1;
            let whole = decode(&capture, [capture.body.as_slice()]);
            for (round, pieces) in splits(&capture.body).enumerate() {
                let split = decode(&capture, pieces);
                if split != whole {
                    failures.push(format!("{name}, split {round}:\n  whole {whole}\n  split {split}"));
                    break;
                }
            }
            let wanted = expected.remove(&name).unwrap_or_default();
            if wanted != whole {
                failures.push(format!("{name}:\n  expected {wanted}\n  got      {whole}"));
            }
        }
    }
    failures.extend(expected.keys().map(|name| format!("{name}: there is no such capture")));
    println!("{count} captures");
    assert!(failures.is_empty(), "{} fail\n{}", failures.len(), failures.join("\n"));
}
