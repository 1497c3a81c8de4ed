//! A reply reaches the client byte for byte.

use std::time::{Duration, Instant};

use loom_testkit::{Framing, Piece, Reply, Server};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{connect, exchange, read_answer};

const GET: &str = "GET /x HTTP/1.1\r\nconnection: close\r\n\r\n";

/// What a client that asks once gets, to the end of the connection.
async fn wire(reply: Reply) -> String {
    wire_of(GET, reply).await
}

async fn wire_of(request: &str, reply: Reply) -> String {
    let server = Server::start(move |_: &_| reply.clone()).await.expect("a free port");
    exchange(server.port(), request).await
}

#[tokio::test]
async fn whole_bodies_have_a_length() {
    assert_eq!(
        wire(Reply::json(429, &json!({"z": 1, "a": null})).header("Retry-After", "7")).await,
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nRetry-After: 7\r\n\
         content-length: 16\r\n\r\n{\"z\":1,\"a\":null}"
    );
    assert_eq!(
        wire(Reply::text(500, "Internal Server Error").reason("Oops")).await,
        "HTTP/1.1 500 Oops\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n\r\n\
         Internal Server Error"
    );
    assert_eq!(
        wire(Reply::html(502, "<html>")).await,
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: 6\r\n\r\n<html>"
    );
    assert_eq!(wire(Reply::new(404)).await, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
}

#[tokio::test]
async fn events_are_chunks() {
    assert_eq!(
        wire(Reply::sse(["{}".to_owned(), "[DONE]".to_owned()])).await,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
         a\r\ndata: {}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    );
}

#[tokio::test]
async fn an_empty_piece_does_not_end_the_chunks() {
    let reply = Reply::sse([]).then(Piece::Bytes(Vec::new())).then(Piece::Bytes(b"a".to_vec()));
    assert!(wire(reply).await.ends_with("\r\n\r\n1\r\na\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn a_length_may_lie() {
    let reply = Reply::text(200, "short").framing(Framing::LengthOf(99));
    assert!(wire(reply).await.ends_with("content-length: 99\r\n\r\nshort"));
}

#[tokio::test]
async fn a_body_may_end_with_the_connection() {
    let get = "GET /x HTTP/1.1\r\n\r\n";
    let answer = wire_of(get, Reply::sse(["1".to_owned()]).framing(Framing::UntilClose)).await;
    assert!(answer.ends_with("connection: close\r\n\r\ndata: 1\n\n"));
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let answer = wire_of("GET /x HTTP/1.0\r\n\r\n", Reply::sse(["1".to_owned()])).await;
    assert!(answer.ends_with("connection: close\r\n\r\ndata: 1\n\n"));
}

#[tokio::test]
async fn raw_bytes_are_all_there_is() {
    assert_eq!(
        wire_of("GET /x HTTP/1.1\r\n\r\n", Reply::raw("HTTP/9 banana\n\n")).await,
        "HTTP/9 banana\n\n"
    );
}

#[tokio::test]
async fn a_connection_closed_early_ends_without_the_last_chunk() {
    let reply = Reply::sse(["1".to_owned()]).then(Piece::Close).then(Piece::Bytes(b"never".to_vec()));
    assert!(wire(reply).await.ends_with("\r\n\r\n9\r\ndata: 1\n\n\r\n"));
}

#[tokio::test]
async fn no_body_follows_where_none_may() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 2\r\n\r\n";
    assert_eq!(wire_of("HEAD /x HTTP/1.1\r\nconnection: close\r\n\r\n", Reply::text(200, "no")).await, head);
    assert_eq!(wire(Reply::new(204)).await, "HTTP/1.1 204 No Content\r\n\r\n");
}

#[tokio::test]
async fn a_reset_is_an_error_for_the_reader() {
    let server = Server::start(|_: &_| Reply::text(200, "x").then(Piece::Reset)).await.unwrap();
    let mut stream = connect(server.port()).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn split_and_delayed_writes_arrive_one_by_one() {
    let reply = Reply::raw("abcde").delay_between(Duration::from_millis(30)).split_every(2);
    let server = Server::start(move |_: &_| reply.clone()).await.unwrap();
    let mut stream = connect(server.port()).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut reads = Vec::new();
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            n => reads.push(String::from_utf8_lossy(&buffer[..n]).into_owned()),
        }
    }
    assert_eq!(reads, ["ab", "cd", "e"]);
}

#[tokio::test]
async fn a_delay_may_come_before_the_head() {
    let pause = Duration::from_millis(40);
    let start = Instant::now();
    assert!(wire(Reply::text(200, "x").delay_head(pause)).await.ends_with("\r\n\r\nx"));
    assert!(start.elapsed() >= pause);
}

#[tokio::test]
async fn a_delay_may_come_between_head_and_body() {
    let reply = Reply::text(200, "x").delay_first(Duration::from_secs(600));
    let server = Server::start(move |_: &_| reply.clone()).await.unwrap();
    let mut stream = connect(server.port()).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(50), read_answer(&mut stream));
    assert!(answer.await.is_err());

    stream = connect(server.port()).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_reply_that_says_close_ends_the_connection() {
    let server = Server::start(|_: &_| Reply::text(200, "bye").header("Connection", "close")).await.unwrap();
    let mut stream = connect(server.port()).await;
    stream.write_all(b"GET /x HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(read_answer(&mut stream).await.text(), "bye");
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}
