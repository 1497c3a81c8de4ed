//! The request: what the caller asks for, and its strict encoding.
//!
//! Sent is what the caller set and nothing else. Never null, never an empty list, `stop` as a list, `tool_choice` only
//! with tools, `stream_options` only with a stream: each of these is refused by some server.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::message::{Content, Message, Role};
use crate::tool::{ToolCall, ToolSpec};

/// What a model call asks for.
#[derive(Clone, Default, PartialEq)]
pub struct Request {
    /// The conversation.
    pub messages: Vec<Arc<Message>>,
    /// The tools on offer.
    pub tools: Vec<ToolSpec>,
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
            .field("tool_choice", &self.tool_choice)
            .field("response_format", &self.response_format)
            .field("params", &self.params)
            .field("extra_body", &self.extra_body)
            .field("extra_headers", &headers)
            .field("extra_query", &query)
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

/// How an endpoint spells what others spell differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// The key of the answer's token limit: `max_tokens`, or `max_completion_tokens` (OpenAI's newer models).
    pub max_tokens: String,
    /// Whether a stream is asked for its usage by `stream_options`.
    pub stream_usage: bool,
    /// Parameters that the endpoint refuses and the caller allowed to drop.
    pub dropped: Vec<String>,
    /// Whether `developer` is known as a role; else it is sent as `system`.
    pub developer_role: bool,
}

impl Default for Spelling {
    fn default() -> Self {
        Self {
            max_tokens: "max_tokens".to_owned(),
            stream_usage: true,
            dropped: Vec::new(),
            developer_role: false,
        }
    }
}

/// The request as the bytes of a JSON object.
pub fn encode(request: &Request, model: &str, spelling: &Spelling) -> Result<Vec<u8>, serde_json::Error> {
    let extra_body = &request.extra_body;
    let mut bytes = Vec::with_capacity(1024);
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    let mut map = serializer.serialize_map(None)?;
    let own = |key: &str| !extra_body.contains_key(key);
    if own("model") {
        map.serialize_entry("model", model)?;
    }
    if own("messages") {
        map.serialize_entry("messages", &Messages { messages: &request.messages, spelling })?;
    }
    for (key, value) in &request.params {
        let key = match key.as_str() {
            "max_tokens" | "max_completion_tokens" if !request.params.contains_key(other_limit(key)) => {
                &spelling.max_tokens
            }
            key => key,
        };
        if value.is_null() || !own(key) || spelling.dropped.iter().any(|dropped| dropped == key) {
            continue;
        }
        match (key, value) {
            // TGI takes only a list.
            ("stop", Value::String(_)) => map.serialize_entry(key, &[value])?,
            ("stop", Value::Array(list)) if list.is_empty() => {}
            // Without tools it is refused (vLLM).
            ("parallel_tool_calls", _) if request.tools.is_empty() => {}
            ("stream_options", _) if !request.stream => {}
            _ => map.serialize_entry(key, value)?,
        }
    }
    if !request.tools.is_empty() && own("tools") {
        map.serialize_entry("tools", &request.tools)?;
        if let Some(choice) = request.tool_choice.as_ref().filter(|_| own("tool_choice")) {
            map.serialize_entry("tool_choice", choice)?;
        }
    }
    if let Some(format) =
        request.response_format.as_ref().filter(|format| !format.is_null() && own("response_format"))
    {
        map.serialize_entry("response_format", format)?;
    }
    if own("stream") && request.stream {
        map.serialize_entry("stream", &true)?;
        let asked = request.params.contains_key("stream_options");
        if spelling.stream_usage && own("stream_options") && !asked {
            map.serialize_entry("stream_options", &json!({"include_usage": true}))?;
        }
    }
    for (key, value) in extra_body {
        map.serialize_entry(key, value)?;
    }
    SerializeMap::end(map)?;
    Ok(bytes)
}

fn other_limit(key: &str) -> &'static str {
    if key == "max_tokens" { "max_completion_tokens" } else { "max_tokens" }
}

struct Messages<'a> {
    messages: &'a [Arc<Message>],
    spelling: &'a Spelling,
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(self.messages.iter().map(|message| WireMessage { message, spelling: self.spelling }))
    }
}

/// A message as servers take it: without the facts of the answer that Loom keeps on it.
struct WireMessage<'a> {
    message: &'a Message,
    spelling: &'a Spelling,
}

impl Serialize for WireMessage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.message;
        let mut map = serializer.serialize_map(None)?;
        let role = match message.role {
            Role::Developer if !self.spelling.developer_role => Role::System,
            role => role,
        };
        map.serialize_entry("role", role.as_str())?;
        match &message.content {
            Some(Content::Parts(parts)) => match only_text(parts) {
                // A list of parts is refused where only text is understood, so it is sent only when it must be.
                Some(text) => map.serialize_entry("content", &text)?,
                None => map.serialize_entry("content", parts)?,
            },
            Some(Content::Text(text)) => map.serialize_entry("content", text)?,
            // Null is right only beside tool calls; elsewhere servers demand a text.
            None if message.tool_calls.is_empty() => map.serialize_entry("content", "")?,
            None => map.serialize_entry("content", &Value::Null)?,
        }
        if let Some(name) =
            message.name.as_deref().filter(|name| !name.is_empty() && message.role != Role::System)
        {
            map.serialize_entry("name", name)?;
        }
        if !message.tool_calls.is_empty() {
            map.serialize_entry::<_, [ToolCall]>("tool_calls", &message.tool_calls)?;
        }
        if let Some(id) = &message.tool_call_id {
            map.serialize_entry("tool_call_id", id)?;
        }
        for (key, value) in &message.extra {
            if !value.is_null() {
                map.serialize_entry(key, value)?;
            }
        }
        map.end()
    }
}

fn only_text(parts: &[Value]) -> Option<String> {
    parts
        .iter()
        .map(|part| match part.get("type").and_then(Value::as_str) {
            Some("text") => part.get("text")?.as_str(),
            None => part.as_str(),
            Some(_) => None,
        })
        .collect::<Option<Vec<_>>>()
        .map(|texts| texts.concat())
}
