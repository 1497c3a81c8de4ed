//! Connections that are kept for the next call, and may have been closed by then.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use loom::{Completion, ErrorKind, Llm, LlmError, Message, Request, UnifiedLlm};
use loom_testkit::{Piece, Reply, Script, Server, TestCa};
use serde_json::json;

fn said(text: &str) -> Reply {
    let message = json!({"role": "assistant", "content": text});
    Reply::json(200, &json!({"choices": [{"message": message, "finish_reason": "stop"}]}))
}

fn streamed(text: &str) -> Reply {
    let chunk = |delta, finish| json!({"choices": [{"delta": delta, "finish_reason": finish}]}).to_string();
    Reply::sse([
        chunk(json!({"content": text}), None),
        chunk(json!({}), Some("stop")),
        json!({"choices": [], "usage": {"total_tokens": 3}}).to_string(),
        "[DONE]".to_owned(),
    ])
}

/// The connection is closed where an answer should come.
fn closed() -> Reply {
    Reply::raw(Vec::new())
}

/// The same, by a reset.
fn reset() -> Reply {
    closed().then(Piece::Reset)
}

async fn serving(replies: impl IntoIterator<Item = Reply>) -> (Server, UnifiedLlm) {
    let server = Server::start(Script::new(replies)).await.unwrap();
    let llm = UnifiedLlm::builder().base_url(server.base_url()).model("m").max_retries(0).build().unwrap();
    (server, llm)
}

async fn ask(llm: &UnifiedLlm) -> Result<Completion, LlmError> {
    llm.generate(Request::new(vec![Message::user("hello")])).await
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_fails_no_call() {
    for dead in [closed, reset] {
        let (server, llm) = serving([said("one"), dead(), said("two")]).await;
        assert_eq!(ask(&llm).await.unwrap().content, "one");
        assert_eq!(ask(&llm).await.unwrap().content, "two");
        let requests = server.requests();
        let used: Vec<usize> = requests.iter().map(|request| request.connection).collect();
        assert_eq!((used[0] == used[1], used[1] == used[2]), (true, false), "{used:?}");
        assert_eq!(requests[1].body, requests[2].body);
        assert_eq!(llm.explain().unwrap().attempts, 1, "it is no try of the call");
    }
}

/// Each begins in the moment in which the one before has ended.
#[tokio::test]
async fn streams_one_after_the_other_share_a_connection() {
    let (server, llm) = serving((0..50).map(|_| streamed("hello"))).await;
    for _ in 0..50 {
        let mut events = llm.stream(Request::new(vec![Message::user("hello")]));
        while let Some(event) = events.next().await {
            event.unwrap();
        }
    }
    let used: HashSet<usize> = server.requests().iter().map(|request| request.connection).collect();
    assert_eq!(used.len(), 1);
}

#[tokio::test]
async fn streams_that_wait_for_their_turn_share_it_as_well() {
    let server = Server::start(Script::new((0..50).map(|_| streamed("hello")))).await.unwrap();
    let settings = UnifiedLlm::builder().base_url(server.base_url()).model("m").max_retries(0);
    let llm = settings.max_concurrency(1).build().unwrap();
    join_all((0..50).map(|_| {
        let llm = llm.clone();
        tokio::spawn(async move {
            let mut events = llm.stream(Request::new(vec![Message::user("hello")]));
            while let Some(event) = events.next().await {
                event.unwrap();
            }
        })
    }))
    .await
    .into_iter()
    .for_each(Result::unwrap);
    let used: HashSet<usize> = server.requests().iter().map(|request| request.connection).collect();
    assert_eq!(used.len(), 1);
}

#[tokio::test]
async fn nor_does_one_with_tls() {
    let ca = TestCa::new().unwrap();
    let replies = Script::new([said("one"), closed(), said("two"), reset(), said("three")]);
    let server = Server::start_tls(replies, ca.issue(&["127.0.0.1"]).unwrap()).await.unwrap();
    let bundle = std::env::temp_dir().join(format!("loom-kept-{}.pem", std::process::id()));
    std::fs::write(&bundle, ca.pem()).unwrap();
    let settings = UnifiedLlm::builder().base_url(server.base_url()).model("m").max_retries(0);
    let llm = settings.verify(&bundle).build().unwrap();
    for text in ["one", "two", "three"] {
        assert_eq!(ask(&llm).await.unwrap().content, text);
    }
    std::fs::remove_file(bundle).unwrap();
}

#[tokio::test]
async fn it_is_sent_once_more_and_not_again() {
    let (server, llm) = serving([said("one"), closed(), closed(), said("two")]).await;
    ask(&llm).await.unwrap();
    assert_eq!(ask(&llm).await.unwrap_err().kind, ErrorKind::Connection);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn what_may_have_been_worked_on_is_not_sent_again() {
    // On a connection of its own.
    let (server, llm) = serving([closed(), said("two")]).await;
    assert_eq!(ask(&llm).await.unwrap_err().kind, ErrorKind::Connection);
    assert_eq!(server.requests().len(), 1);

    // After a while: whoever had closed the connection would have done so at once.
    let late = Reply::raw(Vec::new()).then(Piece::Delay(Duration::from_millis(2500)));
    let (server, llm) = serving([said("one"), late, said("two")]).await;
    ask(&llm).await.unwrap();
    assert_eq!(ask(&llm).await.unwrap_err().kind, ErrorKind::Connection);
    assert_eq!(server.requests().len(), 2);

    // Once the answer has begun, or something that is none has come.
    let cut = Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec());
    for begun in [cut, Reply::raw(b"\x00\x01 nonsense".to_vec())] {
        let (server, llm) = serving([said("one"), begun, said("two")]).await;
        ask(&llm).await.unwrap();
        ask(&llm).await.unwrap_err();
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_client_of_ones_own_keeps_its_own_connections() {
    let server = Server::start(Script::new([said("one"), closed(), said("two")])).await.unwrap();
    // reqwest asks for it, also where there is no TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let own = reqwest::Client::builder()
        .user_agent("mine")
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let settings = UnifiedLlm::builder().base_url(server.base_url()).model("m").max_retries(0);
    let llm = settings.http_client(own).build().unwrap();
    ask(&llm).await.unwrap();
    assert_eq!(
        ask(&llm).await.unwrap_err().kind,
        ErrorKind::Connection,
        "its connections are its own matter"
    );
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn what_looks_after_idle_connections_ends_when_there_are_none() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let settled = |count: usize| async move {
        for _ in 0..200 {
            if alive() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} tasks, not {count}", alive());
    };
    let before = alive();
    let (server, llm) = serving((0..50).map(|_| said("one").delay_head(Duration::from_millis(50)))).await;
    for answer in join_all((0..50).map(|_| ask(&llm))).await {
        answer.unwrap();
    }
    drop(server);
    // hyper has one task for all idle connections, which looks once a minute.
    settled(before + 1).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    settled(before).await;
}
