//! The wire corpus (`tests/corpus/`): each case over a real socket, and its bytes through the decoder in every split.
//!
//! `not-yet.json` lists what Loom does not get right yet. Those cases run too, and one that passes is a failure: then
//! its line has to go.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests may fail as tests do, and the report is for those who run them"
)]

mod case;
mod decoding;
mod matching;
mod socket;
mod strictness;

use std::collections::BTreeMap;

use case::{CallKind, Expect, Family};
use decoding::Outcome;
use matching::{compare, merged, rules, without_ledger};
use serde_json::Value;

/// Whether an outcome is what a case expects. Over a socket more is known about an error than the decoder knows.
fn check(expect: &Expect, outcome: &Outcome, over_socket: bool) -> Result<(), String> {
    match (&expect.error, &outcome.error) {
        (None, Some(error)) => return Err(format!("failed: {error}")),
        (Some(expected), None) => {
            return Err(format!("no error, but {expected} is expected; got {}", socket::sum_value(outcome)));
        }
        (Some(expected), Some(error)) => {
            let mut expected = expected.clone();
            if let (Some(fields), false) = (expected.as_object_mut(), over_socket) {
                for of_the_socket in ["hint", "attempts", "url", "request_id", "ledger"] {
                    fields.shift_remove(of_the_socket);
                }
            }
            compare(&expected, error, false, "error")?;
        }
        (None, None) => {
            let found = rules(&serde_json::to_value(&outcome.sum.ledger).unwrap());
            let mut wanted = expect.ledger.clone().unwrap_or_else(|| found.clone());
            wanted.sort();
            if found != wanted {
                return Err(format!("ledger: expected {wanted:?}, got {:?}", outcome.sum.ledger));
            }
        }
    }
    let secrets = format!("{:?}{:?}", outcome.error, outcome.events);
    if let Some(secret) = expect.secrets.iter().find(|secret| secrets.contains(*secret)) {
        return Err(format!("{secret:?} is shown: {secrets}"));
    }
    if let Some(expected) = expect.events.as_ref().filter(|_| !over_socket || !outcome.is_whole_call()) {
        let events: Vec<Value> = outcome.events.iter().map(without_ledger).collect();
        let events = if expect.unmerged { events } else { merged(&events) };
        compare(&Value::from(expected.clone()), &events.into(), true, "events")?;
    }
    if let Some(expected) = &expect.completion {
        compare(expected, &socket::sum_value(outcome), false, "completion")?;
    }
    let mut ids: Vec<&str> = outcome.sum.tool_calls.iter().map(|call| call.id.as_str()).collect();
    ids.sort_unstable();
    if ids.first() == Some(&"") || ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(format!("the ids of the calls are empty or shared: {ids:?}"));
    }
    Ok(())
}

impl Outcome {
    /// A call without events, which only has a sum.
    fn is_whole_call(&self) -> bool {
        self.events.is_empty() && self.error.is_none()
    }
}

/// The bytes of a case without the network, where they alone decide: with each call's expectation its outcome.
///
/// # Errors
/// A way to cut the bytes up that leads to another outcome: wrong also for a case that is not right yet.
fn decode(case: &case::Case) -> Result<Vec<(&Expect, Outcome)>, String> {
    let first = (&case.request, &case.responses, &case.expect);
    let further = case.then.iter().map(|step| (&step.request, &step.responses, &step.expect));
    let mut outcomes = Vec::new();
    for (request, responses, expect) in std::iter::once(first).chain(further) {
        let ([response], CallKind::Chat) = (&responses[..], request.call) else { continue };
        let Some(body) = response.plain_bytes() else { continue };
        let outcome = decoding::decode_every_way(&body, response.end(), &socket::expected(request)?)?;
        if !expect.socket_only {
            outcomes.push((expect, outcome));
        }
    }
    Ok(outcomes)
}

fn not_yet() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(case::folder().join("not-yet.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn read(file: &str) -> Family {
    let path = case::folder().join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn run_family(file: &str) {
    let family = read(file);
    let not_yet = not_yet();
    let only = std::env::var("CORPUS_CASE").ok();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cases: Vec<_> = family
        .cases
        .into_iter()
        .filter(|case| only.as_ref().is_none_or(|only| *only == case.id))
        .map(std::sync::Arc::new)
        .collect();
    let running: Vec<_> = cases
        .iter()
        .map(|case| {
            let case = std::sync::Arc::clone(case);
            runtime.spawn(async move {
                socket::run(&case).await?;
                socket::run_strictly(&case).await.map_err(|why| format!("strict: {why}"))
            })
        })
        .collect();
    let (mut passed, mut open, mut failures) = (0, Vec::new(), Vec::new());
    for (case, over_socket) in cases.iter().zip(running) {
        let title = format!("{} ({})", case.id, case.name);
        let outcomes = decode(case).unwrap_or_else(|why| {
            failures.push(format!("{title}\n  {why}"));
            Vec::new()
        });
        let decoded = outcomes
            .iter()
            .try_for_each(|(expect, outcome)| check(expect, outcome, false))
            .map_err(|why| format!("decoder: {why}"));
        let over_socket = runtime.block_on(over_socket).unwrap_or_else(|error| Err(error.to_string()));
        let result = decoded.and(over_socket.map_err(|why| format!("socket: {why}")));
        match (result, not_yet.get(&case.id)) {
            (Ok(()), None) => passed += 1,
            (Err(why), Some(_)) => open.push(format!("{title}: {why}")),
            (Err(why), None) => failures.push(format!("{title}\n  {why}")),
            (Ok(()), Some(_)) => failures.push(format!("{title}\n  passes: take it out of not-yet.json")),
        }
    }
    println!("{file}: {passed} pass, {} not yet, {} fail", open.len(), failures.len());
    for line in open {
        println!("  not yet: {line}");
    }
    assert!(failures.is_empty(), "\n{file}: {} fail\n{}", failures.len(), failures.join("\n"));
}

macro_rules! families {
    ($($name:ident: $file:literal,)*) => {
        const FILES: &[&str] = &[$($file),*];
        $(#[test]
        fn $name() {
            run_family($file);
        })*
    };
}

families! {
    sse_framing: "4.1-framing.json",
    chunk_shape: "4.2-chunks.json",
    dialects: "4.3-dialects.json",
    tool_calls: "4.3-tool-calls.json",
    errors_in_streams: "4.4-stream-errors.json",
    whole_answers: "4.5-whole.json",
    models: "4.6-models.json",
    http_errors: "4.7-http-errors.json",
    wordings: "4.7-wordings.json",
    requests: "4.8-requests.json",
}

/// No file is left out, ids are unique, every case of the wire notes is there, and the list of what is open names
/// cases that exist.
#[test]
fn the_corpus_is_complete() {
    let mut files: Vec<String> = std::fs::read_dir(case::folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()) && name.ends_with(".json"))
        .collect();
    files.sort();
    assert_eq!(files, FILES);
    let mut ids: Vec<String> = FILES.iter().flat_map(|file| read(file).cases).map(|case| case.id).collect();
    ids.sort();
    let twice = ids.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None, "an id names two cases");
    for number in 1..=140 {
        let of_number =
            |id: &String| id.trim_end_matches(|c: char| !c.is_ascii_digit()) == number.to_string();
        let found = ids.iter().any(|id| id.split('-').next().is_some_and(|head| of_number(&head.to_owned())));
        assert!(found, "case {number} is missing");
    }
    for id in not_yet().keys() {
        assert!(ids.contains(id), "not-yet.json names {id:?}, which is no case");
    }
}
