//! The ledger as Rust sees it: of an answer, of a run of several turns, of an LLM's life; and what `explain` says.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::convert::Infallible;

use futures_util::StreamExt;
use loom::{Event, LedgerEntry, Llm, Message, Request, Rule, ToolSpec, UnifiedLlm};
use loom_testkit::{Reply, Script, Server};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
struct Sum {
    a: i64,
    b: i64,
}

fn whole(message: Value, finish: &str) -> Reply {
    Reply::json(
        200,
        &json!({"id": "c1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}),
    )
}

fn text(finish: &str) -> Reply {
    whole(json!({"role": "assistant", "content": "3"}), finish)
}

/// A call with arguments as an object and without an id.
fn call() -> Reply {
    let call = json!({"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}});
    whole(json!({"role": "assistant", "content": null, "tool_calls": [call]}), "tool_calls")
}

async fn llm_on(replies: impl IntoIterator<Item = Reply>) -> (Server, UnifiedLlm) {
    let server = Server::start(Script::new(replies)).await.unwrap();
    let settings = UnifiedLlm::builder().base_url(server.base_url()).model("m").max_retries(0);
    (server, settings.api_key("sk-very-secret").build().unwrap())
}

fn rules(ledger: &[LedgerEntry]) -> Vec<Rule> {
    ledger.iter().map(|entry| entry.rule).collect()
}

#[tokio::test]
async fn a_run_tells_of_all_its_turns_and_the_llm_of_all_its_calls() {
    let (_server, llm) = llm_on([call(), text("eos"), text("eos")]).await;
    let tool = loom::tool("add", "", |sum: Sum| async move { Ok::<_, Infallible>(sum.a + sum.b) });
    let agent = loom::agent("a").llm(llm.clone()).tool(tool).build().unwrap();
    let answer = agent.run("1+2").await.unwrap();
    let all = [Rule::ArgumentsObject, Rule::ToolCallIdMade, Rule::FinishReasonRenamed];
    assert_eq!(rules(&answer.ledger), all);
    assert_eq!(answer.ledger[2].place, "answer.finish_reason");

    let completion = llm.generate(Request::new(vec![Message::user("again")])).await.unwrap();
    assert_eq!(rules(&completion.ledger), [Rule::FinishReasonRenamed]);
    let life = llm.clone().ledger();
    assert_eq!(rules(&life), all);
    assert_eq!(life[2].count, 2);
}

#[tokio::test]
async fn an_explanation_says_what_was_sent_last_and_how_it_went() {
    let (server, llm) = llm_on([text("eos"), Reply::json(401, &json!({"error": {"message": "no"}}))]).await;
    assert_eq!(llm.explain(), None);
    llm.generate(Request::new(vec![Message::user("first")])).await.unwrap();
    let explanation = llm.explain().unwrap();
    assert_eq!(explanation.url, format!("{}/chat/completions", server.base_url()));
    assert_eq!((explanation.attempts, rules(&explanation.ledger)), (1, vec![Rule::FinishReasonRenamed]));
    assert!(explanation.curl.contains("$LOOM_API_KEY") && explanation.curl.contains("first"));

    llm.generate(Request::new(vec![Message::user("sk-very-secret")])).await.unwrap_err();
    let text = llm.explain().unwrap().to_string();
    assert!(text.contains("ledger: empty") && !text.contains("sk-very-secret"), "{text}");
}

#[tokio::test]
async fn strict_keeps_what_had_arrived() {
    let (_server, llm) = llm_on([text("eos")]).await;
    let base = llm.endpoint().base_url().to_string();
    let strict = UnifiedLlm::builder().base_url(base).model("m").strict(true).build().unwrap();
    let error = strict.generate(Request::new(vec![Message::user("x")])).await.unwrap_err();
    assert_eq!(error.kind, loom::ErrorKind::BadResponse);
    assert_eq!(rules(&error.ledger), [Rule::FinishReasonRenamed]);
    assert_eq!(error.partial.as_ref().unwrap().content, "3");
}

#[tokio::test]
async fn tools_that_an_unknown_server_has_passed_over_are_told_in_the_prompt() {
    // Ids of this length are FastChat's.
    let said = |content: &str| {
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"});
        Reply::json(200, &json!({"id": "chatcmpl-vWUrJtoXPjfDTQQ8CcHWaa", "model": "m", "choices": [choice]}))
    };
    let called = r#"<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>"#;
    let (server, llm) = llm_on([said("I cannot add."), said(called), said("3")]).await;
    let tool = loom::tool("add", "", |sum: Sum| async move { Ok::<_, Infallible>(sum.a + sum.b) });
    let agent = loom::agent("a").llm(llm.clone()).tool(tool).build().unwrap();
    let answer = agent.run("1+2").await.unwrap();
    assert_eq!(answer.text(), "3");
    let asked: Vec<Value> =
        server.requests().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    assert_eq!(asked.len(), 3);
    assert!(asked[0].get("tools").is_some());
    assert!(
        asked[1].get("tools").is_none() && asked[1]["messages"].to_string().contains("The tools:"),
        "{}",
        asked[1]
    );
    let told: Vec<&str> = answer.ledger.iter().map(|entry| entry.detail.as_str()).collect();
    assert!(told.iter().any(|detail| detail.contains("passes over")), "{told:?}");

    // The same as a stream: nothing of the answer that saw no tools is delivered.
    let streamed = |content: &str| {
        let chunk = |delta: Value, finish: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            json!({"id": "chatcmpl-vWUrJtoXPjfDTQQ8CcHWab", "model": "m", "choices": [choice]}).to_string()
        };
        Reply::sse([
            chunk(json!({"role": "assistant"}), Value::Null),
            chunk(json!({"content": content}), Value::Null),
            chunk(json!({}), json!("stop")),
            "[DONE]".to_owned(),
        ])
    };
    let (server, llm) = llm_on([streamed("I cannot add."), streamed(called)]).await;
    let mut request = Request::new(vec![Message::user("1+2")]);
    request.tools = vec![ToolSpec::new("add", "Adds")];
    request.stream = true;
    let events: Vec<Event> = llm.stream(request.clone()).map(Result::unwrap).collect().await;
    assert_eq!(server.requests().len(), 2);
    assert!(!events.iter().any(|event| matches!(event, Event::ContentDelta { .. })), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, Event::ToolCalls { .. })), "{events:?}");

    // With strict the request stays as it is.
    let (server, _) = llm_on([said("I cannot add.")]).await;
    let strict = UnifiedLlm::builder().base_url(server.base_url()).model("m").strict(true).build().unwrap();
    request.stream = false;
    assert_eq!(strict.generate(request).await.unwrap().content, "I cannot add.");
    assert_eq!(server.requests().len(), 1);
}
