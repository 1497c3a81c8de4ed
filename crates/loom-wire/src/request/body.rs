//! The fields of the body, in the order in which they are sent.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::features::Features;
use super::{Conversation, Encoded, Notes, Request, Written, conversation, strip};
use crate::message::{Content, Message, Role};
use crate::profile::{CallContent, Profile, Streaming};
use crate::tool::{ToolCall, ToolSpec};

pub(super) fn encode(
    request: &Request,
    model: &str,
    profile: &Profile,
    written: Option<&Written>,
) -> Result<Encoded, serde_json::Error> {
    let mut notes = Notes::default();
    let features = Features::new(request, profile, &mut notes);
    let messages = conversation::prepare(&request.messages, profile, &features, &mut notes);
    let stream = match profile.streaming {
        Some(Streaming::Always) => true,
        Some(Streaming::Never) => false,
        None => request.stream,
    };
    if stream != request.stream {
        let word = if stream { "asked for as a stream" } else { "asked for as a whole" };
        notes.adapted(format!("the answer is {word}"));
    }
    let extra_body = &request.extra_body;
    let own = |key: &str| !extra_body.contains_key(key) && !leaves_out(profile, key);
    let size = messages.iter().map(|message| size(message)).sum::<usize>();
    let mut conversation = None;
    let mut map = Fields(Vec::with_capacity(1024 + size + size / 16));
    if own("model") {
        map.add("model", model)?;
    }
    if own("messages") {
        let only_calls = |message: &Arc<Message>| message.content.is_none() && !message.tool_calls.is_empty();
        if !matches!(profile.call_content, None | Some(CallContent::Null)) && messages.iter().any(only_calls)
        {
            notes.respelled("content beside tool calls is not null");
        }
        let messages = Messages { messages: &messages, profile };
        match strip::stripped("messages", &messages, profile, &mut notes)? {
            Some(value) => map.add("messages", &value)?,
            None => conversation = write(&messages, size, &mut map, written)?,
        }
    }
    let needs_no_reasoning = profile.tools_without_reasoning == Some(true) && !features.tools.is_empty();
    for (given, value) in &request.params {
        let key = spelled(given, request, profile);
        if value.is_null() || extra_body.contains_key(key) {
            continue;
        }
        if leaves_out(profile, key) {
            notes.adapted(format!("{given} left out"));
            continue;
        }
        match (key, value) {
            // TGI takes only a list.
            ("stop", Value::String(_)) => map.add(key, &[value])?,
            ("stop", Value::Array(list)) if list.is_empty() => {}
            // Without tools it is refused (vLLM).
            ("parallel_tool_calls", _) if features.tools.is_empty() => {}
            ("parallel_tool_calls", _) if profile.parallel_tool_calls == Some(false) => {
                notes.adapted("parallel_tool_calls left out");
            }
            ("stream_options", _) if !stream => {}
            ("stream_options", _) if profile.stream_usage == Some(false) => {
                notes.adapted("stream_options left out");
            }
            ("reasoning_effort", _) if needs_no_reasoning => {}
            _ => {
                if key != given && profile.max_tokens_field.is_some() {
                    notes.respelled(format!("{given} sent as {key}"));
                }
                map.add(key, value)?;
            }
        }
    }
    if needs_no_reasoning && own("reasoning_effort") {
        notes.adapted("reasoning_effort \"none\" sent, for the sake of the tools");
        map.add("reasoning_effort", "none")?;
    }
    if !features.tools.is_empty() && own("tools") {
        let tools: &[ToolSpec] = &features.tools;
        match strip::stripped("tools", &tools, profile, &mut notes)? {
            Some(value) => map.add("tools", &value)?,
            None => map.add("tools", tools)?,
        }
        if let Some(choice) = features.choice.as_deref().filter(|_| own("tool_choice")) {
            map.add("tool_choice", choice)?;
        }
        // One answer is wanted, not several at once.
        let is_said = request.params.get("parallel_tool_calls").is_some_and(|value| !value.is_null());
        if features.format.answer_is_call
            && !is_said
            && profile.parallel_tool_calls != Some(false)
            && own("parallel_tool_calls")
        {
            map.add("parallel_tool_calls", &false)?;
        }
    }
    if let Some((name, value)) = features.format.own_field.as_ref().filter(|(name, _)| own(name)) {
        map.add(name, value)?;
    }
    if let Some(format) = features.format.field.as_deref().filter(|_| own("response_format")) {
        match strip::stripped("response_format", format, profile, &mut notes)? {
            Some(value) => map.add("response_format", &value)?,
            None => map.add("response_format", format)?,
        }
    }
    if own("stream") && stream {
        map.add("stream", &true)?;
        if own("stream_options") && !request.params.contains_key("stream_options") {
            if profile.stream_usage == Some(false) {
                notes.respelled("stream_options left out");
            } else {
                map.add("stream_options", &json!({"include_usage": true}))?;
            }
        }
    }
    for (key, value) in extra_body {
        if leaves_out(profile, key) {
            notes.adapted(format!("{key} left out"));
        } else {
            map.add(key, value)?;
        }
    }
    let answer_is_call = features.format.answer_is_call;
    Ok(Encoded { body: map.end(), stream, answer_is_call, notes, conversation })
}

