//! What is repeated, after what wait, and what never is.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use loom::{ErrorKind, Event, Llm, Message, Request, Retry, Timeout, UnifiedLlm};
use loom_testkit::{Emulator, Piece, Reply, Script, Server};
use serde_json::json;

fn llm(server: &Server) -> UnifiedLlm {
    UnifiedLlm::builder().base_url(server.base_url()).model("test-model").build().unwrap()
}

fn hello() -> Request {
    Request::new(vec![Message::user("hello")])
}

fn answer() -> Reply {
    Reply::json(
        200,
        &json!({"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}),
    )
}

fn refusal(status: u16) -> Reply {
    Reply::json(status, &json!({"error": {"message": "no"}})).header("retry-after-ms", "10")
}

#[tokio::test]
async fn what_may_pass_is_repeated_twice() {
    for status in [408, 409, 429, 500, 502, 503, 504, 529] {
        let server = Server::start(Script::new([refusal(status), refusal(status), answer()])).await.unwrap();
        assert_eq!(llm(&server).generate(hello()).await.unwrap().content, "hi", "{status}");

        let server =
            Server::start(Script::new([refusal(status), refusal(status), refusal(status)])).await.unwrap();
        let error = llm(&server).generate(hello()).await.unwrap_err();
        assert_eq!((error.status_code, error.attempts), (Some(status), 3));
    }
}

#[tokio::test]
async fn what_cannot_pass_is_not_repeated() {
    for status in [400, 401, 403, 413, 422, 501] {
        let server = Server::start(Script::new([refusal(status), answer()])).await.unwrap();
        let error = llm(&server).generate(hello()).await.unwrap_err();
        assert_eq!((error.status_code, error.attempts), (Some(status), 1));
        assert_eq!(server.requests().len(), 1);
    }
    let quota =
        json!({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}});
    let quota = Reply::json(429, &quota).header("x-should-retry", "true");
    let server = Server::start(Script::new([quota, answer()])).await.unwrap();
    assert_eq!(llm(&server).generate(hello()).await.unwrap_err().kind, ErrorKind::Quota);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn the_servers_word_counts() {
    let never = refusal(503).header("x-should-retry", "false");
    let server = Server::start(Script::new([never, answer()])).await.unwrap();
    assert_eq!(llm(&server).generate(hello()).await.unwrap_err().attempts, 1);

    let later = Reply::json(429, &json!({"error": {"message": "slow down"}})).header("retry-after", "0.3");
    let server = Server::start(Script::new([later, answer()])).await.unwrap();
    let started = Instant::now();
    llm(&server).generate(hello()).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300));

    let tomorrow =
        Reply::json(429, &json!({"error": {"message": "slow down"}})).header("retry-after", "86400");
    let server = Server::start(Script::new([tomorrow, answer()])).await.unwrap();
    let error = llm(&server).generate(hello()).await.unwrap_err();
    assert_eq!((error.attempts, error.retry_after), (1, Some(Duration::from_secs(86400))));
}

