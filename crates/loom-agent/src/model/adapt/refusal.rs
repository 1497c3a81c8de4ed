//! Reading a refusal: which parameter it points at, and what it complains of.
//!
//! Fields come before words: `param`, `loc`, `field` and the like name a path for certain; the message's own words are read
//! only where no field does. What the message quotes from the request's texts is taken out first: a refusal that repeats
//! the question must not teach what the question says.

use std::collections::HashSet;

use loom_wire::{LlmError, Request};
use serde_json::Value;

use super::names::{named_in, names, rooted};

/// What a refusal says.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Where it points to, outermost name first, without indices: `["tools", "function", "strict"]`.
    pub(crate) paths: Vec<Vec<String>>,
    /// Its words in lower case: message, code and type.
    pub(crate) words: String,
    pub(crate) complaint: Complaint,
}

/// What is wrong with the parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// It is not known, or not supported here.
    Unsupported,
    /// It is not there.
    Missing,
    /// Its value will not do, or nothing that is understood.
    Value,
}

/// Words of each complaint, in lower case. The first list that has one of the words counts.
const COMPLAINTS: &[(Complaint, &[&str])] = &[
    (
        Complaint::Unsupported,
        &[
            "unsupported",
            "参数非法",
            "not support",
            "n't support",
            "no support",
            "unknown",
            "unrecogni",
            "not recogni",
            "unexpected",
            "extra inputs",
            "extra_forbidden",
            "extra fields",
            "additional propert",
            "not permitted",
            "not allowed",
            "is allowed for this model",
            "only the default",
            "not available",
            "unavailable",
            "not enabled",
            "not implemented",
            "cannot find field",
            "no such",
            "does not accept",
            "doesn't accept",
            "not accepted",
            "cannot be used",
            "can't be used",
            "incompatible",
            "not compatible",
            "be combined",
            "mutually exclusive",
            "deprecated",
            "removed",
            "forbidden",
            "disabled",
            "invalid parameter",
            "invalid argument",
            "invalid field",
            "not a valid parameter",
            "requires --",
            "不支持",
            "未知",
            "不允许",
            "不可用",
        ],
    ),
    (
        Complaint::Missing,
        &[
            "missing",
            "must be passed",
            "must pass",
            "must be provided",
            "must be included",
            "must include",
            "must contain",
            "is required",
            "are required",
            "required field",
            "field required",
            "缺少",
            "必须",
        ],
    ),
];

/// Keys of a refusal's body that name a path.
const PATH_KEYS: &[&str] =
    &["param", "parameter", "param_name", "parameter_name", "field", "argument", "property", "loc"];
/// Keys under which a refusal repeats the request.
const ECHO_KEYS: &[&str] =
    &["input", "ctx", "request", "request_body", "failed_generation", "messages", "input_value"];

impl Refusal {
    /// Reads a refusal of `sent`, the body that was sent for `request`.
    pub(crate) fn read(error: &LlmError, sent: &Value, request: &Request) -> Self {
        let mut found = Found::default();
        found.message(&error.message);
        if let Some(param) = &error.param {
            found.path(param);
        }
        found.text(error.code.as_deref().unwrap_or_default());
        if let Some(body) = error.body.as_deref().and_then(|body| serde_json::from_str::<Value>(body).ok()) {
            found.walk(&body, 0);
        }
        let message = without_quotes(&error.message, request);
        let words = format!("{} {}", message.to_lowercase(), found.text.to_lowercase());
        let complaint = COMPLAINTS
            .iter()
            .find(|(_, known)| known.iter().any(|word| words.contains(word)))
            .map_or(Complaint::Value, |(complaint, _)| *complaint);
        let mut paths: Vec<Vec<String>> =
            found.paths.iter().map(|path| rooted(path, sent)).filter(|path| !path.is_empty()).collect();
        // Words name what is meant where no field does, or within what a field names: Gemini's field violation is the tool's
        // schema, and its message names the keyword.
        let within =
            |path: &Vec<String>| paths.is_empty() || paths.iter().any(|field| field.first() == path.first());
        let named: Vec<_> = named_in(&message, sent).into_iter().filter(within).collect();
        for path in named {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        Self { paths, words, complaint }
    }

    /// Whether all of these words stand in it.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        words.iter().all(|word| self.words.contains(word))
    }

