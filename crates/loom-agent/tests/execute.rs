//! How the calls of a turn are carried out, over real HTTP: at once, alone, in time, again, with a context, to the end.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use loom::agent::{Conversation, ToolContext, tool_with_context};
use loom::{AgentError, AgentEvent, Content, FunctionTool, part};
use loom_testkit::{Reply, Script, Server};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
struct Number {
    n: u64,
}

/// An answer that calls these tools, with 0, 1, 2, … as `n`.
fn calling(names: &[&str]) -> Reply {
    let calls: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let function = json!({"name": name, "arguments": json!({"n": n}).to_string()});
            json!({"id": format!("c{n}"), "type": "function", "function": function})
        })
        .collect();
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    Reply::json(200, &json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}))
}

fn saying(text: &str) -> Reply {
    let message = json!({"role": "assistant", "content": text});
    Reply::json(200, &json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))
}

async fn server(replies: impl IntoIterator<Item = Reply>) -> Server {
    Server::start(Script::new(replies)).await.unwrap()
}

fn agent(server: &Server) -> loom::AgentBuilder {
    loom::agent("assistant").base_url(server.base_url()).model("m")
}

/// The results that the model got.
fn results(server: &Server) -> Vec<Value> {
    let last = server.requests().pop().unwrap().json();
    let messages = last["messages"].as_array().unwrap().clone();
    messages
        .into_iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| message["content"].clone())
        .collect()
}

/// Tools that count how many of them run, and the most that ran at once.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<(u32, u32)>>);

impl Counter {
    fn tool(&self, name: &str) -> FunctionTool {
        let counter = self.clone();
        loom::tool(name, "Counts", move |number: Number| {
            let counter = counter.clone();
            async move {
                {
                    let mut count = counter.0.lock().unwrap();
                    count.0 += 1;
                    count.1 = count.1.max(count.0);
                }
                // The first takes longest, so that results come in another order than calls.
                tokio::time::sleep(Duration::from_millis(60 - 10 * number.n.min(5))).await;
                counter.0.lock().unwrap().0 -= 1;
                Ok::<_, String>(number.n)
            }
        })
    }

    fn most(&self) -> u32 {
        self.0.lock().unwrap().1
    }
}

#[tokio::test]
async fn calls_run_at_once_within_the_limit_and_results_keep_the_order_of_the_calls() {
    for (limit, most) in [(None, 5), (Some(2), 2), (Some(1), 1)] {
        let server = server([calling(&["f"; 5]), saying("done")]).await;
        let counter = Counter::default();
        let mut builder = agent(&server).tool(counter.tool("f"));
        if let Some(limit) = limit {
            builder = builder.max_parallel_tools(limit);
        }
        builder.build().unwrap().run("go").await.unwrap();
        assert_eq!(counter.most(), most);
        assert_eq!(results(&server), ["0", "1", "2", "3", "4"]);
    }
}

#[tokio::test]
async fn a_sequential_tool_runs_alone() {
    let server = server([calling(&["f", "alone", "f", "f"]), saying("done")]).await;
    let (counter, alone) = (Counter::default(), Arc::new(Mutex::new(Vec::new())));
    let (seen, counts) = (Arc::clone(&alone), counter.clone());
    let only = loom::tool("alone", "Runs alone", move |_: Number| {
        seen.lock().unwrap().push(counts.0.lock().unwrap().0);
        async { Ok::<_, String>("x") }
    });
    let agent = agent(&server).tool(counter.tool("f")).tool(only.sequential(true)).build().unwrap();
    let mut order = Vec::new();
    let mut events = agent.stream("go");
    while let Some(event) = events.next().await {
        match event.unwrap() {
            AgentEvent::ToolStart { id, .. } => order.push(format!("+{id}")),
            AgentEvent::ToolEnd { id, .. } => order.push(format!("-{id}")),
            _ => {}
        }
    }
    assert_eq!(*alone.lock().unwrap(), [0]);
    assert_eq!(order[..4], ["+c0", "-c0", "+c1", "-c1"]);
    assert_eq!(counter.most(), 2);
}

#[tokio::test]
async fn a_tool_is_given_up_called_again_and_cut() {
    let tries = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&tries);
    let slow = tool_with_context("slow", "Slow", move |_: Number, context: ToolContext| {
        assert_eq!(context.attempt, count.fetch_add(1, Ordering::SeqCst) + 1);
        async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok::<_, String>(())
        }
    });
    let flaky = tool_with_context("flaky", "Fails once", |_: Number, context: ToolContext| async move {
        if context.attempt == 1 { Err("not yet") } else { Ok("now") }
    });
    let long = loom::tool("long", "Long", |_: Number| async { Ok::<_, String>("x".repeat(100)) });
    let server = server([calling(&["slow", "flaky", "long"]), saying("done")]).await;
    let agent = agent(&server)
        .tool(slow.timeout(Duration::from_millis(50)).retries(1))
        .tool(flaky.retries(2))
        .tool(long.max_result_chars(10));
    let started = Instant::now();
    agent.build().unwrap().run("go").await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    assert_eq!(
        results(&server),
        [
            "Error: the tool did not end within 0.05 s",
            "now",
            "xxxxxxxxxx\n[cut: the first 10 of 100 characters are shown]"
        ]
    );
}

