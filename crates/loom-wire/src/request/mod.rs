//! The request: what the caller asks for, and its strict encoding for an endpoint of some [`Profile`].
//!
//! Sent is what the caller set and nothing else. Never null, never an empty list, `stop` as a list, `tool_choice` only
//! with tools, `stream_options` only with a stream: each of these is refused by some server.
//!
//! | module | owns |
//! |---|---|
//! | `body` | the fields of the body |
//! | `features` | tools, tool choice and response format as far as the endpoint takes them |
//! | `conversation` | the messages in the order and form that the endpoint takes |
//! | `format` | the response format: the ladder of ways to ask for JSON |
//! | `schema` | JSON schemas in the form that the endpoint takes |
//! | `prompt` | what is told to the model where a field is not taken |
//! | `written` | conversations as they were written last, for the next turn |
//! | `strip` | fields within messages, tools and formats that are left out |

mod body;
mod conversation;
mod features;
mod format;
mod prompt;
mod schema;
mod strip;
mod written;

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

pub use written::{Conversation, Written};

use crate::ledger::Rule;
use crate::message::Message;
use crate::profile::Profile;
use crate::tool::ToolSpec;

/// What a model call asks for.
#[derive(Clone, Default, PartialEq)]
pub struct Request {
    /// The conversation.
    pub messages: Vec<Arc<Message>>,
    /// The tools on offer.
    pub tools: Vec<ToolSpec>,
    /// Describes the tools in the prompt although the endpoint may have a field for them; the calls are found in the
    /// answer's text.
    pub tools_in_prompt: bool,
    /// How the model may use them; the server's default when `None`.
    pub tool_choice: Option<ToolChoice>,
    /// `{"type": "json_object"}`, `{"type": "json_schema", …}`.
    pub response_format: Option<Value>,
    /// Any further parameter, by its wire name (`temperature`, `max_tokens`, `stop`, `seed`, …).
    pub params: Map<String, Value>,
    /// Fields of the body beside all these; they win over the others.
    pub extra_body: Map<String, Value>,
    /// Headers of this call; a value of `None` leaves one out that would be sent otherwise.
    pub extra_headers: Vec<(String, Option<String>)>,
    /// Query parameters of this call.
    pub extra_query: Vec<(String, String)>,
    /// The caller checks by itself that the answer is what `response_format` asks for, and knows what to do if it is not.
    pub unchecked: bool,
    /// Whether deltas are wanted as they come. A server may still answer in one piece, or the other way round.
    pub stream: bool,
}

impl Request {
    /// A request for an answer to these messages.
    pub fn new(messages: Vec<Message>) -> Self {
        Self { messages: messages.into_iter().map(Arc::new).collect(), ..Self::default() }
    }
}

impl std::fmt::Debug for Request {
    /// Without the values of headers and query parameters, which may be keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<&String> = self.extra_headers.iter().map(|(name, _)| name).collect();
        let query: Vec<&String> = self.extra_query.iter().map(|(name, _)| name).collect();
        f.debug_struct("Request")
            .field("messages", &self.messages)
            .field("tools", &self.tools)
            .field("tools_in_prompt", &self.tools_in_prompt)
            .field("tool_choice", &self.tool_choice)
            .field("response_format", &self.response_format)
            .field("params", &self.params)
            .field("extra_body", &self.extra_body)
            .field("extra_headers", &headers)
            .field("extra_query", &query)
            .field("unchecked", &self.unchecked)
            .field("stream", &self.stream)
            .finish()
    }
}

/// How the model may use the tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// Not at all.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

impl ToolChoice {
    /// For the ledger.
    fn shown(&self) -> &str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Required => "required",
            Self::Named(name) => name,
        }
    }
}

impl Serialize for ToolChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::None => serializer.serialize_str("none"),
            Self::Required => serializer.serialize_str("required"),
            Self::Named(name) => {
                json!({"type": "function", "function": {"name": name}}).serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for ToolChoice {
    /// `"auto"`, `"none"`, `"required"` (or `"any"`), a tool's name, or `{"type":"function","function":{"name"}}`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let name = value
            .as_str()
            .or_else(|| value.pointer("/function/name")?.as_str())
            .or_else(|| value.get("name")?.as_str())
            .ok_or_else(|| {
                serde::de::Error::custom("tool_choice is auto, none, required or a tool's name")
            })?;
        Ok(match name {
            "auto" => Self::Auto,
            "none" => Self::None,
            "required" | "any" => Self::Required,
            name => Self::Named(name.to_owned()),
        })
    }
}

/// A request as it is sent, and what had to be changed for the endpoint.
#[derive(Debug, Default)]
pub struct Encoded {
    /// A JSON object.
    pub body: Vec<u8>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// The format was asked for as a tool: the arguments of its call are the answer.
    pub answer_is_call: bool,
    /// What was changed about the request that the caller made.
    pub notes: Notes,
    /// The conversation as it stands in the body, to be kept for the next turn; none where that is not worthwhile.
    pub conversation: Option<Conversation>,
}

/// One thing that was changed about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The rule.
    pub rule: Rule,
    /// What was done, in short.
    pub detail: String,
    /// Only the spelling changed, or what Loom adds by itself: the caller gets what he asked for.
    pub is_spelling: bool,
}

/// What was changed about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes(pub Vec<Note>);

impl Notes {
    fn note(&mut self, rule: Rule, detail: impl Into<String>) {
        self.0.push(Note { rule, detail: detail.into(), is_spelling: false });
    }

    /// A feature or parameter was changed for the endpoint.
    fn adapted(&mut self, detail: impl Into<String>) {
        self.note(Rule::RequestAdapted, detail);
    }

    /// The same was said in other words.
    fn respelled(&mut self, detail: impl Into<String>) {
        self.0.push(Note { rule: Rule::RequestAdapted, detail: detail.into(), is_spelling: true });
    }
}

/// The request as an endpoint of that profile takes it.
///
/// # Errors
/// A value that cannot be written as JSON.
pub fn encode(request: &Request, model: &str, profile: &Profile) -> Result<Encoded, serde_json::Error> {
    body::encode(request, model, profile, None)
}

/// As [`encode`], copying what was written before.
///
/// # Errors
/// A value that cannot be written as JSON.
pub fn encode_after(
    request: &Request,
    model: &str,
    profile: &Profile,
    written: &Written,
) -> Result<Encoded, serde_json::Error> {
    body::encode(request, model, profile, Some(written))
}

#[cfg(test)]
mod tests;
