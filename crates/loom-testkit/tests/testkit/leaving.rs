//! A server notices that its client has left in the middle of an answer.

use std::time::Duration;

use loom_testkit::{Connections, Piece, Reply, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{connect, exchange};

const SOON: Duration = Duration::from_secs(2);
const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// Reads the first byte of the answer, leaves, and returns what the server counted.
async fn leave_after_first_byte(reply: Reply) -> Connections {
    let server = Server::start(move |_: &_| reply.clone()).await.expect("a free port");
    let mut stream = connect(server.port()).await;
    stream.write_all(GET).await.expect("a server that reads");
    stream.read_u8().await.expect("a first byte");
    assert_eq!(server.connections(), Connections { opened: 1, open: 1, aborted: 0, resumed: 0 });
    drop(stream);
    assert!(server.wait_closed(SOON).await);
    server.connections()
}

const ABORTED: Connections = Connections { opened: 1, open: 0, aborted: 1, resumed: 0 };

#[tokio::test]
async fn while_the_server_hangs() {
    assert_eq!(leave_after_first_byte(Reply::sse([]).then(Piece::Hang)).await, ABORTED);
}

#[tokio::test]
async fn while_the_server_waits() {
    let reply = Reply::sse(["1".to_owned()]).then(Piece::Delay(Duration::from_secs(600)));
    assert_eq!(leave_after_first_byte(reply).await, ABORTED);
}

#[tokio::test]
async fn while_the_server_writes_more_than_the_network_holds() {
    assert_eq!(leave_after_first_byte(Reply::text(200, "x".repeat(64 << 20))).await, ABORTED);
}

#[tokio::test]
async fn before_the_server_said_anything() {
    let server = Server::start(|_: &_| Reply::raw("").then(Piece::Hang)).await.unwrap();
    let mut stream = connect(server.port()).await;
    assert!(!server.wait_requests(1, Duration::from_millis(50)).await);
    stream.write_all(GET).await.unwrap();
    assert!(server.wait_requests(1, SOON).await);
    assert!(!server.wait_closed(Duration::from_millis(50)).await);
    drop(stream);
    assert!(server.wait_closed(SOON).await);
    assert_eq!(server.connections(), ABORTED);
}

#[tokio::test]
async fn a_client_that_leaves_after_the_answer_aborted_nothing() {
    let server = Server::start(|_: &_| Reply::text(200, "x")).await.unwrap();
    exchange(server.port(), "GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(server.wait_closed(SOON).await);
    assert_eq!(server.connections(), Connections { opened: 1, open: 0, aborted: 0, resumed: 0 });
}

#[tokio::test]
async fn a_client_that_is_yet_to_be_seen_has_not_left() {
    let server = Server::start(|_: &_| Reply::text(200, "x")).await.unwrap();
    assert!(!server.wait_closed(Duration::from_millis(20)).await);
    drop(connect(server.port()).await);
    assert!(server.wait_closed(SOON).await);
    assert_eq!(server.connections().aborted, 0);
}

#[tokio::test]
async fn a_client_that_stays_is_waited_for_in_vain() {
    let server = Server::start(|_: &_| Reply::text(200, "x")).await.unwrap();
    let mut stream = connect(server.port()).await;
    stream.write_all(GET).await.unwrap();
    stream.read_u8().await.unwrap();
    assert!(!server.wait_closed(Duration::from_millis(50)).await);
}
