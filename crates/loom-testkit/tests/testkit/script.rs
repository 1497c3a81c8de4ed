//! A script answers in order, and says so when it has come to its end.

use loom_testkit::{Reply, Script, Server};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::client::{Answer, chat, connect, read_answer};

async fn get(port: u16, path: &str) -> Answer {
    let mut stream = connect(port).await;
    stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await.expect("a server that reads");
    read_answer(&mut stream).await
}

#[tokio::test]
async fn replies_come_in_order_and_then_an_error() {
    let script = Script::new([Reply::text(503, "busy"), Reply::json(200, &json!({"ok": true}))]);
    let server = Server::start(script).await.unwrap();
    assert_eq!(chat(server.port(), &json!({})).await.status, 503);
    assert_eq!(chat(server.port(), &json!({})).await.json(), json!({"ok": true}));

    let exhausted = chat(server.port(), &json!({})).await;
    assert_eq!(exhausted.status, 500);
    assert_eq!(exhausted.json()["error"]["message"], "script exhausted: all 2 replies have been given");
}

#[tokio::test]
async fn models_are_listed_and_take_no_reply() {
    let server = Server::start(Script::new([Reply::text(200, "only")]).models(["a", "b:7b"])).await.unwrap();
    let list = get(server.port(), "/api/v3/models").await.json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][1]["id"], "b:7b");
    assert_eq!(chat(server.port(), &json!({})).await.text(), "only");
}

#[tokio::test]
async fn other_paths_are_unknown() {
    let server = Server::start(Script::new([])).await.unwrap();
    let answer = get(server.port(), "/v1/chat/completions").await;
    assert_eq!(answer.status, 404);
    let error = json!({
        "message": "Invalid URL (GET /v1/chat/completions)",
        "type": "invalid_request_error",
        "param": null,
        "code": null,
    });
    assert_eq!(answer.json(), json!({ "error": error }));
}
