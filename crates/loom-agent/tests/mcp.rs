//! MCP servers in a process: a small one that is this test program itself, started with `LOOM_TEST_MCP` set.
//!
//! The real servers, and those over HTTP, are in `tests/python/test_mcp.py`.

#![cfg(feature = "mcp")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::print_stderr)]

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use loom::mcp::{self, McpError, Server, Settings};
use loom::{Content, ToolSpec};
use serde_json::{Value, json};

/// The server. Its manners are the words of the variable.
#[test]
fn play_the_server() {
    let Ok(manners) = std::env::var("LOOM_TEST_MCP") else { return };
    let is = |manner: &str| manners.split(' ').any(|word| word == manner);
    if is("dies_at_once") {
        eprintln!("cannot open the database");
        std::process::exit(3);
    }
    if is("silent") {
        std::thread::sleep(Duration::from_secs(600));
    }
    if is("garbage") {
        println!("Starting up ...\n{{\"half\": \n\u{7f}\u{0}\n[1, 2]\n\"text\"\n{{\"jsonrpc\": \"2.0\"}}");
    }
    let mut tools = vec!["echo", "fail", "picture", "more", "huge", "die", "hang", "env", "get/time now"];
    let say = |value: Value| {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{value}").and_then(|()| out.flush());
    };
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let id = request["id"].clone();
        let text = |text: String| json!({"content": [{"type": "text", "text": text}]});
        let result = match request["method"].as_str().unwrap() {
            "initialize" => json!({
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {"tools": {"listChanged": true}},
                "serverInfo": {"name": "small", "version": "1"},
            }),
            "tools/list" => {
                let schema =
                    json!({"$schema": "x", "type": "object", "properties": {"text": {"type": "string"}}});
                let tool = |name: &&str| json!({"name": name, "description": "d", "inputSchema": schema});
                json!({"tools": tools.iter().map(tool).collect::<Vec<_>>()})
            }
            "tools/call" => match request["params"]["name"].as_str().unwrap() {
                "echo" => text(request["params"]["arguments"]["text"].to_string()),
                "env" => text(
                    std::env::var(request["params"]["arguments"]["text"].as_str().unwrap())
                        .unwrap_or_default(),
                ),
                "fail" => json!({"isError": true, "content": [{"type": "text", "text": "no such city"}]}),
                "picture" => json!({"content": [
                    {"type": "text", "text": "a dot"}, {"type": "image", "data": "AAAA", "mimeType": "image/png"}]}),
                "more" => {
                    tools.push("late");
                    say(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
                    json!({"content": [], "structuredContent": {"tools": tools.len()}})
                }
                "huge" => text("x".repeat(20 << 20)),
                "die" => std::process::exit(7),
                "hang" => {
                    std::thread::sleep(Duration::from_secs(600));
                    json!({})
                }
                name => {
                    let error = json!({"code": -32602, "message": format!("no tool {name}")});
                    say(json!({"jsonrpc": "2.0", "id": id, "error": error}));
                    continue;
                }
            },
            _ => continue,
        };
        say(json!({"jsonrpc": "2.0", "id": id, "result": result}));
    }
    if is("stays") {
        std::thread::sleep(Duration::from_secs(600));
    }
    std::process::exit(0);
}

fn server(manners: &str) -> Settings {
    let program = std::env::current_exe().unwrap();
    // The test runner's own lines on stdout are garbage to be passed by.
    mcp::stdio_words([program.to_str().unwrap(), "--exact", "play_the_server", "--nocapture"])
        .env("LOOM_TEST_MCP", format!("+ {manners}"))
        .timeout(Duration::from_secs(20))
}

async fn call(server: &Server, tool: &str, arguments: Value) -> Result<mcp::Outcome, McpError> {
    server.call(tool, arguments.as_object().cloned().unwrap_or_default()).await
}

async fn names(server: &Server) -> Vec<String> {
    server.tools().await.unwrap().iter().map(|tool| tool.spec().name.clone()).collect()
}

#[tokio::test]
async fn tools_are_listed_called_and_listed_again_when_they_change() {
    let server = server("").prefix("my").open().unwrap();
    assert_eq!(
        names(&server).await,
        [
            "my_echo",
            "my_fail",
            "my_picture",
            "my_more",
            "my_huge",
            "my_die",
            "my_hang",
            "my_env",
            "my_get_time_now"
        ]
    );
    assert_eq!(server.name(), "small");
    let tools = server.tools().await.unwrap();
    assert_eq!(
        tools[0].spec().parameters,
        json!({"type": "object", "properties": {"text": {"type": "string"}}})
    );
    assert_eq!(tools[0].origin(), Some("small"));

    let said = call(&server, "echo", json!({"text": "Grüße"})).await.unwrap();
    assert_eq!((said.content.text().as_str(), said.is_error), ("\"Grüße\"", false));
    let failed = call(&server, "fail", json!({})).await.unwrap();
    assert_eq!((failed.content.text().as_str(), failed.is_error), ("no such city", true));
    let seen = call(&server, "picture", json!({})).await.unwrap();
    let image = json!({"type": "image", "data": "AAAA", "media_type": "image/png"});
    assert_eq!(seen.content, Content::Parts(vec![json!({"type": "text", "text": "a dot"}), image]));

    assert_eq!(call(&server, "more", json!({})).await.unwrap().content.text(), "{\"tools\":10}");
    assert_eq!(names(&server).await.last().unwrap(), "my_late");
    let error = call(&server, "nope", json!({})).await.unwrap_err();
    assert!(error.to_string().contains("small refused: no tool nope"), "{error}");
    server.close().await;
}

