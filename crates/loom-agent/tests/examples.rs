//! Every example, run as a user runs it, against an emulated endpoint: it succeeds, it prints the answer, and what it
//! set is what arrived.
//!
//! Cargo builds the examples for `cargo test`, but not for `cargo test --test examples`: then build them first.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use loom_testkit::{Emulator, RecordedRequest, Reply, Server};
use serde_json::{Value, json};

const HELLO: &str = "You said: \"Hello!\". This answer comes from Loom's emulated endpoint.";

/// What the emulator knows to serve when an example names no model.
const SERVED: &str = "served-model";

/// A chat request that an example has to send.
struct Sent {
    authorization: Option<&'static str>,
    /// `None`: the provider's default, whatever that is today.
    model: Option<&'static str>,
    /// The parameters beside model, messages and tools.
    params: Value,
}

fn sent(authorization: &'static str, model: &'static str) -> Sent {
    Sent { authorization: Some(authorization), model: Some(model), params: json!({}) }
}

fn binary(name: &str) -> PathBuf {
    // target/PROFILE/deps/examples-HASH → target/PROFILE/examples/NAME
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is missing: cargo build --examples", path.display());
    path
}

/// Runs an example and returns what it printed and which chat requests it sent.
async fn run(name: &str) -> (String, Vec<RecordedRequest>) {
    let server = Server::start(Emulator::new().model(SERVED).change(|spec| spec.rules = &[])).await.unwrap();
    let mut command = tokio::process::Command::new(binary(name));
    command.arg(server.base_url()).kill_on_drop(true);
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy().to_uppercase();
        // Neither keys nor addresses nor proxies of this machine.
        if ["_API_KEY", "_BASE_URL", "_PROXY"].iter().any(|end| name.ends_with(end))
            || name.starts_with("LOOM_")
        {
            command.env_remove(&variable);
        }
    }
    let output = tokio::time::timeout(Duration::from_secs(30), command.output()).await.unwrap().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{name}: {}\n{stdout}{stderr}", output.status);
    assert_eq!(stderr, "", "{name}");
    let chats = server.requests().into_iter().filter(|request| request.path.ends_with("/chat/completions"));
    (stdout, chats.collect())
}

async fn check(name: &str, printed: &str, expected: Vec<Sent>) {
    let (stdout, chats) = run(name).await;
    assert!(stdout.contains(printed), "{name} printed {stdout:?}");
    assert_eq!(chats.len(), expected.len(), "{name}");
    for (chat, sent) in chats.iter().zip(expected) {
        assert_eq!(chat.header("authorization"), sent.authorization, "{name}");
        let mut body = chat.json();
        let fields = body.as_object_mut().unwrap();
        let model = fields.remove("model").unwrap();
        match sent.model {
            Some(expected) => assert_eq!(model, expected, "{name}"),
            None => assert!(model.as_str().is_some_and(|model| !model.is_empty()), "{name}"),
        }
        for own in ["messages", "tools", "stream", "stream_options"] {
            fields.remove(own);
        }
        assert_eq!(body, sent.params, "{name}: what is not set is not sent");
    }
}

#[tokio::test]
async fn rows_of_the_page() {
    let default = |authorization| Sent { model: None, ..sent(authorization, "") };
    let keys = || vec![default("Bearer sk-..."), default("Bearer sk-...")];
    check("known_provider", &format!("openai: {HELLO}\ndeepseek: {HELLO}"), keys()).await;
    check("custom", HELLO, vec![sent("Bearer your-api-key", "your-model-name")]).await;
    check("vllm", "You said: \"Introduce vLLM\"", vec![sent("Bearer EMPTY", "Qwen/Qwen2-7B-Instruct")]).await;
    check("ollama", HELLO, vec![sent("Bearer EMPTY", "qwen:7b")]).await;
    check("fastchat", HELLO, vec![sent("Bearer EMPTY", "vicuna-7b")]).await;
    check("lm_studio", HELLO, vec![sent("Bearer lm-studio", "local-model")]).await;
    check("text_generation_webui", HELLO, vec![sent("Bearer EMPTY", "your-model")]).await;
    check("openai_proxy", HELLO, vec![default("Bearer sk-...")]).await;
    check("intranet", HELLO, vec![sent("Bearer your-internal-key", "company-gpt-model")]).await;
    check("verify", "✅ it works", vec![sent("Bearer your-key", "your-model")]).await;
    let with = |params| Sent { params, ..sent("Bearer your-key", "your-model") };
    let sampling = || with(json!({"temperature": 0.7, "max_tokens": 2000}));
    check("unified_llm", "Hello again!", vec![sampling(), sampling()]).await;
    let careful = with(json!({"temperature": 0.0, "max_tokens": 2000}));
    check("settings", "careful: You said", vec![sampling(), careful]).await;
    check("headers", HELLO, vec![sent("Token your-key", "your-model")]).await;
    let (_, chats) = run("headers").await;
    assert_eq!(chats.first().and_then(|chat| chat.header("x-custom-header")), Some("value"));
}

