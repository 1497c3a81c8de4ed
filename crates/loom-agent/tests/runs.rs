//! Runs that are stored by one language and resumed by the other, and what ends a run in Rust's driver.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use loom::agent::{Limit, Run, RunLimits};
use loom::{AgentError, AgentEvent, ToolCall};
use loom_testkit::{Emulator, Reply, Script, Server, Turn};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// What `tests/python/test_runs.py` stores.
const STORED: &str = include_str!("../../../tests/corpus/stored-run.json");

#[derive(Deserialize, JsonSchema)]
struct City {
    city: String,
}

fn counted(name: &'static str, calls: &Arc<AtomicUsize>) -> impl loom::Tool + use<> {
    let calls = Arc::clone(calls);
    loom::tool(name, "", move |args: City| {
        calls.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, String>(format!("{} is fine", args.city)) }
    })
}

#[tokio::test]
async fn what_python_stored_is_resumed_and_stored_alike() {
    let run = Run::from_json(STORED).unwrap();
    let stored: serde_json::Value = serde_json::from_str(STORED).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&run.to_json()).unwrap(), stored);
    let held: Vec<ToolCall> = run.held();
    assert_eq!((held.len(), held[0].name.as_str()), (1, "book"));

    let server = Server::start(Emulator::new().model("m").script([Turn::says("done")])).await.unwrap();
    let (weather, book) = (Arc::default(), Arc::default());
    let agent = loom::agent("a")
        .base_url(server.base_url())
        .tool(counted("weather", &weather))
        .tool(counted("book", &book))
        .build()
        .unwrap();
    match agent.run(run.clone()).await {
        Err(AgentError::ApprovalRequired { calls, .. }) => assert_eq!(calls, held),
        other => panic!("{other:?}"),
    }
    let mut run = run;
    run.approve(Some(&held[0].id)).unwrap();
    assert_eq!(agent.run(run).await.unwrap().text(), "done");
    assert_eq!((weather.load(Ordering::Relaxed), book.load(Ordering::Relaxed)), (0, 1));
    let sent = server.requests().pop().unwrap().json();
    assert_eq!(
        sent["messages"][3]["content"],
        json!("sunny in Paris"),
        "what Python had done is not done again"
    );
    assert_eq!(sent["messages"][4]["content"], json!("Rome is fine"));
    let stats = agent.get_stats();
    assert_eq!((stats.runs, stats.paused, stats.failed), (2, 1, 0));
}

#[tokio::test]
async fn the_time_is_up_in_the_middle_of_a_tool_and_of_an_answer() {
    let limits = RunLimits { max_seconds: Some(1.0), ..RunLimits::default() };
    let server = Server::start(
        Emulator::new()
            .model("m")
            .token_delay(Duration::from_millis(50))
            .script([Turn::says("word ".repeat(200))]),
    )
    .await
    .unwrap();
    let agent = loom::agent("a").base_url(server.base_url()).run_limits(limits.clone()).build().unwrap();
    let mut events = agent.stream("go");
    let mut seen = 0;
    let error = loop {
        match events.next().await {
            Some(Ok(AgentEvent::ContentDelta { .. })) => seen += 1,
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it ended"),
        }
    };
    let AgentError::Limit { limit: Limit::Time, partial: Some(partial), .. } = &error else {
        panic!("{error}")
    };
    assert!(seen > 0 && partial.content.starts_with("word word"), "{partial:?}");
    assert!(events.next().await.is_none());

    let server =
        Server::start(Emulator::new().model("m").script([Turn::calls([("slow", json!({"city": "X"}))])]))
            .await
            .unwrap();
    let slow = loom::tool("slow", "", |_: City| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<_, String>("late")
    });
    let agent = loom::agent("a").base_url(server.base_url()).run_limits(limits).tool(slow).build().unwrap();
    let error = agent.run("go").await.unwrap_err();
    assert!(error.run().unwrap().used().seconds >= 1.0, "{error}");
    assert_eq!((error.kind(), error.transcript().len()), ("time", 2));
}

#[tokio::test]
async fn a_handler_that_panics_does_not_harm_the_run() {
    let server = Server::start(Emulator::new().model("m").script([Turn::says("fine")])).await.unwrap();
    let agent = loom::agent("a").base_url(server.base_url()).event_handler(|_| panic!("no")).build().unwrap();
    assert_eq!(agent.run("go").await.unwrap().text(), "fine");
}

