//! What must hold for every request that Loom sends, whatever it was asked (section 3 and cases 135–140).

use loom_testkit::RecordedRequest;
use serde_json::Value;

pub(crate) fn check(request: &RecordedRequest) -> Result<(), String> {
    if request.method == "GET" {
        return Ok(());
    }
    if request.header("content-type") != Some("application/json") {
        return Err(format!("content-type is {:?}", request.header("content-type")));
    }
    let body: Value =
        serde_json::from_slice(&request.body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let fields = body.as_object().ok_or("the body is not an object")?;
    for (key, value) in fields {
        match value {
            Value::Null => return Err(format!("{key} is null")),
            Value::Array(items) if items.is_empty() => return Err(format!("{key} is an empty list")),
            _ => {}
        }
    }
    let has = |key: &str| fields.contains_key(key);
    for (key, needs) in
        [("tool_choice", "tools"), ("parallel_tool_calls", "tools"), ("stream_options", "stream")]
    {
        if has(key) && !has(needs) {
            return Err(format!("{key} without {needs}"));
        }
    }
    if has("stop") && !body["stop"].is_array() {
        return Err("stop is no list".to_owned());
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        if tool["function"]["parameters"]["type"] != "object" {
            return Err(format!("a tool without an object schema: {tool}"));
        }
    }
    history(body["messages"].as_array().ok_or("messages is no list")?)
}

/// Case 137: content, arguments, and each call answered once, directly after.
fn history(messages: &[Value]) -> Result<(), String> {
    let mut open: Vec<&Value> = Vec::new();
    for message in messages {
        let calls = message["tool_calls"].as_array();
        let content_fits = match &message["content"] {
            Value::String(_) => true,
            Value::Null => calls.is_some() && message.get("content").is_some(),
            Value::Array(parts) => parts.iter().any(|part| part["type"] != "text"),
            _ => false,
        };
        if !content_fits {
            return Err(format!("content of {message}"));
        }
        if message["role"] == "tool" {
            let at = open.iter().position(|id| **id == message["tool_call_id"]);
            open.remove(at.ok_or_else(|| format!("no call for {message}"))?);
            continue;
        }
        if !open.is_empty() {
            return Err(format!("calls without a result before {message}"));
        }
        for call in calls.into_iter().flatten() {
            let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
            if !serde_json::from_str::<Value>(arguments).is_ok_and(|value| value.is_object()) {
                return Err(format!("arguments of {call}"));
            }
            if call["id"].as_str().is_none_or(str::is_empty) || open.contains(&&call["id"]) {
                return Err(format!("id of {call}"));
            }
            open.push(&call["id"]);
        }
    }
    if open.is_empty() { Ok(()) } else { Err("a call without a result at the end".to_owned()) }
}
