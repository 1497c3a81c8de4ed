//! `loom chat` without a terminal: each line is a turn. The terminal has `tests/terminal/run.sh`.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use loom_testkit::{Emulator, Piece, Reply, Script};
use serde_json::json;

use crate::sandbox::{Sandbox, chunk, echo, emulator, serve};

fn hello() -> Reply {
    Reply::sse([chunk(json!({"content": "Hello"}), None)])
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_turns_of_one_conversation() {
    let server = serve(Emulator::new().model("m").model("other")).await;
    let sandbox = Sandbox::new();
    let url = server.base_url();
    let stdin = "one\n\n/model other\n/system brief\ntwo\n/new\n/system -\nthree\n/exit\nnever\n";
    let done = sandbox.loom_with(&["chat", "--model", "m", "--base-url", &url], &[], stdin);
    assert_eq!(done.quiet(), ["one", "two", "three"].map(|text| echo(text) + "\n").concat());
    let bodies: Vec<_> = server.requests().iter().map(|request| request.json()).collect();
    assert_eq!(bodies.len(), 3);
    let roles = |at: usize| {
        let messages = bodies[at]["messages"].as_array().unwrap();
        messages.iter().map(|message| message["role"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!([roles(0), roles(1), roles(2)], ["user", "system user assistant user", "user"]);
    assert_eq!((&bodies[0]["model"], &bodies[1]["model"]), (&json!("m"), &json!("other")));
    assert!(!sandbox.path().join(".local").exists(), "a pipe leaves no history");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_ends_neither_the_chat_nor_its_history() {
    let refusal = Reply::json(400, &json!({"error": {"message": "no such thing"}}));
    let broken = hello().then(Piece::Delay(Duration::from_millis(100))).then(Piece::Close);
    let whole =
        || Reply::json(200, &json!({"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}));
    let server = serve(Script::new([whole(), refusal, broken, whole()])).await;
    let url = server.base_url();
    let done = Sandbox::new().loom_with(&["chat", "--model", "m", "--base-url", &url], &[], "a\nb\nc\nd\n");
    assert_eq!((done.code, done.out.as_str()), (Some(1), "fine\nHello\nfine\n"));
    assert_eq!(done.err.matches("error: ").count(), 2, "{done:?}");
    let last = server.requests().pop().unwrap().json();
    let said: Vec<&str> = last["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    assert_eq!(
        said,
        ["a", "fine", "c", "Hello", "d"],
        "b got no answer and is left out; c got a part of one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_answer_on_stdout() {
    let server = emulator().await;
    let sandbox = Sandbox::new();
    let stdin = "/model\n/models\n/system\nhi\n/save talk.json\n/save talk.json\n/help\n";
    let done = sandbox.loom_with(&["chat", "--model", "m", "--base-url", &server.base_url()], &[], stdin);
    let out = done.quiet();
    assert!(out.starts_with("m\n* m\nnone; /system TEXT sets it\nYou said: \"hi\""), "{out}");
    assert!(out.contains("/save FILE"));
    let saved = std::fs::read_to_string(sandbox.path().join("talk.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&saved).unwrap()[1]["content"], json!(echo("hi")));

    let done =
        sandbox.loom_with(&["chat", "--base-url", &server.base_url()], &[], "/nope\n/save talk.json\nhi\n");
    assert_eq!((done.code, done.out), (Some(1), echo("hi") + "\n"));
    assert!(done.err.contains("no command /nope") && done.err.contains("already"), "{}", done.err);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_chat_without_a_terminal_even_while_it_waits_for_a_line() {
    let server = emulator().await;
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(["chat", "--base-url", &server.base_url()]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hi\n").unwrap();
    let mut answer = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
    assert_eq!(answer, echo("hi") + "\n");
    // It hears Ctrl-C whether or not it has begun to wait.
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(stdin);
}
