//! What a script makes an emulator say: one turn for each chat request.

use serde_json::Value;

use crate::reply::Reply;

/// One turn of a script: the answer to one chat request, framed as the emulated server frames its answers.
///
/// ```
/// use loom_testkit::Turn;
/// use serde_json::json;
///
/// let script = [
///     Turn::calls([("get_weather", json!({"city": "Paris"}))]),
///     Turn::says("Sunny."),
///     Turn::fails(429, "Too many requests"),
/// ];
/// # drop(script);
/// ```
#[derive(Debug, Clone)]
pub struct Turn(pub(super) Kind);

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Says(Said),
    Fails(u16, String),
    Reply(Reply),
}

/// An answer in words and calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) reasoning: String,
    pub(super) content: String,
    /// Names and arguments.
    pub(super) tool_calls: Vec<(String, String)>,
    pub(super) finish_reason: Option<&'static str>,
}

/// The finish reasons that a script may give.
const FINISH_REASONS: &[&str] = &["stop", "stop_sequence", "length", "tool_calls", "content_filter"];
/// The keys of a turn in JSON.
const KEYS: &[&str] = &["content", "reasoning", "tool_calls", "finish_reason", "status", "message"];

impl Turn {
    /// The model says this.
    pub fn says(content: impl Into<String>) -> Self {
        Self(Kind::Says(Said { content: content.into(), ..Said::default() }))
    }

    /// The model calls these tools. Arguments that are a text are sent as they are, whether they are JSON or not.
    pub fn calls<N: Into<String>>(calls: impl IntoIterator<Item = (N, Value)>) -> Self {
        let tool_calls =
            calls.into_iter().map(|(name, arguments)| (name.into(), as_text(arguments))).collect();
        Self(Kind::Says(Said { tool_calls, ..Said::default() }))
    }

    /// The server refuses, in its own shape of errors.
    pub fn fails(status: u16, message: impl Into<String>) -> Self {
        Self(Kind::Fails(status, message.into()))
    }

    /// The server sends exactly this.
    pub fn reply(reply: Reply) -> Self {
        Self(Kind::Reply(reply))
    }

    /// Thoughts that come before what is said.
    pub fn reasoning(mut self, reasoning: impl Into<String>) -> Self {
        if let Kind::Says(said) = &mut self.0 {
            said.reasoning = reasoning.into();
        }
        self
    }

    /// Reads a script: a list, or a list under `"turns"`, of texts and of objects with `content`, `reasoning`,
    /// `tool_calls` (of `name` and `arguments`), `finish_reason`; or with `status` and `message`.
    ///
    /// # Errors
    /// Says which turn is wrong, and why.
    pub fn script(json: &Value) -> Result<Vec<Self>, String> {
        let turns = json.as_array().or_else(|| json.get("turns").and_then(Value::as_array));
        let turns = turns.ok_or("a script is a list of turns")?;
        let read =
            |(index, turn)| Self::from_json(turn).map_err(|why| format!("turn {index} of the script: {why}"));
        turns.iter().enumerate().map(read).collect()
    }

    fn from_json(turn: &Value) -> Result<Self, String> {
        if let Some(text) = turn.as_str() {
            return Ok(Self::says(text));
        }
        let turn = turn.as_object().ok_or("it is neither a text nor an object")?;
        if let Some(other) = turn.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("'{other}' is not one of {}", KEYS.join(", ")));
        }
        let text = |name: &str| match turn.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(format!("'{name}' is not a text")),
        };
        if let Some(status) = turn.get("status") {
            let status = status.as_u64().and_then(|status| u16::try_from(status).ok());
            let status =
                status.filter(|status| (100..600).contains(status)).ok_or("'status' is no HTTP status")?;
            return Ok(Self::fails(status, text("message")?));
        }
        let finish = text("finish_reason")?;
        let finish_reason = FINISH_REASONS.iter().copied().find(|known| *known == finish);
        if finish_reason.is_none() && !finish.is_empty() {
            return Err(format!("'finish_reason' is not one of {}", FINISH_REASONS.join(", ")));
        }
        let calls = turn.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
        let tool_calls: Vec<_> = calls
            .map(|call| {
                let function = call.get("function").unwrap_or(call);
                let name = function.get("name").and_then(Value::as_str).ok_or("a tool call has no name")?;
                Ok((
                    name.to_owned(),
                    as_text(function.get("arguments").cloned().unwrap_or_else(|| "{}".into())),
                ))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self(Kind::Says(Said {
            reasoning: text("reasoning")?,
            content: text("content")?,
            tool_calls,
            finish_reason,
        })))
    }
}

fn as_text(arguments: Value) -> String {
    match arguments {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
