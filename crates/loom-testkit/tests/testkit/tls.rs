//! A server with an identity is trusted by those who trust its authority, and by nobody else.

use std::sync::Arc;
use std::time::Duration;

use loom_testkit::{Connections, Emulator, Piece, Proxy, ProxyRules, Reply, Server, TestCa};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::client::{connect, read_answer};

/// Opens TLS to a server that should have this name, trusting this authority only.
async fn open(ca: &TestCa, name: &'static str, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).expect("PEM")).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).expect("a name"), stream).await
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_served() {
    let ca = TestCa::new().unwrap();
    let identity = ca.issue(&["your-service.com", "127.0.0.1"]).unwrap();
    let server = Server::start_tls(Emulator::new().model("demo"), identity).await.unwrap();
    assert_eq!(server.base_url(), format!("https://127.0.0.1:{}/v1", server.port()));
    for name in ["127.0.0.1", "your-service.com"] {
        let mut stream = open(&ca, name, connect(server.port()).await).await.unwrap();
        stream.write_all(b"GET /v1/models HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(read_answer(&mut stream).await.json()["data"][0]["id"], "demo");
    }
}

#[tokio::test]
async fn other_names_and_other_authorities_are_not_trusted() {
    let (ca, other) = (TestCa::new().unwrap(), TestCa::new().unwrap());
    let identity = ca.issue(&["your-service.com"]).unwrap();
    let server = Server::start_tls(Emulator::new(), identity).await.unwrap();
    assert!(open(&ca, "127.0.0.1", connect(server.port()).await).await.is_err());
    assert!(open(&other, "your-service.com", connect(server.port()).await).await.is_err());
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_tunnel_carries_tls_to_the_server_it_was_issued_for() {
    let ca = TestCa::new().unwrap();
    let identity = ca.issue(&["your-service.com"]).unwrap();
    let server = Server::start_tls(Emulator::new().model("demo"), identity).await.unwrap();
    let proxy = Proxy::start(ProxyRules::new().map("your-service.com:443", server.port())).await.unwrap();

    let mut stream = connect(proxy.port()).await;
    stream.write_all(b"CONNECT your-service.com:443 HTTP/1.1\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 39]).await.unwrap();
    let mut stream = open(&ca, "your-service.com", stream).await.unwrap();
    stream.write_all(b"GET /v1/models HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 200);
}

#[tokio::test]
async fn leaving_and_resetting_work_as_without_tls() {
    let ca = TestCa::new().unwrap();
    let identity = ca.issue(&["127.0.0.1"]).unwrap();
    let hanging =
        Server::start_tls(|_: &_| Reply::sse([]).then(Piece::Hang), identity.clone()).await.unwrap();
    let mut stream = open(&ca, "127.0.0.1", connect(hanging.port()).await).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    stream.read_u8().await.unwrap();
    drop(stream);
    assert!(hanging.wait_closed(Duration::from_secs(2)).await);
    assert_eq!(hanging.connections(), Connections { opened: 1, open: 0, aborted: 1, resumed: 0 });

    let resetting = Server::start_tls(|_: &_| Reply::sse([]).then(Piece::Reset), identity).await.unwrap();
    let mut stream = open(&ca, "127.0.0.1", connect(resetting.port()).await).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
