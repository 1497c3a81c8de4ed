//! `loom sessions`.

use loom_testkit::{Emulator, servers};
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, serve};

fn conversation() -> String {
    json!([
        {"role": "user", "content": "How warm is it?"},
        {"role": "assistant", "content": null,
         "tool_calls": [{"id": "c1", "name": "look", "arguments": {"at": "window"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "21 °C"},
        {"role": "assistant", "content": "It is 21 °C."},
    ])
    .to_string()
}

#[test]
fn conversations_come_and_go() {
    let sandbox = Sandbox::new();
    let loom = |args: &[&str]| sandbox.loom(&[&["sessions"], args].concat());
    let none = loom(&["list"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));
    assert!(none.err.contains("no sessions in"), "{none:?}");
    assert!(!sandbox.path().join(".local").exists(), "looking makes no file");

    let file = sandbox.file("talk.json", &conversation());
    assert_eq!(loom(&["import", &file, "--id", "warm"]).quiet(), "warm\n");
    assert!(sandbox.path().join(".local/share/loom/sessions.db").exists());
    let again = loom(&["import", &file, "--id", "warm"]);
    assert_eq!(again.code, Some(2));
    assert!(again.err.contains("there is a session \"warm\" already"), "{again:?}");

    let shown = loom(&["show", "warm"]).quiet();
    assert!(
        shown.starts_with("**You:**\n\nHow warm is it?\n\n**Assistant:**\n\ncalls `look` with"),
        "{shown}"
    );
    let export = loom(&["export", "warm"]).quiet();
    let value: Value = serde_json::from_str(&export).unwrap();
    assert_eq!((&value["id"], value["messages"].as_array().unwrap().len()), (&json!("warm"), 4));
    let elsewhere = ["sessions", "import", "-", "--store", "other.db"];
    assert_eq!(sandbox.loom_with(&elsewhere, &[], &export).quiet(), "warm\n");
    assert_eq!(loom(&["export", "warm", "--store", "other.db"]).quiet(), export);

    assert_eq!(loom(&["fork", "warm", "cold", "--at", "1"]).quiet(), "cold\n");
    let open = loom(&["fork", "warm", "--at", "2"]);
    assert!(open.err.contains("kept together"), "{open:?}");
    let table = loom(&["list"]).quiet();
    let rows: Vec<&str> = table.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(rows, ["ID", "cold", "warm"]);
    let list: Value = serde_json::from_str(&loom(&["list", "--json"]).quiet()).unwrap();
    assert_eq!((&list[0]["parent"], &list[0]["message_count"]), (&json!("warm"), &json!(1)));

    assert_eq!(loom(&["delete", "cold"]).quiet(), "");
    let gone = loom(&["show", "cold"]);
    assert_eq!(gone.code, Some(2));
    assert!(gone.err.contains("no session \"cold\""), "{gone:?}");
}

#[test]
fn another_file_can_be_named_and_a_foreign_one_is_left_alone() {
    let sandbox = Sandbox::new();
    let notes = sandbox.file("notes.txt", "mine");
    let file = sandbox.file("talk.json", &conversation());
    let done = sandbox.loom_with(&["sessions", "import", &file], &[("LOOM_SESSIONS", &notes)], "");
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("not an SQLite file"), "{done:?}");
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_on_the_next_time() {
    let server = serve(Emulator::new().model("m")).await;
    let (sandbox, url) = (Sandbox::new(), server.base_url());
    let run = |text: &str| {
        sandbox.loom(&["run", "--session", "s", "--model", "m", "--base-url", &url, text]).quiet()
    };
    run("one");
    run("two");
    let chat = ["chat", "--session", "s", "--model", "m", "--base-url", &url];
    sandbox.loom_with(&chat, &[], "three\n/new\nfour\n").quiet();
    let counts: Vec<usize> = server
        .requests()
        .iter()
        .map(|request| request.json()["messages"].as_array().unwrap().len())
        .collect();
    assert_eq!(counts, [1, 3, 5, 1]);
    let list: Value = serde_json::from_str(&sandbox.loom(&["sessions", "list", "--json"]).quiet()).unwrap();
    assert_eq!((&list[0]["message_count"], &list[1]["id"]), (&json!(2), &json!("s")));
    assert_eq!(list[1]["message_count"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_context_is_told() {
    let server = serve(Emulator::of(servers::VLLM).model("m").context(60)).await;
    let (sandbox, url) = (Sandbox::new(), server.base_url());
    let lines = (0..8).map(|at| format!("{at} {}\n", "word ".repeat(8))).collect::<String>();
    let chat = ["chat", "--model", "m", "--base-url", &url];
    let done = sandbox.loom_with(&chat, &[], &lines);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.err.contains("[the model's context is full; the oldest"), "{done:?}");
}
