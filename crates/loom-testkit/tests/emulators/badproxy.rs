//! The proxy breaks what it is told to break, and as often as it is told.

use loom_testkit::servers;
use serde_json::{Value, json};

use crate::client::{Answer, Request};

fn body(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]})
}

async fn ask(base: &str, model: &str, stream: bool) -> Answer {
    let server = servers::badproxy().start().await.unwrap();
    Request::chat(base, &body(model, stream)).send(server.port()).await
}

#[tokio::test]
async fn a_fault_is_chosen_by_model_path_or_query() {
    let server = servers::badproxy().start().await.unwrap();
    let model = Request::chat("/v1", &body("bad-gateway", false));
    let path = Request::chat("/bad-gateway/v1", &body("any", false));
    let mut query = Request::chat("/v1", &body("any", false));
    query.path += "?fault=bad-gateway";
    for request in [model, path, query] {
        let answer = request.send(server.port()).await;
        assert_eq!(answer.status, 502);
        assert!(answer.body.starts_with("<html>"));
    }
    assert_eq!(Request::chat("/v1", &body("any", false)).send(server.port()).await.status, 200);
}

#[tokio::test]
async fn a_number_says_how_often() {
    let server = servers::badproxy().start().await.unwrap();
    let request = Request::chat("/v1", &body("429-ms*2", false));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(request.send(server.port()).await.status);
    }
    assert_eq!(statuses, [429, 429, 200]);
}

#[tokio::test]
async fn retry_after_has_every_form() {
    for (model, header) in [
        ("429-seconds", "retry-after"),
        ("429-fraction", "retry-after"),
        ("429-date", "retry-after"),
        ("429-past", "retry-after"),
        ("429-ms", "retry-after-ms"),
        ("429-reset", "x-ratelimit-reset-tokens"),
    ] {
        let answer = ask("/v1", model, false).await;
        assert_eq!(answer.status, 429);
        assert!(answer.header(header).is_some(), "{model}");
    }
    assert_eq!(ask("/v1", "429-empty", false).await.body, "");
    assert_eq!(ask("/v1", "429-quota", false).await.json()["error"]["code"], "insufficient_quota");
}

#[tokio::test]
async fn half_an_answer_is_half_of_the_right_one() {
    let whole = ask("/v1", "any", true).await.body;
    for model in ["cut", "reset", "end"] {
        let cut = ask("/v1", model, true).await.body;
        assert!(!cut.is_empty() && !cut.contains("[DONE]") && cut.len() < whole.len(), "{model}: {cut}");
        assert_eq!(cut.replace(model, "any")[..60], whole[..60]);
    }
    assert_eq!(ask("/v1", "split", true).await.body.replace("split", "any"), whole);
}