#[tokio::test]
async fn a_failure_ends_the_run_where_it_shall() {
    let fails =
        loom::tool("fails", "Fails", |_: Number| async { Err::<(), _>("no disk") }).raise_errors(true);
    let server = server([calling(&["fails"])]).await;
    match agent(&server).tool(fails).build().unwrap().run("go").await {
        Err(AgentError::ToolFailed { tool, message, run }) => {
            assert_eq!(
                (tool.as_str(), message.as_str(), run.messages().len()),
                ("fails", "Error: no disk", 2)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_tool_gets_what_the_run_was_given_and_so_does_an_agent_that_is_a_tool() {
    let who = || {
        tool_with_context("who", "Who asks", |_: Number, context: ToolContext| async move {
            let name = context.deps::<String>().ok_or("nobody")?;
            Ok::<_, &str>(format!("{name} asks {} by {}/{}", context.agent, context.tool, context.call_id))
        })
    };
    let inner = server([calling(&["who"]), saying("It is Ada.")]).await;
    let expert = loom::agent("expert").base_url(inner.base_url()).model("m").tool(who()).build().unwrap();
    let call = json!({"name": "ask", "arguments": json!({"message": "Who is it?"}).to_string()});
    let message =
        json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": call}]});
    let asks = Reply::json(200, &json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]}));
    let outer = server([asks, saying("Ada.")]).await;
    let agent = agent(&outer).tool(expert.as_tool("ask", "Knows who asks")).build().unwrap();
    let asked = Conversation::from("Who am I?").deps("Ada".to_owned());
    assert_eq!(agent.run(asked).await.unwrap().text(), "Ada.");
    assert_eq!(results(&inner), ["Ada asks expert by who/c0"]);
    assert_eq!(results(&outer), ["It is Ada."]);
    assert_eq!(inner.requests()[0].json()["messages"], json!([{"role": "user", "content": "Who is it?"}]));
}

#[tokio::test]
async fn images_are_shown_and_what_cannot_be_read_is_the_tools_failure() {
    let dot = loom::tool("dot", "A dot", |_: Number| async {
        let png = b"\x89PNG\r\n\x1a\n....".as_slice();
        Ok::<_, String>(Content::Parts(vec![part::text("here"), part::image(png)]))
    });
    let none = loom::tool("none", "No file", |_: Number| async {
        Ok::<_, String>(Content::Parts(vec![part::image("/no/such.png")]))
    });
    let server = server([calling(&["dot", "none"]), saying("done")]).await;
    agent(&server).tool(dot).tool(none).build().unwrap().run("go").await.unwrap();
    let told = results(&server);
    assert_eq!(told[0], "here");
    assert!(told[1].as_str().unwrap().contains("/no/such.png cannot be read"), "{told:?}");
    let last = server.requests().pop().unwrap().json();
    let shown = last["messages"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(shown["role"], "user");
    assert!(shown["content"][1]["image_url"]["url"].as_str().unwrap().starts_with("data:image/png;base64,"));
}

#[tokio::test]
async fn a_call_that_needs_approval_pauses_the_run_and_the_others_are_carried_out() {
    let server = server([calling(&["f", "erase"]), saying("done")]).await;
    let erase = loom::tool("erase", "Erases", |_: Number| async { Ok::<_, String>("erased") });
    let counter = Counter::default();
    let agent = agent(&server)
        .tool(counter.tool("f"))
        .tool(erase.requires_approval_if(|arguments| arguments["n"] == 1))
        .build()
        .unwrap();
    let Err(AgentError::ApprovalRequired { calls, mut run }) = agent.run("go").await else { panic!() };
    assert_eq!((calls[0].name.as_str(), counter.most()), ("erase", 1));
    run.approve(None).unwrap();
    assert_eq!(agent.run(*run).await.unwrap().text(), "done");
    assert_eq!(results(&server), ["0", "erased"]);
}

#[tokio::test]
async fn tools_go_into_the_prompt_where_it_is_asked_for() {
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 4}}\n</tool_call>";
    let server = server([saying(call), saying("four")]).await;
    let counter = Counter::default();
    let agent = agent(&server).tool(counter.tool("f")).react_mode(true).build().unwrap();
    assert_eq!(agent.run("go").await.unwrap().text(), "four");
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.json().get("tools").is_none()));
    let last = requests[1].json()["messages"].clone();
    assert!(last[0]["content"].as_str().unwrap().contains("You have tools"));
    assert_eq!(last[3], json!({"role": "user", "content": "<tool_response>\n4\n</tool_response>"}));
}
