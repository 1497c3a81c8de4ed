//! Every example, run as a user runs it, against an emulated endpoint: it succeeds, it prints the answer, and what it
//! set is what arrived.
//!
//! Cargo builds the examples for `cargo test`, but not for `cargo test --test examples`: then build them first.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use loom_testkit::{Emulator, RecordedRequest, Server};
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
    assert_eq!(found.len(), 16);
}