#[tokio::test]
async fn a_slow_handler_does_not_hold_the_run_up() {
    let script = [Turn::calls([("look", json!({"city": "X"}))]), Turn::says("fine")];
    let server = Server::start(Emulator::new().model("m").script(script)).await.unwrap();
    let (called, is_called) = std::sync::mpsc::channel();
    let is_called = std::sync::Mutex::new(is_called);
    let tool = loom::tool("look", "", move |_: City| {
        called.send(()).unwrap();
        async { Ok::<_, String>("seen") }
    });
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kinds = Arc::clone(&told);
    let agent = loom::agent("a").base_url(server.base_url()).tool(tool).event_handler(move |event| {
        if matches!(event, AgentEvent::RunStart { .. }) {
            // It does not return before the run is three steps on.
            is_called.lock().unwrap().recv_timeout(Duration::from_secs(4)).unwrap();
        }
        kinds.lock().unwrap().push(serde_json::to_value(event).unwrap()["type"].clone());
    });
    assert_eq!(agent.build().unwrap().run("go").await.unwrap().text(), "fine");
    let told = told.lock().unwrap();
    assert_eq!((told[0].as_str(), told.last().unwrap().as_str()), (Some("run_start"), Some("finish")));
}

/// A type that refuses what its schema allows.
#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(try_from = "u32")]
#[schemars(with = "u32")]
struct Even(u32);

impl TryFrom<u32> for Even {
    type Error = String;
    fn try_from(number: u32) -> Result<Self, String> {
        if number.is_multiple_of(2) { Ok(Self(number)) } else { Err(format!("{number} is odd")) }
    }
}

#[tokio::test]
async fn a_value_that_its_type_refuses_is_asked_for_again() {
    let script = [r#"{"value": 3}"#, r#"{"value": 4}"#].map(Turn::says);
    let server = Server::start(Emulator::new().model("m").script(script)).await.unwrap();
    let agent = loom::agent("a").base_url(server.base_url()).output_type::<Even>();
    let answer = agent.build().unwrap().run("go").await.unwrap();
    assert_eq!(answer.parsed_as::<Even>().unwrap(), Even(4));
    assert!(answer.ledger.iter().any(|entry| entry.rule == loom::Rule::OutputRepaired));
    let sent = server.requests().pop().unwrap().json();
    assert!(sent["messages"][2]["content"].as_str().unwrap().contains("3 is odd"), "{sent}");

    let script = [r#"{"value": 3}"#, r#"{"value": 5}"#, r#"{"value": 7}"#].map(Turn::says);
    let server = Server::start(Emulator::new().model("m").script(script)).await.unwrap();
    let agent = loom::agent("a").base_url(server.base_url()).output_type::<Even>();
    match agent.build().unwrap().run("go").await {
        Err(AgentError::Output { problems, text, .. }) => {
            assert_eq!((problems[0].message.as_str(), text.as_str()), ("7 is odd", r#"{"value": 7}"#));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn where_nothing_may_be_bridged_the_run_bridges_nothing() {
    let no = || {
        let choice =
            json!({"index": 0, "message": {"role": "assistant", "content": "no"}, "finish_reason": "stop"});
        Reply::json(200, &json!({"id": "1", "object": "chat.completion", "choices": [choice]}))
    };
    let server = Server::start(Script::new([no(), no(), no()])).await.unwrap();
    let agent = |strict| {
        let settings = |settings: loom::LlmSettings| settings.strict(strict);
        let agent = loom::agent("a").base_url(server.base_url()).model("m").settings(settings);
        agent.tool(counted("look", &Arc::default())).tool_choice(loom::ToolChoice::Required).build().unwrap()
    };
    assert_eq!(agent(false).run("go").await.unwrap_err().kind(), "tool_choice");
    let error = agent(true).run("go").await.unwrap_err();
    assert_eq!(error.kind(), "bad_response", "{error}");
    assert!(error.to_string().contains("tool_choice_ignored"), "{error}");
    assert_eq!(error.llm().unwrap().ledger.len(), 1, "{error:?}");
}
