//! The names of parameters in what a refusal says, and where in the request they stand.

use std::collections::HashSet;

use serde_json::Value;

/// From here on a message lists what would be right instead.
const ALTERNATIVES: &[&str] = &[
    "did you mean",
    "expected one of",
    ", expected ",
    "supported values",
    "supported string values",
    "supported parameters",
    "supported params",
    "allowed values",
    "allowed parameters",
    "valid values",
    "valid parameters",
    "valid fields",
    "must be one of",
    " instead",
];

/// Names of parameters that are words of plain English, too: they count only where they are marked as names.
const WORDS_TOO: &[&str] = &[
    "model",
    "messages",
    "message",
    "user",
    "stop",
    "stream",
    "store",
    "n",
    "tools",
    "tool",
    "metadata",
    "functions",
    "thinking",
    "reasoning",
    "modalities",
    "prediction",
    "audio",
    "name",
    "role",
    "content",
    "text",
    "type",
    "id",
    "function",
    "description",
    "detail",
    "input",
    "required",
    "items",
    "format",
    "default",
    "title",
    "parameters",
];

/// Words that are followed by a parameter's name.
const NAME_FOLLOWS: &[&str] = &[
    "parameter",
    "parameters",
    "param",
    "argument",
    "arguments",
    "field",
    "fields",
    "property",
    "key",
    "option",
    "supplied",
    "input",
    "参数",
    "字段",
];

/// The names of a path, outermost first: `messages[0].role` → `messages`, `role`.
pub(super) fn names(path: &str) -> Vec<String> {
    path.split(['.', '[', ']', '/'])
        .map(|name| name.trim_matches(|c: char| matches!(c, '\'' | '"' | '`') || c.is_whitespace()))
        .filter(|name| !name.is_empty() && !name.bytes().all(|byte| byte.is_ascii_digit()) && *name != "body")
        .map(str::to_owned)
        .collect()
}

/// `presencePenalty` → `presence_penalty`; what begins with a capital or holds none stays as it is.
fn snake_case(name: &str) -> String {
    if name.starts_with(|c: char| c.is_ascii_uppercase())
        || !name.bytes().any(|byte| byte.is_ascii_uppercase())
    {
        return name.to_owned();
    }
    let mut snake = String::with_capacity(name.len() + 2);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// The path from the first name on that was sent (Gemini: `generation_config.temperature`), in the request's spelling.
pub(super) fn rooted(path: &[String], sent: &Value) -> Vec<String> {
    let mut path: Vec<String> =
        path.iter().map(|name| if holds(sent, name) { name.clone() } else { snake_case(name) }).collect();
    if let Some(root) = path.iter().position(|name| sent.get(name).is_some()) {
        path.drain(..root);
    } else if let [name] = path.as_slice() {
        // A field within a part: `include_usage`, `reasoning_content`.
        if let Some(part) = PARTS.iter().find(|part| sent.get(part).is_some_and(|part| holds(part, name))) {
            path.insert(0, (*part).to_owned());
        }
    }
    path
}

/// The parts of a body that have fields of their own.
const PARTS: &[&str] = &["messages", "tools", "response_format", "stream_options"];

fn holds(value: &Value, name: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| holds(item, name)),
        Value::Object(fields) => fields.iter().any(|(key, field)| key == name || holds(field, name)),
        _ => false,
    }
}

/// The names of parameters in a message, in their order, as far as they were sent.
pub(super) fn named_in(message: &str, sent: &Value) -> Vec<Vec<String>> {
    let lower = message.to_ascii_lowercase();
    let end = ALTERNATIVES.iter().filter_map(|mark| lower.find(mark)).min().unwrap_or(message.len());
    let told = message.get(..end).unwrap_or(message);
    let found = names_in(told, sent);
    if found.is_empty() { names_in(message, sent) } else { found }
}

fn names_in(message: &str, sent: &Value) -> Vec<Vec<String>> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.' | '[' | ']');
    let mut paths: Vec<Vec<String>> = Vec::new();
    let mut rest = message;
    let mut last_word = String::new();
    while let Some(start) = rest.find(is_part) {
        let token = rest.get(start..).unwrap_or_default();
        let length = token.find(|c| !is_part(c)).unwrap_or(token.len());
        let (token, after) = token.split_at(length);
        let gap = rest.get(..start).unwrap_or_default();
        let quoted = gap.ends_with(['\'', '"', '`', '“', '‘', '「'])
            && after.starts_with(['\'', '"', '`', '”', '’', '」']);
        let announced = NAME_FOLLOWS.contains(&last_word.as_str())
            && gap.chars().all(|c| matches!(c, ' ' | ':' | '\'' | '"' | '`' | '='));
        let names = names(token.trim_matches('.'));
        let is_marked = quoted || announced;
        if let [first, further @ ..] = names.as_slice() {
            let is_name = first.contains(['_', '$'])
                || !further.is_empty()
                || first.chars().skip(1).any(char::is_uppercase);
            let path = rooted(&names, sent);
            let is_sent = |path: &[String]| path.first().is_some_and(|root| sent.get(root).is_some());
            if (is_marked || is_name || (!WORDS_TOO.contains(&first.as_str()) && sent.get(first).is_some()))
                && is_sent(&path)
            {
                paths.push(path);
            }
        }
        last_word = token.trim_matches('.').to_lowercase();
        rest = after;
    }
    let mut seen = HashSet::new();
    paths.retain(|path| seen.insert(path.clone()));
    paths
}