#[tokio::test]
async fn no_wait_goes_beyond_the_total() {
    let later = Reply::json(503, &json!({"error": {"message": "busy"}})).header("retry-after", "60");
    let server = Server::start(Script::new([later, answer()])).await.unwrap();
    let llm = UnifiedLlm::builder().base_url(server.base_url()).model("m").timeout_secs(5.0).build().unwrap();
    let started = Instant::now();
    assert_eq!(llm.generate(hello()).await.unwrap_err().kind, ErrorKind::Overloaded);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_first_token_is_tried_again_and_none_after_it() {
    let dead = || Reply::raw("").then(Piece::Reset);
    let server = Server::start(Script::new([dead(), answer()])).await.unwrap();
    assert_eq!(llm(&server).generate(hello()).await.unwrap().content, "hi");

    let chunk = json!({"choices": [{"index": 0, "delta": {"content": "half"}}]});
    let cut = Reply::sse([chunk.to_string()]).then(Piece::Reset);
    let server = Server::start(Script::new([cut, answer()])).await.unwrap();
    let error = loom::collect(llm(&server).stream(Request { stream: true, ..hello() })).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::StreamInterrupted);
    assert_eq!(error.partial.as_ref().unwrap().content, "half");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_missing_v1_is_found_once_and_remembered() {
    let server = Server::start(Emulator::new().model("test-model")).await.unwrap();
    let llm = UnifiedLlm::builder().base_url(server.origin()).model("test-model").build().unwrap();
    for _ in 0..2 {
        let completion = llm.generate(hello()).await.unwrap();
        assert_eq!(completion.ledger.first().map(|entry| entry.rule), Some(loom::Rule::PathAdapted));
    }
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/chat/completions", "/v1/chat/completions", "/v1/chat/completions"]);
}

#[tokio::test]
async fn a_refused_parameter_is_corrected_once_and_remembered() {
    let refusal = Reply::json(
        422,
        &json!({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}),
    );
    let chunk = |delta: serde_json::Value, reason: Option<&str>| {
        json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}).to_string()
    };
    let good = || {
        Reply::sse([chunk(json!({"content": "hi"}), None), chunk(json!({}), Some("stop")), "[DONE]".into()])
    };
    let server = Server::start(Script::new([refusal, good(), good()])).await.unwrap();
    for sent in [2, 3] {
        let request = Request { stream: true, ..hello() };
        assert_eq!(loom::collect(llm(&server).stream(request)).await.unwrap().content, "hi");
        assert_eq!(server.requests().len(), sent);
    }
    let sent: Vec<bool> =
        server.requests().iter().map(|request| request.json().get("stream_options").is_some()).collect();
    assert_eq!(sent, [true, false, false]);
}

#[tokio::test]
async fn a_correction_that_did_not_help_is_not_remembered() {
    let refusal = || {
        let message = "max_tokens=5000 is too large: max_completion_tokens may be 4096 at most";
        Reply::json(400, &json!({"error": {"message": message, "param": "max_tokens"}}))
    };
    let server = Server::start(Script::new([refusal(), refusal(), answer()])).await.unwrap();
    let request = || {
        let mut request = hello();
        request.params.insert("max_tokens".into(), 5000.into());
        request
    };
    assert_eq!(llm(&server).generate(request()).await.unwrap_err().kind, ErrorKind::BadRequest);
    llm(&server).generate(request()).await.unwrap();
    let last = server.requests().pop().unwrap().json();
    assert_eq!(last["max_tokens"], 5000);
}

#[tokio::test]
async fn a_default_model_that_is_unknown_gives_way_to_the_one_that_is_served() {
    let server = Server::start(Emulator::new().model("company-gpt")).await.unwrap();
    let llm =
        UnifiedLlm::builder().provider("openai").base_url(server.base_url()).api_key("sk-x").build().unwrap();
    let completion = llm.generate(hello()).await.unwrap();
    assert_eq!(completion.model.as_deref(), Some("company-gpt"));
    assert!(completion.ledger.iter().any(|entry| entry.detail.contains("company-gpt")));

    let several = Server::start(Emulator::new().model("one").model("two")).await.unwrap();
    let llm = UnifiedLlm::builder().provider("openai").base_url(several.base_url()).build().unwrap();
    let error = llm.generate(hello()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.hint.as_deref().unwrap().contains("one, two"), "{error}");
}

fn loading() -> Reply {
    let body = json!({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}});
    Reply::json(503, &body).header("retry-after-ms", "10")
}

