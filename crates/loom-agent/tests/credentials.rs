//! Credentials: each form as it arrives, where keys come from, when they are asked for again, and signing.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loom::endpoint::{Auth, Key, OAuth2, Signer, Token};
use loom::{Completion, ErrorKind, LlmError, LlmSettings, Message, Request, Rule, UnifiedLlm};
use loom_testkit::{RecordedRequest, Reply, Server};
use serde_json::json;

const KEY: &str = "sk-secret-0123456789";

fn fine() -> Reply {
    Reply::json(200, &json!({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}))
}

fn refused(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"message": message}}))
}

fn bearer(request: &RecordedRequest) -> &str {
    request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
}

fn at(server: &Server) -> LlmSettings {
    UnifiedLlm::builder().base_url(server.base_url()).model("m").max_retries(0)
}

async fn ask(llm: &UnifiedLlm) -> Result<Completion, LlmError> {
    llm.generate(Request::new(vec![Message::user("hello")])).await
}

/// A function that yields `token-1`, `token-2`, …, and how often it was asked.
fn counting(lifetime: Option<Duration>) -> (Key, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let key = Key::call(move || {
        let token = Token::new(format!("token-{}", count.fetch_add(1, Ordering::SeqCst) + 1));
        async move { Ok(lifetime.into_iter().fold(token, Token::expires_in)) }
    });
    (key, asked)
}

#[tokio::test]
async fn each_form_arrives_as_it_should_and_a_header_of_the_caller_wins() {
    let server = Server::start(|_: &RecordedRequest| fine()).await.unwrap();
    let forms = [
        (Auth::Bearer, Some(("authorization", format!("Bearer {KEY}")))),
        (Auth::header("x-api-key"), Some(("x-api-key", KEY.to_owned()))),
        (
            Auth::Header { name: "Authorization".into(), prefix: "Token ".into() },
            Some(("authorization", format!("Token {KEY}"))),
        ),
        (
            Auth::Basic { user: Some("ada".into()) },
            Some(("authorization", "Basic YWRhOnNrLXNlY3JldC0wMTIzNDU2Nzg5".to_owned())),
        ),
        (Auth::Query { name: "key".into() }, None),
        (Auth::None, None),
    ];
    for (auth, header) in forms {
        ask(&at(&server).api_key(KEY).auth(auth.clone()).build().unwrap()).await.unwrap();
        let request = server.requests().pop().unwrap();
        match &header {
            Some((name, value)) => assert_eq!(request.header(name), Some(value.as_str())),
            None => assert_eq!((request.header("authorization"), request.header("api-key")), (None, None)),
        }
        let query = if matches!(auth, Auth::Query { .. }) { format!("key={KEY}") } else { String::new() };
        assert_eq!(request.query, query);
        if !matches!(auth, Auth::Header { ref name, .. } if name == "Authorization") {
            assert_eq!(
                request.header("authorization").is_some(),
                matches!(auth, Auth::Bearer | Auth::Basic { .. })
            );
        }
    }
    let own = at(&server).api_key(KEY).header("Authorization", "Digest mine");
    ask(&own.build().unwrap()).await.unwrap();
    assert_eq!(server.requests().pop().unwrap().header("authorization"), Some("Digest mine"));
    ask(&at(&server).api_key(KEY).without_header("authorization").build().unwrap()).await.unwrap();
    assert_eq!(server.requests().pop().unwrap().header("authorization"), None);
}

#[tokio::test]
async fn a_token_is_kept_until_it_expires_and_without_an_expiry_asked_for_each_time() {
    let server = Server::start(|_: &RecordedRequest| fine()).await.unwrap();
    for (lifetime, calls) in [(None, 3), (Some(Duration::from_secs(3600)), 1), (Some(Duration::ZERO), 3)] {
        let (key, asked) = counting(lifetime);
        let llm = at(&server).api_key(key).build().unwrap();
        for _ in 0..3 {
            ask(&llm).await.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), calls, "{lifetime:?}");
    }
}

