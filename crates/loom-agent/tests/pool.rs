//! Several endpoints as one: who is asked, who stands in, and how many calls an endpoint gets at once.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use loom::model::pool::MemberState;
use loom::{
    Completion, ErrorKind, Event, EventStream, Llm, LlmError, Message, Pool, PoolMember, Request, Retry,
    Rule, UnifiedLlm, collect,
};
use loom_testkit::{Piece, Reply, Script, Server};
use serde_json::json;

fn llm(server: &Server) -> UnifiedLlm {
    UnifiedLlm::builder().base_url(server.base_url()).model("m").build().unwrap()
}

fn said(text: &str) -> Reply {
    Reply::json(
        200,
        &json!({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}),
    )
}

fn refusal(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"message": message}}))
}

async fn serving(replies: impl IntoIterator<Item = Reply>) -> Server {
    Server::start(Script::new(replies)).await.unwrap()
}

/// A server that answers every call with its name, after a while.
async fn replica(name: &'static str, delay: Duration) -> Server {
    serving((0..200).map(|_| said(name).delay_head(delay))).await
}

async fn ask(pool: &Pool, text: &str) -> Result<Completion, LlmError> {
    collect(pool.stream(Request::new(vec![Message::user(text)]))).await
}

/// A server that nothing listens behind.
fn dead() -> UnifiedLlm {
    UnifiedLlm::builder().base_url("http://127.0.0.1:1/v1").model("m").build().unwrap()
}

#[tokio::test]
async fn a_failure_before_the_first_token_leads_to_the_next_member_and_is_on_the_ledger() {
    for status in [401, 403, 404, 429, 500, 502, 503, 529] {
        let (bad, good) = (serving([refusal(status, "no")]).await, serving([said("hi")]).await);
        let pool = Pool::builder().replica(llm(&bad)).fallback(llm(&good)).build().unwrap();
        let answer = ask(&pool, "hello").await.unwrap();
        assert_eq!(answer.content, "hi", "{status}");
        assert_eq!(
            bad.requests().iter().filter(|request| request.method == "POST").count(),
            1,
            "asked once only"
        );
        let entry = answer.ledger.iter().find(|entry| entry.rule == Rule::FailedOver).unwrap();
        assert!(entry.detail.starts_with("#1 m: "), "{entry:?}");
    }
}

#[tokio::test]
async fn no_member_is_asked_what_none_can_cure() {
    let (bad, good) =
        (serving([refusal(400, "messages must not be empty")]).await, serving([said("hi")]).await);
    let pool = Pool::builder().replica(llm(&bad)).fallback(llm(&good)).build().unwrap();
    let error = ask(&pool, "hello").await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (ErrorKind::BadRequest, 1));
    assert!(good.requests().is_empty());
    let only_overload = Pool::builder()
        .replica(dead())
        .fallback(llm(&good))
        .failover_on([ErrorKind::Overloaded])
        .max_retries(0)
        .build()
        .unwrap();
    assert_eq!(ask(&only_overload, "hello").await.unwrap_err().kind, ErrorKind::Connection);
}

#[tokio::test]
async fn nothing_is_asked_twice_once_a_token_was_delivered() {
    let delta = r#"{"choices":[{"delta":{"content":"half"}}]}"#;
    let cut = Reply::sse([delta.to_owned()]).then(Piece::Close);
    let (first, second) = (serving([cut]).await, serving([said("hi")]).await);
    let pool = Pool::builder().replica(llm(&first)).fallback(llm(&second)).build().unwrap();
    let mut request = Request::new(vec![Message::user("hello")]);
    request.stream = true;
    let mut events = pool.stream(request);
    assert!(matches!(events.next().await, Some(Ok(Event::ContentDelta { .. }))));
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::StreamInterrupted);
    assert_eq!(error.partial.clone().unwrap().content, "half");
    assert!(events.next().await.is_none() && second.requests().is_empty());
}