fn retries_of(events: &[Event]) -> Vec<&Retry> {
    events
        .iter()
        .map_while(|event| match event {
            Event::Retry(retry) => Some(retry),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_model_that_loads_is_waited_for_beyond_max_retries() {
    let replies = (0..6).map(|_| loading()).chain([answer()]);
    let server = Server::start(Script::new(replies)).await.unwrap();
    let llm = UnifiedLlm::builder().base_url(server.base_url()).model("m").max_retries(1).build().unwrap();
    let events: Vec<Event> = llm.stream(hello()).map(Result::unwrap).collect().await;
    let retries = retries_of(&events);
    assert_eq!(retries.len(), 6, "one for each wait, before everything else");
    assert!(retries.iter().all(|retry| retry.reason == "loading" && retry.status_code == Some(503)));
    assert!(matches!(events.last(), Some(Event::Finish(_))));
}

#[tokio::test]
async fn a_model_that_loads_has_a_clock_of_its_own() {
    let slow = Reply::json(503, &json!({"detail": "Model is loading, please retry later: x"}));
    let server = Server::start(Script::new([slow.clone(), slow])).await.unwrap();
    let timeout = Timeout { loading: Some(Duration::from_millis(200)), ..Timeout::default() };
    let llm = UnifiedLlm::builder().base_url(server.base_url()).model("m").timeout(timeout).build().unwrap();
    let error = llm.generate(hello()).await.unwrap_err();
    assert!(error.kind == ErrorKind::Overloaded && error.is_loading(), "{error}");
    assert!(error.hint.as_deref().unwrap().contains("`loading`"), "{error}");
}

#[tokio::test]
async fn each_wait_is_an_event_before_it_is_waited() {
    let later = Reply::json(429, &json!({"error": {"message": "slow down"}})).header("retry-after", "60");
    let server = Server::start(Script::new([later, answer()])).await.unwrap();
    let mut events = llm(&server).stream(hello());
    let first = tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap().unwrap();
    let Event::Retry(retry) = first else { panic!("{first:?}") };
    assert_eq!((retry.attempt, retry.reason.as_str(), retry.status_code), (1, "rate_limit", Some(429)));
    assert!((60.0..=66.0).contains(&retry.wait), "never before the time that the server said");
    assert_eq!(retry.message, "slow down");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_error_carries_the_tries_before_it() {
    let server = Server::start(Script::new([refusal(503), refusal(500), refusal(502)])).await.unwrap();
    let error = llm(&server).generate(hello()).await.unwrap_err();
    let tries: Vec<(u32, &str, Option<u16>)> =
        error.retries.iter().map(|retry| (retry.attempt, retry.reason.as_str(), retry.status_code)).collect();
    assert_eq!(tries, [(1, "overloaded", Some(503)), (2, "server", Some(500))]);
    assert_eq!((error.attempts, error.status_code), (3, Some(502)));

    // An answer that breaks off after a delta is not repeated, and says what came before it.
    let half = Reply::sse([json!({"choices": [{"delta": {"content": "half"}}]}).to_string()]);
    let server = Server::start(Script::new([refusal(503), half.then(Piece::Reset), answer()])).await.unwrap();
    let request = Request { stream: true, ..hello() };
    let error = loom::collect(llm(&server).stream(request)).await.unwrap_err();
    assert_eq!((error.kind, error.retries.len()), (ErrorKind::StreamInterrupted, 1));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn many_callers_do_not_hammer_a_server_that_fails() {
    let down = Server::start(|_: &loom_testkit::RecordedRequest| {
        Reply::json(500, &json!({"error": {"message": "down"}}))
    })
    .await
    .unwrap();
    let llm = UnifiedLlm::builder().base_url(down.base_url()).model("m").max_retries(3).build().unwrap();
    let calls = (0..400).map(|_| llm.generate(hello()));
    let errors = futures_util::future::join_all(calls).await;
    let hinted = errors.iter().filter(|result| {
        let hint = result.as_ref().unwrap_err().hint.as_deref();
        hint.is_some_and(|hint| hint.contains("fail at once"))
    });
    assert!(hinted.count() > 200);
    // 400 first tries and the budget of 100, which fills up by one each second.
    let sent = down.requests().len();
    assert!((500..=560).contains(&sent), "{sent}");
}
