//! How an endpoint is reached: certificates of one's own, proxies, names, sockets; and what errors say about each.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::path::PathBuf;

use loom::endpoint::{Proxy, TlsVersion};
use loom::{Completion, LlmError, LlmSettings, Message, Request, Rule, UnifiedLlm};
use loom_testkit::{Emulator, ProxyRules, RecordedRequest, Reply, Server, TestCa};

const KEY: &str = "sk-secret-0123456789";

/// A file that is gone with the test.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let name = format!("loom-reach-{}-{:x}.pem", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn at(base_url: String) -> LlmSettings {
    UnifiedLlm::builder().base_url(base_url).api_key(KEY).model("m").max_retries(0)
}

async fn ask(settings: LlmSettings) -> Result<Completion, LlmError> {
    settings.build()?.generate(Request::new(vec![Message::user("hello")])).await
}

fn emulator() -> Emulator {
    Emulator::new().model("m")
}

#[tokio::test]
async fn a_private_authority_is_trusted_once_it_is_given_and_errors_say_what_is_wrong() {
    let ca = TestCa::new().unwrap();
    let bundle = File::new(&ca.pem());
    let good = Server::start_tls(emulator(), ca.issue(&["127.0.0.1"]).unwrap()).await.unwrap();
    ask(at(good.base_url()).verify(&bundle.0)).await.unwrap();

    let unknown = ask(at(good.base_url())).await.unwrap_err();
    assert!(unknown.message.contains("not trusted here: loom-testkit test authority"), "{unknown}");
    assert!(unknown.hint.as_deref().unwrap().contains("verify="), "{unknown}");

    let other = Server::start_tls(emulator(), ca.issue(&["llm.example", "10.9.8.7"]).unwrap()).await.unwrap();
    let name = ask(at(other.base_url()).verify(&bundle.0)).await.unwrap_err();
    assert!(name.message.contains("is for another host: llm.example, 10.9.8.7"), "{name}");

    let expired = Server::start_tls(emulator(), ca.issue_expired(&["127.0.0.1"]).unwrap()).await.unwrap();
    let late = ask(at(expired.base_url()).verify(&bundle.0)).await.unwrap_err();
    assert!(late.message.contains("has expired (Mon, 01 Jan 2001"), "{late}");
    for error in [&unknown, &name, &late] {
        assert!(!error.retryable && error.message.contains("127.0.0.1:"), "{error}");
    }
}

