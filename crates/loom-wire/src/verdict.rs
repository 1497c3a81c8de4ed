//! What a refusal means: its kind, and whether to try again.
//!
//! Fields come before words: a code is looked up in a table first, texts are searched only after that. Words in the
//! body outrank the HTTP status where they say quota, context, filter or auth, since servers send those with any status.
//! What the server only quotes from the request says nothing about it ([`Echo`]).

use crate::api_error::ApiError;
use crate::echo::Echo;
use crate::error::ErrorKind;
use crate::wordings::{BY_CODE, BY_WORDS, CLIENT_MISTAKES, LOADING, NEVER_FITS};

/// What a refusal means for the caller.
pub(crate) struct Verdict {
    /// The kind of failure.
    pub(crate) kind: ErrorKind,
    /// Whether the same request may succeed later.
    pub(crate) retryable: bool,
}

/// The verdict on an error that came with this status, or inside a 200 (`None`).
pub(crate) fn classify(status: Option<u16>, api: &ApiError, echo: Echo<'_>) -> Verdict {
    let code = api.code.to_lowercase();
    let error_type = api.error_type.to_lowercase();
    // Keeps the places of what is not ASCII, and Chinese has no cases.
    let message = api.message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| echo.says(&message, word));
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
    let by_words = || BY_WORDS.iter().find_map(|(kind, words)| says(words).then_some(*kind));
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
        let fits = status != Some(413) && !says(NEVER_FITS);
        return Verdict { kind, retryable: kind.retryable() && fits };
    }
    // new-api answers invalid requests with 500.
    let is_mistake = code == "invalid_request" || says(CLIENT_MISTAKES);
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
        Some(429) if says(NEVER_FITS) => Verdict { kind: ErrorKind::RateLimit, retryable: false },
        Some(429) => retryable(ErrorKind::RateLimit),
        Some(498 | 503 | 529) => retryable(ErrorKind::Overloaded),
        // Ollama and gateways say so with 500 as well.
        Some(500..=599) if says(LOADING) => retryable(ErrorKind::Overloaded),
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

/// Whether a refusal says that the server is loading the model: a state and not a failure.
pub(crate) fn is_loading(kind: ErrorKind, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    kind == ErrorKind::Overloaded && LOADING.iter().any(|words| message.contains(words))
}

/// `Model "x" not found`, `The model x does not exist`: the sentence is about the model and not about a tool or a file.
fn is_unknown_model(message: &str) -> bool {
    let subject = message.strip_prefix("the ").unwrap_or(message);
    subject.starts_with("model ") && ["not found", "does not exist"].iter().any(|end| subject.contains(end))
}
