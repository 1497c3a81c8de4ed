//! What servers write when they refuse: some twenty shapes of body, brought to one. What it means is told by `verdict`.

use std::time::Duration;

use serde_json::Value;

use crate::context::Overflow;
use crate::echo::Echo;
use crate::error::{ErrorKind, LlmError};
use crate::verdict::{Verdict, classify};
use crate::{advice, context};

/// An error as the server described it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiError {
    /// The server's sentence; may be empty.
    pub message: String,
    /// Its `type`.
    pub error_type: String,
    /// Its `code`, as text.
    pub code: String,
    /// The parameter it names.
    pub param: String,
    /// The HTTP status that the body names, if it is one.
    pub status: Option<u16>,
    /// What else its fields say. Boxed, so that a `Result` stays small.
    facts: Box<Facts>,
    /// The kind and whether to try again, where they are known without reading the server's words.
    pub known: Option<(ErrorKind, bool)>,
}

/// What servers say beside the usual fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    /// The server's name for the request.
    request_id: String,
    /// How long to wait.
    wait: Option<Duration>,
    /// The context's numbers.
    overflow: Overflow,
}

const MAX_MESSAGE: usize = 2000;

impl ApiError {
    /// An error that is only a sentence.
    pub fn from_message(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// A finish reason that means failure, or `None` for all others.
    ///
    /// Worth a repetition are `network_error` (Zhipu) and `insufficient_system_resource` (DeepSeek), not `abort`
    /// (vLLM, SGLang), `error` (OpenRouter, LMDeploy) and `parse_error` (LMDeploy).
    pub fn from_finish_reason(word: &str) -> Option<Self> {
        let known = match word {
            "network_error" => (ErrorKind::Server, true),
            "insufficient_system_resource" => (ErrorKind::Overloaded, true),
            "error" | "abort" | "parse_error" => (ErrorKind::Server, false),
            _ => return None,
        };
        Some(Self {
            message: format!("the server ended the answer with finish_reason {word:?}"),
            code: word.to_owned(),
            known: Some(known),
            ..Self::default()
        })
    }

    /// The value of an `error` key: an object, a text, or a list of them.
    pub fn from_error_value(value: &Value) -> Self {
        match value {
            // An envelope around the error's own.
            Value::Object(fields)
                if !has_words(value) && fields.get("error").is_some_and(crate::chunk::is_error) =>
            {
                Self::from_body(value).unwrap_or_default()
            }
            Value::Object(_) => {
                let mut found = Self::from_fields(value);
                if found.message.is_empty() && found.code.is_empty() && found.error_type.is_empty() {
                    found.message = clip(&value.to_string());
                }
                found
            }
            Value::String(text) => Self::from_text(text).unwrap_or_else(|| Self::from_message(clip(text))),
            Value::Array(items) => items.first().map(Self::from_error_value).unwrap_or_default(),
            other => Self::from_message(other.to_string()),
        }
    }

    /// The error that a JSON body holds, if it is one of the known shapes.
    pub fn from_body(body: &Value) -> Option<Self> {
        match body {
            // Gemini wraps its error in a list.
            Value::Array(items) => items.first().and_then(Self::from_body),
            Value::String(text) => Some(Self::from_message(clip(text))),
            Value::Object(fields) => {
                let outer = Self::from_fields(body);
                let inner = fields
                    .get("error")
                    .filter(|value| crate::chunk::is_error(value))
                    .map(Self::from_error_value)
                    // FastChat nests its error in `detail`, Responses-style bodies in `response`.
                    .or_else(|| {
                        fields.get("detail").filter(|detail| detail.is_object()).and_then(Self::from_body)
                    })
                    .or_else(|| {
                        fields
                            .get("response")
                            .and_then(|inner| inner.get("error"))
                            .map(Self::from_error_value)
                    })
                    .or_else(|| fields.get("base_resp").and_then(Self::from_base_resp))
                    .or_else(|| {
                        let errors = fields.get("errors").filter(|errors| crate::chunk::is_error(errors))?;
                        Some(Self::from_error_value(errors))
                    });
                match inner {
                    // What the inner object lacks may stand beside it (xAI's code, OpenRouter's siblings).
                    Some(inner) => Some(inner.or(outer)),
                    None if outer.message.is_empty() && outer.code.is_empty() => None,
                    None => Some(outer),
                }
            }
            _ => None,
        }
    }

    fn from_fields(value: &Value) -> Self {
        let text = |keys: &[&str]| {
            keys.iter()
                .filter_map(|key| value.get(key))
                .map(|field| match field {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    Value::Array(items) => details(items),
                    _ => String::new(),
                })
                .find(|text| !text.is_empty())
                .unwrap_or_default()
        };
        let mut message = text(&["message", "msg", "err", "error_msg", "error_message", "detail"]);
        // OpenRouter hides the provider's own words here, which may be JSON again; so may the message of a gateway that
        // passes Gemini's on.
        let raw = value.pointer("/metadata/raw").and_then(Value::as_str);
        let cause = raw.or(Some(message.as_str())).and_then(Self::from_text).unwrap_or_default();
        match raw {
            Some(raw) if cause.message.is_empty() => message = format!("{message}: {raw}"),
            Some(_) => message = format!("{message}: {}", cause.message),
            None if !cause.message.is_empty() => message.clone_from(&cause.message),
            None => {}
        }
        let error_code = text(&["error_code"]);
        if message.is_empty() && !error_code.is_empty() {
            message = text(&["text"]);
        }
        let code = Some(text(&["code"])).filter(|code| !code.is_empty()).unwrap_or(error_code);
        let daily = daily_limit(value);
        // Google tells a limit per day from one per minute by its name alone.
        let known = (!daily.is_empty()).then_some((ErrorKind::Quota, false)).or(cause.known);
        let code = [daily, cause.code, code].into_iter().find(|code| !code.is_empty());
        let status = ["http_status_code", "status_code", "raw_status_code", "http_code", "status", "code"]
            .iter()
            .filter_map(|key| value.get(key))
            .find_map(|field| match field {
                Value::Number(number) => number.as_u64(),
                Value::String(text) => text.parse().ok(),
                _ => None,
            })
            .and_then(|status| u16::try_from(status).ok())
            .filter(|status| (400..600).contains(status));
        let error_type = Some(cause.error_type).filter(|found| !found.is_empty());
        Self {
            message: clip(&message),
            error_type: error_type.unwrap_or_else(|| text(&["type", "error_type", "status"])),
            code: code.unwrap_or_default(),
            param: text(&["param"]),
            status,
            facts: Box::new(Facts {
                request_id: text(&["request_id", "requestId", "requestID"]),
                wait: advice::in_fields(value).or(cause.facts.wait),
                overflow: context::in_fields(value),
            }),
            known,
        }
    }

    /// MiniMax's state of things, which it sends with 200: `{"status_code": 1008, "status_msg": "insufficient balance"}`.
    fn from_base_resp(state: &Value) -> Option<Self> {
        let code = state.get("status_code").filter(|code| crate::chunk::is_error(code))?;
        let message = state.get("status_msg").and_then(Value::as_str).unwrap_or_default();
        Some(Self { message: clip(message), code: code.to_string(), ..Self::default() })
    }

    /// An error that is JSON within a text.
    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        if !text.starts_with(['{', '[']) {
            return None;
        }
        Self::from_body(&serde_json::from_str(text).ok()?)
    }

