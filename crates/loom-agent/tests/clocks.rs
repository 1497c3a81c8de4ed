//! The four clocks: which ran out, and what had arrived.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use loom::{ErrorKind, Llm, LlmError, Message, Request, Timeout, UnifiedLlm};
use loom_testkit::{Framing, Piece, Reply, Script, Server};
use serde_json::json;

const SHORT: Duration = Duration::from_millis(150);
const NO_LIMITS: Timeout =
    Timeout { connect: None, first_token: None, idle: None, loading: None, total: None };

fn event(content: &str) -> Vec<u8> {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": content}}]})).into_bytes()
}

fn stream() -> Reply {
    Reply::new(200).header("content-type", "text/event-stream").framing(Framing::Chunked)
}

async fn fails(reply: Reply, timeout: Timeout) -> LlmError {
    let server = Server::start(Script::new([reply])).await.unwrap();
    let llm = UnifiedLlm::builder().base_url(server.base_url()).model("m").timeout(timeout).max_retries(0);
    let request = Request { stream: true, ..Request::new(vec![Message::user("hello")]) };
    let started = Instant::now();
    let error = loom::collect(llm.build().unwrap().stream(request)).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    error
}

#[tokio::test]
async fn each_clock_has_its_own_error() {
    let keep_alive = Piece::Bytes(b": keep-alive\n\n".to_vec());
    let silent = || stream().then(keep_alive.clone()).then(Piece::Hang);
    let stalled = || stream().then(Piece::Bytes(event("half"))).then(keep_alive.clone()).then(Piece::Hang);

    let error = fails(silent(), Timeout { first_token: Some(SHORT), ..NO_LIMITS }).await;
    assert!(error.kind == ErrorKind::Timeout && error.message.contains("(first_token)"), "{error}");
    assert!(error.message.contains("nothing of the answer had arrived"), "{error}");
    assert!(error.partial.is_none());

    let error = fails(stalled(), Timeout { idle: Some(SHORT), ..NO_LIMITS }).await;
    assert!(error.kind == ErrorKind::Timeout && error.message.contains("(idle)"), "{error}");
    assert!(error.message.contains("4 characters of the answer had arrived"), "{error}");
    assert_eq!(error.partial.as_ref().unwrap().content, "half");

    let error = fails(stalled(), Timeout { total: Some(SHORT), ..NO_LIMITS }).await;
    assert!(error.kind == ErrorKind::Timeout && error.message.contains("(total)"), "{error}");
    assert!(!error.retryable);
}

#[tokio::test]
async fn keep_alives_do_not_wind_the_idle_clock_up() {
    let mut reply = stream().then(Piece::Bytes(event("half")));
    for _ in 0..100 {
        reply =
            reply.then(Piece::Bytes(b": PING\n\n".to_vec())).then(Piece::Delay(Duration::from_millis(20)));
    }
    let error = fails(reply, Timeout { idle: Some(SHORT), ..NO_LIMITS }).await;
    assert!(error.message.contains("(idle)"), "{error}");
}

#[tokio::test]
async fn a_slow_start_does_not_trip_the_idle_clock() {
    let role = format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"role": "assistant"}}]}));
    let finish = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let reply = stream()
        .then(Piece::Bytes(role.into_bytes()))
        .then(Piece::Delay(SHORT * 3))
        .then(Piece::Bytes(event("hi")))
        .then(Piece::Bytes(format!("data: {finish}\n\ndata: [DONE]\n\n").into_bytes()));
    let server = Server::start(Script::new([reply])).await.unwrap();
    let timeout = Timeout { idle: Some(SHORT), ..NO_LIMITS };
    let llm = UnifiedLlm::builder().base_url(server.base_url()).model("m").timeout(timeout).build().unwrap();
    let request = Request { stream: true, ..Request::new(vec![Message::user("hello")]) };
    assert_eq!(loom::collect(llm.stream(request)).await.unwrap().content, "hi");
}

#[tokio::test]
async fn an_answer_that_is_complete_survives_a_server_that_does_not_hang_up() {
    let finish = json!({"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]});
    let reply = stream().then(Piece::Bytes(format!("data: {finish}\n\n").into_bytes())).then(Piece::Hang);
    let server = Server::start(Script::new([reply])).await.unwrap();
    let timeout = Timeout { idle: Some(SHORT), ..NO_LIMITS };
    let llm = UnifiedLlm::builder().base_url(server.base_url()).model("m").timeout(timeout).build().unwrap();
    let completion =
        loom::collect(llm.stream(Request { stream: true, ..Request::new(vec![]) })).await.unwrap();
    assert_eq!(completion.content, "hi");
    assert_eq!(completion.ledger.first().unwrap().rule, loom::Rule::BrokenAfterEnd);
}

#[tokio::test]
async fn a_dropped_stream_closes_its_connection_at_once() {
    let reply = stream().then(Piece::Bytes(event("half"))).then(Piece::Hang);
    let server = Server::start(Script::new([reply])).await.unwrap();
    let llm = UnifiedLlm::builder().base_url(server.base_url()).model("m").build().unwrap();
    let mut events = llm.stream(Request { stream: true, ..Request::new(vec![]) });
    assert!(events.next().await.unwrap().is_ok());
    drop(events);
    assert!(server.wait_closed(Duration::from_secs(2)).await);
    assert_eq!(server.connections().aborted, 1);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_as_that() {
    let mute = Reply::raw("").then(Piece::Hang);
    let error = fails(mute, Timeout { total: Some(SHORT), ..NO_LIMITS }).await;
    assert!(error.message.contains("had not begun to answer"), "{error}");
}

#[tokio::test]
async fn a_refusal_whose_body_stands_still_is_a_refusal_all_the_same() {
    let stalled = Reply::new(429)
        .framing(Framing::Chunked)
        .then(Piece::Bytes(br#"{"error": {"message": "slow d"#.to_vec()))
        .then(Piece::Hang);
    let error = fails(stalled, Timeout { idle: Some(SHORT), ..NO_LIMITS }).await;
    assert_eq!((error.kind, error.status_code), (ErrorKind::RateLimit, Some(429)));
    assert!(error.message.contains("slow d"), "{error}");
}

#[tokio::test]
async fn a_whole_answer_that_stands_still_trips_the_idle_clock() {
    let stalled = Reply::new(200)
        .header("content-type", "application/json")
        .framing(Framing::Chunked)
        .then(Piece::Bytes(br#"{"choices": [{"message": {"#.to_vec()))
        .then(Piece::Hang);
    let error = fails(stalled, Timeout { idle: Some(SHORT), ..NO_LIMITS }).await;
    assert!(error.kind == ErrorKind::Timeout && error.message.contains("(idle)"), "{error}");
}