#[tokio::test]
async fn when_all_fail_the_error_names_each_and_the_round_is_repeated() {
    let a = serving((0..3).map(|_| refusal(503, "busy").header("retry-after-ms", "10"))).await;
    let pool = Pool::builder()
        .member(PoolMember::new(llm(&a)).name("a"))
        .member(PoolMember::new(dead()).name("b").fallback())
        .max_failures(100)
        .build()
        .unwrap();
    let error = ask(&pool, "hello").await.unwrap_err();
    assert_eq!(a.requests().len(), 3, "the first try and two repetitions");
    assert_eq!(error.attempts, 6);
    assert!(
        error.message.contains("a: overloaded: busy") && error.message.contains("b: connection"),
        "{error}"
    );

    let told: Vec<(u32, &str)> =
        error.retries.iter().map(|retry| (retry.attempt, retry.reason.as_str())).collect();
    assert_eq!(
        told,
        [(1, "overloaded"), (2, "connection"), (3, "overloaded"), (4, "connection"), (5, "overloaded")],
        "all but the last"
    );

    let late = serving([refusal(503, "busy").header("retry-after-ms", "10"), said("at last")]).await;
    let pool = Pool::builder().replica(llm(&late)).build().unwrap();
    assert_eq!(ask(&pool, "hello").await.unwrap().content, "at last");
}

#[tokio::test]
async fn a_prompt_too_long_for_one_goes_to_a_larger_context() {
    let long =
        "This model's maximum context length is 4096 tokens. However, your messages resulted in 9000 tokens.";
    let (small, large) =
        (serving([refusal(400, long), refusal(400, long)]).await, serving([said("read it all")]).await);
    let unknown = Pool::builder().replica(llm(&small)).fallback(llm(&large)).build().unwrap();
    assert_eq!(
        ask(&unknown, "hello").await.unwrap_err().kind,
        ErrorKind::ContextLength,
        "no larger one is known"
    );
    let pool = Pool::builder()
        .member(PoolMember::new(llm(&small)).context_window(4096))
        .member(PoolMember::new(llm(&large)).context_window(32768).fallback())
        .build()
        .unwrap();
    assert_eq!(ask(&pool, "hello").await.unwrap().content, "read it all");
}

#[tokio::test]
async fn load_goes_where_the_fewest_calls_are_under_way_for_the_weight() {
    let delay = Duration::from_millis(300);
    let (one, two) = (replica("one", delay).await, replica("two", delay).await);
    let pool =
        Pool::builder().member(PoolMember::new(llm(&one)).weight(3.0)).replica(llm(&two)).build().unwrap();
    let answers = join_all((0..40).map(|number| {
        let pool = pool.clone();
        async move { ask(&pool, &format!("question {number}")).await.unwrap().content }
    }))
    .await;
    let ones = answers.iter().filter(|answer| *answer == "one").count();
    assert_eq!(ones, 30, "three to one");
    assert!(pool.members().iter().all(|member| member.in_flight == 0));
}

#[tokio::test]
async fn a_conversation_goes_back_to_its_member_unless_that_is_busy() {
    let (one, two) = (replica("one", Duration::ZERO).await, replica("two", Duration::ZERO).await);
    let pool = Pool::builder().replica(llm(&one)).replica(llm(&two)).build().unwrap();
    for number in 0..10 {
        let mut messages = vec![Message::user(format!("conversation {number}"))];
        let first = collect(pool.stream(Request::new(messages.clone()))).await.unwrap().content;
        for _ in 0..4 {
            messages.extend([Message::assistant("…"), Message::user("go on")]);
            assert_eq!(collect(pool.stream(Request::new(messages.clone()))).await.unwrap().content, first);
        }
    }
    let counts: Vec<u64> = pool.members().iter().map(|member| member.calls).collect();
    assert_eq!(counts, [25, 25], "conversations are spread evenly");
}

