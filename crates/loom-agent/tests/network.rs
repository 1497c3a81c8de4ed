//! Keys and origins, redirects, TLS, and the errors that name the link that failed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::time::Duration;

use loom::{ErrorKind, Link, LlmError, Message, Request, Timeout, UnifiedLlm};
use loom_testkit::{Emulator, Reply, Script, Server, TestCa};
use serde_json::json;

const KEY: &str = "sk-secret-0123456789";

async fn ask(base_url: String) -> Result<loom::Completion, LlmError> {
    let llm = UnifiedLlm::builder().base_url(base_url).api_key(KEY).model("demo").max_retries(0).build()?;
    llm.generate(Request::new(vec![Message::user("hello")])).await
}

#[tokio::test]
async fn without_a_key_there_is_no_header_and_with_one_it_is_sent() {
    let server = Server::start(Emulator::new().model("demo")).await.unwrap();
    ask(server.base_url()).await.unwrap();
    let llm = UnifiedLlm::builder().base_url(server.base_url()).model("demo").build().unwrap();
    llm.generate(Request::new(vec![Message::user("hello")])).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(requests[1].header("authorization"), None);
    assert_eq!(requests[1].header("content-type"), Some("application/json"));
    assert!(requests[1].header("user-agent").unwrap().starts_with("loom/"));
    assert_eq!(
        requests[1].json(),
        json!({"model": "demo", "messages": [{"role": "user", "content": "hello"}]})
    );
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_refused_and_gets_nothing() {
    let other = Server::start(Emulator::new().model("demo")).await.unwrap();
    for status in [301, 302, 307, 308] {
        let away =
            Reply::text(status, "").header("location", format!("{}/chat/completions", other.base_url()));
        let server = Server::start(Script::new([away])).await.unwrap();
        let error = ask(server.base_url()).await.unwrap_err();
        assert!(error.message.contains("redirects to"), "{error}");
        assert!(error.hint.as_deref().unwrap().contains("base_url"));
    }
    assert!(other.requests().is_empty());
    let named = Reply::text(307, "").header("location", "http://ada:hunter2@other.example/?key=hunter2");
    let error = ask(Server::start(Script::new([named])).await.unwrap().base_url()).await.unwrap_err();
    assert!(error.message.ends_with("redirects to http://other.example?key=…"), "{error}");
}

#[tokio::test]
async fn a_redirect_within_the_origin_keeps_method_body_and_key() {
    for status in [301, 302, 307, 308] {
        let away = Reply::text(status, "").header("location", "/v1/chat/completions?moved=1");
        let answer = json!({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]});
        let server = Server::start(Script::new([away, Reply::json(200, &answer)])).await.unwrap();
        assert_eq!(ask(server.base_url()).await.unwrap().content, "hi");
        let second = server.requests().pop().unwrap();
        assert_eq!((second.method.as_str(), second.query.as_str()), ("POST", "moved=1"));
        assert_eq!(second.json()["messages"][0]["content"], "hello");
        assert!(second.header("authorization").is_some());
    }
}

#[tokio::test]
async fn errors_name_the_link_that_failed() {
    let gone = Server::start(Emulator::new()).await.unwrap();
    let port = gone.port();
    gone.shutdown().await;
    let refused = ask(format!("http://127.0.0.1:{port}/v1")).await.unwrap_err();
    assert!(
        refused.kind == ErrorKind::Connection && refused.message.contains("nothing listens"),
        "{refused}"
    );

    let unknown = ask("http://no-such-host.invalid/v1".into()).await.unwrap_err();
    assert!(
        unknown.kind == ErrorKind::Connection && unknown.message.contains("cannot be resolved"),
        "{unknown}"
    );

    let plain = Server::start(Emulator::new().model("demo")).await.unwrap();
    let no_tls = ask(plain.base_url().replace("http://", "https://")).await.unwrap_err();
    assert!(
        no_tls.message.contains("TLS") && no_tls.hint.as_deref().unwrap().contains("http://"),
        "{no_tls}"
    );

    let identity = TestCa::new().unwrap().issue(&["127.0.0.1"]).unwrap();
    let private = Server::start_tls(Emulator::new().model("demo"), identity).await.unwrap();
    let untrusted = ask(private.base_url()).await.unwrap_err();
    assert!(untrusted.message.contains("not trusted"), "{untrusted}");
    assert!(untrusted.hint.as_deref().unwrap().contains("SSL_CERT_FILE"), "{untrusted}");
    for error in [refused, unknown, no_tls, untrusted] {
        assert!(!format!("{error} {error:?}").contains(KEY));
    }
}

