//! Every provider that Loom knows by name is served by an emulator of that name, on which an agent gives a text, a stream,
//! calls tools and answers in JSON. `tests/corpus/providers.json` names the emulators that have another name, and what does
//! not work yet; what is listed there and works fails the test, too.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use futures_util::StreamExt;
use loom::{AgentBuilder, AgentEvent, Message, Request, UnifiedLlm};
use loom_testkit::{Server, servers};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

const KEY: &str = "sk-emulated";
const QUESTION: &str = "How is the weather in Paris?";

#[derive(Deserialize, JsonSchema)]
struct City {
    /// The city's name
    city: String,
}

/// A server of the provider's kind, and an agent on it.
struct Row {
    provider: String,
    model: String,
    server: Server,
}

impl Row {
    async fn start(provider: &str, list: &Value) -> Self {
        let name = list["emulators"][provider].as_str().unwrap_or(provider);
        let emulator = servers::named(name).unwrap_or_else(|| panic!("{provider} has no emulator"));
        let model = emulator.models().remove(0);
        Self { provider: provider.to_owned(), model, server: emulator.api_key(KEY).start().await.unwrap() }
    }

    fn agent(&self) -> AgentBuilder {
        let agent = loom::agent("assistant").llm(self.provider.as_str()).base_url(self.server.base_url());
        agent.api_key(KEY).model(self.model.as_str()).max_retries(0)
    }

    async fn text(&self) -> Result<(), String> {
        let answer = self.agent().build().map_err(shown)?.run("Hello there").await.map_err(shown)?;
        same(answer.text().contains("Hello there"), &answer.text())
    }

    async fn stream(&self) -> Result<(), String> {
        let mut events = self.agent().build().map_err(shown)?.stream("Hello there");
        let (mut pieces, mut text, mut whole) = (0, String::new(), String::new());
        while let Some(event) = events.next().await {
            match event.map_err(shown)? {
                AgentEvent::ContentDelta { content } => {
                    pieces += 1;
                    text += &content;
                }
                AgentEvent::Finish { message, .. } => whole = message.text(),
                _ => {}
            }
        }
        same(pieces > 1 && text == whole && text.contains("Hello there"), &format!("{pieces} pieces: {text}"))
    }

    /// Twice: a whole answer, and a stream.
    async fn tools(&self) -> Result<(), String> {
        let weather = || {
            loom::tool("get_weather", "The weather now", |args: City| async move {
                Ok::<_, std::convert::Infallible>(format!("sunny in {}", args.city))
            })
        };
        let agent = self.agent().tool(weather()).build().map_err(shown)?;
        let answer = agent.run(QUESTION).await.map_err(shown)?.text();
        same(answer.contains("sunny in Paris"), &answer)?;
        let mut events = agent.stream(QUESTION);
        let mut last = String::new();
        while let Some(event) = events.next().await {
            if let AgentEvent::Finish { message, .. } = event.map_err(shown)? {
                last = message.text();
            }
        }
        same(last.contains("sunny in Paris"), &last)
    }

    async fn json(&self) -> Result<(), String> {
        let llm = UnifiedLlm::builder().provider(self.provider.as_str()).base_url(self.server.base_url());
        let llm = llm.api_key(KEY).model(self.model.as_str()).max_retries(0).build().map_err(shown)?;
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
            "additionalProperties": false});
        let mut request = Request::new(vec![Message::user("Which city? Paris is meant.")]);
        request.response_format =
            Some(json!({"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}));
        let content = llm.generate(request).await.map_err(shown)?.content;
        let value: Value = serde_json::from_str(&content).map_err(|error| format!("{error}: {content}"))?;
        same(value["city"].is_string(), &content)
    }
}

fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn same(holds: bool, answer: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("not as expected: {answer}")) }
}

#[tokio::test]
async fn every_provider_gives_text_streams_tools_and_json() {
    let list: Value = serde_json::from_str(include_str!("../../../tests/corpus/providers.json")).unwrap();
    let mut report = Vec::new();
    for provider in loom::provider::builtin() {
        let row = Row::start(&provider.name, &list).await;
        let steps = [
            // First, while nothing is known of the server: what the other answers teach shall not help.
            ("json", row.json().await),
            ("text", row.text().await),
            ("stream", row.stream().await),
            ("tools", row.tools().await),
        ];
        for (step, outcome) in steps {
            let not_yet = list["not_yet"][&provider.name][step].is_string();
            match outcome {
                Err(why) if !not_yet => report.push(format!("{} {step}: {why}", provider.name)),
                Ok(()) if not_yet => {
                    report.push(format!("{} {step} works: take it off the list", provider.name))
                }
                _ => {}
            }
        }
    }
    for provider in list["not_yet"].as_object().into_iter().flatten().map(|(name, _)| name) {
        assert!(loom::provider::find(provider).is_some(), "providers.json names {provider}");
    }
    assert!(report.is_empty(), "\n{}", report.join("\n"));
}