#[tokio::test]
async fn a_member_that_fails_is_left_alone_then_tried_once() {
    let flaky = serving((0..4).map(|_| refusal(500, "down")).chain((0..10).map(|_| said("flaky")))).await;
    let good = replica("good", Duration::ZERO).await;
    let cooldown = Duration::from_millis(200);
    let pool = Pool::builder()
        .member(PoolMember::new(llm(&flaky)).weight(1000.0))
        .replica(llm(&good))
        .max_failures(2)
        .cooldown(cooldown)
        .build()
        .unwrap();
    for number in 0..10 {
        assert_eq!(ask(&pool, &number.to_string()).await.unwrap().content, "good");
    }
    assert_eq!(flaky.requests().len(), 2, "after two failures it is left alone");
    assert_eq!(pool.members()[0].state, MemberState::LeftAlone);
    tokio::time::sleep(cooldown).await;
    assert_eq!(pool.members()[0].state, MemberState::OnTrial);
    let started = Instant::now();
    while ask(&pool, "again").await.unwrap().content != "flaky" {
        assert!(started.elapsed() < Duration::from_secs(20), "it never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(flaky.requests().len(), 5, "two failed trials, one good one");
    assert_eq!(pool.members()[0].state, MemberState::Available);
}

#[tokio::test]
async fn a_member_that_asks_to_wait_is_left_alone_that_long() {
    let limited = serving([refusal(429, "slow down").header("retry-after", "60"), said("limited")]).await;
    let good = replica("good", Duration::ZERO).await;
    let pool = Pool::builder()
        .member(PoolMember::new(llm(&limited)).weight(1000.0))
        .replica(llm(&good))
        .build()
        .unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&pool, "hello").await.unwrap().content, "good");
    }
    assert_eq!(limited.requests().len(), 1);
    assert_eq!((pool.members()[0].state, pool.members()[0].failures), (MemberState::LeftAlone, 0));
}

#[tokio::test]
async fn dropping_a_call_frees_its_member() {
    let slow = replica("slow", Duration::from_secs(60)).await;
    let pool = Pool::builder().replica(llm(&slow)).build().unwrap();
    let mut events = pool.stream(Request::new(vec![Message::user("hello")]));
    assert!(tokio::time::timeout(Duration::from_millis(100), events.next()).await.is_err());
    assert_eq!(pool.members()[0].in_flight, 1);
    drop(events);
    assert_eq!((pool.members()[0].in_flight, pool.members()[0].failures), (0, 0));
}

#[tokio::test]
async fn what_makes_no_pool_is_refused() {
    let build = |members: Vec<PoolMember>| {
        members
            .into_iter()
            .fold(Pool::builder(), |pool, member| pool.member(member))
            .build()
            .map(|_| ())
            .unwrap_err()
    };
    for (error, word) in [
        (build(vec![]), "replica"),
        (build(vec![PoolMember::new(dead()).fallback()]), "replica"),
        (build(vec![PoolMember::new(dead()).weight(0.0)]), "weight"),
        (build(vec![PoolMember::new(dead()).weight(f64::NAN)]), "weight"),
        (build(vec![PoolMember::new(dead()).name("a"), PoolMember::new(dead()).name("a")]), "\"a\""),
    ] {
        assert!(error.kind == ErrorKind::Config && error.message.contains(word), "{error}");
    }
}

#[tokio::test]
async fn an_endpoint_gets_no_more_calls_at_once_than_allowed() {
    let server = replica("hi", Duration::from_millis(100)).await;
    let one_at_a_time =
        UnifiedLlm::builder().base_url(server.base_url()).model("m").max_concurrency(1).build().unwrap();
    let started = Instant::now();
    let answers =
        join_all((0..4).map(|_| one_at_a_time.generate(Request::new(vec![Message::user("hello")])))).await;
    assert!(started.elapsed() >= Duration::from_millis(400));
    let waited: Vec<f64> =
        answers.into_iter().map(|answer| answer.unwrap().queue_seconds.unwrap_or(0.0)).collect();
    assert!(waited[0] == 0.0 && waited[1] >= 0.09 && waited[2] >= 0.19 && waited[3] >= 0.29, "{waited:?}");
    let error = UnifiedLlm::builder().base_url(server.base_url()).max_concurrency(0).build().unwrap_err();
    assert!(error.message.contains("max_concurrency"), "{error}");
}

#[tokio::test]
async fn a_pool_prefers_the_member_that_need_not_wait() {
    let delay = Duration::from_millis(300);
    let (narrow, wide) = (replica("narrow", delay).await, replica("wide", delay).await);
    let limited =
        UnifiedLlm::builder().base_url(narrow.base_url()).model("m").max_concurrency(1).build().unwrap();
    let pool =
        Pool::builder().member(PoolMember::new(limited).weight(1000.0)).replica(llm(&wide)).build().unwrap();
    let answers = join_all((0..6).map(|number| {
        let pool = pool.clone();
        async move { ask(&pool, &number.to_string()).await.unwrap() }
    }))
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.content == "narrow").count(), 1);
    assert!(answers.iter().all(|answer| answer.queue_seconds.is_none()));
}