#[tokio::test]
async fn many_callers_ask_for_one_token() {
    let server = Server::start(|_: &RecordedRequest| fine()).await.unwrap();
    let (key, asked) = counting(Some(Duration::from_secs(3600)));
    let llm = at(&server).api_key(key).build().unwrap();
    let calls: Vec<_> = (0..20).map(|_| ask(&llm)).collect();
    for result in futures_util::future::join_all(calls).await {
        result.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_the_ledger_says_so() {
    let only_the_second = |request: &RecordedRequest| match bearer(request) {
        "token-2" => fine(),
        other => refused(401, &format!("expired: {other}")),
    };
    let server = Server::start(only_the_second).await.unwrap();
    let (key, asked) = counting(Some(Duration::from_secs(3600)));
    let llm = at(&server).api_key(key).build().unwrap();
    let completion = ask(&llm).await.unwrap();
    assert!(completion.ledger.iter().any(|entry| entry.rule == Rule::KeyReplaced), "{:?}", completion.ledger);
    ask(&llm).await.unwrap();
    assert_eq!((asked.load(Ordering::SeqCst), server.requests().len()), (2, 3));

    let never = Server::start(|_: &RecordedRequest| refused(401, "no")).await.unwrap();
    let (key, asked) = counting(Some(Duration::from_secs(3600)));
    let error = ask(&at(&never).api_key(key).build().unwrap()).await.unwrap_err();
    assert_eq!((error.kind, asked.load(Ordering::SeqCst), never.requests().len()), (ErrorKind::Auth, 2, 2));

    // A key that was given as it is cannot become another.
    ask(&at(&never).api_key(KEY).build().unwrap()).await.unwrap_err();
    assert_eq!(never.requests().len(), 3);
}

#[tokio::test]
async fn a_command_yields_the_key_until_it_is_refused() {
    let file = std::env::temp_dir().join(format!("loom-key-{}-{:x}", std::process::id(), fastrand::u64(..)));
    let command = format!("echo x >> {0}; echo token-$(wc -l < {0} | tr -d ' ')", file.display());
    let server = Server::start(|request: &RecordedRequest| match bearer(request) {
        "token-2" => fine(),
        _ => refused(401, "expired"),
    })
    .await
    .unwrap();
    let llm = at(&server).api_key(Key::command(command)).build().unwrap();
    for _ in 0..3 {
        ask(&llm).await.unwrap();
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(server.requests().len(), 4);

    for (command, why) in [("exit 3", "failed"), ("true", "nothing"), ("echo '{}'", "without a token")] {
        let error = ask(&at(&server).api_key(Key::command(command)).build().unwrap()).await.unwrap_err();
        assert!(error.kind == ErrorKind::Auth && error.message.contains(why), "{error}");
    }
    assert_eq!(server.requests().len(), 4, "without a key nothing is sent");
}

#[tokio::test]
async fn a_command_that_hangs_ends_with_the_call() {
    let server = Server::start(|_: &RecordedRequest| fine()).await.unwrap();
    let folder = std::env::temp_dir().join(format!("loom-hanging-{}", std::process::id()));
    let command = format!("sleep 600 & echo $! > {}; wait", folder.display());
    let hanging = at(&server).api_key(Key::command(command)).timeout_secs(0.5);
    let error = ask(&hanging.build().unwrap()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    let started = std::fs::read_to_string(&folder).unwrap();
    std::fs::remove_file(&folder).unwrap();
    let started = std::path::Path::new("/proc").join(started.trim()).join("stat");
    for _ in 0..100 {
        // Gone, or dead and not yet collected.
        let is_left = std::fs::read_to_string(&started).is_ok_and(|stat| !stat.contains(") Z "));
        if !is_left {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("what the command had started is left behind");
}

#[tokio::test]
async fn of_several_keys_the_next_is_used_when_one_is_refused() {
    for (status, message) in
        [(401, "invalid"), (429, "slow down"), (429, "insufficient_quota: check your plan")]
    {
        let server = Server::start(move |request: &RecordedRequest| match bearer(request) {
            "sk-good" => fine(),
            _ => refused(status, message),
        })
        .await
        .unwrap();
        let keys =
            Key::several([Key::from("sk-bad-1"), Key::from(""), Key::from("sk-bad-2"), Key::from("sk-good")]);
        let llm = at(&server).api_key(keys).build().unwrap();
        let completion = ask(&llm).await.unwrap();
        let changes = completion.ledger.iter().filter(|entry| entry.rule == Rule::KeyReplaced);
        assert_eq!(changes.count(), 2, "{:?}", completion.ledger);
        // The refused ones rest.
        ask(&llm).await.unwrap();
        assert_eq!(server.requests().len(), 4);
    }
    let server = Server::start(|_: &RecordedRequest| refused(401, "invalid")).await.unwrap();
    let llm = at(&server).api_key(Key::several(["sk-bad-1", "sk-bad-2"].map(Key::from))).build().unwrap();
    assert_eq!(ask(&llm).await.unwrap_err().kind, ErrorKind::Auth);
    assert_eq!(server.requests().len(), 2, "each was tried once");
}

#[tokio::test]
async fn a_bad_request_does_not_cost_a_key() {
    let server = Server::start(|_: &RecordedRequest| refused(400, "bad")).await.unwrap();
    let llm = at(&server).api_key(Key::several(["sk-1", "sk-2"].map(Key::from))).build().unwrap();
    assert_eq!(ask(&llm).await.unwrap_err().kind, ErrorKind::BadRequest);
    assert_eq!(server.requests().len(), 1);
}

/// An OAuth2 server whose tokens hold for an hour; it wants id and secret in the header or in the body.
async fn token_server(in_body: bool) -> Server {
    let given = AtomicUsize::new(0);
    let answer = move |request: &RecordedRequest| {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        let header = request.header("authorization") == Some("Basic bG9vbTpzLTEyMzQ1Njc4OSs=");
        let body = form.contains("client_id=loom&client_secret=s-123456789+");
        let right = form.starts_with("grant_type=client_credentials&scope=chat&audience=llm");
        if right && if in_body { body && !header } else { header && !body } {
            let token = format!("oauth-{}", given.fetch_add(1, Ordering::SeqCst) + 1);
            return Reply::json(
                200,
                &json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600}),
            );
        }
        Reply::json(401, &json!({"error": "invalid_client", "error_description": "who? s-123456789 "}))
    };
    Server::start(answer).await.unwrap()
}

#[tokio::test]
async fn oauth2_gives_tokens_to_a_client_in_the_header_or_in_the_body() {
    for in_body in [false, true] {
        let tokens = token_server(in_body).await;
        let server = Server::start(|request: &RecordedRequest| match bearer(request) {
            "oauth-2" => fine(),
            _ => refused(401, "expired"),
        })
        .await
        .unwrap();
        let client = OAuth2::new(format!("{}/token", tokens.origin()), "loom", "s-123456789 ");
        let llm = at(&server).api_key(client.scope("chat").field("audience", "llm")).build().unwrap();
        for _ in 0..3 {
            ask(&llm).await.unwrap();
        }
        assert_eq!(tokens.requests().len(), if in_body { 3 } else { 2 });
        assert_eq!(server.requests().len(), 4);
    }
}

#[tokio::test]
async fn a_refusal_of_the_token_server_is_told_without_the_secret() {
    let tokens = token_server(false).await;
    let server = Server::start(|_: &RecordedRequest| fine()).await.unwrap();
    let client = OAuth2::new(format!("{}/token", tokens.origin()), "loom", "s-123456789 ");
    let error = ask(&at(&server).api_key(client).build().unwrap()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Auth);
    assert!(error.message.contains("invalid_client: who?"), "{error}");
    assert!(!format!("{error} {error:?}").contains("s-123456789"), "{error:?}");
    assert!(error.url.as_deref().unwrap().ends_with("/token") && server.requests().is_empty());

    for wrong in ["login/token", "ftp://h/token", "http://id:s-123456789@h/token"] {
        let error = at(&server).api_key(OAuth2::new(wrong, "loom", "s-123456789")).build().unwrap_err();
        assert!(error.message.contains("token_url") && !error.message.contains("s-123456789"), "{error}");
    }
}

#[tokio::test]
async fn a_signer_sees_the_whole_request_and_adds_headers_to_each() {
    let server = Server::start(|request: &RecordedRequest| {
        let expected = format!("POST {} {}", request.target, request.body.len());
        match request.header("x-signature") {
            Some(signature) if signature == expected => refused(503, "try again"),
            other => refused(400, &format!("wrong signature {other:?}, expected {expected}")),
        }
    })
    .await
    .unwrap();
    let signer = Signer::new(|request| async move {
        assert!(request.headers.iter().any(|(name, value)| name == "authorization" && value.ends_with(KEY)));
        let target = request.url.split_once("/v1").map(|(_, rest)| format!("/v1{rest}")).unwrap();
        let signature = format!("{} {target} {}", request.method, request.body.len());
        Ok(vec![("X-Signature".to_owned(), Some(signature)), ("user-agent".to_owned(), None)])
    });
    let llm = at(&server).api_key(KEY).query("tenant", "a b").sign(signer).max_retries(1).build().unwrap();
    assert_eq!(ask(&llm).await.unwrap_err().kind, ErrorKind::Overloaded);
    assert_eq!(server.requests().len(), 2, "the repetition was signed too");
    assert_eq!(server.requests()[0].header("user-agent"), None);

    let failing = Signer::new(|_| async { Err("no HSM".into()) });
    let error = ask(&at(&server).sign(failing).build().unwrap()).await.unwrap_err();
    assert!(error.message.contains("no HSM"), "{error}");
}

#[tokio::test]
async fn keys_that_came_later_are_not_shown_either() {
    let server = Server::start(|request: &RecordedRequest| {
        let said = request.headers.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ");
        refused(400, &format!("I got {said} {}", request.query))
    })
    .await
    .unwrap();
    let token = || Key::call(|| async { Ok(Token::new("token-secret/0123 456789")) });
    for auth in [
        Auth::Bearer,
        Auth::header("x-api-key"),
        Auth::Basic { user: Some("ada".into()) },
        Auth::Query { name: "key".into() },
    ] {
        let signer =
            Signer::new(|_| async { Ok(vec![("x-signature".into(), Some("signed-0123456789".into()))]) });
        let llm = at(&server).api_key(token()).auth(auth.clone()).sign(signer).build().unwrap();
        let error = ask(&llm).await.unwrap_err();
        let shown = format!("{error} {error:?} {llm:?} {:?}", llm.endpoint());
        for secret in ["token-secret", "signed-0123456789", "YWRhOnRva2VuLXNlY3JldC8wMTIzIDQ1Njc4OQ"] {
            assert!(!shown.contains(secret), "{auth:?}: {shown}");
        }
        assert!(shown.contains("I got"), "{shown}");
    }
}