/// A JSON object that is being written.
struct Fields(Vec<u8>);

impl Fields {
    /// Writes a key; its value comes next.
    fn key(&mut self, key: &str) -> Result<&mut Vec<u8>, serde_json::Error> {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        serde_json::to_writer(&mut self.0, key)?;
        self.0.push(b':');
        Ok(&mut self.0)
    }

    fn add<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), serde_json::Error> {
        serde_json::to_writer(self.key(key)?, value)
    }

    fn end(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        self.0
    }
}

/// About how many bytes a message is when it is written.
fn size(message: &Message) -> usize {
    let content = match &message.content {
        Some(Content::Text(text)) => text.len(),
        Some(Content::Parts(parts)) => {
            // Pictures and files are long texts in a part's inner object.
            let texts = |part: &Value| match part {
                Value::Object(fields) => fields
                    .values()
                    .flat_map(|field| {
                        field.as_object().into_iter().flat_map(|inner| inner.values()).chain([field])
                    })
                    .filter_map(Value::as_str)
                    .map(str::len)
                    .sum(),
                other => other.as_str().map_or(0, str::len),
            };
            parts.iter().map(|part| texts(part) + 64).sum()
        }
        None => 0,
    };
    content + 64 + message.tool_calls.iter().map(|call| call.arguments.len() + 128).sum::<usize>()
}

/// Writes the messages; what was written before is copied.
fn write(
    messages: &Messages<'_>,
    size: usize,
    map: &mut Fields,
    written: Option<&Written>,
) -> Result<Option<Conversation>, serde_json::Error> {
    let Messages { messages, profile } = messages;
    let bytes = map.key("messages")?;
    bytes.push(b'[');
    let start = bytes.len();
    let mut conversation = written.and_then(|_| Conversation::begin(profile, size, start));
    let mut copied = 0;
    if let (Some(conversation), Some(written)) = (&mut conversation, written)
        && let Some((before, count)) = written.longest(messages, profile)
        && let Some(json) = before.json(count)
    {
        bytes.extend_from_slice(json);
        for (message, end) in messages.iter().zip(before.ends(count)) {
            conversation.push(message, start + end);
        }
        copied = count;
    }
    for (at, message) in messages.iter().enumerate().skip(copied) {
        if at > 0 {
            bytes.push(b',');
        }
        serde_json::to_writer(&mut *bytes, &WireMessage { message, profile })?;
        if let Some(conversation) = &mut conversation {
            conversation.push(message, bytes.len());
        }
    }
    bytes.push(b']');
    Ok(conversation)
}

fn leaves_out(profile: &Profile, key: &str) -> bool {
    profile.leave_out.iter().any(|path| path == key)
}

/// The endpoint's name for a parameter. Who gives both names of the token limit knows what he does.
fn spelled<'a>(key: &'a str, request: &Request, profile: &'a Profile) -> &'a str {
    const LIMITS: [&str; 2] = ["max_tokens", "max_completion_tokens"];
    if LIMITS.contains(&key) && !LIMITS.iter().all(|limit| request.params.contains_key(*limit)) {
        profile.max_tokens_field.as_deref().unwrap_or("max_tokens")
    } else {
        key
    }
}

struct Messages<'a> {
    messages: &'a [Arc<Message>],
    profile: &'a Profile,
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(self.messages.iter().map(|message| WireMessage { message, profile: self.profile }))
    }
}

/// A message as servers take it: without the facts of the answer that Loom keeps on it.
struct WireMessage<'a> {
    message: &'a Message,
    profile: &'a Profile,
}

impl Serialize for WireMessage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.message;
        let mut map = serializer.serialize_map(None)?;
        let role = match message.role {
            Role::Developer if self.profile.developer != Some(true) => Role::System,
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
            None => match self.profile.call_content {
                None | Some(CallContent::Null) => map.serialize_entry("content", &Value::Null)?,
                Some(CallContent::Empty) => map.serialize_entry("content", "")?,
                Some(CallContent::Absent) => {}
            },
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