    fn or(mut self, other: Self) -> Self {
        for (mine, theirs) in [
            (&mut self.message, other.message),
            (&mut self.error_type, other.error_type),
            (&mut self.code, other.code),
            (&mut self.param, other.param),
            (&mut self.facts.request_id, other.facts.request_id),
        ] {
            if mine.is_empty() {
                *mine = theirs;
            }
        }
        self.status = self.status.or(other.status);
        self.facts.wait = self.facts.wait.or(other.facts.wait);
        self.facts.overflow = self.facts.overflow.or(other.facts.overflow);
        self
    }

    /// The error with its kind. `status` is the HTTP status, if it says that something failed.
    pub fn into_error(self, status: Option<u16>) -> LlmError {
        let status = status.or(self.status);
        let verdict = match self.known {
            Some((kind, retryable)) => Verdict { kind, retryable },
            None => classify(status, &self, Echo::default()),
        };
        let mut said = self.message.trim().to_owned();
        if said.is_empty() {
            said = [&self.code, &self.error_type]
                .into_iter()
                .map(|text| text.trim())
                .find(|text| !text.is_empty())
                .map(str::to_owned)
                .unwrap_or_default();
        }
        let message = match (said.is_empty(), status) {
            (true, Some(status)) => format!("the server refused: {}", reason_phrase(status)),
            (true, None) => "the server refused without saying why".to_owned(),
            (false, _) => said,
        };
        let mut error = LlmError::new(verdict.kind, message).with_retryable(verdict.retryable);
        if error.kind == ErrorKind::ContextLength {
            let overflow = self.facts.overflow.or(context::in_text(&self.message));
            error.context_limit = overflow.limit;
            error.requested_tokens = overflow.requested;
        }
        error.retry_after =
            self.facts.wait.or_else(|| advice::in_text(&self.message).filter(|_| verdict.retryable));
        error.request_id = Some(self.facts.request_id)
            .filter(|id| !id.is_empty())
            .or_else(|| request_id_in(&self.message).map(str::to_owned));
        error.status_code = status;
        error.code = Some(self.code).filter(|code| !code.is_empty());
        error.param = Some(self.param).filter(|param| !param.is_empty());
        error
    }
}

