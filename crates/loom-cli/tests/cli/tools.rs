//! `--mcp`, `--mcp-header`, `--approve` and the sections `[mcp.NAME]`. The MCP server is this test program itself.

use std::io::{BufRead, Write};

use loom_testkit::{Emulator, RecordedRequest, Reply, Server, Turn};
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, serve};

/// The server: a tool `env`, which tells a variable.
#[test]
fn play_the_server() {
    if std::env::var("LOOM_TEST_MCP").is_err() {
        return;
    }
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let result = match request["method"].as_str().unwrap() {
            "initialize" => json!({
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "small", "version": "1"},
            }),
            "tools/list" => json!({"tools": [
                {"name": "env", "inputSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}]}),
            "tools/call" => {
                let name = request["params"]["arguments"]["name"].as_str().unwrap();
                let value = std::env::var(name).unwrap_or_default();
                json!({"content": [{"type": "text", "text": format!("{name} is {value}")}]})
            }
            _ => continue,
        };
        let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{answer}").and_then(|()| out.flush());
    }
}

fn words() -> Vec<String> {
    let program = std::env::current_exe().unwrap().display().to_string();
    ["tools::play_the_server", "--exact", "--nocapture", "--quiet"].into_iter().fold(
        vec![program],
        |mut words, word| {
            words.push(word.to_owned());
            words
        },
    )
}

fn command() -> String {
    format!("LOOM_TEST_MCP=1 {}", words().join(" "))
}

/// A model that calls the tool and then says what it has read.
async fn model() -> Server {
    let calls = Turn::calls([("env", json!({"name": "TOKEN"}))]);
    serve(Emulator::new().model("m").script([calls, Turn::says("done")])).await
}

fn result_of(server: &Server) -> String {
    let body = server.requests().last().unwrap().json();
    body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_of_loom_toml_is_a_server_with_its_secrets() {
    let sandbox = Sandbox::new();
    let section = format!(
        "[mcp.vars]\ncommand = {:?}\nenv = {{ TOKEN = {{ env = 'MY_TOKEN' }}, LOOM_TEST_MCP = '1' }}\ntimeout = 20.0\n",
        words()
    );
    let file = sandbox.file("tools.toml", &section);
    let server = model().await;
    let args = ["run", "hi", "--base-url", &server.base_url(), "--mcp", "vars", "--config", &file];
    let done = sandbox.loom_with(&args, &[("MY_TOKEN", "tk-1")], "");
    assert_eq!((done.code, done.out.as_str()), (Some(0), "done\n"), "{done:?}");
    assert_eq!(result_of(&server), "TOKEN is tk-1");

    let unset = sandbox.loom(&args);
    assert_eq!(unset.code, Some(2));
    assert!(unset.err.contains("MY_TOKEN"), "{unset:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_lies_in_the_folder_starts_no_program() {
    let sandbox = Sandbox::new();
    sandbox.file("loom.toml", "[mcp.vars]\ncommand = 'touch started'\n");
    let server = model().await;
    let args = ["run", "hi", "--base-url", &server.base_url(), "--mcp", "vars"];
    let done = sandbox.loom(&args);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("nobody has named") && done.err.contains("--config loom.toml"), "{done:?}");
    assert!(!sandbox.path().join("started").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_section_lacks_is_told() {
    let sandbox = Sandbox::new();
    for (text, says) in [
        ("[mcp.a]\n", "give a command or a url"),
        ("[mcp.a]\ncommand = 'x'\nurl = 'http://localhost:1/'\n", "one of the two"),
        ("[mcp.a]\ncomand = 'x'\n", "comand"),
        ("[mcp.a]\nurl = 'http://localhost:1/'\nenv = { A = 'b' }\n", "one behind a URL gets headers"),
        ("[mcp.a]\ncommand = 'x'\ntimeout = -1.0\n", "timeout"),
    ] {
        let file = sandbox.file("a.toml", text);
        let done = sandbox.loom(&[
            "run",
            "hi",
            "--base-url",
            "http://localhost:1/v1",
            "--mcp",
            "a",
            "--config",
            &file,
        ]);
        assert_eq!(done.code, Some(2), "{text} {done:?}");
        assert!(done.err.contains(says), "{text} {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_goes_to_the_one_server_behind_a_url() {
    let mcp = serve(|_: &RecordedRequest| Reply::json(401, &json!({"error": "no"}))).await;
    let url = mcp.base_url();
    let model = model().await;
    let header = "Authorization: Bearer tk-secret";
    let args = ["run", "hi", "--base-url", &model.base_url(), "--mcp-header", header, "--mcp"];
    let done = Sandbox::new().loom(&[&args[..], &[&url]].concat());
    assert_eq!(done.code, Some(1));
    assert!(!done.err.contains("tk-secret"), "{done:?}");
    assert_eq!(mcp.requests()[0].header("authorization"), Some("Bearer tk-secret"));

    let told = |args: &[&str]| Sandbox::new().loom(args).err;
    let two = told(&[&args[..], &[&url, "--mcp", "http://localhost:1/mcp"]].concat());
    assert!(two.contains("one --mcp that is a URL"), "{two}");
    let process = told(&[&args[..], &["some command"]].concat());
    assert!(process.contains("one --mcp that is a URL"), "{process}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_can_approve_is_not_made() {
    let command = command();
    for approve in ["--approve", "--approve=env"] {
        let server = model().await;
        let args = ["run", "hi", "--base-url", &server.base_url(), "--mcp", &command, approve];
        let done = Sandbox::new().loom(&args);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.err.contains("approval of env") && done.err.contains("on a terminal"), "{done:?}");
        assert_eq!(server.requests().iter().filter(|request| request.method == "POST").count(), 1);

        let server = model().await;
        let args = ["run", "hi", "--json", "--base-url", &server.base_url(), "--mcp", &command, approve];
        let lines = Sandbox::new().loom(&args).out;
        let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [.., asked, error] = events.as_slice() else { panic!("{lines}") };
        assert_eq!(
            (&asked["type"], &error["kind"]),
            (&json!("approval_required"), &json!("approval_required"))
        );
    }
    let server = model().await;
    let args = ["run", "hi", "--base-url", &server.base_url(), "--mcp", &command, "--approve=evn"];
    let done = Sandbox::new().loom(&args);
    assert!(done.err.contains("no tool \"evn\"; there are: env"), "{done:?}");
}
