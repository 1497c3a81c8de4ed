//! Runs in a session: what they start from, what of them is kept, and conversations longer than the model's context.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use futures_util::StreamExt;
use loom::{Agent, AgentEvent, CompactReason, Compacted, ContextPolicy, Llm, Message, Role, Rule, Session};
use loom_testkit::{Emulator, Handler, Reply, Script, Server, servers};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

async fn look(_: Nothing) -> Result<String, std::io::Error> {
    Ok("21 °C".to_owned())
}

async fn serve(handler: impl Handler + 'static) -> Server {
    Server::start(handler).await.unwrap()
}

fn builder(server: &Server) -> loom::AgentBuilder {
    loom::agent("a")
        .base_url(server.base_url())
        .model("m")
        .max_retries(0)
        .system_prompt("Be brief.")
        .tool(loom::tool("look", "Looks", look))
}

fn answer(text: &str) -> Reply {
    Reply::json(200, &json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}))
}

fn call() -> Reply {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}});
    Reply::json(
        200,
        &json!({"choices": [{"message": {"content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}),
    )
}

fn roles(session: &Session) -> String {
    let messages = session.messages().unwrap();
    messages.iter().map(|message| message.role.as_str()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_run_starts_from_what_was_said_and_adds_what_is_said() {
    let server = serve(Script::new([answer("Hello, Ada."), call(), answer("It is warm, Ada.")])).await;
    let agent = builder(&server).build().unwrap();
    let session = Session::new();
    agent.run_in(&session, "I am Ada.").await.unwrap();
    let mut events = agent.stream_in(&session, "How warm is it?");
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event.unwrap());
        if matches!(last, Some(AgentEvent::Finish { .. })) {
            assert_eq!(session.messages().unwrap().len(), 6, "it is kept when the answer is told");
        }
    }
    assert!(matches!(last, Some(AgentEvent::Finish { .. })));
    assert_eq!(roles(&session), "user assistant user assistant tool assistant");
    let sent: Value = server.requests()[1].json();
    let texts: Vec<&str> = sent["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["Be brief.", "I am Ada.", "Hello, Ada.", "How warm is it?"]);
}

#[tokio::test]
async fn of_a_run_that_fails_what_is_complete_is_kept_once() {
    let down = || Reply::json(500, &json!({"error": {"message": "down"}}));
    let server = serve(Script::new([down(), call(), down(), answer("warm"), call()])).await;
    let agent = builder(&server).build().unwrap();
    let session = Session::new();
    agent.run_in(&session, "How warm is it?").await.unwrap_err();
    assert_eq!(roles(&session), "", "the question can be asked again");
    let failed = agent.run_in(&session, "How warm is it?").await.unwrap_err();
    assert_eq!(roles(&session), "user assistant tool");
    // The run goes on where it failed, in another process for all that it knows.
    let stored = failed.run().unwrap().to_json();
    let run = loom::agent::Run::from_json(&stored).unwrap();
    assert_eq!(agent.run_in(&session, run).await.unwrap().text(), "warm");
    assert_eq!(roles(&session), "user assistant tool assistant");

    // Left in the midst of a turn.
    let mut events = agent.stream_in(&session, "And now?");
    while let Some(event) = events.next().await {
        if matches!(event.unwrap(), AgentEvent::ToolStart { .. }) {
            break;
        }
    }
    drop(events);
    assert_eq!(roles(&session), "user assistant tool assistant");
}

/// Forty turns of about twenty words.
fn long() -> Session {
    let session = Session::new();
    let words = "word ".repeat(10);
    for turn in 0..40 {
        let (question, said) = (format!("question {turn} {words}"), format!("answer {turn} {words}"));
        session.append([Message::user(question), Message::assistant(said)]).unwrap();
    }
    session
}

fn small(spec: loom_testkit::ServerSpec) -> Emulator {
    Emulator::of(spec).model("m").context(300)
}

async fn told(agent: &Agent, session: &Session, text: &str) -> (Vec<Compacted>, Message) {
    let mut events = agent.stream_in(session, text);
    let mut compacted = Vec::new();
    while let Some(event) = events.next().await {
        match event.unwrap() {
            AgentEvent::ContextCompacted(what) => compacted.push(what),
            AgentEvent::Finish { message, .. } => return (compacted, *message),
            _ => {}
        }
    }
    panic!("no finish")
}

#[tokio::test]
async fn a_conversation_longer_than_the_context_loses_old_turns_and_says_so() {
    for spec in [servers::VLLM, servers::LLAMACPP] {
        let name = spec.title;
        let server = serve(small(spec)).await;
        let agent = builder(&server).build().unwrap();
        let session = long();
        let (compacted, answer) = told(&agent, &session, "and now?").await;
        assert_eq!(compacted.len(), 1, "{name}");
        assert_eq!(
            (compacted[0].reason, compacted[0].policy),
            (CompactReason::Overflow, ContextPolicy::Trim),
            "{name}"
        );
        assert_eq!(compacted[0].context_limit, Some(300), "{name}");
        assert!(compacted[0].removed_turns >= 20, "{name}: {compacted:?}");
        assert!(answer.ledger.iter().any(|entry| entry.rule == Rule::ContextCompacted), "{name}");
        assert_eq!(session.messages().unwrap().len(), 82, "{name}: the session keeps everything");

        // The next run knows what to leave out; and leaves out more before the server refuses.
        let requests = server.requests().len();
        agent.run_in(&session, "and then?").await.unwrap();
        assert_eq!(server.requests().len(), requests + 1, "{name}");
        let mut further = 0;
        for _ in 0..12 {
            let (compacted, _) = told(&agent, &session, &format!("more {}", "word ".repeat(10))).await;
            assert!(
                compacted.iter().all(|what| what.reason == CompactReason::NearLimit),
                "{name}: {compacted:?}"
            );
            further += compacted.len();
        }
        assert!(further > 0, "{name}");
        let sent: Value = server.requests().last().unwrap().json();
        assert_eq!(sent["messages"][0]["role"], "system", "{name}");
        assert_eq!(sent["messages"][1]["role"], "user", "{name}");

        let keeping = builder(&server).context_policy(ContextPolicy::Keep).build().unwrap();
        let error = keeping.run_in(&long(), "and now?").await.unwrap_err();
        assert_eq!(error.llm().unwrap().kind, loom::ErrorKind::ContextLength, "{name}");
    }
}

#[tokio::test]
async fn without_a_session_nothing_is_left_out_unless_it_is_wanted() {
    let server = serve(small(servers::VLLM)).await;
    let conversation = || {
        let mut messages: Vec<Message> =
            long().messages().unwrap().iter().map(|m| Message::clone(m)).collect();
        messages.push(Message::user("and now?"));
        messages
    };
    builder(&server).build().unwrap().run(conversation()).await.unwrap_err();
    let trimming = builder(&server).context_policy(ContextPolicy::Trim).build().unwrap();
    trimming.run(conversation()).await.unwrap();
    let before = server.requests().len();
    let knowing = builder(&server).context_policy(ContextPolicy::Trim).context_window(200).build().unwrap();
    knowing.run(conversation()).await.unwrap();
    assert_eq!(server.requests().len(), before + 1, "who is told the window need not be refused");
}

#[tokio::test]
async fn a_summary_stands_for_what_is_left_out_and_its_failure_is_told() {
    let refusal = || {
        let message = "This model's maximum context length is 500 tokens. However, you requested 900 tokens";
        Reply::json(400, &json!({"error": {"message": message}}))
    };
    let down = Reply::json(500, &json!({"error": {"message": "down"}}));
    let server = serve(Script::new([
        refusal(),
        answer("They asked forty questions."),
        answer("fine"),
        answer("fine again"),
        down,
        answer("trimmed"),
    ]))
    .await;
    let agent = builder(&server).context_policy(ContextPolicy::Summarize).build().unwrap();
    let session = long();
    let (compacted, answered) = told(&agent, &session, "and now?").await;
    assert_eq!(answered.text(), "fine");
    assert_eq!(compacted[0].summary.as_deref(), Some("They asked forty questions."));
    let summarized: Value = server.requests()[1].json();
    assert!(summarized["messages"][1]["content"].as_str().unwrap().contains("question 3 word"));
    assert_eq!(summarized["tools"], Value::Null);

    // In another run, with what the session remembers.
    agent.run_in(&session, "and then?").await.unwrap();
    let sent: Value = server.requests()[3].json();
    assert!(sent["messages"][1]["content"].as_str().unwrap().contains("They asked forty questions."));

    // By now it is known how much the model holds.
    let (compacted, answered) = told(&agent, &long(), "and now?").await;
    assert_eq!((answered.text().as_str(), compacted[0].policy), ("trimmed", ContextPolicy::Trim));
    assert_eq!(compacted[0].reason, CompactReason::NearLimit);
    assert!(compacted[0].error.as_deref().unwrap().contains("down"), "{compacted:?}");
    assert!(session.messages().unwrap().iter().all(|message| message.role != Role::System));
}

#[tokio::test]
async fn what_the_list_of_models_says_of_the_context_is_known_before_a_refusal() {
    for spec in [servers::VLLM, servers::LLAMACPP] {
        let name = spec.title;
        let server = serve(small(spec)).await;
        let llm = loom::UnifiedLlm::builder().base_url(server.base_url()).model("m").build().unwrap();
        assert_eq!(llm.context_window(), None, "{name}");
        llm.models().await.unwrap();
        assert_eq!(llm.context_window(), Some(300), "{name}");
        let agent = loom::agent("a").llm(llm).build().unwrap();
        let (compacted, _) = told(&agent, &long(), "and now?").await;
        assert_eq!(compacted[0].reason, CompactReason::NearLimit, "{name}");
        assert_eq!(server.requests().len(), 2, "{name}: nothing was refused");
    }
}