/// Whether an error's value has a sentence of its own.
fn has_words(error: &Value) -> bool {
    ["message", "msg"]
        .iter()
        .any(|key| error.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()))
}

/// Whether a body without an answer says that it failed, where it has the answer's keys (`"choices": []`), too.
pub fn is_failure(body: &Value) -> bool {
    let given = |key: &str| body.get(key).filter(|value| crate::chunk::is_error(value));
    body.get("success") == Some(&Value::Bool(false))
        || body.pointer("/base_resp/status_code").is_some_and(crate::chunk::is_error)
        || given("errors").is_some()
        || given("detail").is_some()
        || given("code").is_some_and(|code| !is_fine(code))
}

/// Whether a body without an answer says no more than that all is well (`{"code": 200, "msg": "success"}`).
pub fn is_success(body: &Value) -> bool {
    let is_true = |key: &str| body.get(key) == Some(&Value::Bool(true));
    !is_failure(body) && (is_true("success") || body.get("code").is_some_and(is_fine))
}

/// Whether a code is one of success.
fn is_fine(code: &Value) -> bool {
    match code {
        Value::Number(number) => matches!(number.as_u64(), Some(0 | 200)),
        Value::String(word) => {
            ["0", "200", "ok", "success"].iter().any(|fine| word.eq_ignore_ascii_case(fine))
        }
        _ => false,
    }
}

/// The data of a refusal that is written as an event, as DashScope and gateways do where a stream was asked for.
fn in_event(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|line| line.strip_prefix("data:")).map(str::trim)?;
    let is_event = ["data:", "event:", "id:", ":"].iter().any(|field| text.starts_with(field));
    (is_event && line.starts_with('{')).then_some(line)
}

/// The body of an HTTP error, whatever it is, as an error with its kind, status and body.
pub fn from_http(status: u16, body: &[u8]) -> LlmError {
    let text = String::from_utf8_lossy(body);
    let trimmed = text.trim();
    let trimmed = in_event(trimmed).unwrap_or(trimmed);
    let api = match serde_json::from_str::<Value>(trimmed) {
        Ok(value) => ApiError::from_body(&value).unwrap_or_else(|| ApiError::from_message(clip(trimmed))),
        Err(_) if is_html(trimmed) => ApiError::from_message(html_summary(status, trimmed)),
        Err(_) => ApiError::from_message(clip(trimmed)),
    };
    let mut error = api.into_error(Some(status));
    if !trimmed.is_empty() {
        error.body = Some(clip_to(&text, 64 * 1024));
    }
    error
}