#[tokio::test]
async fn a_server_gets_what_it_is_given_and_not_the_rest_of_the_environment() {
    let server = server("").env("LOOM_TEST_KEY", "given").open().unwrap();
    let mut seen = Vec::new();
    for name in ["LOOM_TEST_KEY", "PATH", "CARGO_MANIFEST_DIR"] {
        seen.push(call(&server, "env", json!({"text": name})).await.unwrap().content.text());
    }
    assert_eq!(seen, ["given".to_owned(), std::env::var("PATH").unwrap(), String::new()]);
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "it is there to be passed on");
    assert!(!format!("{server:?}").contains("given"));
    server.close().await;
}

#[tokio::test]
async fn garbage_before_the_first_message_is_passed_by() {
    let server = server("garbage").open().unwrap();
    assert_eq!(call(&server, "echo", json!({"text": "a"})).await.unwrap().content.text(), "\"a\"");
    server.close().await;
}

#[tokio::test]
async fn who_dies_at_its_start_is_quoted() {
    let error = server("dies_at_once").open().unwrap().connect().await.unwrap_err().to_string();
    assert!(error.contains("exit status: 3") && error.contains("cannot open the database"), "{error}");
    let error = mcp::stdio("/no/such/program").open().unwrap().connect().await.unwrap_err().to_string();
    assert!(error.contains("/no/such/program"), "{error}");
}

#[tokio::test]
async fn who_does_not_answer_is_given_up() {
    let started = Instant::now();
    let silent = server("silent").timeout(Duration::from_secs(1)).open().unwrap();
    let error = silent.connect().await.unwrap_err().to_string();
    assert!(error.contains("within 1 s") && error.contains("no MCP message"), "{error}");

    let hanging = server("").timeout(Duration::from_secs(1)).open().unwrap();
    let error = call(&hanging, "hang", json!({})).await.unwrap_err();
    assert!(matches!(&error, McpError::Timeout { what, .. } if what == "a call of hang"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
    hanging.close().await;
}

#[tokio::test]
async fn who_dies_is_started_again_by_the_next_call_and_the_call_is_not_repeated() {
    let server = server("").open().unwrap();
    let error = call(&server, "die", json!({})).await.unwrap_err();
    assert!(matches!(error, McpError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("exit status: 7"), "{error}");
    assert_eq!(call(&server, "echo", json!({"text": "b"})).await.unwrap().content.text(), "\"b\"");

    let error = call(&server, "huge", json!({})).await.unwrap_err();
    assert!(error.to_string().contains("more than 16 MiB"), "{error}");
    assert_eq!(call(&server, "echo", json!({"text": "c"})).await.unwrap().content.text(), "\"c\"");
    server.close().await;
    assert_eq!(call(&server, "echo", json!({"text": "d"})).await.unwrap().content.text(), "\"d\"");
}

#[cfg(target_os = "linux")]
fn children() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let read = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.unwrap().path().join("children"))
    };
    tasks
        .filter_map(|task| read(task).ok())
        .flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_process_is_left_by_closing_or_dropping() {
    let closed = server("stays").open().unwrap();
    closed.connect().await.unwrap();
    assert_eq!(children().len(), 1);
    closed.close().await;
    assert_eq!(children(), Vec::<String>::new());

    let dropped = server("stays").open().unwrap();
    let tools = dropped.tools().await.unwrap();
    drop((dropped, tools));
    let waited = Instant::now();
    while !children().is_empty() {
        assert!(waited.elapsed() < Duration::from_secs(10), "{:?}", children());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn settings_that_cannot_work_are_refused_without_starting_anything() {
    for (settings, why) in [
        (mcp::stdio("run 'it"), "quotes"),
        (mcp::stdio(""), "empty"),
        (mcp::http("ftp://x"), "no http://"),
        (mcp::http("http://x/mcp").env("A", "b"), "env"),
        (mcp::http("http://x/mcp").header("a b", "c"), "\"a b\""),
        (mcp::stdio("run").header("A", "b"), "headers"),
        (mcp::stdio("run").timeout(Duration::ZERO), "0 s"),
    ] {
        let error = settings.open().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn names_are_made_fit_and_free() {
    let taken = ["a", "a_2"];
    let free = |wanted: &str| ToolSpec::free_name(wanted, |name| taken.contains(&name));
    assert_eq!(free("a"), "a_3");
    assert_eq!(free("ns/get.time now!"), "ns_get_time_now_");
    assert_eq!(free("天气"), "天气");
    assert_eq!(free(""), "tool");
    assert_eq!(free(&"x".repeat(99)).len(), 64);
}
