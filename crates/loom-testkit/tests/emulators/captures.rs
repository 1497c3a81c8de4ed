//! An emulator gets the requests that the real server of its name got, says what that one said, and must give its answers
//! the same shape. The real answers are those of `tests/corpus/captures`; `tests/servers` compares with the servers themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use loom_testkit::{Emulator, Turn, servers};
use serde_json::{Value, json};

use crate::client::{Answer, Request};
use crate::shape::differences;

/// `tests/corpus/emulators.json`: which emulator has which folder of captures, the model if it is not `tiny`, what no emulator does, and where one differs
/// from the real server on purpose. What is listed as different and is not fails the test.
fn list() -> Value {
    serde_json::from_str(include_str!("../../../../tests/corpus/emulators.json")).unwrap()
}

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/captures")
}

/// A recorded exchange: the line of curl, two lines about it, the answer.
fn recorded(file: &Path) -> (Request, Answer) {
    let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
    let mut lines = text.splitn(3, '\n');
    let (curl, _, answer) = (lines.next().unwrap(), lines.next(), lines.next().unwrap());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (request(curl), Answer::parse(head, body.strip_suffix('\n').unwrap_or(body).to_owned()))
}

fn request(curl: &str) -> Request {
    let words = shell_words(curl);
    let after = |flag: &'static str| {
        let at = move |(index, word): (usize, &String)| (word == flag).then_some(index + 1);
        words.iter().enumerate().filter_map(at).filter_map(|index| words.get(index))
    };
    let url = words.iter().find(|word| word.starts_with("http://")).unwrap();
    Request {
        method: after("-X").next().cloned().unwrap(),
        path: format!("/{}", url.splitn(4, '/').nth(3).unwrap()),
        headers: after("-H")
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: after("-d").next().cloned().unwrap_or_default(),
    }
}

/// Words with single quotes around them, as Python's shlex writes them.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            (_, c) => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// A script of what the real server said, so that only how it said it can differ.
fn said(answer: &Answer) -> Option<Turn> {
    let whole = answer.json();
    let chunks = if whole.is_null() { answer.chunks() } else { vec![whole] };
    let (mut content, mut reason, mut stopped) = (String::new(), None, false);
    let mut calls: BTreeMap<u64, (String, String)> = BTreeMap::new();
    for choice in chunks
        .iter()
        .filter_map(|chunk| chunk["choices"].as_array())
        .flatten()
        .filter(|choice| choice["index"] == 0)
    {
        let message = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
        content += message["content"].as_str().unwrap_or_default();
        reason = choice["finish_reason"].as_str().or(reason);
        stopped |= choice["stop_reason"].is_string();
        for (at, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let entry = calls.entry(call["index"].as_u64().unwrap_or(at as u64)).or_default();
            entry.0 = call["function"]["name"].as_str().unwrap_or(&entry.0).to_owned();
            entry.1 += call["function"]["arguments"].as_str().unwrap_or_default();
        }
    }
    let calls: Vec<Value> =
        calls.into_values().map(|(name, arguments)| json!({"name": name, "arguments": arguments})).collect();
    let reason = match reason? {
        "stop" if stopped => "stop_sequence",
        "stop" | "tool_calls" if calls.is_empty() => "stop",
        "length" => "length",
        // Left to the emulator, which knows its server's word for it.
        _ => "",
    };
    let turn = json!([{"content": content, "tool_calls": calls, "finish_reason": reason}]);
    Turn::script(&turn).unwrap().pop()
}

/// An emulator that knows what the real one knew.
fn emulator(name: &str, model: &str, case: &str, real: &Answer) -> Emulator {
    let context = if case.starts_with("too_long") { 500 } else { 2048 };
    servers::named(name).unwrap().model(model).api_key("sk-test").context(context).script(said(real))
}

async fn compare(name: &str, model: &str, case: &str, request: &Request, real: &Answer) -> Vec<String> {
    let server = emulator(name, model, case, real).start().await.unwrap();
    let mut request = request.clone();
    request.path = request.path.replace("/v1", server.base_url().strip_prefix(&server.origin()).unwrap());
    differences(real, &request.send(server.port()).await)
}

#[tokio::test]
async fn emulators_answer_as_the_real_servers_do() {
    let list = list();
    let mut report = Vec::new();
    let mut compared = 0;
    for (name, folder) in list["servers"].as_object().unwrap() {
        let files = std::fs::read_dir(captures().join(folder.as_str().unwrap())).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        let model = list["models"][name].as_str().unwrap_or("tiny");
        for file in files {
            let case = file.file_stem().unwrap().to_string_lossy().into_owned();
            if list["left_out"][&case].is_string() {
                continue;
            }
            let (request, real) = recorded(&file);
            let found = compare(name, model, &case, &request, &real).await;
            compared += 1;
            match (found.is_empty(), list["differences"][name][&case].is_string()) {
                (false, false) => report.push(format!("{name}/{case}: {}", found.join("\n  "))),
                (true, true) => report.push(format!("{name}/{case} is listed as different, and is not")),
                _ => {}
            }
        }
    }
    assert!(compared > 200, "only {compared} answers were compared");
    assert!(report.is_empty(), "{} of {compared} answers differ:\n{}", report.len(), report.join("\n"));
}