#[tokio::test]
async fn a_key_that_the_server_quotes_is_not_shown() {
    let body = json!({"error": {"message": format!("Incorrect API key provided: {KEY}"), "code": "invalid_api_key"}});
    let server = Server::start(Script::new([Reply::json(401, &body)])).await.unwrap();
    let error = ask(server.base_url()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Auth);
    assert!(!format!("{error} {error:?}").contains(KEY));
}

#[tokio::test]
async fn a_header_or_query_value_that_the_server_quotes_is_not_shown() {
    let body = json!({"error": {"message": format!("unknown token {KEY}, tenant tenant-0123456789")}});
    let server = Server::start(Script::new([Reply::json(401, &body)])).await.unwrap();
    let llm = UnifiedLlm::builder()
        .base_url(server.base_url())
        .model("demo")
        .header("Authorization", format!("Token {KEY}"))
        .query("tenant", "tenant-0123456789")
        .build()
        .unwrap();
    let error = llm.generate(Request::new(vec![Message::user("hello")])).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(KEY) && !shown.contains("tenant-0123456789"), "{shown}");
    assert!(error.hint.as_deref().unwrap().contains("not valid"));
}

#[tokio::test]
async fn a_stream_that_has_ended_leaves_its_connection_to_the_next() {
    let server = Server::start(Emulator::new().model("demo")).await.unwrap();
    let llm = UnifiedLlm::builder().base_url(server.base_url()).model("demo").build().unwrap();
    for _ in 0..5 {
        let request = Request { stream: true, ..Request::new(vec![Message::user("hello")]) };
        loom::collect(loom::Llm::stream(&llm, request)).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(server.connections().opened, 1);
}

/// A socket that listens, whose queue is full: the system lets further connections wait.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_connect_clock_says_how_long_it_ran() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let waiting: Vec<_> = (0..8).map(|_| tokio::spawn(tokio::net::TcpStream::connect(address))).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let timeout = Timeout { connect: Some(Duration::from_millis(300)), ..Timeout::default() };
    let llm = UnifiedLlm::builder().base_url(format!("http://{address}/v1")).model("m").timeout(timeout);
    let error = llm.max_retries(0).build().unwrap().generate(Request::new(vec![])).await.unwrap_err();
    assert_eq!((error.kind, error.link), (ErrorKind::Timeout, Some(Link::Tcp)), "{error}");
    assert!(error.message.contains("within 0.3 s (connect)"), "{error}");
    drop(waiting);
}

#[tokio::test]
async fn the_link_that_failed_is_named() {
    let unknown = ask("http://no-such-host.invalid/v1".into()).await.unwrap_err();
    assert_eq!(unknown.link, Some(Link::Name));
    let plain = Server::start(Emulator::new().model("demo")).await.unwrap();
    let no_tls = ask(plain.base_url().replace("http://", "https://")).await.unwrap_err();
    assert_eq!((no_tls.link, no_tls.retryable), (Some(Link::Tls), false), "{no_tls}");
    let identity = TestCa::new().unwrap().issue(&["127.0.0.1"]).unwrap();
    let private = Server::start_tls(Emulator::new().model("demo"), identity).await.unwrap();
    assert_eq!(ask(private.base_url()).await.unwrap_err().link, Some(Link::Tls));
}
