//! rig: an agent, for calls and for runs with tools.

use futures_util::StreamExt;
use rig_agent::agent::MultiTurnStreamItem;
use rig_agent::prelude::*;
use rig_agent::streaming::{Item, StreamEvent};
use rig_agent::tool::{ToolContext, ToolExecutionError};
use rig_core::providers::openai::OpenAIConfig;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Answer, Error, Peer, is_streamed, messages};

pub struct Rig {
    agent: Agent,
    history: Vec<Message>,
    prompt: String,
    streamed: bool,
}

#[derive(Deserialize, JsonSchema)]
struct Place {
    city: String,
}

struct Weather;

impl Tool for Weather {
    const NAME: &'static str = "get_weather";
    type Error = ToolExecutionError;
    type Args = Place;
    type Output = String;

    fn description(&self) -> String {
        "The weather in a city now".to_owned()
    }

    fn parameters(&self) -> serde_json::Value {
        schemars::schema_for!(Place).to_value()
    }

    async fn call(&self, _: &mut ToolContext, place: Place) -> Result<String, ToolExecutionError> {
        Ok(format!("sunny in {}", place.city))
    }
}

impl Peer for Rig {
    fn new(case: &str, url: &str) -> Result<Self, Error> {
        let model = OpenAIConfig::new("sk-test").with_base_url(url).client().chat("m");
        let builder = AgentBuilder::new(model);
        let agent = if case.starts_with("agent-") { builder.tool(Weather).build() } else { builder.build() };
        let mut all = messages(case);
        let (_, prompt) = all.pop().ok_or("no message")?;
        let history = all
            .into_iter()
            .map(|(user, text)| if user { Message::user(text) } else { Message::assistant(text) })
            .collect();
        Ok(Self { agent, history, prompt, streamed: is_streamed(case) })
    }

    async fn call(&self) -> Result<Answer, Error> {
        let mut answer = Answer::default();
        let mut run = self.agent.prompt(self.prompt.clone()).max_turns(20);
        if !self.history.is_empty() {
            run = run.history(self.history.clone());
        }
        if self.streamed {
            let mut items = run.stream();
            while let Some(item) = items.next().await {
                if let MultiTurnStreamItem::StreamAssistantItem(Item::Event(StreamEvent::Text {
                    text, ..
                })) = item?
                {
                    answer.add(&text);
                }
            }
        } else {
            answer.text = run.await?.output().to_string();
        }
        Ok(answer)
    }
}
