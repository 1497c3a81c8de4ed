//! The emulator refuses what OpenAI refuses, in OpenAI's words.

use loom_testkit::servers::OPENAI;
use loom_testkit::{Emulator, Server, ServerSpec};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::client::{Answer, chat, connect, post, read_answer};

async fn demo() -> Server {
    Server::start(Emulator::new().model("demo")).await.expect("a free port")
}

async fn ask(port: u16, request: &str) -> Answer {
    let mut stream = connect(port).await;
    stream.write_all(request.as_bytes()).await.expect("a server that reads");
    read_answer(&mut stream).await
}

/// A right request, with `changes` made to it.
fn request(changes: Value) -> Value {
    let mut request = json!({"model": "demo", "messages": [{"role": "user", "content": "Hi"}]});
    for (key, value) in changes.as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    request
}

#[tokio::test]
async fn wrong_parameters() {
    let server = demo().await;
    let no_call = json!([{"role": "tool", "tool_call_id": "x", "content": "1"}]);
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let unanswered = json!([{"role": "assistant", "tool_calls": [call]}, {"role": "user", "content": "?"}]);
    let bad_call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a"}});
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let cases = [
        (json!({"messages": []}), "messages", "empty_array"),
        (json!({"messages": "Hi"}), "messages", "invalid_type"),
        (json!({"messages": [{"content": "Hi"}]}), "messages[0].role", "missing_required_parameter"),
        (json!({"messages": [{"role": "bot", "content": "Hi"}]}), "messages[0].role", "invalid_value"),
        (json!({"messages": [{"role": "user", "content": null}]}), "messages[0].content", ""),
        (json!({"messages": [{"role": "user", "content": 1}]}), "messages[0].content", "invalid_type"),
        (json!({"messages": no_call}), "messages[0].role", ""),
        (json!({"messages": unanswered}), "messages", ""),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [bad_call]}]}),
            "messages[0].tool_calls[0].function.arguments",
            "invalid_value",
        ),
        (json!({"tools": []}), "tools", "empty_array"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function.name", "missing_required_parameter"),
        (json!({"tools": [{"function": {"name": "a b"}}]}), "tools[0].function.name", "invalid_value"),
        (json!({"tool_choice": "auto"}), "tool_choice", ""),
        (json!({"tools": tool, "tool_choice": "any"}), "tool_choice", ""),
        (json!({"tools": tool, "tool_choice": {"function": {"name": "g"}}}), "tool_choice", ""),
        (json!({"stream_options": {"include_usage": true}}), "stream_options", ""),
        (json!({"temperature": null}), "temperature", "invalid_type"),
        (json!({"anything": null}), "anything", "invalid_type"),
        (json!({"temperature": "0.7"}), "temperature", "invalid_type"),
        (json!({"max_tokens": 1.5}), "max_tokens", "invalid_type"),
        (json!({"max_tokens": 0}), "max_tokens", "integer_below_min_value"),
        (json!({"n": 129}), "n", "integer_above_max_value"),
        (json!({"stop": [1]}), "stop", "invalid_type"),
        (json!({"response_format": {"type": "yaml"}}), "response_format.type", "invalid_value"),
        (
            json!({"response_format": {"type": "json_schema"}}),
            "response_format.json_schema",
            "missing_required_parameter",
        ),
    ];
    for (changes, param, code) in cases {
        let answer = chat(server.port(), &request(changes.clone())).await;
        let error = &answer.json()["error"];
        let expected = (400, Some(param), (!code.is_empty()).then_some(code));
        assert_eq!(
            (answer.status, error["param"].as_str(), error["code"].as_str()),
            expected,
            "{changes} {error}"
        );
        assert_eq!(error["type"], "invalid_request_error");
        assert_ne!(error["message"], "");
    }
}

#[tokio::test]
async fn exact_words() {
    let server = demo().await;
    let error = |message: &str, param: Value, code: Value| {
        let error =
            json!({"message": message, "type": "invalid_request_error", "param": param, "code": code});
        json!({ "error": error })
    };
    let answer = chat(server.port(), &json!({"model": "demo"})).await;
    let missing = "Missing required parameter: 'messages'.";
    assert_eq!(answer.json(), error(missing, json!("messages"), json!("missing_required_parameter")));

    let answer = chat(server.port(), &json!({"messages": []})).await;
    assert_eq!(answer.json(), error("you must provide a model parameter", Value::Null, Value::Null));

    let answer = chat(server.port(), &request(json!({"model": "gpt-9"}))).await;
    assert_eq!(answer.status, 404);
    let unknown = "The model `gpt-9` does not exist or you do not have access to it.";
    assert_eq!(answer.json(), error(unknown, Value::Null, json!("model_not_found")));

    let answer = chat(server.port(), &request(json!({"max_tokens": 1, "max_completion_tokens": 1}))).await;
    let both = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
    assert_eq!(answer.json(), error(both, Value::Null, Value::Null));
}

#[tokio::test]
async fn bodies_that_are_not_json() {
    let server = demo().await;
    for body in ["{", "", "[]"] {
        assert_eq!(ask(server.port(), &post("/v1/chat/completions", body)).await.status, 400, "{body}");
    }
    let body = request(json!({})).to_string();
    let as_text = post("/v1/chat/completions", &body).replace("application/json", "text/plain");
    assert_eq!(ask(server.port(), &as_text).await.status, 400);
    let with_charset = post("/v1/chat/completions", &body).replace("/json", "/json; charset=utf-8");
    assert_eq!(ask(server.port(), &with_charset).await.status, 200);
}

#[tokio::test]
async fn wrong_paths_and_methods() {
    let server = demo().await;
    let cases = [
        ("GET /v1/models", 200),
        ("POST /v1/models", 405),
        ("GET /v1/chat/completions", 405),
        ("GET /models", 404),
        ("POST /v1/v1/chat/completions", 404),
        ("GET /", 404),
    ];
    for (line, status) in cases {
        let answer = ask(server.port(), &format!("{line} HTTP/1.1\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{line}");
        assert_eq!(answer.json().get("error").is_some(), status != 200);
    }
}

#[tokio::test]
async fn wrong_keys() {
    let server = Server::start(Emulator::new().model("demo").api_key("sk-test")).await.unwrap();
    let with = |header: &str| format!("GET /v1/models HTTP/1.1\r\n{header}\r\n");
    assert_eq!(ask(server.port(), &with("Authorization: Bearer sk-test\r\n")).await.status, 200);

    let missing = ask(server.port(), &with("")).await;
    assert_eq!((missing.status, &missing.json()["error"]["code"]), (401, &Value::Null));
    let wrong = ask(server.port(), &with("authorization: Bearer sk-secret\r\n")).await;
    assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    assert!(!wrong.text().contains("sk-secret"));
}

#[tokio::test]
async fn a_spec_changes_what_is_refused_and_where() {
    let lenient = ServerSpec { strict: false, rules: &[], base: "/api/v3", ..OPENAI };
    let server = Server::start(Emulator::of(lenient).model("demo")).await.unwrap();
    assert_eq!(server.base_url(), format!("{}/api/v3", server.origin()));
    let body = request(json!({"model": "x", "temperature": null, "tools": []})).to_string();
    assert_eq!(ask(server.port(), &post("/api/v3/chat/completions", &body)).await.status, 200);
    assert_eq!(ask(server.port(), "GET /api/v3/models HTTP/1.1\r\n\r\n").await.status, 200);
    assert_eq!(ask(server.port(), "GET /v1/models HTTP/1.1\r\n\r\n").await.status, 404);
}
