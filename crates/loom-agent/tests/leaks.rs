//! Nothing leaks: no error, log line at any level, printed value, ledger or panic shows a key or a prompt, and no
//! address is asked but the endpoint's.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::io::Write;
use std::sync::{Arc, Mutex};

use loom::endpoint::{Auth, Key, OAuth2, Proxy, Signer, Token};
use loom::{LlmSettings, Message, Request, UnifiedLlm};
use loom_testkit::{Emulator, ProxyRules, RecordedRequest, Reply, Script, Server, TestCa};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

/// One secret, in the forms that it takes on its way.
const SECRET: &str = "s3cr3t/key+0123456789=";
const FORMS: [&str; 4] = [
    SECRET,
    "s3cr3t%2Fkey%2B0123456789%3D",
    "s3cr3t/key",
    // Base64 of `ada:` and the secret, and of `loom:` and its form-encoding.
    "YWRhOnMzY3IzdC9rZXkrMDEyMzQ1Njc4OT0",
];
const PROMPT: &str = "the-quarterly-figures-are-secret";

/// All that is logged by anyone in the process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn clean(what: &str, shown: &str) {
    for form in FORMS {
        assert!(!shown.contains(form), "{what} shows {form}:\n{shown}");
    }
}

/// Every way to give the secret.
fn credentials(token_url: &str) -> Vec<(&'static str, LlmSettings)> {
    let llm = UnifiedLlm::builder;
    let token = || Key::call(|| async { Ok(Token::new(SECRET)) });
    let sign = || Signer::new(|_| async { Ok(vec![("X-Signature".to_owned(), Some(SECRET.to_owned()))]) });
    vec![
        ("bearer", llm().api_key(SECRET)),
        ("header", llm().api_key(SECRET).auth(Auth::header("x-api-key"))),
        (
            "prefix",
            llm().api_key(SECRET).auth(Auth::Header { name: "x-auth".into(), prefix: "Token ".into() }),
        ),
        ("basic", llm().api_key(SECRET).auth(Auth::Basic { user: Some("ada".into()) })),
        ("basic pair", llm().api_key(format!("ada:{SECRET}")).auth(Auth::Basic { user: None })),
        ("query", llm().api_key(SECRET).auth(Auth::Query { name: "key".into() })),
        ("function", llm().api_key(token())),
        ("function in the query", llm().api_key(token()).auth(Auth::Query { name: "key".into() })),
        ("command", llm().api_key(Key::command(format!("echo '{SECRET}'")))),
        ("several", llm().api_key(Key::several([Key::from(SECRET), token()]))),
        ("oauth2", llm().api_key(OAuth2::new(token_url, "loom", SECRET))),
        ("default header", llm().header("X-Token", SECRET)),
        ("default query", llm().query("token", SECRET)),
        ("signature", llm().sign(sign())),
    ]
}

#[tokio::test]
async fn no_way_of_failing_shows_a_secret_or_a_prompt() {
    let log = Log::default();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).init();

    let tokens = Server::start(|_: &RecordedRequest| Reply::json(200, &json!({"access_token": SECRET})))
        .await
        .unwrap();
    let token_url = format!("{}/token", tokens.origin());
    // Quotes all that it got, as far as HTTP and JSON carry it.
    let echo = |status: u16| {
        move |request: &RecordedRequest| {
            let headers =
                request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>();
            let said = format!(
                "{} {} {}",
                request.target,
                headers.join("\n"),
                String::from_utf8_lossy(&request.body)
            );
            Reply::json(status, &json!({"error": {"message": said, "code": said, "param": said}}))
                .header("x-request-id", SECRET)
        }
    };
    let mut servers = Vec::new();
    for status in [400, 401, 403, 404, 429, 500, 503] {
        servers.push((status.to_string(), Server::start(echo(status)).await.unwrap()));
    }
    servers.push((
        "page".into(),
        Server::start(|request: &RecordedRequest| {
            Reply::text(200, format!("<html>{} {:?}</html>", request.target, request.headers))
        })
        .await
        .unwrap(),
    ));
    servers.push((
        "redirect".into(),
        Server::start(|request: &RecordedRequest| {
            Reply::text(307, "").header("location", format!("http://elsewhere.example{}", request.target))
        })
        .await
        .unwrap(),
    ));
    servers.push((
        "cut off".into(),
        Server::start(Script::new((0..100).map(|_| Reply::text(200, "{\"cho")))).await.unwrap(),
    ));
    let identity = TestCa::new().unwrap().issue(&["127.0.0.1"]).unwrap();
    servers.push(("tls".into(), Server::start_tls(Emulator::new(), identity).await.unwrap()));
    servers.push(("good".into(), Server::start(Emulator::new().model("m")).await.unwrap()));
    let gone = Server::start(Emulator::new()).await.unwrap();
    let mut addresses: Vec<(String, String)> =
        servers.iter().map(|(name, server)| (name.clone(), server.base_url())).collect();
    addresses.push(("gone".into(), gone.base_url()));
    gone.shutdown().await;
    addresses.push(("no name".into(), "http://no-such-host.invalid/v1".into()));

    for (address, base_url) in &addresses {
        for (form, settings) in credentials(&token_url) {
            let what = format!("{form} at {address}");
            let settings = settings.base_url(base_url).model("m").max_retries(0).timeout_secs(20.0);
            clean(&what, &format!("{settings:?}"));
            let llm = settings.build().unwrap();
            clean(&what, &format!("{llm:?} {:?}", llm.endpoint()));
            for stream in [false, true] {
                let request = Request { stream, ..Request::new(vec![Message::user(PROMPT)]) };
                match loom::collect(loom::Llm::stream(&llm, request)).await {
                    Ok(completion) => clean(&what, &format!("{:?}", completion.ledger)),
                    Err(error) => {
                        assert_ne!(address, "good", "{error}");
                        clean(&what, &format!("{error} {error:?}"));
                    }
                }
            }
            if let Some(explained) = llm.explain() {
                clean(&what, &format!("{explained} {explained:?}"));
            }
            if let Err(error) = llm.models().await {
                clean(&what, &format!("{error} {error:?}"));
            }
        }
    }

    // A pool tells of each member that fails, and tells the log.
    let failing = |at: usize| {
        UnifiedLlm::builder().base_url(&addresses[at].1).api_key(SECRET).model("m").build().unwrap()
    };
    let pool = loom::Pool::builder().replica(failing(5)).fallback(failing(6)).max_retries(0).build().unwrap();
    clean("pool", &format!("{pool:?} {:?}", pool.members()));
    let events = loom::Llm::stream(&pool, Request::new(vec![Message::user(PROMPT)]));
    let told: Vec<_> = futures_util::StreamExt::collect(events).await;
    assert!(matches!(told.last(), Some(Err(_))) && told.len() > 1);
    clean("pool", &format!("{told:?} {}", told.last().unwrap().as_ref().unwrap_err()));

    // A proxy's password, and a panic in a function of the caller's while the key is at hand.
    let proxy = loom_testkit::Proxy::start(ProxyRules::new().credentials("ada", "other")).await.unwrap();
    let url = format!("http://ada:{}@127.0.0.1:{}", FORMS[1], proxy.port());
    let settings =
        UnifiedLlm::builder().base_url("http://llm.example/v1").model("m").proxy(Proxy::parse(&url).unwrap());
    clean("proxy", &format!("{settings:?}"));
    let error = settings.build().unwrap().models().await.unwrap_err();
    clean("proxy", &format!("{error} {error:?}"));
    let panicking = Signer::new(|request| async move { panic!("{} headers", request.headers.len()) });
    let llm = UnifiedLlm::builder()
        .base_url(&addresses[0].1)
        .model("m")
        .api_key(SECRET)
        .sign(panicking)
        .build()
        .unwrap();
    let panic = tokio::spawn(async move { llm.models().await }).await.unwrap_err();
    clean("panic", &format!("{panic} {panic:?}"));

    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("TRACE") && logged.contains("hyper"), "the log was not kept:\n{logged}");
    for line in logged.lines() {
        clean("the log", line);
        assert!(!line.contains(PROMPT), "the log shows the prompt: {line}");
    }
}

