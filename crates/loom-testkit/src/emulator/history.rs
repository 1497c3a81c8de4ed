//! Is the conversation right? Each message by itself, and each tool call with its result.

use serde_json::Value;

use super::strict::{invalid_type, missing};
use crate::api_error::ApiError;

const ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool", "function"];

/// Checks the messages of a request.
pub(super) fn check(messages: &[Value]) -> Result<(), ApiError> {
    let mut unanswered: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let path = format!("messages[{index}]");
        let role = role(message, &path)?;
        if role == "tool" {
            answer(&mut unanswered, message, &path)?;
        } else {
            all_answered(&unanswered)?;
            unanswered = tool_calls(message, &path)?;
        }
        content(message, role, &path)?;
    }
    all_answered(&unanswered)
}

/// The text of a message: its content, or the text parts of it one after the other.
pub(super) fn text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
        }
        _ => String::new(),
    }
}

/// Whether the message has this role.
pub(super) fn is_from(message: &Value, role: &str) -> bool {
    message.get("role").and_then(Value::as_str) == Some(role)
}

fn role<'a>(message: &'a Value, path: &str) -> Result<&'a str, ApiError> {
    if !message.is_object() {
        return Err(invalid_type(path, "an object", message));
    }
    let path = format!("{path}.role");
    let role = message.get("role").and_then(Value::as_str).ok_or_else(|| missing(&path))?;
    if ROLES.contains(&role) {
        return Ok(role);
    }
    let message = format!(
        "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and \
         'developer'."
    );
    Err(ApiError::invalid_param(path, "invalid_value", message))
}

/// Content is a text or a list of parts. Only an assistant that calls tools may say nothing.
fn content(message: &Value, role: &str, path: &str) -> Result<(), ApiError> {
    let path = format!("{path}.content");
    match message.get("content") {
        Some(Value::String(_) | Value::Array(_)) => Ok(()),
        None | Some(Value::Null) if role == "assistant" && message.get("tool_calls").is_some() => Ok(()),
        None => Err(missing(&path)),
        Some(Value::Null) => Err(ApiError::invalid_param(
            path,
            None,
            "Invalid value for 'content': expected a string, got null.",
        )),
        Some(other) => Err(invalid_type(&path, "a string or an array", other)),
    }
}

/// The ids of the tools that the message calls.
fn tool_calls<'a>(message: &'a Value, path: &str) -> Result<Vec<&'a str>, ApiError> {
    let Some(calls) = message.get("tool_calls") else {
        return Ok(Vec::new());
    };
    let path = format!("{path}.tool_calls");
    let calls = calls.as_array().ok_or_else(|| invalid_type(&path, "an array", calls))?;
    let mut ids = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let text = |pointer: &str| call.pointer(pointer).and_then(Value::as_str);
        ids.push(text("/id").ok_or_else(|| missing(&format!("{path}.id")))?);
        text("/function/name").ok_or_else(|| missing(&format!("{path}.function.name")))?;
        let arguments =
            text("/function/arguments").ok_or_else(|| missing(&format!("{path}.function.arguments")))?;
        // OpenAI lets this pass; vLLM, Qwen and Ollama do not, and a client that sends it has a defect.
        if serde_json::from_str::<Value>(arguments).is_err() {
            let message = format!("Invalid '{path}.function.arguments': expected JSON in a string.");
            return Err(ApiError::invalid_param(
                format!("{path}.function.arguments"),
                "invalid_value",
                message,
            ));
        }
    }
    Ok(ids)
}

/// Takes the call that the tool message answers from those that wait for an answer.
fn answer(unanswered: &mut Vec<&str>, message: &Value, path: &str) -> Result<(), ApiError> {
    let id = message.get("tool_call_id").and_then(Value::as_str);
    let id = id.ok_or_else(|| missing(&format!("{path}.tool_call_id")))?;
    if let Some(position) = unanswered.iter().position(|waiting| *waiting == id) {
        unanswered.remove(position);
        return Ok(());
    }
    // The misspelling is OpenAI's.
    let message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message \
                   with 'tool_calls'.";
    Err(ApiError::invalid_param(format!("{path}.role"), None, message))
}

fn all_answered(unanswered: &[&str]) -> Result<(), ApiError> {
    if unanswered.is_empty() {
        return Ok(());
    }
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
         'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        unanswered.join(", ")
    );
    Err(ApiError::invalid_param("messages", None, message))
}
