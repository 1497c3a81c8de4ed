//! `loom run`: what it sends and prints, and how it fails.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::Duration;

use loom_testkit::{Emulator, Piece, Reply, Script};
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, chunk, echo, emulator, serve};

const PATIENCE: Duration = Duration::from_secs(10);

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A stream that says "Hello", and then whatever is added.
fn hello() -> Reply {
    Reply::sse([
        chunk(json!({"role": "assistant", "content": "Hel"}), None),
        chunk(json!({"content": "lo"}), None),
    ])
}

fn done() -> Piece {
    Piece::Bytes(format!("data: {}\n\ndata: [DONE]\n\n", chunk(json!({}), Some("stop"))).into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_goes_to_stdout_and_nothing_else_does() {
    let server = emulator().await;
    let done = Sandbox::new().loom(&["run", "--base-url", &server.base_url(), "**hi**"]);
    assert_eq!(done.quiet(), echo("**hi**") + "\n");
    let body = server.requests().last().unwrap().json();
    let expected = json!({
        "model": "m",
        "messages": [{"role": "user", "content": "**hi**"}],
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    assert_eq!(body, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_question_may_come_from_stdin() {
    let server = emulator().await;
    let sandbox = Sandbox::new();
    for args in [vec!["run", "-"], vec!["run"]] {
        let args = [args, vec!["--base-url"]].concat();
        let done = sandbox.loom_with(&[&args[..], &[&server.base_url()]].concat(), &[], "two\nlines\n");
        assert_eq!(done.quiet(), echo("two\nlines\n") + "\n");
    }
    let done = sandbox.loom(&["run", "--base-url", &server.base_url()]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("no question was given, and stdin is empty"), "{done:?}");
    let done = sandbox.loom(&["run", "-", "--base-url", &server.base_url()]);
    assert!(done.err.contains("the question is empty"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_was_asked_for_is_sent() {
    let server = emulator().await;
    let url = server.base_url();
    let args =
        "run hi --model m --system brief --temperature 0.5 --max-tokens 50 --param seed=7 --header X-A=b=c";
    let mut args: Vec<&str> = args.split(' ').collect();
    args.extend(["--header", "X-B: d", "--param", "stop=[\"zzz\"]", "--base-url", &url]);
    Sandbox::new().loom(&args).quiet();
    let request = server.requests().pop().unwrap();
    let body = request.json();
    assert_eq!(body["messages"][0], json!({"role": "system", "content": "brief"}));
    assert_eq!((&body["temperature"], &body["max_tokens"]), (&json!(0.5), &json!(50)));
    assert_eq!((&body["seed"], &body["stop"]), (&json!(7), &json!(["zzz"])));
    assert_eq!((request.header("x-a"), request.header("x-b")), (Some("b=c"), Some("d")));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_object_per_event() {
    let server = emulator().await;
    let out = Sandbox::new().loom(&["run", "--json", "hi", "--base-url", &server.base_url()]).quiet();
    let events = lines(&out);
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types[..2], ["run_start", "model_request"]);
    assert_eq!(types.iter().filter(|name| **name == "finish").count(), 1);
    let text: String = events
        .iter()
        .filter(|event| event["type"] == "content_delta")
        .map(|event| event["content"].as_str().unwrap())
        .collect();
    assert_eq!(text, echo("hi"));
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["finish_reason"]), (&json!("finish"), &json!("stop")));
    assert_eq!(last["message"]["content"], json!(echo("hi")));
    assert!(last["message"]["usage"]["total_tokens"].is_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_arrived_stays_printed_when_the_stream_breaks() {
    let broken = || hello().then(Piece::Delay(Duration::from_millis(100))).then(Piece::Close);
    let server = serve(Script::new([broken(), broken()])).await;
    let (sandbox, url) = (Sandbox::new(), server.base_url());
    let done = sandbox.loom(&["run", "hi", "--base-url", &url]);
    assert_eq!((done.code, done.out.as_str()), (Some(1), "Hello\n"));
    assert!(done.err.starts_with("error: "), "{done:?}");

    let done = sandbox.loom(&["run", "hi", "--json", "--base-url", &url]);
    assert_eq!((done.code, done.err.as_str()), (Some(1), ""));
    let last = lines(&done.out).pop().unwrap();
    assert_eq!((&last["type"], &last["kind"]), (&json!("error"), &json!("stream_interrupted")));
    assert_eq!((&last["retryable"], &last["status_code"]), (&json!(true), &Value::Null));
    assert_eq!(last["partial"]["content"], "Hello");
    assert!(last["message"].is_string() && last.get("hint").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_what_failed_and_what_to_do() {
    let server = serve(Emulator::new().model("a").model("b").api_key("sk-right")).await;
    let (sandbox, url) = (Sandbox::new(), server.base_url());
    let wrong_key = sandbox.loom(&["run", "hi", "--model", "a", "--base-url", &url, "--api-key", "sk-wrong"]);
    assert_eq!((wrong_key.code, wrong_key.out.as_str()), (Some(1), ""));
    assert!(wrong_key.err.contains("[HTTP 401]") && wrong_key.err.contains("\nhint: "), "{wrong_key:?}");

    let several = sandbox.loom(&["run", "hi", "--base-url", &url, "--api-key", "sk-right"]);
    assert_eq!(several.code, Some(2));
    assert!(several.err.contains("several: a, b") && several.err.contains("--model NAME"), "{several:?}");

    let nobody =
        sandbox.loom(&["run", "hi", "--model", "a", "--base-url", "http://127.0.0.1:9/v1", "--timeout", "2"]);
    assert_eq!(nobody.code, Some(1));

    for args in [
        &["run", "hi", "--llm", "deepsek"][..],
        &["run", "hi", "--base-url", "localhost:8000/v1"],
        &["run", "hi", "--llm", "custom"],
        &["run", "hi", "--base-url", &url, "--timeout", "0"],
        &["run", "hi", "--no-such-option"],
        &["no-such-command"],
        &[],
    ] {
        let done = sandbox.loom(args);
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{args:?}: {done:?}");
    }
    for (args, advice) in [
        (&["run", "hi", "--llm", "deepsek"][..], "did you mean deepseek?"),
        (&["run", "hi", "--llm", "office"], "no loom.toml with endpoints was found"),
        (&["run", "hi", "--llm", "http://localhost:8000/v1"], "--base-url \"http://localhost:8000/v1\""),
        (&["run", "hi", "--url", &url], "'--base-url'"),
        (&["rnu", "hi"], "loom run \"hello\""),
        (&["hello"], "loom run \"hello\""),
    ] {
        let done = sandbox.loom(args);
        assert!(done.err.contains(advice), "{advice}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_is_said_where_its_variable_counts() {
    let server = serve(Emulator::new().model("m").api_key("sk-right")).await;
    let (sandbox, url) = (Sandbox::new(), server.base_url());
    let args = ["run", "hi", "--model", "m", "--llm", "openai"];
    let named = sandbox.loom_with(&args, &[("OPENAI_BASE_URL", &url)], "");
    let hint = "hint: no key was sent: set OPENAI_API_KEY, or give one with --api-key\n";
    assert!(named.err.contains(hint), "{named:?}");
    let foreign = sandbox.loom(&[&args[..], &["--base-url", &url]].concat());
    assert!(foreign.err.contains("used only for openai's own address"), "{foreign:?}");

    let offline = [("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"), ("LOOM_MAX_RETRIES", "0")];
    let offline = sandbox.loom_with(&args, &offline, "");
    assert!(offline.err.contains("; also, no key was given, and OPENAI_API_KEY is not set"), "{offline:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_path_is_not_taken_for_a_missing_model() {
    let server = emulator().await;
    for path in ["foo", "v2"] {
        let url = server.base_url().replace("v1", path);
        let done = Sandbox::new().loom(&["run", "hi", "--base-url", &url]);
        assert!(done.err.contains("is the base URL right, `/v1` included? If it is,"), "{done:?}");
        assert!(done.err.contains("--model NAME"), "{done:?}");
    }
}

#[test]
fn with_nothing_configured_it_says_how_to_begin() {
    let done = Sandbox::new().loom(&["run", "hi"]);
    assert_eq!((done.code, done.out.as_str()), (Some(2), ""));
    for word in ["no endpoint", "loom demo", "--base-url", "loom.toml"] {
        assert!(done.err.contains(word), "{word}: {}", done.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thinking_goes_to_stderr_and_only_where_it_is_wanted() {
    let thinking = || {
        Reply::sse([chunk(json!({"reasoning_content": "Hm."}), None), chunk(json!({"content": "42"}), None)])
            .then(done())
    };
    let server = serve(Script::new([thinking(), thinking()])).await;
    let (sandbox, url) = (Sandbox::new(), server.base_url());
    assert_eq!(sandbox.loom(&["run", "hi", "--base-url", &url]).quiet(), "42\n");
    let shown = sandbox.loom(&["run", "hi", "--reasoning", "--base-url", &url]);
    assert_eq!((shown.out.as_str(), shown.err.as_str()), ("42\n", "Hm.\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_off_says_so() {
    let server = emulator().await;
    let done = Sandbox::new().loom(&["run", "hi", "--max-tokens", "2", "--base-url", &server.base_url()]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "You said:\n"));
    assert!(done.err.contains("token limit"), "{done:?}");
}

/// Starts `loom run` on a server that says "Hello" and then nothing, and waits until that was printed.
async fn stuck(sandbox: &Sandbox, url: &str) -> Child {
    let mut command = sandbox.command(["run", "hi", "--model", "m", "--base-url", url]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"Hello");
    child
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_closes_the_connection_at_once() {
    let server = serve(Script::new([hello().then(Piece::Hang)])).await;
    let sandbox = Sandbox::new();
    let mut child = stuck(&sandbox, &server.base_url()).await;
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert!(server.wait_closed(PATIENCE).await);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "\n", "the line is ended, and nothing is said");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_ends_it_quietly() {
    let line = |at: usize| chunk(json!({"content": format!("line {at}\n")}), None);
    let reply = Reply::sse((0..200).map(line)).delay_between(Duration::from_millis(5)).then(done());
    let server = serve(Script::new([reply])).await;
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(["run", "hi", "--model", "m", "--base-url", &server.base_url()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "line 0\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    assert!(server.wait_closed(PATIENCE).await);
    assert_eq!(server.connections().aborted, 1, "it did not read to the end for nobody");
}