#[test]
fn what_could_smuggle_something_in_is_refused_without_being_shown() {
    let there = || UnifiedLlm::builder().base_url("http://h/v1").model("m");
    for (settings, words) in [
        (there().header("X-A", format!("{SECRET}\r\nX-B: c")), "line break"),
        (there().header("Content-Length", "3"), "follows from the body"),
        (there().header("transfer-encoding", "chunked"), "follows from the body"),
        (there().header("X-A", format!("{SECRET}\0")), "characters"),
        (there().header(format!("X-A: {SECRET}\r\nX-B"), "c"), "name of a header"),
        (there().header("", SECRET), "name of a header"),
        (there().api_key(format!("{SECRET}\r\nX-B: c")), "characters"),
        (there().api_key(SECRET).auth(Auth::header("a b")), "name of a header"),
        (
            there().api_key(SECRET).auth(Auth::Header { name: "x".into(), prefix: "a\r\n".into() }),
            "line break",
        ),
        (there().base_url(format!("http://ada:{}@h/v1", FORMS[1])), "user name or a password"),
        (there().base_url(format!("http://h/v1/%2e%2e/{PROMPT}")), ".."),
        (there().base_url("http://h/v1\r\nHost: evil"), "control characters"),
    ] {
        let error = settings.build().unwrap_err();
        assert!(error.message.contains(words), "{error}");
        clean("the refusal", &format!("{error} {error:?}"));
    }
}

#[tokio::test]
async fn what_a_call_adds_is_checked_and_sent_and_not_shown() {
    let server = Server::start(|request: &RecordedRequest| {
        let said = request.headers.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ");
        Reply::json(400, &json!({"error": {"message": format!("{said} {}", request.query)}}))
    })
    .await
    .unwrap();
    let llm = UnifiedLlm::builder()
        .base_url(server.base_url())
        .model("m")
        .header("X-A", "default")
        .query("a", "1")
        .build()
        .unwrap();
    let request = || Request::new(vec![Message::user("hello")]);
    let added = Request {
        extra_headers: vec![
            ("x-a".into(), Some("call".into())),
            ("X-Once".into(), Some(SECRET.into())),
            ("user-agent".into(), None),
        ],
        extra_query: vec![("b".into(), "2 3".into())],
        ..request()
    };
    let error = llm.generate(added).await.unwrap_err();
    clean("the error", &format!("{error} {error:?}"));
    llm.generate(request()).await.unwrap_err();
    let [first, second] = &server.requests()[..] else { panic!("two requests") };
    assert_eq!((first.header("x-a"), first.header("x-once")), (Some("call"), Some(SECRET)));
    assert_eq!((first.header("user-agent"), first.query.as_str()), (None, "a=1&b=2+3"));
    assert_eq!((second.header("x-a"), second.header("x-once")), (Some("default"), None));
    assert!(second.header("user-agent").unwrap().starts_with("loom/"));
    assert_eq!(second.query, "a=1");

    let smuggling =
        Request { extra_headers: vec![("x".into(), Some(format!("{SECRET}\r\ny: z")))], ..request() };
    let error = llm.generate(smuggling).await.unwrap_err();
    assert!(error.message.contains("line break"), "{error}");
    clean("the refusal", &format!("{error:?}"));
    assert_eq!(server.requests().len(), 2);
}
