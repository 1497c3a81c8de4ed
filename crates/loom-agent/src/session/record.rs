//! A session as a value: what is known about it, its JSON form, and the rule that calls and results stay together.

use std::sync::Arc;
use std::time::SystemTime;

use loom_wire::{Message, Role};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SessionError;

/// What is known about a session, without its messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Its id.
    pub id: String,
    /// A name for people.
    #[serde(default)]
    pub title: Option<String>,
    /// Whatever the program keeps with it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The session that it was forked from.
    #[serde(default)]
    pub parent: Option<String>,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub created_at: f64,
    /// When it was last changed, in seconds since 1970.
    #[serde(default)]
    pub updated_at: f64,
    /// How many messages it has.
    #[serde(default)]
    pub message_count: usize,
}

/// The name of the JSON form.
const FORMAT: &str = "loom.session";
/// Its version.
const VERSION: u32 = 1;

/// A whole session; serialises to its JSON form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    format: String,
    version: u32,
    #[serde(flatten)]
    pub(super) info: SessionInfo,
    pub(super) messages: Vec<Arc<Message>>,
    /// What the agent has learnt about what of it to send. See `agent/context.rs`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) context: Value,
}

impl Record {
    pub(super) fn new(info: SessionInfo, messages: Vec<Arc<Message>>, context: Value) -> Self {
        let info = SessionInfo { message_count: messages.len(), ..info };
        Self { format: FORMAT.to_owned(), version: VERSION, info, messages, context }
    }

    /// A new session without messages.
    pub(super) fn empty(id: impl Into<String>) -> Self {
        let now = now();
        let info = SessionInfo { id: id.into(), created_at: now, updated_at: now, ..SessionInfo::default() };
        Self::new(info, Vec::new(), Value::Null)
    }

    /// Reads the JSON form, or a bare list of messages in OpenAI's form, which gets a new id.
    pub(super) fn from_json(text: &str) -> Result<Self, SessionError> {
        let wrong = |error: serde_json::Error| SessionError::Invalid(format!("this is no session: {error}"));
        let record = if text.trim_start().starts_with('[') {
            let empty = Self::empty(new_id()?);
            Self::new(empty.info, serde_json::from_str(text).map_err(wrong)?, Value::Null)
        } else {
            let record: Self = serde_json::from_str(text).map_err(wrong)?;
            if record.format != FORMAT {
                return Err(SessionError::Invalid(format!(
                    "this is no session: \"format\" is {:?} instead of {FORMAT:?}",
                    record.format
                )));
            }
            if record.version > VERSION {
                return Err(SessionError::Invalid(format!(
                    "this session was written by a newer Loom (version {}, this one knows {VERSION}): update Loom",
                    record.version
                )));
            }
            check_id(&record.info.id)?;
            Self::new(record.info, record.messages, record.context)
        };
        check_whole(&record.messages)?;
        Ok(record)
    }

    pub(super) fn to_json(&self) -> Result<String, SessionError> {
        serde_json::to_string_pretty(self).map_err(|error| SessionError::Invalid(error.to_string()))
    }
}

/// The time, in seconds since 1970, to the millisecond.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1000.0).round() / 1000.0
}

