//! Loom: the LLM for calls, the agent for runs with tools.

use std::sync::Arc;

use futures_util::StreamExt;
use loom::{Event, Llm, Message, Request, UnifiedLlm};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Answer, Error, Peer, is_streamed, messages};

pub struct Loom {
    llm: UnifiedLlm,
    agent: Option<loom::agent::Agent>,
    messages: Vec<Arc<Message>>,
    streamed: bool,
}

#[derive(Deserialize, JsonSchema)]
struct Place {
    city: String,
}

async fn weather(place: Place) -> Result<String, std::io::Error> {
    Ok(format!("sunny in {}", place.city))
}

impl Peer for Loom {
    fn new(case: &str, url: &str) -> Result<Self, Error> {
        let llm =
            UnifiedLlm::builder().provider("custom").base_url(url).api_key("sk-test").model("m").build()?;
        let agent = match case.starts_with("agent-") {
            true => Some(
                loom::agent("bench")
                    .llm(llm.clone())
                    .tool(loom::tool("get_weather", "The weather in a city now", weather))
                    .build()?,
            ),
            false => None,
        };
        let messages = messages(case)
            .into_iter()
            .map(|(user, text)| Arc::new(if user { Message::user(text) } else { Message::assistant(text) }))
            .collect();
        Ok(Self { llm, agent, messages, streamed: is_streamed(case) })
    }

    async fn call(&self) -> Result<Answer, Error> {
        let mut answer = Answer::default();
        if let Some(agent) = &self.agent {
            answer.text = agent.run("How is the weather in Paris?").await?.text();
            return Ok(answer);
        }
        let request =
            Request { messages: self.messages.clone(), stream: self.streamed, ..Request::default() };
        if self.streamed {
            let mut events = self.llm.stream(request);
            while let Some(event) = events.next().await {
                if let Event::ContentDelta { content } = event? {
                    answer.add(&content);
                }
            }
        } else {
            answer.text = self.llm.generate(request).await?.content;
        }
        Ok(answer)
    }
}