#[tokio::test]
async fn tools_streams_and_an_llm_of_ones_own() {
    let free = || Sent { authorization: None, ..sent("", SERVED) };
    check("tools", "get_weather says: sunny, 21 °C in Paris", vec![free(), free()]).await;
    check("stream", "Tell me a story", vec![free()]).await;
    let (stdout, chats) = run("own_llm").await;
    assert_eq!((stdout.as_str(), chats.len()), ("You said: Hello!\n", 0));
}

/// A small emulation of Anthropic's Messages API: calls the tool that it is offered, then tells the result.
fn messages_api(request: &RecordedRequest) -> Reply {
    let body = request.json();
    let turns = body["messages"].as_array().cloned().unwrap_or_default();
    let roles: Vec<&Value> = turns.iter().map(|turn| &turn["role"]).collect();
    let right = request.path == "/v1/messages"
        && request.header("x-api-key") == Some("sk-ant-test")
        && request.header("anthropic-version").is_some()
        && body["system"] == "Be brief."
        && body["max_tokens"].is_u64()
        && roles.iter().all(|role| **role == "user" || **role == "assistant")
        && roles.windows(2).all(|pair| pair.first() != pair.get(1));
    if !right {
        return Reply::json(400, &json!({"type": "error", "error": {"message": body.to_string()}}));
    }
    let last = turns.last().and_then(|turn| turn["content"].as_array()?.last().cloned()).unwrap_or_default();
    let (block, deltas, stop) = match last["content"].as_str().filter(|_| last["tool_use_id"] == "toolu_1") {
        Some(result) => (
            json!({"type": "text"}),
            vec![json!({"type": "text_delta", "text": format!("It is {result}.")})],
            "end_turn",
        ),
        None => {
            let part = |text: &str| json!({"type": "input_json_delta", "partial_json": text});
            let block = json!({"type": "tool_use", "id": "toolu_1", "name": body["tools"][0]["name"]});
            (block, vec![part("{\"city\": "), part("\"Paris\"}")], "tool_use")
        }
    };
    let mut events =
        vec![json!({"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}})];
    events.push(json!({"type": "content_block_start", "index": 0, "content_block": block}));
    events.extend(
        deltas.iter().map(|delta| json!({"type": "content_block_delta", "index": 0, "delta": delta})),
    );
    events.push(
        json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 5}}),
    );
    let text: String = events.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect();
    Reply::text(200, text).header("content-type", "text/event-stream")
}

#[tokio::test]
async fn an_adapter_for_what_is_not_openai_like() {
    let server = Server::start(messages_api).await.unwrap();
    let output = tokio::process::Command::new(binary("anthropic_llm"))
        .arg(server.base_url())
        .env("ANTHROPIC_API_KEY", "sk-ant-test")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .await
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "It is sunny, 21 degrees celsius in Paris.\n",
        "{stderr}"
    );
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_refusal_is_told_and_not_thrown() {
    // Nothing listens at the address that `verify` is given.
    let output = tokio::process::Command::new(binary("verify"))
        .arg("http://127.0.0.1:9/v1")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .await
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && stdout.starts_with("❌ connection: nothing listens on 127.0.0.1:9"),
        "{stdout}"
    );
}

#[test]
fn no_example_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let found: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let test = include_str!("examples.rs");
    for name in &found {
        assert!(test.contains(&format!("\"{name}\"")), "{name} is not run by this test");
    }
    assert_eq!(found.len(), 17);
}
