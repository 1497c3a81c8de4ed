//! `loom run --explain`, `--strict`, `--max-retries`, and how `--json` tells a mistake in the command line.

use loom_testkit::{Piece, RecordedRequest, Reply, Script};
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, chunk, emulator, serve};

const KEY: &str = "sk-very-secret-key";

fn last_line(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// A stream that ends with a reason of the server's own, and without `[DONE]`.
fn odd() -> Reply {
    Reply::sse([chunk(json!({"content": "Hello"}), None), chunk(json!({}), Some("eos_token"))])
}

fn command_of(text: &str) -> String {
    let at = text.find("curl ").unwrap();
    text.get(at..).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_curl_command_sends_the_same_again_and_holds_no_secret() {
    let server = emulator().await;
    let base = format!("{}?tenant=sk-of-the-query", server.base_url());
    let question = "it's \"quoted\" $HOME `id` \\ 你好\nsk-very-secret-key";
    let sandbox = Sandbox::new();
    let args =
        ["run", "--base-url", &base, "--model", "m", "--api-key", KEY, "--header", "X-Team=sk-of-a-header"];
    let done = sandbox.loom(&[&args[..], &["--param", "seed=7", "--explain", question]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!done.out.contains("curl"), "the answer alone goes to stdout: {done:?}");
    for secret in [KEY, "sk-of-a-header", "sk-of-the-query"] {
        assert!(!done.err.contains(secret), "{}", done.err);
    }
    for part in ["asked: POST", "requests sent: 1", "ledger: empty", "$LOOM_API_KEY", "$X_TEAM", "$TENANT"] {
        assert!(done.err.contains(part), "{part}: {}", done.err);
    }
    let first = server.requests().pop().unwrap();

    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(command_of(&done.err));
    let mut shell = tokio::task::spawn_blocking(move || {
        let variables = [("LOOM_API_KEY", KEY), ("X_TEAM", "sk-of-a-header"), ("TENANT", "sk-of-the-query")];
        let proxies = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
        for name in proxies {
            shell.env_remove(name);
        }
        shell.envs(variables).output()
    });
    let output = (&mut shell).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("[DONE]"),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let again = server.requests().pop().unwrap();
    // The question held the key, which the command does not.
    let expected = String::from_utf8(first.body.clone()).unwrap().replace(KEY, "…");
    assert_eq!(String::from_utf8(again.body.clone()).unwrap(), expected);
    let seen = |request: &RecordedRequest| {
        let header = |name: &str| request.header(name).map(str::to_owned);
        (
            request.target.clone(),
            header("authorization"),
            header("x-team"),
            header("content-type"),
            header("accept"),
        )
    };
    assert_eq!(seen(&first), seen(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_bridged_is_told_in_words_and_as_fields() {
    let server = serve(Script::new([odd(), odd()])).await;
    let sandbox = Sandbox::new();
    let args = ["run", "--base-url", &server.base_url(), "--model", "m", "--explain"];
    let done = sandbox.loom(&[&args[..], &["hi"]].concat());
    assert_eq!((done.code, done.out.as_str()), (Some(0), "Hello\n"));
    assert!(
        done.err
            .contains("- finish_reason_renamed (answer.finish_reason, event 2): A finish reason was renamed")
    );
    assert!(done.err.contains("- missing_done (answer)"), "{}", done.err);

    let done = sandbox.loom(&[&args[..], &["--json", "hi"]].concat());
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let finish = last_line(&done.out);
    let rules = |ledger: &Value| -> Vec<String> {
        let entries = ledger.as_array().unwrap();
        entries.iter().map(|entry| entry["rule"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(rules(&finish["explain"]["ledger"]), ["finish_reason_renamed", "missing_done"]);
    assert_eq!(rules(&finish["message"]["ledger"]), ["finish_reason_renamed", "missing_done"]);
    assert_eq!(finish["explain"]["attempts"], 1);
    assert!(finish["explain"]["curl"].as_str().unwrap().starts_with("curl "));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_explained_after_it_was_told() {
    let refusal = || Reply::json(400, &json!({"error": {"message": "no such thing as temperature 9"}}));
    let server = serve(Script::new([refusal(), refusal()])).await;
    let sandbox = Sandbox::new();
    let args = ["run", "--base-url", &server.base_url(), "--model", "m", "--explain"];
    let done = sandbox.loom(&[&args[..], &["hi"]].concat());
    assert_eq!(done.code, Some(1));
    let (error, explanation) =
        (done.err.find("error: no such thing").unwrap(), done.err.find("curl ").unwrap());
    assert!(error < explanation, "{}", done.err);
    let done = sandbox.loom(&[&args[..], &["--json", "hi"]].concat());
    let line = last_line(&done.out);
    assert_eq!((done.code, &line["type"], &line["ledger"]), (Some(1), &json!("error"), &json!([])));
    assert!(line["explain"]["url"].as_str().unwrap().ends_with("/chat/completions"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_fails_where_something_had_to_be_bridged() {
    let server = serve(Script::new([odd()])).await;
    let args = ["run", "--base-url", &server.base_url(), "--model", "m", "--strict", "--json", "hi"];
    let done = Sandbox::new().loom(&args);
    let line = last_line(&done.out);
    assert_eq!((done.code, &line["kind"]), (Some(1), &json!("bad_response")), "{line}");
    assert!(line["message"].as_str().unwrap().contains("finish_reason_renamed"));
    assert!(line["hint"].as_str().unwrap().contains("--strict"));
    assert_eq!(line["partial"]["content"], "Hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn max_retries_counts() {
    let busy = || Reply::json(503, &json!({"error": {"message": "busy"}})).header("retry-after-ms", "1");
    let whole = Reply::sse([chunk(json!({"content": "x"}), Some("stop"))])
        .then(Piece::Bytes(b"data: [DONE]\n\n".to_vec()));
    let server = serve(Script::new([busy(), busy(), busy(), whole])).await;
    let sandbox = Sandbox::new();
    let base = ["run", "--base-url", &server.base_url(), "--model", "m", "hi"];
    let none = sandbox.loom(&[&base[..], &["--max-retries", "0"]].concat());
    assert_eq!((none.code, server.requests().len()), (Some(1), 1), "{none:?}");
    let more = sandbox.loom_with(&base, &[("LOOM_MAX_RETRIES", "3")], "");
    assert_eq!((more.code, more.out.as_str(), server.requests().len()), (Some(0), "x\n", 4), "{more:?}");
}

#[test]
fn a_command_line_that_cannot_be_read_is_told_as_json_where_json_was_asked_for() {
    let sandbox = Sandbox::new();
    for args in [
        &["run", "--json", "--temperature", "warm", "hi"][..],
        &["run", "--json", "--tempreature", "1", "hi"][..],
        &["models", "--json", "--max-retries=-1"][..],
    ] {
        let done = sandbox.loom(args);
        assert_eq!((done.code, done.err.as_str()), (Some(2), ""), "{done:?}");
        let line = last_line(&done.out);
        assert_eq!((&line["type"], &line["kind"]), (&json!("error"), &json!("config")), "{line}");
        assert!(line["message"].as_str().unwrap().contains("--"), "{line}");
    }
    let plain = sandbox.loom(&["run", "--temperature", "warm", "--", "--json"]);
    assert_eq!((plain.code, plain.out.as_str()), (Some(2), ""));
    assert!(plain.err.contains("--temperature"), "{plain:?}");
    let help = sandbox.loom(&["run", "--json", "--help"]);
    assert!(help.code == Some(0) && help.out.contains("Usage"), "{help:?}");
}