/// An id that nobody can guess: programs hand them to their users.
pub(super) fn new_id() -> Result<String, SessionError> {
    let mut bytes = [0; 16];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).map_err(|_| {
        SessionError::Invalid("the system gives no random numbers for a session's id".to_owned())
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Ids stand in lists and on command lines.
pub(super) fn check_id(id: &str) -> Result<(), SessionError> {
    if id.trim().is_empty() || id.chars().any(char::is_control) {
        return Err(SessionError::Invalid(format!(
            "a session's id is a text without control characters, not {id:?}"
        )));
    }
    Ok(())
}

/// Refuses messages in which a call lacks its results, or a result its call.
pub(super) fn check_whole(messages: &[Arc<Message>]) -> Result<(), SessionError> {
    let Some(at) = first_incomplete(messages) else { return Ok(()) };
    let what = match messages.get(at) {
        Some(message) if message.role == Role::Tool => "a tool's result without its call",
        _ => "a tool call without its result",
    };
    Err(SessionError::Incomplete { at, what: what.to_owned() })
}

/// The part of what a run added that can be kept: it ends with an answer or with results, never with an open call.
/// Nothing if the model has said nothing yet: then the question can be asked again.
pub(crate) fn complete_part(messages: &[Arc<Message>]) -> &[Arc<Message>] {
    let whole = messages.get(..first_incomplete(messages).unwrap_or(messages.len())).unwrap_or_default();
    match whole.iter().rposition(|message| matches!(message.role, Role::Assistant | Role::Tool)) {
        Some(last) => whole.get(..=last).unwrap_or_default(),
        None => &[],
    }
}

/// The first message that calls tools without having the results of all calls directly after it, or that is a result
/// without a call.
fn first_incomplete(messages: &[Arc<Message>]) -> Option<usize> {
    let mut rest = messages.iter().enumerate().peekable();
    while let Some((at, message)) = rest.next() {
        if message.role == Role::Tool {
            return Some(at);
        }
        let mut open: Vec<&str> = match message.role {
            Role::Assistant => message.tool_calls.iter().map(|call| call.id.as_str()).collect(),
            _ => Vec::new(),
        };
        while !open.is_empty() {
            let result = rest.next_if(|(_, next)| next.role == Role::Tool);
            let id = result.map(|(_, result)| result.tool_call_id.as_deref().unwrap_or_default());
            let found = id.and_then(|id| open.iter().position(|open| *open == id));
            match found {
                Some(found) => open.swap_remove(found),
                None => return Some(at),
            };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use loom_wire::ToolCall;

    use super::*;

    fn calling(ids: &[&str]) -> Message {
        let calls = ids.iter().map(|id| ToolCall::new(*id, "t", "{}")).collect();
        Message { tool_calls: calls, ..Message::assistant("") }
    }

    fn arcs(messages: Vec<Message>) -> Vec<Arc<Message>> {
        messages.into_iter().map(Arc::new).collect()
    }

    #[test]
    fn a_call_is_never_kept_without_its_result() {
        let (user, answer) = (Message::user("q"), Message::assistant("a"));
        let results = || [Message::tool("2", "y"), Message::tool("1", "x")];
        let whole = arcs([vec![user.clone(), calling(&["1", "2"])], results().to_vec()].concat());
        assert_eq!(complete_part(&whole).len(), 4);
        assert_eq!(complete_part(&whole[..3]).len(), 0, "nothing of it is complete");
        let then = arcs(
            [
                vec![user.clone(), calling(&["1", "2"])],
                results().to_vec(),
                vec![calling(&["1"]), user.clone()],
            ]
            .concat(),
        );
        assert_eq!(complete_part(&then).len(), 4);
        assert_eq!(check_whole(&then).unwrap_err().to_string().matches("message 4").count(), 1);
        assert_eq!(complete_part(&arcs(vec![user.clone()])).len(), 0);
        assert_eq!(complete_part(&arcs(vec![user.clone(), answer, user])).len(), 2);
        assert!(check_whole(&arcs(vec![Message::tool("1", "x")])).is_err());
    }

    #[test]
    fn the_json_form_reads_back_and_a_bare_list_does_too() {
        let record = Record::new(
            SessionInfo { title: Some("t".into()), ..Record::empty("a").info },
            arcs(vec![Message::user("q"), Message::assistant("a")]),
            Value::Null,
        );
        assert_eq!(Record::from_json(&record.to_json().unwrap()).unwrap(), record);
        let list = serde_json::to_string(&record.messages).unwrap();
        assert_eq!(Record::from_json(&list).unwrap().messages, record.messages);
        for wrong in ["", "{}", "7", r#"{"format":"x","version":1,"id":"a","messages":[]}"#, "[{}]"] {
            assert!(Record::from_json(wrong).is_err(), "{wrong}");
        }
        let newer = record.to_json().unwrap().replace("\"version\": 1", "\"version\": 2");
        assert!(Record::from_json(&newer).unwrap_err().to_string().contains("update Loom"));
    }
}