#[tokio::test]
async fn verification_can_be_switched_off_and_the_ledger_says_so() {
    let ca = TestCa::new().unwrap();
    let server =
        Server::start_tls(emulator(), ca.issue_expired(&["elsewhere.example"]).unwrap()).await.unwrap();
    let completion = ask(at(server.base_url()).dangerously_skip_verify()).await.unwrap();
    assert!(completion.ledger.iter().any(|entry| entry.rule == Rule::TlsNotVerified));
    let bundle = File::new(&ca.pem());
    let error = ask(at(server.base_url()).dangerously_skip_verify().verify(&bundle.0)).await.unwrap_err();
    assert!(error.message.contains("contradict"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_its_lack_is_told() {
    let ca = TestCa::new().unwrap();
    let bundle = File::new(&ca.pem());
    let server = Server::start_tls(emulator(), ca.issue_mutual(&["127.0.0.1"]).unwrap()).await.unwrap();
    let (cert, key) = ca.issue_client("loom").unwrap();
    let (cert, key) = (File::new(&cert), File::new(&key));
    ask(at(server.base_url()).verify(&bundle.0).cert(&cert.0, &key.0)).await.unwrap();

    let none = ask(at(server.base_url()).verify(&bundle.0)).await.unwrap_err();
    assert!(none.message.contains("wants a certificate"), "{none}");
    assert!(none.hint.as_deref().unwrap().contains("cert="), "{none}");

    let (stranger, its_key) = TestCa::new().unwrap().issue_client("loom").unwrap();
    let (stranger, its_key) = (File::new(&stranger), File::new(&its_key));
    let wrong = ask(at(server.base_url()).verify(&bundle.0).cert(&stranger.0, &its_key.0)).await.unwrap_err();
    assert!(wrong.message.contains("does not accept the client's certificate"), "{wrong}");

    let mixed = ask(at(server.base_url()).cert(&cert.0, &its_key.0)).await.unwrap_err();
    assert!(mixed.message.contains("cannot be used together"), "{mixed}");
}

#[tokio::test]
async fn files_that_hold_something_else_are_refused_at_once() {
    let (text, missing) = (File::new("no certificate"), PathBuf::from("/no/such/file.pem"));
    let encrypted =
        File::new("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let (cert, _) = TestCa::new().unwrap().issue_client("loom").unwrap();
    let cert = File::new(&cert);
    let there = || at("https://127.0.0.1:9/v1".into());
    for (settings, words) in [
        (there().verify(&text.0), "verify: "),
        (there().verify(&text.0), "holds no certificate"),
        (there().verify(&missing), "cannot be read"),
        (there().cert(&cert.0, &text.0), "holds no private key"),
        (there().cert(&cert.0, &encrypted.0), "encrypted"),
        (there().cert(&missing, &missing), "cert: "),
    ] {
        let error = settings.build().unwrap_err();
        assert!(error.message.contains(words), "{error}");
    }
}

#[tokio::test]
async fn the_lowest_version_is_kept_to() {
    let ca = TestCa::new().unwrap();
    let bundle = File::new(&ca.pem());
    let server = Server::start_tls(emulator(), ca.issue(&["127.0.0.1"]).unwrap()).await.unwrap();
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        ask(at(server.base_url()).verify(&bundle.0).min_tls_version(version)).await.unwrap();
    }
}

#[tokio::test]
async fn a_proxy_is_for_one_endpoint_and_its_password_is_not_shown() {
    let server = Server::start(emulator()).await.unwrap();
    let rules = ProxyRules::new().map("llm.example:80", server.port()).credentials("ada", "p@ss-secret-1");
    let proxy = loom_testkit::Proxy::start(rules).await.unwrap();
    let through = |credentials: &str| {
        let url = format!("http://{credentials}127.0.0.1:{}", proxy.port());
        at("http://llm.example/v1".into()).proxy(Proxy::parse(&url).unwrap())
    };
    ask(through("ada:p%40ss-secret-1@")).await.unwrap();
    assert_eq!(proxy.targets(), ["http://llm.example/v1/chat/completions"]);
    ask(at(server.base_url())).await.unwrap();
    assert_eq!(proxy.targets().len(), 1, "another endpoint does not use it");

    let settings = through("ada:wrong-secret-1@");
    let shown = format!("{settings:?}");
    let error = ask(settings).await.unwrap_err();
    assert_eq!(error.status_code, Some(407), "{error}");
    assert!(!format!("{shown} {error:?}").contains("wrong-secret-1"), "{error:?}");
}

#[tokio::test]
async fn a_name_that_is_looked_up_here_is_not_taken_for_the_proxys() {
    // A label of more than 63 letters is no name, so that no resolver is asked.
    let base = format!("http://{}.test/v1", "a".repeat(64));
    let error = ask(at(base).proxy(Proxy::parse("socks5://127.0.0.1:9").unwrap())).await.unwrap_err();
    assert_eq!(error.link, Some(loom::Link::Name), "{error}");
    assert!(error.hint.as_deref().unwrap().contains("socks5h://"), "{error}");
}

#[tokio::test]
async fn a_proxy_tunnels_tls_with_the_endpoints_own_authority() {
    let ca = TestCa::new().unwrap();
    let bundle = File::new(&ca.pem());
    let server = Server::start_tls(emulator(), ca.issue(&["llm.example"]).unwrap()).await.unwrap();
    let rules = ProxyRules::new().map("llm.example:443", server.port());
    let proxy = loom_testkit::Proxy::start(rules).await.unwrap();
    let settings = at("https://llm.example/v1".into()).verify(&bundle.0);
    ask(settings.proxy(Proxy::parse(&proxy.url()).unwrap())).await.unwrap();
    assert_eq!(proxy.targets(), ["llm.example:443"]);
    let key_seen =
        proxy.requests().iter().any(|request| request.headers.iter().any(|(_, value)| value.contains(KEY)));
    assert!(!key_seen, "the proxy sees the tunnel only");
}

#[tokio::test]
async fn a_new_connection_takes_up_the_tls_session_of_an_earlier_one() {
    let ca = TestCa::new().unwrap();
    let bundle = File::new(&ca.pem());
    let answer = r#"{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}"#;
    // Each answer closes its connection, so that each call needs a new one.
    let closing = move |_: &RecordedRequest| Reply::text(200, answer).header("connection", "close");
    let server = Server::start_tls(closing, ca.issue(&["127.0.0.1"]).unwrap()).await.unwrap();
    for _ in 0..3 {
        // Made anew each time, as programs do; agreeing in how they are reached, they share what was agreed on.
        ask(at(server.base_url()).verify(&bundle.0)).await.unwrap();
    }
    let connections = server.connections();
    assert_eq!((connections.opened, connections.resumed), (3, 2));
}

#[tokio::test]
async fn a_name_can_be_given_its_address() {
    let ca = TestCa::new().unwrap();
    let bundle = File::new(&ca.pem());
    let server = Server::start_tls(emulator(), ca.issue(&["llm.example"]).unwrap()).await.unwrap();
    let base = format!("https://llm.example:{}/v1", server.port());
    ask(at(base).verify(&bundle.0).resolve("LLM.example", [127, 0, 0, 1].into())).await.unwrap();
    let plain = Server::start(emulator()).await.unwrap();
    let beyond_ascii = at(format!("http://bücher.example:{}/v1", plain.port()));
    ask(beyond_ascii.resolve("Bücher.example", [127, 0, 0, 1].into())).await.unwrap();
    assert_eq!(server.requests()[0].header("host"), Some(format!("llm.example:{}", server.port()).as_str()));
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_behind_a_unix_socket() {
    use tokio::io::copy_bidirectional;
    use tokio::net::{TcpStream, UnixListener};

    let server = Server::start(emulator()).await.unwrap();
    let path = std::env::temp_dir().join(format!("loom-{}-{:x}.sock", std::process::id(), fastrand::u64(..)));
    let base = format!("http+unix://{}/v1", path.display().to_string().replace('/', "%2F"));
    let error = ask(at(base.clone())).await.unwrap_err();
    assert!(error.message.contains("no connection to the socket"), "{error}");

    let listener = UnixListener::bind(&path).unwrap();
    let port = server.port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut upstream).await });
        }
    });
    let llm = at(base.clone()).build().unwrap();
    llm.generate(Request::new(vec![Message::user("hello")])).await.unwrap();
    assert_eq!(llm.endpoint().base_url().to_string(), base);
    let request = &server.requests()[0];
    assert_eq!((request.path.as_str(), request.header("host")), ("/v1/chat/completions", Some("localhost")));
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_head_as_large_as_the_limits_allow_is_read_over_either_client() {
    let answer = |_: &RecordedRequest| {
        let said =
            serde_json::json!({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]});
        let reply = Reply::json(200, &said);
        (0..20).fold(reply, |reply, at| reply.header(format!("x-{at}"), "y".repeat(3_000)))
    };
    let ca = TestCa::new().unwrap();
    let plain = Server::start(answer).await.unwrap();
    let tls = Server::start_tls(answer, ca.issue(&["127.0.0.1"]).unwrap()).await.unwrap();
    let bundle = File::new(&ca.pem());
    assert_eq!(ask(at(plain.base_url())).await.unwrap().content, "hello");
    assert_eq!(ask(at(tls.base_url()).verify(&bundle.0)).await.unwrap().content, "hello");
}