#[tokio::test]
async fn a_reported_retry_is_no_token() {
    struct Tired;

    impl Llm for Tired {
        fn model_name(&self) -> String {
            "tired".to_owned()
        }

        fn stream(&self, _: Request) -> EventStream {
            let (reason, message) = ("overloaded".to_owned(), "busy".to_owned());
            let retry = Retry { attempt: 1, reason, message, status_code: Some(503), wait: 0.0 };
            let error = LlmError::new(ErrorKind::Overloaded, "busy");
            Box::pin(futures_util::stream::iter([Ok(Event::Retry(retry)), Err(error)]))
        }
    }

    let good = serving([said("hi")]).await;
    let pool = Pool::builder().replica(Tired).fallback(llm(&good)).build().unwrap();
    let events: Vec<_> = pool.stream(Request::new(vec![Message::user("hello")])).collect().await;
    assert!(matches!(events[0], Ok(Event::Retry(_))), "passed through");
    assert!(events.iter().all(Result::is_ok) && matches!(events.last(), Some(Ok(Event::Finish(_)))));
}

#[tokio::test]
async fn failing_over_and_waiting_for_another_round_are_events() {
    let busy = || refusal(503, "busy").header("retry-after-ms", "50");
    let (first, second) = (serving([busy(), busy()]).await, serving([busy(), said("hi")]).await);
    let pool = Pool::builder()
        .member(PoolMember::new(llm(&first)).name("first"))
        .member(PoolMember::new(llm(&second)).name("second").fallback())
        .build()
        .unwrap();
    let mut events = pool.stream(Request::new(vec![Message::user("hello")]));
    let mut retries = Vec::new();
    let mut text = String::new();
    while let Some(event) = events.next().await {
        match event.unwrap() {
            Event::Retry(retry) => {
                assert_eq!(text, "", "before the first delta");
                retries.push((retry, Instant::now()));
            }
            Event::ContentDelta { content } => text.push_str(&content),
            _ => {}
        }
    }
    let told: Vec<_> = retries.iter().map(|(retry, _)| (retry.attempt, retry.message.as_str())).collect();
    assert_eq!(told, [(1, "first: busy"), (2, "second: busy"), (3, "first: busy")]);
    assert_eq!(retries[0].0.wait, 0.0, "the next member is asked at once");
    let wait = retries[1].0.wait;
    assert!((0.05..0.06).contains(&wait), "as the servers asked: {wait}");
    assert!(retries[2].1 - retries[1].1 >= Duration::from_secs_f64(wait), "told before it is waited for");
    assert!(retries.iter().all(|(retry, _)| retry.reason == "overloaded" && retry.status_code == Some(503)));
    assert_eq!(text, "hi");
}

#[tokio::test]
async fn what_had_failed_is_told_although_all_are_left_alone_since() {
    let down = serving([refusal(500, "out of memory")]).await;
    let pool = Pool::builder().replica(llm(&down)).max_failures(1).build().unwrap();
    let error = ask(&pool, "hello").await.unwrap_err();
    assert_eq!((error.kind, error.status_code, error.attempts), (ErrorKind::Server, Some(500), 1));
    assert_eq!(error.message, "out of memory");
    assert_eq!(down.requests().len(), 1);
}

/// A pool whose calls may take 0.4 s.
fn hurried(member: UnifiedLlm) -> loom::model::pool::PoolBuilder {
    Pool::builder().replica(member).timeout(Duration::from_millis(400))
}

#[tokio::test]
async fn a_call_ends_within_the_pools_own_timeout_whoever_is_asked() {
    let slow = replica("slow", Duration::from_secs(60)).await;
    let pool = hurried(dead()).fallback(llm(&slow)).build().unwrap();
    let started = Instant::now();
    let error = ask(&pool, "hello").await.unwrap_err();
    assert!((0.4..5.0).contains(&started.elapsed().as_secs_f64()), "{:?}", started.elapsed());
    assert_eq!((error.kind, error.retryable, error.attempts), (ErrorKind::Timeout, false, 2));
    assert!(error.message.contains("0.4 s (total): #1 m: connection: nothing listens"), "{error}");
    assert!(error.message.ends_with("#2 m had not answered"), "{error}");
    assert_eq!(error.retries.len(), 1);
    assert_eq!(pool.members()[1].failures, 1, "who does not answer is judged by it");
}

