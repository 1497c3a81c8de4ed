//! What is expected against what came: JSON values with a few matchers.

use serde_json::{Map, Value, json};

/// Whether `actual` is what was `expected`; else where they differ. With `exact`, an object has no further keys.
pub(crate) fn compare(expected: &Value, actual: &Value, exact: bool, place: &str) -> Result<(), String> {
    let differ = || Err(format!("{place}: expected {expected}, got {actual}"));
    if let Some(matcher) = expected.as_object().filter(|map| map.keys().any(|key| key.starts_with('$'))) {
        return if fits(matcher, actual) { Ok(()) } else { differ() };
    }
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, value) in expected {
                let found = actual.get(key).unwrap_or(&Value::Null);
                compare(value, found, exact, &format!("{place}.{key}"))?;
            }
            let further =
                actual.iter().find(|(key, value)| exact && !value.is_null() && !expected.contains_key(*key));
            match further {
                Some((key, value)) => Err(format!("{place}.{key}: not expected, got {value}")),
                None => Ok(()),
            }
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            for (at, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                compare(expected, actual, exact, &format!("{place}[{at}]"))?;
            }
            Ok(())
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => Ok(()),
        _ if expected == actual => Ok(()),
        _ => differ(),
    }
}

fn fits(matcher: &Map<String, Value>, actual: &Value) -> bool {
    let text = actual.as_str().map_or_else(|| actual.to_string(), str::to_owned);
    matcher.iter().all(|(name, wanted)| match name.as_str() {
        "$any" => !actual.is_null(),
        "$absent" => actual.is_null(),
        "$contains" => strings(wanted).iter().all(|word| text.to_lowercase().contains(&word.to_lowercase())),
        "$excludes" => !strings(wanted).iter().any(|word| text.to_lowercase().contains(&word.to_lowercase())),
        "$json" => serde_json::from_str::<Value>(&text).is_ok_and(|value| value == *wanted),
        "$in" => {
            wanted.as_array().is_some_and(|all| all.iter().any(|one| compare(one, actual, true, "").is_ok()))
        }
        "$length" => wanted.as_u64() == Some(text.len() as u64),
        "$near" => match (wanted.as_f64(), actual.as_f64()) {
            (Some(wanted), Some(actual)) => (wanted - actual).abs() <= 0.05 * wanted.abs() + 2.0,
            _ => false,
        },
        _ => panic!("unknown matcher {name}"),
    })
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

/// Adjacent deltas of one kind as one: how a text is cut up is not part of the result.
pub(crate) fn merged(events: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for event in events {
        if let (Some(text), Some(last)) = (event["content"].as_str(), merged.last_mut())
            && last["type"] == event["type"]
            && let Some(before) = last["content"].as_str()
        {
            let both = format!("{before}{text}");
            last["content"] = both.into();
            continue;
        }
        merged.push(event.clone());
    }
    merged
}

/// The rules of a ledger, each once, in alphabetical order.
pub(crate) fn rules(ledger: &Value) -> Vec<String> {
    let mut rules: Vec<String> = ledger
        .as_array()
        .map(|entries| entries.iter().filter_map(|entry| entry["rule"].as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    rules.sort();
    rules.dedup();
    rules
}

/// An event without its ledger, which is compared by rule.
pub(crate) fn without_ledger(event: &Value) -> Value {
    let mut event = event.clone();
    if let Some(fields) = event.as_object_mut() {
        fields.shift_remove("ledger");
    }
    event
}

pub(crate) fn event_value(event: &loom::Event) -> Value {
    serde_json::to_value(event).unwrap()
}

pub(crate) fn completion_value(completion: &loom::Completion) -> Value {
    let mut value = serde_json::to_value(completion).unwrap();
    value["tool_calls"] = completion.tool_calls.iter().map(loom::ToolCall::to_flat).collect();
    value
}

pub(crate) fn error_value(error: &loom::LlmError) -> Value {
    json!({
        "kind": error.kind.as_str(),
        "message": error.message,
        "status_code": error.status_code,
        "retryable": error.retryable,
        "retry_after": error.retry_after.map(|wait| wait.as_secs_f64()),
        "request_id": error.request_id,
        "url": error.url,
        "body": error.body,
        "code": error.code,
        "param": error.param,
        "context_limit": error.context_limit,
        "requested_tokens": error.requested_tokens,
        "partial": error.partial.as_deref().map(completion_value),
        "hint": error.hint,
        "attempts": error.attempts,
        "ledger": error.ledger.iter().map(|entry| entry.rule.as_str()).collect::<Vec<_>>(),
    })
}
