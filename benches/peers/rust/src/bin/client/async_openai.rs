//! async-openai.

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{
    ChatCompletionRequestAssistantMessageArgs, ChatCompletionRequestMessage,
    ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequest, CreateChatCompletionRequestArgs,
};
use futures_util::StreamExt;

use crate::{Answer, Error, Peer, is_streamed, messages};

pub struct AsyncOpenai {
    client: Client<OpenAIConfig>,
    request: CreateChatCompletionRequest,
    streamed: bool,
}

impl Peer for AsyncOpenai {
    fn can(case: &str) -> bool {
        !case.starts_with("agent-")
    }

    fn new(case: &str, url: &str) -> Result<Self, Error> {
        let client = Client::with_config(OpenAIConfig::new().with_api_base(url).with_api_key("sk-test"));
        let messages: Vec<ChatCompletionRequestMessage> = messages(case)
            .into_iter()
            .map(|(user, text)| {
                Ok(match user {
                    true => ChatCompletionRequestUserMessageArgs::default().content(text).build()?.into(),
                    false => {
                        ChatCompletionRequestAssistantMessageArgs::default().content(text).build()?.into()
                    }
                })
            })
            .collect::<Result<_, Error>>()?;
        let request = CreateChatCompletionRequestArgs::default().model("m").messages(messages).build()?;
        Ok(Self { client, request, streamed: is_streamed(case) })
    }

    async fn call(&self) -> Result<Answer, Error> {
        let mut answer = Answer::default();
        let request = self.request.clone();
        if self.streamed {
            let mut chunks = self.client.chat().create_stream(request).await?;
            while let Some(chunk) = chunks.next().await {
                for choice in chunk?.choices {
                    answer.add(choice.delta.content.as_deref().unwrap_or_default());
                }
            }
        } else {
            let response = self.client.chat().create(request).await?;
            answer.text = response
                .choices
                .into_iter()
                .next()
                .and_then(|choice| choice.message.content)
                .unwrap_or_default();
        }
        Ok(answer)
    }
}
