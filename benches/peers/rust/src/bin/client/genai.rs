//! genai.

use futures_util::StreamExt;
use genai::adapter::AdapterKind;
use genai::chat::{ChatMessage, ChatRequest, ChatStreamEvent};
use genai::resolver::{AuthData, Endpoint, ServiceTargetResolver};
use genai::{Client, ModelIden, ServiceTarget};

use crate::{Answer, Error, Peer, is_streamed, messages};

pub struct Genai {
    client: Client,
    request: ChatRequest,
    streamed: bool,
}

impl Peer for Genai {
    fn can(case: &str) -> bool {
        !case.starts_with("agent-")
    }

    fn new(case: &str, url: &str) -> Result<Self, Error> {
        let url = format!("{url}/");
        let resolver = ServiceTargetResolver::from_resolver_fn(
            move |target: ServiceTarget| -> Result<ServiceTarget, genai::resolver::Error> {
                Ok(ServiceTarget {
                    endpoint: Endpoint::from_owned(url.as_str()),
                    auth: AuthData::from_single("sk-test"),
                    model: ModelIden::new(AdapterKind::OpenAI, target.model.model_name),
                })
            },
        );
        let client = Client::builder().with_service_target_resolver(resolver).build()?;
        let messages = messages(case)
            .into_iter()
            .map(|(user, text)| if user { ChatMessage::user(text) } else { ChatMessage::assistant(text) })
            .collect();
        Ok(Self { client, request: ChatRequest::new(messages), streamed: is_streamed(case) })
    }

    async fn call(&self) -> Result<Answer, Error> {
        let mut answer = Answer::default();
        let request = self.request.clone();
        if self.streamed {
            let mut events = self.client.exec_chat_stream("m", request, None).await?.stream;
            while let Some(event) = events.next().await {
                if let ChatStreamEvent::Chunk(chunk) = event? {
                    answer.add(&chunk.content);
                }
            }
        } else {
            let response = self.client.exec_chat("m", request, None).await?;
            answer.text = response.first_text().unwrap_or_default().to_owned();
        }
        Ok(answer)
    }
}
