//! What servers write when they refuse: some twenty shapes of body, brought to one, and then to a kind.
//!
//! Fields come before words: a code is looked up in a table first, texts are searched only after that. Words in the
//! body outrank the HTTP status where they say quota, context, filter or auth, since servers send those with any status.

use serde_json::Value;

use crate::error::{ErrorKind, LlmError};

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
    /// The kind and whether to try again, where they are known without reading the server's words.
    pub known: Option<(ErrorKind, bool)>,
}

const MAX_MESSAGE: usize = 2000;

impl ApiError {
    /// An error that is only a sentence.
    pub fn from_message(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// A limit of Loom's own that the answer does not keep to.
    pub fn beyond_limit(message: impl Into<String>) -> Self {
        Self { known: Some((ErrorKind::BadResponse, false)), ..Self::from_message(message) }
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
            Value::Object(_) => {
                let mut found = Self::from_fields(value);
                if found.message.is_empty() && found.code.is_empty() && found.error_type.is_empty() {
                    found.message = clip(&value.to_string());
                }
                found
            }
            Value::String(text) => Self::from_message(clip(text)),
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
        if let Some(raw) = value.pointer("/metadata/raw").and_then(Value::as_str) {
            // OpenRouter hides the provider's own words here.
            message = format!("{message}: {raw}");
        }
        let error_code = text(&["error_code"]);
        if message.is_empty() && !error_code.is_empty() {
            message = text(&["text"]);
        }
        let code = Some(text(&["code"])).filter(|code| !code.is_empty()).unwrap_or(error_code);
        let status = ["http_status_code", "status_code", "raw_status_code", "status", "code"]
            .iter()
            .filter_map(|key| value.get(key))
            .find_map(|field| match field {
                Value::Number(number) => number.as_u64(),
                Value::String(text) => text.parse().ok(),
                _ => None,
            })
            .and_then(|status| u16::try_from(status).ok())
            .filter(|status| (400..600).contains(status));
        Self {
            message: clip(&message),
            error_type: text(&["type", "error_type", "status"]),
            code,
            param: text(&["param"]),
            status,
            known: None,
        }
    }

    fn or(mut self, other: Self) -> Self {
        for (mine, theirs) in [
            (&mut self.message, other.message),
            (&mut self.error_type, other.error_type),
            (&mut self.code, other.code),
            (&mut self.param, other.param),
        ] {
            if mine.is_empty() {
                *mine = theirs;
            }
        }
        self.status = self.status.or(other.status);
        self
    }

    /// The error with its kind. `status` is the HTTP status, if it says that something failed.
    pub fn into_error(self, status: Option<u16>) -> LlmError {
        let status = status.or(self.status);
        let verdict = match self.known {
            Some((kind, retryable)) => Verdict { kind, retryable },
            None => classify(status, &self),
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
        error.status_code = status;
        error.code = Some(self.code).filter(|code| !code.is_empty());
        error.param = Some(self.param).filter(|param| !param.is_empty());
        error
    }
}

/// The body of an HTTP error, whatever it is, as an error with its kind, status and body.
pub fn from_http(status: u16, body: &[u8]) -> LlmError {
    let text = String::from_utf8_lossy(body);
    let trimmed = text.trim();
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

struct Verdict {
    kind: ErrorKind,
    retryable: bool,
}

/// Codes and types that mean one thing wherever they appear. Sources: section 2 and cases 114–134 of the wire notes.
const BY_CODE: &[(ErrorKind, &[&str])] = &[
    (
        ErrorKind::Quota,
        &[
            "insufficient_quota",
            "exceeded_current_quota_error",
            "insufficient_user_quota",
            "pre_consume_token_quota_failed",
            "quotaexceeded",
            "setlimitexceeded",
            "accountoverdueerror",
            "arrearage",
            "billing_not_active",
            "billing_hard_limit_reached",
            "1113",
            "1304",
            "1308",
        ],
    ),
    (
        ErrorKind::ContextLength,
        &[
            "context_length_exceeded",
            "exceed_context_size_error",
            "string_above_max_length",
            "model_context_window_exceeded",
            "1261",
            "40303",
            "3051",
        ],
    ),
    (
        ErrorKind::ContentFilter,
        &[
            "content_filter",
            "content_policy_violation",
            "data_inspection_failed",
            "datainspectionfailed",
            "sensitive_words_detected",
            "responsibleaipolicyviolation",
            "1301",
        ],
    ),
    (
        ErrorKind::Auth,
        &[
            "invalid_api_key",
            "authentication_error",
            "invalid_authentication_error",
            "authenticationerror",
            "api_key_invalid",
            // LiteLLM without a database, for any key but the master's.
            "no_db_connection",
            "1000",
            "1001",
            "1002",
            "1003",
            "1004",
        ],
    ),
    (
        ErrorKind::NotFound,
        &["model_not_found", "deploymentnotfound", "modelnotopen", "1211", "20012", "40301", "1500"],
    ),
    (
        ErrorKind::Overloaded,
        &[
            "server_overloaded",
            "serveroverloaded",
            "overloaded",
            "overloaded_error",
            "engine_overloaded_error",
            "capacity_exceeded",
            "unavailable_error",
            "insufficient_system_resource",
            "1305",
        ],
    ),
    (
        ErrorKind::RateLimit,
        &["rate_limit_exceeded", "rate_limit_reached_error", "rate_limit_error", "1302", "1303"],
    ),
    (ErrorKind::Server, &["network_error", "1234", "50001"]),
];

/// Words in a message that mean one thing wherever they appear, in lower case.
const BY_WORDS: &[(ErrorKind, &[&str])] = &[
    (
        ErrorKind::Quota,
        &[
            "insufficient_quota",
            "insufficient balance",
            "quota is not enough",
            "额度已用尽",
            "额度不足",
            "余额不足",
            "arrearage",
            "exceeded your current quota",
        ],
    ),
    (
        ErrorKind::ContextLength,
        &[
            "maximum context length",
            "context length of only",
            "longer than the model's context length",
            "exceeds the available context",
            "exceeds the maximum context",
            "exceeds the model's available context",
            "exceeds the model's maximum context",
            "exceeded model token limit",
            "input token length too long",
            "must be smaller than the model context length",
            "prompt is too long",
            "too large for model with",
            "token limit reached",
            "input is too long",
            "range of input length",
            "context window exceeded",
            "contextwindowexceeded",
            "tokens + `max_new_tokens` must be <=",
            "reduce the length of the",
        ],
    ),
    (
        ErrorKind::ContentFilter,
        &[
            "content management policy",
            "considered high risk",
            "sensitivecontentdetected",
            "flagged for moderation",
            "requires moderation",
        ],
    ),
    (
        ErrorKind::Auth,
        &[
            "incorrect api key",
            "invalid api key",
            "api key not valid",
            "invalid token",
            "无效的令牌",
            "未提供令牌",
            "令牌已过期",
            "authentication fails",
        ],
    ),
    (
        ErrorKind::NotFound,
        &[
            "无可用渠道",
            "is not a valid model id",
            "invalid model name",
            "model does not exist",
            "the supported api model names are",
            "try pulling it first",
            // transformers serve.
            "server is pinned to",
        ],
    ),
];

/// A 500 with one of these is the client's mistake: repeating it cannot help.
const CLIENT_MISTAKES: &[&str] = &[
    "jinja",
    "raise_exception",
    "roles must alternate",
    "mmproj",
    "too large to process",
    "no user query found",
    "validation error",
    "'type': 'missing'",
    "'type': 'value_error'",
    "input_value",
    "not supported - hint",
    "tools param requires",
    "cannot use both",
    "not found in tools",
];

fn classify(status: Option<u16>, api: &ApiError) -> Verdict {
    let code = api.code.to_lowercase();
    let error_type = api.error_type.to_lowercase();
    let message = api.message.to_lowercase();
    let by_code = BY_CODE.iter().find_map(|(kind, codes)| {
        // Numeric business codes count only as codes; a type is always a word.
        codes.iter().any(|known| *known == code || *known == error_type).then_some(*kind)
    });
    // Volcengine's codes are dotted: `SensitiveContentDetected.Violence`, `RateLimitExceeded.EndpointRPMExceeded`.
    let by_dotted = code.split('.').next().and_then(|stem| match stem {
        "sensitivecontentdetected"
        | "inputtextsensitivecontentdetected"
        | "outputtextsensitivecontentdetected" => Some(ErrorKind::ContentFilter),
        "ratelimitexceeded" | "throttling" => Some(ErrorKind::RateLimit),
        "invalidendpointormodel" => Some(ErrorKind::NotFound),
        _ => None,
    });
    let by_words = || {
        BY_WORDS
            .iter()
            .find_map(|(kind, words)| words.iter().any(|word| message.contains(word)).then_some(*kind))
    };
    let certain = by_code
        .filter(|kind| *kind != ErrorKind::Auth || status != Some(403))
        .or_else(|| by_dotted.filter(|_| !code.contains("quota") || code.starts_with("throttling.rate")))
        .or_else(by_words);
    let retryable = |kind: ErrorKind| Verdict { kind, retryable: kind.retryable() };
    // The model wrote a call that the server could not read (Groq): another try may come out better.
    if code == "tool_use_failed" {
        return Verdict { kind: ErrorKind::BadResponse, retryable: true };
    }
    if let Some(kind) = certain {
        // What is too large stays too large, also where it is called a rate limit (Groq's tokens per minute).
        return Verdict { kind, retryable: kind.retryable() && status != Some(413) };
    }
    // new-api answers invalid requests with 500.
    let is_mistake = code == "invalid_request" || CLIENT_MISTAKES.iter().any(|word| message.contains(word));
    match status {
        Some(401) => retryable(ErrorKind::Auth),
        Some(402 | 412) => retryable(ErrorKind::Quota),
        Some(403) => retryable(ErrorKind::Permission),
        Some(404 | 405) => retryable(ErrorKind::NotFound),
        Some(408 | 425) => Verdict { kind: ErrorKind::Timeout, retryable: true },
        Some(409) => Verdict { kind: ErrorKind::Server, retryable: true },
        Some(413) if message.contains("tokens per minute") || message.contains("tpm") => {
            Verdict { kind: ErrorKind::RateLimit, retryable: false }
        }
        // TGI validates with 422 and fails a generation with 424.
        Some(424) => Verdict { kind: ErrorKind::Server, retryable: true },
        Some(429) if message.contains("overloaded") || error_type.contains("overloaded") => {
            retryable(ErrorKind::Overloaded)
        }
        Some(429) => retryable(ErrorKind::RateLimit),
        Some(498 | 503 | 529) => retryable(ErrorKind::Overloaded),
        Some(501) => retryable(ErrorKind::BadRequest),
        // LM Studio, and gateways that answer 400 where others answer 404.
        Some(400) if is_unknown_model(&message) => retryable(ErrorKind::NotFound),
        Some(400..=499) => retryable(ErrorKind::BadRequest),
        Some(500..=599) if is_mistake => retryable(ErrorKind::BadRequest),
        Some(504) => Verdict { kind: ErrorKind::Timeout, retryable: true },
        Some(500..=599) => retryable(ErrorKind::Server),
        // An error inside a 200 that names no status.
        _ if is_mistake || error_type.contains("invalid_request") || error_type.contains("badrequest") => {
            retryable(ErrorKind::BadRequest)
        }
        _ => Verdict { kind: ErrorKind::Server, retryable: true },
    }
}

/// `Model "x" not found`, `The model x does not exist`: the sentence is about the model and not about a tool or a file.
fn is_unknown_model(message: &str) -> bool {
    let subject = message.strip_prefix("the ").unwrap_or(message);
    subject.starts_with("model ") && ["not found", "does not exist"].iter().any(|end| subject.contains(end))
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
