//! The proxy leads clients to their servers, and knows where they wanted to go.

use std::time::Duration;

use loom_testkit::{Emulator, Piece, Proxy, ProxyRules, Reply, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{connect, exchange, read_answer};

async fn demo() -> Server {
    Server::start(Emulator::new().model("demo")).await.expect("a free port")
}

#[tokio::test]
async fn a_tunnel_leads_to_the_mapped_port() {
    let server = demo().await;
    let proxy = Proxy::start(ProxyRules::new().map("your-service.com:443", server.port())).await.unwrap();
    assert_eq!(proxy.url(), format!("http://127.0.0.1:{}", proxy.port()));

    let mut stream = connect(proxy.port()).await;
    stream.write_all(b"CONNECT your-service.com:443 HTTP/1.1\r\n\r\n").await.unwrap();
    let mut established = [0; 39];
    stream.read_exact(&mut established).await.unwrap();
    assert_eq!(&established, b"HTTP/1.1 200 Connection established\r\n\r\n");
    for _ in 0..2 {
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: your-service.com\r\n\r\n").await.unwrap();
        assert_eq!(read_answer(&mut stream).await.json()["data"][0]["id"], "demo");
    }
    assert_eq!(proxy.targets(), ["your-service.com:443"]);
    assert_eq!(server.requests()[1].header("host"), Some("your-service.com"));
}

#[tokio::test]
async fn a_request_for_an_address_is_forwarded() {
    let server = demo().await;
    let proxy = Proxy::start(ProxyRules::new().map("your-service.com:80", server.port())).await.unwrap();
    let request = "POST http://your-service.com/v1/x?q=1 HTTP/1.1\r\nhost: your-service.com\r\n\
                   proxy-connection: keep-alive\r\ncontent-length: 2\r\n\r\n{}";
    assert!(exchange(proxy.port(), request).await.starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert_eq!(proxy.targets(), ["http://your-service.com/v1/x?q=1"]);

    let seen = &server.requests()[0];
    assert_eq!((seen.target.as_str(), seen.body.as_slice()), ("/v1/x?q=1", b"{}".as_slice()));
    assert_eq!(seen.header("proxy-connection"), None);
}

#[tokio::test]
async fn a_port_that_is_not_mapped_is_reached_as_addressed() {
    let server = demo().await;
    let proxy = Proxy::start(ProxyRules::new()).await.unwrap();
    let answer = exchange(proxy.port(), &format!("GET {}/models HTTP/1.1\r\n\r\n", server.base_url())).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn credentials_are_asked_for_and_not_passed_on() {
    let server = demo().await;
    let rules = ProxyRules::new().map("your-service.com:80", server.port()).credentials("user", "secret");
    assert!(!format!("{rules:?}").contains("dXNlc"));
    let proxy = Proxy::start(rules).await.unwrap();

    let refused = exchange(proxy.port(), "GET http://your-service.com/v1/models HTTP/1.1\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 407 Proxy Authentication Required\r\n"), "{refused}");
    assert!(refused.contains("proxy-authenticate: Basic realm=\"loom-testkit\"\r\n"));

    let authorized = "GET http://your-service.com/v1/models HTTP/1.1\r\n\
                      Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n";
    assert!(exchange(proxy.port(), authorized).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.requests()[0].header("proxy-authorization"), None);
}

#[tokio::test]
async fn what_cannot_be_reached_is_a_bad_gateway() {
    let unused = demo().await;
    let port = unused.port();
    unused.shutdown().await;
    let proxy = Proxy::start(ProxyRules::new().map("gone.test:443", port)).await.unwrap();
    let answer = exchange(proxy.port(), "CONNECT gone.test:443 HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let answer = exchange(proxy.port(), "GET /v1/models HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_leaves_is_missed_at_the_other_end() {
    let server = Server::start(|_: &_| Reply::sse([]).then(Piece::Hang)).await.unwrap();
    let proxy = Proxy::start(ProxyRules::new().map("x:443", server.port())).await.unwrap();
    let mut stream = connect(proxy.port()).await;
    stream.write_all(b"CONNECT x:443 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = [0; 60];
    stream.read_exact(&mut answer).await.unwrap();
    drop(stream);
    assert!(server.wait_closed(Duration::from_secs(2)).await);
    assert!(proxy.wait_closed(Duration::from_secs(2)).await);
    assert_eq!(server.connections().aborted, 1);
}
