//! Messages: what a conversation consists of, and what an answer adds to it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::LlmError;
use crate::event::{Completion, FinishReason, Usage};
use crate::ledger::LedgerEntry;
use crate::tool::ToolCall;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand before the conversation.
    System,
    /// OpenAI's newer name for [`Role::System`].
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

impl Role {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::System, Self::Developer, Self::User, Self::Assistant, Self::Tool]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Text.
    Text(String),
    /// Parts: OpenAI's (`{"type": "text" | "image_url" | …}`), those of [`crate::part`], and bare texts.
    Parts(Vec<Value>),
}

impl Content {
    /// The text, joined where it stands in several parts.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => {
                parts.iter().filter_map(|part| part.as_str().or_else(|| part.get("text")?.as_str())).collect()
            }
        }
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<Value>> for Content {
    fn from(parts: Vec<Value>) -> Self {
        Self::Parts(parts)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// One message. Serialises to OpenAI's form plus the facts of the answer it came with, so that a stored
/// conversation reads back as it was; [`crate::request`] sends only what servers take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; none for an assistant that only calls tools.
    #[serde(default)]
    pub content: Option<Content>,
    /// The speaker's name, sent only when set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The calls the assistant made.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// For [`Role::Tool`]: the call this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// What the model thought before it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// What the model said when it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Tokens used; on an agent's answer, by the whole run. None when the server did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Why the answer ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// The model that answered, as the server names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The server's name for the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What was bridged for this answer; on an agent's answer, in the whole run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ledger: Vec<LedgerEntry>,
    /// The value of an answer that had to fit a schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parsed: Option<Value>,
    /// Fields that Loom does not know; sent as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<ToolCall>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Message {
    /// A message of that role.
    pub fn new(role: Role, content: impl Into<Content>) -> Self {
        Self {
            role,
            content: Some(content.into()),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            reasoning: None,
            refusal: None,
            usage: None,
            finish_reason: None,
            model: None,
            request_id: None,
            ledger: Vec::new(),
            parsed: None,
            extra: Map::new(),
        }
    }

    /// Instructions.
    pub fn system(content: impl Into<Content>) -> Self {
        Self::new(Role::System, content)
    }

    /// What the person says.
    pub fn user(content: impl Into<Content>) -> Self {
        Self::new(Role::User, content)
    }

    /// What the model said.
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self::new(Role::Assistant, content)
    }

    /// The result of the call with that id.
    pub fn tool(tool_call_id: impl Into<String>, content: impl Into<Content>) -> Self {
        Self { tool_call_id: Some(tool_call_id.into()), ..Self::new(Role::Tool, content) }
    }

    /// The text of the message; empty when there is none.
    pub fn text(&self) -> String {
        self.content.as_ref().map(Content::text).unwrap_or_default()
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::user(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::user(text)
    }
}

impl Message {
    /// The value of an answer that had to fit a schema, as a type.
    ///
    /// # Errors
    /// `config` if there is none, or if the type takes something else than the schema.
    pub fn parsed_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, LlmError> {
        let value = self.parsed.as_ref().ok_or_else(|| {
            LlmError::config("this message holds no parsed value")
                .with_hint("build the agent with output_type or output_schema")
        })?;
        T::deserialize(value)
            .map_err(|error| LlmError::config(format!("the parsed value is not of this type: {error}")))
    }
}

impl From<Completion> for Message {
    fn from(completion: Completion) -> Self {
        let only_calls = completion.content.is_empty() && !completion.tool_calls.is_empty();
        Self {
            role: Role::Assistant,
            content: (!only_calls).then_some(Content::Text(completion.content)),
            name: None,
            tool_calls: completion.tool_calls,
            tool_call_id: None,
            reasoning: completion.reasoning,
            refusal: completion.refusal,
            usage: completion.usage,
            finish_reason: completion.finish_reason,
            model: completion.model,
            request_id: completion.request_id,
            ledger: completion.ledger,
            parsed: None,
            extra: completion.extra,
        }
    }
}