/// The error as it is judged when what the server quotes from the request (`sent`, its body) is left out.
///
/// Only a kind that the server's words have made can change.
pub fn without_echo(mut error: LlmError, sent: &[u8]) -> LlmError {
    let shape = error.body.as_deref().map(|body| match serde_json::from_str::<Value>(body.trim()) {
        Ok(value) => ApiError::from_body(&value),
        Err(_) if is_html(body) => None,
        Err(_) => Some(ApiError::from_message(clip(body.trim()))),
    });
    let Some(Some(api)) = shape else { return error };
    let status = error.status_code.or(api.status);
    let taken = classify(status, &api, Echo::default());
    let meant = classify(status, &api, Echo::of(sent));
    if error.kind == taken.kind && meant.kind != taken.kind {
        error.kind = meant.kind;
        error.retryable = meant.retryable;
        (error.context_limit, error.requested_tokens) = (None, None);
    }
    error
}

/// Google's name of the limit that was reached, if it is one per day.
fn daily_limit(error: &Value) -> String {
    let details = error.get("details").and_then(Value::as_array).into_iter().flatten();
    let violations = details.filter_map(|detail| detail.get("violations")?.as_array()).flatten();
    let mut limits = violations.filter_map(|violation| violation.get("quotaId")?.as_str());
    limits.find(|limit| limit.contains("PerDay")).unwrap_or_default().to_owned()
}

/// The server's name for the request, where it stands in the sentence: one-api's "(request id: 2025…)", Ark's
/// "Request id: 021…".
fn request_id_in(message: &str) -> Option<&str> {
    const LEAD: &str = "request id: ";
    let at = message.to_ascii_lowercase().rfind(LEAD)? + LEAD.len();
    let rest = message.get(at..)?;
    let id = rest.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)).next()?;
    Some(id).filter(|id| id.len() >= 3)
}

/// Whether a body is a web page.
pub fn is_html(text: &str) -> bool {
    let start = text.trim_start_matches('\u{feff}').trim_start();
    start.starts_with('<')
}

/// A web page in a few words: its title, or else what it is.
pub fn html_summary(status: u16, html: &str) -> String {
    let title = find_between(html, "<title>", "</title>").map(str::trim).filter(|title| !title.is_empty());
    match title {
        Some(title) => format!("the server answered with a web page titled {:?}", clip_to(title, 120)),
        None => format!("the server answered with a web page ({})", reason_phrase(status)),
    }
}

fn find_between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let lower = text.to_ascii_lowercase();
    let from = lower.find(open)? + open.len();
    let length = lower.get(from..)?.find(close)?;
    text.get(from..from + length)
}

/// FastAPI's list of what failed to validate, as one sentence.
fn details(items: &[Value]) -> String {
    let one = |item: &Value| {
        let said = item.get("msg").and_then(Value::as_str)?;
        let place: Vec<String> = item
            .get("loc")
            .and_then(Value::as_array)
            .map(|parts| {
                parts
                    .iter()
                    .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
                    .collect()
            })
            .unwrap_or_default();
        Some(if place.is_empty() { said.to_owned() } else { format!("{}: {said}", place.join(".")) })
    };
    items.iter().filter_map(one).collect::<Vec<_>>().join("; ")
}

fn clip(text: &str) -> String {
    clip_to(text, MAX_MESSAGE)
}

fn clip_to(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The status in words, for servers that send none.
pub fn reason_phrase(status: u16) -> String {
    let words = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        529 => "Overloaded",
        _ => return format!("HTTP {status}"),
    };
    words.to_owned()
}
