//! A server records what it was sent, however it was framed.

use std::time::Duration;

use loom_testkit::{RecordedRequest, Reply, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{connect, exchange, post, read_answer};

async fn ok() -> Server {
    Server::start(|_: &_| Reply::text(200, "ok")).await.expect("a free port")
}

#[tokio::test]
async fn urls_name_the_port() {
    let server = ok().await;
    assert_eq!(server.origin(), format!("http://127.0.0.1:{}", server.port()));
    assert_eq!(server.base_url(), format!("http://127.0.0.1:{}/v1", server.port()));
}

#[tokio::test]
async fn a_request_is_recorded_as_it_came() {
    let server = ok().await;
    let body = r#"{"a":1}"#;
    let request = format!(
        "POST /openai/chat?api-version=1&x=%20 HTTP/1.1\r\nX-Custom-Header: Värde\r\nX-custom-header: 2\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    exchange(server.port(), &request).await;
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.target, "/openai/chat?api-version=1&x=%20");
    assert_eq!((request.path.as_str(), request.query.as_str()), ("/openai/chat", "api-version=1&x=%20"));
    assert_eq!(request.headers[0], ("X-Custom-Header".to_owned(), "Värde".to_owned()));
    assert_eq!(request.header("x-custom-header"), Some("Värde"));
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.json(), json!({"a": 1}));
}

#[tokio::test]
async fn a_body_that_is_not_json_is_null() {
    let server = ok().await;
    exchange(server.port(), "GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(server.requests()[0].json(), Value::Null);
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = ok().await;
    let mut stream = connect(server.port()).await;
    for body in ["1", "22"] {
        stream.write_all(post("/v1/chat/completions", body).as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.text(), "ok");
    }
    exchange(server.port(), "GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    let connections: Vec<usize> = server.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1]);
    assert_eq!(server.connections().opened, 2);
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_turn() {
    let server = ok().await;
    let mut stream = connect(server.port()).await;
    stream.write_all((post("/1", "{}") + &post("/2", "{}")).as_bytes()).await.unwrap();
    read_answer(&mut stream).await;
    read_answer(&mut stream).await;
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/1", "/2"]);
}

#[tokio::test]
async fn a_body_may_come_in_chunks_and_byte_by_byte() {
    let server = ok().await;
    let mut stream = connect(server.port()).await;
    let request = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4;ext=1\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\nTrailer: x\r\n\r\n";
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(read_answer(&mut stream).await.status, 200);
    assert_eq!(server.requests()[0].json(), json!({"a": 1}));
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on() {
    let server = ok().await;
    let mut stream = connect(server.port()).await;
    stream.write_all(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").await.unwrap();
    assert_eq!(read_answer(&mut stream).await.text(), "ok");
}

#[tokio::test]
async fn what_is_not_a_request_is_refused() {
    let server = ok().await;
    for nonsense in [
        "nonsense\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ] {
        let answer = exchange(server.port(), nonsense).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    }
    let answer = exchange(server.port(), "POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_handler_that_panics_costs_the_connection_only() {
    let server = Server::start(|request: &RecordedRequest| match request.path.as_str() {
        "/panic" => panic!("as this test wants it"),
        _ => Reply::text(200, "ok"),
    });
    let server = server.await.unwrap();
    assert_eq!(exchange(server.port(), "GET /panic HTTP/1.1\r\n\r\n").await, "");
    assert!(server.wait_closed(Duration::from_secs(2)).await);
    assert!(exchange(server.port(), "GET / HTTP/1.0\r\n\r\n").await.ends_with("ok"));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_server_that_was_shut_down_frees_its_port() {
    let server = ok().await;
    let port = server.port();
    let mut stream = connect(port).await;
    server.shutdown().await;
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());

    let again = Server::bind(("127.0.0.1", port), |_: &_| Reply::text(200, "again")).await.unwrap();
    assert_eq!(again.port(), port);
    drop(again);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}