    /// Whether it points at `path` (`"messages.content"`): these names, in this order, from the outermost on. A `$` at the
    /// end: at that itself, not at something within.
    pub(crate) fn points_at(&self, path: &str) -> bool {
        if let Some(path) = path.strip_suffix('$') {
            return self.paths.iter().any(|found| found.join(".") == path);
        }
        self.paths.iter().any(|found| {
            let mut names = found.iter();
            let mut wanted = path.split('.');
            wanted.next().is_some_and(|root| found.first().is_some_and(|first| first == root))
                && names.next().is_some()
                && wanted.all(|name| names.any(|found| found == name))
        })
    }
}

/// What a body's fields say.
#[derive(Default)]
struct Found {
    paths: Vec<Vec<String>>,
    text: String,
}

impl Found {
    fn text(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push(' ');
    }

    fn path(&mut self, text: &str) {
        let path = names(text);
        if !path.is_empty() && !self.paths.contains(&path) {
            self.paths.push(path);
        }
    }

    /// Fields that a message repeats in its text: vLLM's `(parameter=temperature, value=…)`, and Python's
    /// `'loc': ('body', 'seed')` (llama-cpp-python, vLLM).
    fn message(&mut self, message: &str) {
        for (_, rest) in split_at_each(message, "(parameter=") {
            self.path(rest.split([',', ')']).next().unwrap_or_default());
        }
        for (_, rest) in split_at_each(message, "'loc': (") {
            let place = rest.split(')').next().unwrap_or_default();
            self.path(&place.replace(['\'', '"', ' '], "").replace(',', "."));
        }
        // Pydantic's text: "1 validation error for X", then a line with the place and one with the complaint, indented.
        if message.contains(" validation error") {
            let places = message.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with(' '));
            places.for_each(|place| self.path(place));
        }
    }

    fn walk(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Array(items) if depth < 8 => items.iter().for_each(|item| self.walk(item, depth + 1)),
            Value::Object(fields) if depth < 8 => {
                for (key, field) in fields {
                    match field {
                        _ if ECHO_KEYS.contains(&key.as_str()) => {}
                        Value::String(text) if PATH_KEYS.contains(&key.as_str()) => self.path(text),
                        Value::Array(parts) if key == "loc" => {
                            let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
                            self.path(&parts.join("."));
                        }
                        Value::String(text) if matches!(key.as_str(), "type" | "code" | "status") => {
                            self.text(text)
                        }
                        // OpenRouter: the provider's own body, as a text.
                        Value::String(text) if key == "raw" => {
                            if let Ok(inner) = serde_json::from_str::<Value>(text) {
                                self.walk(&inner, depth + 1);
                            }
                        }
                        other => self.walk(other, depth + 1),
                    }
                }
            }
            _ => {}
        }
    }
}

fn split_at_each<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.match_indices(mark).map(move |(at, _)| {
        (text.get(..at).unwrap_or_default(), text.get(at + mark.len()..).unwrap_or_default())
    })
}

/// As many bytes in a row as no two texts share by chance.
const QUOTE: usize = 24;

