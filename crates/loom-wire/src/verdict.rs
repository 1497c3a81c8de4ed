//! What a refusal means: its kind, and whether to try again.
//!
//! Fields come before words: a code is looked up in a table first, texts are searched only after that. Words in the
//! body outrank the HTTP status where they say quota, context, filter or auth, since servers send those with any status.

use crate::api_error::ApiError;
use crate::error::ErrorKind;

/// What a refusal means for the caller.
pub(crate) struct Verdict {
    /// The kind of failure.
    pub(crate) kind: ErrorKind,
    /// Whether the same request may succeed later.
    pub(crate) retryable: bool,
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

/// The verdict on an error that came with this status, or inside a 200 (`None`).
pub(crate) fn classify(status: Option<u16>, api: &ApiError) -> Verdict {
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