#[tokio::test]
async fn the_time_in_a_members_queue_counts_and_so_do_the_waits_between_rounds() {
    let slow = replica("slow", Duration::from_secs(60)).await;
    let narrow =
        UnifiedLlm::builder().base_url(slow.base_url()).model("m").max_concurrency(1).build().unwrap();
    let mut first = narrow.stream(Request::new(vec![Message::user("first")]));
    assert!(tokio::time::timeout(Duration::from_millis(100), first.next()).await.is_err());
    let started = Instant::now();
    let error = ask(&hurried(narrow).build().unwrap(), "second").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(started.elapsed() < Duration::from_secs(5) && slow.requests().len() == 1);

    let busy = serving((0..3).map(|_| refusal(503, "busy").header("retry-after", "30"))).await;
    let started = Instant::now();
    let error = ask(&hurried(llm(&busy)).build().unwrap(), "hello").await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Overloaded, "busy"));
    assert!(started.elapsed() < Duration::from_millis(400), "a wait that is too long is not begun");
}

#[tokio::test]
async fn what_had_arrived_when_a_pools_time_is_over_is_kept() {
    let delta = r#"{"choices":[{"delta":{"content":"half"}}]}"#;
    let stalled = serving([Reply::sse([delta.to_owned()]).then(Piece::Hang)]).await;
    let mut request = Request::new(vec![Message::user("hello")]);
    request.stream = true;
    let pool = hurried(llm(&stalled)).build().unwrap();
    let error = collect(pool.stream(request)).await.unwrap_err();
    assert_eq!(error.partial.clone().unwrap().content, "half");
    assert!(error.message.ends_with("4 characters of the answer of #1 m had arrived"), "{error}");
}

#[tokio::test]
async fn a_member_that_loads_its_model_is_waited_for_only_where_no_other_answers() {
    let loading = || refusal(503, "Loading model");
    let (slow, ready) =
        (serving([loading(), said("loaded")]).await, serving([said("hi"), refusal(500, "down")]).await);
    let pool = Pool::builder()
        .member(PoolMember::new(llm(&slow)).weight(1000.0))
        .replica(llm(&ready))
        .build()
        .unwrap();
    let started = Instant::now();
    assert_eq!(ask(&pool, "hello").await.unwrap().content, "hi");
    assert!(started.elapsed() < Duration::from_secs(1), "at once");

    let slow = serving([loading(), loading(), said("loaded")]).await;
    let pool = Pool::builder()
        .member(PoolMember::new(llm(&slow)).weight(1000.0))
        .fallback(llm(&ready))
        .build()
        .unwrap();
    let answer = ask(&pool, "hello").await.unwrap();
    assert_eq!(answer.content, "loaded", "although the other one is down");

    let never = serving((0..9).map(|_| loading())).await;
    let clock = loom::Timeout { loading: Some(Duration::from_millis(300)), ..loom::Timeout::default() };
    let member = UnifiedLlm::builder().base_url(never.base_url()).model("m").timeout(clock).build().unwrap();
    let started = Instant::now();
    let error = ask(&Pool::builder().replica(member).build().unwrap(), "hello").await.unwrap_err();
    assert!(error.is_loading() && never.requests().len() == 2, "{error}");
    assert!((0.3..5.0).contains(&started.elapsed().as_secs_f64()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_the_server_says_is_left_corrects_the_limit_and_the_next_call_waits() {
    let none_left = || said("hi").header("x-ratelimit-remaining-requests", "0");
    let server = serving([none_left(), said("hi"), said("hi")]).await;
    let settings = UnifiedLlm::builder().base_url(server.base_url()).model("m").requests_per_minute(300);
    let llm = settings.clone().build().unwrap();
    let ask = || llm.generate(Request::new(vec![Message::user("hello")]));
    assert_eq!(ask().await.unwrap().queue_seconds, None);
    let waited = ask().await.unwrap().queue_seconds.unwrap();
    assert!((0.1..2.0).contains(&waited), "five a second: {waited}");

    let other = settings.tokens_per_minute(600_000).build().unwrap();
    let first = other.generate(Request::new(vec![Message::user("hello")])).await.unwrap();
    assert_eq!(first.queue_seconds, None, "another LLM has limits of its own");
}