/// A message without what it quotes from the request's own texts.
fn without_quotes(message: &str, request: &Request) -> String {
    let bytes = message.as_bytes();
    let mut quoted = vec![false; bytes.len()];
    let windows: HashSet<&[u8]> = bytes.windows(QUOTE).collect();
    let mut shared: HashSet<&[u8]> = HashSet::new();
    let texts: Vec<String> = request
        .messages
        .iter()
        .map(|message| message.text())
        .chain(request.tools.iter().filter_map(|tool| tool.description.clone()))
        .collect();
    for text in &texts {
        let trimmed = text.trim();
        if (8..QUOTE).contains(&trimmed.len()) {
            for (start, _) in message.match_indices(trimmed) {
                quoted.iter_mut().skip(start).take(trimmed.len()).for_each(|it| *it = true);
            }
        }
        for window in text.as_bytes().windows(QUOTE) {
            if let Some(window) = windows.get(window) {
                shared.insert(window);
            }
        }
    }
    for (start, window) in bytes.windows(QUOTE).enumerate() {
        if shared.contains(window) {
            quoted.iter_mut().skip(start).take(QUOTE).for_each(|it| *it = true);
        }
    }
    let kept: Vec<u8> =
        bytes.iter().zip(&quoted).map(|(byte, quoted)| if *quoted { b' ' } else { *byte }).collect();
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom_wire::{Message, api_error};
    use serde_json::json;

    fn read_for(question: &str, status: u16, body: &str) -> Refusal {
        let sent = json!({
            "model": "m", "temperature": 0, "presence_penalty": 0, "max_tokens": 5, "stop": ["x"], "seed": 1, "top_k": 3,
            "messages": [{"role": "assistant", "content": "x", "reasoning_content": "y", "name": "Ann"}],
            "tools": [{"function": {"name": "f", "strict": true, "parameters": {"type": "object", "additionalProperties": false}}}],
            "tool_choice": "required", "response_format": {"type": "json_object"}, "stream_options": {"include_usage": true},
        });
        let error = api_error::from_http(status, body.as_bytes());
        Refusal::read(&error, &sent, &Request::new(vec![Message::user(question)]))
    }

    fn read(body: &str) -> Refusal {
        read_for("Hi", 400, body)
    }

    fn paths(body: &str) -> Vec<String> {
        read(body).paths.iter().map(|path| path.join(".")).collect()
    }

    #[test]
    fn fields_name_the_path() {
        for (body, path) in [
            (r#"{"error":{"message":"no","param":"messages[0].role"}}"#, "messages.role"),
            (
                r#"{"detail":[{"type":"extra_forbidden","loc":["body","tools",0,"function","strict"],"msg":"no"}]}"#,
                "tools.function.strict",
            ),
            (
                r#"[{"error":{"message":"no","details":[{"fieldViolations":[{"field":"generation_config.presencePenalty"}]}]}}]"#,
                "presence_penalty",
            ),
            (
                r#"{"error":{"message":"temperature must be non-negative. (parameter=temperature, value=-1.0)"}}"#,
                "temperature",
            ),
            (
                r#"{"error":{"message":"[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'input': 'stop'}]"}}"#,
                "seed",
            ),
            (
                r#"{"error":{"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"message\":\"no\",\"param\":\"top_k\"}}"}}}"#,
                "top_k",
            ),
        ] {
            assert_eq!(paths(body), [path], "{body}");
        }
    }

    #[test]
    fn words_name_it_where_no_field_does() {
        for (message, path) in [
            ("Argument not supported on this model: presencePenalty", "presence_penalty"),
            ("Model grok-4.6 does not support parameter presencePenalty.", "presence_penalty"),
            ("Unrecognized request argument supplied: top_k", "top_k"),
            ("invalid temperature: only 1 is allowed for this model", "temperature"),
            ("property 'stop' is unsupported, did you mean 'seed'?", "stop"),
            ("Thinking mode does not support this tool_choice", "tool_choice"),
            ("'response_format.type' must be 'json_schema' or 'text'", "response_format.type"),
            (
                "for 'role:assistant' the following must be satisfied[('x' : property 'reasoning_content' is unsupported)]",
                "messages.reasoning_content",
            ),
            ("Unknown name \"strict\": Cannot find field.", "tools.strict"),
            ("Unknown name \"additionalProperties\": Cannot find field.", "tools.additionalProperties"),
            ("Unknown parameter: 'seed'. Supported parameters: temperature, top_k", "seed"),
            ("参数 seed 不支持", "seed"),
        ] {
            assert_eq!(paths(&json!({"error": message}).to_string()), [path], "{message}");
        }
        assert!(paths(r#"{"error":"this model does not stop: the user must wait"}"#).is_empty());
    }

    #[test]
    fn what_is_quoted_from_the_request_names_nothing() {
        let question = "Why is stream_options not supported by vLLM 0.4?";
        for message in
            [format!("cannot answer: {question}"), format!("bad input: {}...", question.get(..40).unwrap())]
        {
            let refusal = read_for(question, 400, &json!({"error": message}).to_string());
            assert!(refusal.paths.is_empty() && !refusal.says(&["stream_options"]), "{refusal:?}");
        }
        let refusal = read_for(
            "seed!",
            400,
            r#"{"detail":[{"loc":["body","messages",0],"msg":"bad","input":"stream_options"}]}"#,
        );
        assert!(refusal.points_at("messages") && !refusal.says(&["stream_options"]));
    }

    #[test]
    fn complaints_are_told_apart() {
        let complaint = |message: &str| read(&json!({"error": message}).to_string()).complaint;
        assert_eq!(complaint("Extra inputs are not permitted"), Complaint::Unsupported);
        assert_eq!(complaint("reasoning_content is missing"), Complaint::Missing);
        assert_eq!(complaint("temperature must be in [0, 2]"), Complaint::Value);
    }
}
