//! The agent loop over real HTTP.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use futures_util::StreamExt;
use futures_util::future::join_all;
use loom::{AgentError, AgentEvent, Role};
use loom_testkit::{Emulator, Server};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize, JsonSchema)]
struct City {
    /// The city's name
    city: String,
}

fn weather() -> impl loom::Tool {
    loom::tool("get_weather", "The weather now", |args: City| async move {
        match args.city.as_str() {
            "Atlantis" => Err("no such city"),
            city => Ok(format!("sunny in {city}")),
        }
    })
}

async fn server() -> Server {
    Server::start(Emulator::new().model("demo")).await.unwrap()
}

fn agent(server: &Server) -> loom::AgentBuilder {
    loom::agent("assistant").llm("custom").base_url(server.base_url())
}

#[tokio::test]
async fn the_one_model_that_is_served_is_used() {
    let server = server().await;
    let answer = agent(&server).system_prompt("Be brief.").build().unwrap().run("hello").await.unwrap();
    assert!(answer.role == Role::Assistant && answer.text().contains("hello"));
    assert_eq!(answer.model.as_deref(), Some("demo"));
    let sent = server.requests().pop().unwrap().json();
    assert_eq!(sent["messages"][0], json!({"role": "system", "content": "Be brief."}));

    let several = Server::start(Emulator::new().model("one").model("two")).await.unwrap();
    let error = agent(&several).build().unwrap().run("hello").await.unwrap_err().to_string();
    assert!(error.contains("one, two"), "{error}");
}

#[tokio::test]
async fn tools_run_to_the_answer_and_report_what_happens() {
    let server = server().await;
    let agent = agent(&server).tool(weather()).build().unwrap();
    let mut events = agent.stream("How is the weather in Paris?");
    let mut kinds = Vec::new();
    let mut text = String::new();
    while let Some(event) = events.next().await {
        let event = event.unwrap();
        kinds.push(serde_json::to_value(&event).unwrap()["type"].as_str().unwrap().to_owned());
        match event {
            AgentEvent::ContentDelta { content } => text.push_str(&content),
            AgentEvent::ToolEnd { content, is_error, .. } => {
                assert_eq!((content.text().as_str(), is_error), ("sunny in Paris", false));
            }
            AgentEvent::Finish { message, .. } => assert_eq!(message.text(), text),
            _ => {}
        }
    }
    kinds.dedup();
    let expected = "run_start model_request tool_calls usage tool_start tool_end model_request content_delta usage finish";
    assert_eq!(kinds, expected.split(' ').collect::<Vec<_>>());
    assert!(text.contains("sunny in Paris"), "{text}");
}

#[tokio::test]
async fn a_failing_tool_informs_the_model() {
    let server = server().await;
    let answer =
        agent(&server).tool(weather()).build().unwrap().run("The weather in Atlantis?").await.unwrap();
    assert!(answer.text().contains("no such city"), "{}", answer.text());
}

#[tokio::test]
async fn a_hundred_runs_of_one_agent_share_nothing() {
    let server = server().await;
    let agent = agent(&server).model("demo").tool(weather()).max_recursion_depth(2).build().unwrap();
    let runs = (0..100).map(|n| {
        let agent = agent.clone();
        async move { (n, agent.run(format!("How is the weather in City{n}?")).await) }
    });
    for (n, answer) in join_all(runs).await {
        assert!(answer.unwrap().text().contains(&format!("sunny in City{n}")));
    }
}

#[tokio::test]
async fn the_limit_of_turns_ends_a_run() {
    let server = server().await;
    let agent = agent(&server).tool(weather()).max_recursion_depth(1).build().unwrap();
    match agent.run("How is the weather in Paris?").await {
        Err(AgentError::Recursion { limit: 1, run }) => assert_eq!(run.messages().len(), 3),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_work_is_refused_when_the_agent_is_made() {
    let same = loom::agent("a").base_url("http://h/v1").tool(weather()).tool(weather()).build();
    assert!(matches!(same, Err(AgentError::Tool(why)) if why.contains("get_weather")));
    let llm = loom::UnifiedLlm::builder().base_url("http://h/v1").build().unwrap();
    let both = loom::agent("a").llm(llm).api_key("sk-x").build();
    assert!(both.unwrap_err().to_string().contains("api_key"));
    assert!(loom::agent("a").llm("custom").build().unwrap_err().to_string().contains("base_url"));
}

#[tokio::test]
async fn the_event_handler_is_told_of_each_event_of_a_run_and_of_a_stream() {
    let server = server().await;
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let handler = {
        let told = std::sync::Arc::clone(&told);
        move |event: &AgentEvent| {
            let kind = serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned();
            told.lock().unwrap().push(kind);
        }
    };
    let agent = agent(&server).tool(weather()).event_handler(handler).build().unwrap();
    agent.run("How is the weather in Paris?").await.unwrap();
    let of_the_run = std::mem::take(&mut *told.lock().unwrap());
    for kind in ["run_start", "model_request", "content_delta", "tool_start", "tool_end", "finish"] {
        assert!(of_the_run.iter().any(|told| told == kind), "{kind}: {of_the_run:?}");
    }
    let mut events = agent.stream("How is the weather in Paris?");
    while events.next().await.is_some() {}
    assert_eq!(of_the_run, *told.lock().unwrap());
}

#[test]
fn a_tool_has_a_name_that_servers_take() {
    let tool = loom::tool("get weather", "", |args: City| async move { Ok::<_, String>(args.city) });
    let error = loom::agent("a").base_url("http://127.0.0.1:9/v1").tool(tool).build().unwrap_err();
    assert!(matches!(&error, AgentError::Tool(why) if why.contains("get_weather")), "{error}");
}

#[tokio::test]
async fn what_a_run_adds_goes_with_each_of_its_calls_and_no_other() {
    let server = server().await;
    let agent = agent(&server).tool(weather()).header("X-Team", "search").build().unwrap();
    let extra = loom::agent::Extra::default()
        .header("X-Trace-Id", "7f3a")
        .without_header("X-Team")
        .query("tenant", "a")
        .body("top_k", 20);
    assert!(!format!("{extra:?}").contains("7f3a"));
    let asked = loom::agent::Conversation::from("How is the weather in Paris?").extra(extra);
    agent.run(asked).await.unwrap();
    agent.run("hello").await.unwrap();
    let mut requests = server.requests();
    requests.retain(|request| request.path.ends_with("/chat/completions"));
    let (last, extended) = requests.split_last().unwrap();
    assert_eq!(extended.len(), 2, "the question, and the result of the tool");
    for request in extended {
        assert_eq!((request.header("x-trace-id"), request.header("x-team")), (Some("7f3a"), None));
        assert_eq!(request.json()["top_k"], 20);
        assert!(request.target.ends_with("?tenant=a"), "{}", request.target);
    }
    assert_eq!((last.header("x-trace-id"), last.header("x-team")), (None, Some("search")));
    assert!(last.json().get("top_k").is_none() && !last.target.contains('?'));
}
