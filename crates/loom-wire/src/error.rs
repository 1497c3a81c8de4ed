//! The failures of a model call: one kind each, with all that is known about it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{Completion, Retry};
use crate::ledger::LedgerEntry;

/// What went wrong, in the words that Rust, Python and the shell share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The settings cannot work: found before anything was sent.
    Config,
    /// No connection: name, TCP, TLS or proxy.
    Connection,
    /// One of the clocks ran out (connect, first token, idle, total).
    Timeout,
    /// The key is missing or wrong (401).
    Auth,
    /// The key may not do this (403).
    Permission,
    /// No such model or path (404).
    NotFound,
    /// The request cannot become right by repeating it (400, 413, 422).
    BadRequest,
    /// The prompt is longer than the model's context.
    ContextLength,
    /// The provider's filter stopped the prompt or the answer.
    ContentFilter,
    /// Too many requests; waiting cures it (429).
    RateLimit,
    /// Credit or plan is exhausted; waiting does not cure it.
    Quota,
    /// The server is full or still loading its model (503, 529).
    Overloaded,
    /// The server failed (5xx).
    Server,
    /// The answer ended before it was complete; `partial` holds what had arrived.
    StreamInterrupted,
    /// The answer is not the chat format.
    BadResponse,
}

impl ErrorKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Config,
        Self::Connection,
        Self::Timeout,
        Self::Auth,
        Self::Permission,
        Self::NotFound,
        Self::BadRequest,
        Self::ContextLength,
        Self::ContentFilter,
        Self::RateLimit,
        Self::Quota,
        Self::Overloaded,
        Self::Server,
        Self::StreamInterrupted,
        Self::BadResponse,
    ];

    /// The name that Python's `LLMError.kind` and `--json` show, such as `"rate_limit"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Auth => "auth",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::BadRequest => "bad_request",
            Self::ContextLength => "context_length",
            Self::ContentFilter => "content_filter",
            Self::RateLimit => "rate_limit",
            Self::Quota => "quota",
            Self::Overloaded => "overloaded",
            Self::Server => "server",
            Self::StreamInterrupted => "stream_interrupted",
            Self::BadResponse => "bad_response",
        }
    }

    /// Whether a repetition may succeed when nothing more is known.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Timeout
                | Self::RateLimit
                | Self::Overloaded
                | Self::Server
                | Self::StreamInterrupted
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The link on the way to the server that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Link {
    /// The host's name could not be resolved.
    Name,
    /// No connection, or it broke.
    Tcp,
    /// The proxy.
    Proxy,
    /// TLS: the certificate, or the server does not speak it.
    Tls,
}

impl Link {
    /// The name that Python's `LLMError.link` and `--json` show.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
        }
    }
}

/// A failed model call. Boxed inside, so that a `Result` stays small.
#[derive(Clone)]
pub struct LlmError(Box<Details>);

/// What an [`LlmError`] knows; reached through `Deref`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Details {
    /// The kind of failure.
    pub kind: ErrorKind,
    /// One or two sentences: which link failed and how. Never holds a key.
    pub message: String,
    /// For `connection`, and for `timeout` while connecting: the link that failed.
    pub link: Option<Link>,
    /// The HTTP status, or the status that an error inside a 200 names.
    pub status_code: Option<u16>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// How long the server asked to wait.
    pub retry_after: Option<Duration>,
    /// The server's name for the request, for its operator's logs.
    pub request_id: Option<String>,
    /// The URL that was called, without credentials.
    pub url: Option<String>,
    /// The body of the refusal as it came, cut at 64 KiB.
    pub body: Option<String>,
    /// The server's own error code, as text.
    pub code: Option<String>,
    /// The request parameter that the server names.
    pub param: Option<String>,
    /// For `context_length`: the tokens that the model can hold, where the server says it.
    pub context_limit: Option<u64>,
    /// For `context_length`: the tokens that the request comes to, where the server says it.
    pub requested_tokens: Option<u64>,
    /// What had arrived before the failure.
    pub partial: Option<Box<Completion>>,
    /// What to do about it.
    pub hint: Option<String>,
    /// How many requests were sent, retries included; 0 when none was.
    pub attempts: u32,
    /// The tries before the last one: why each failed, and how long was waited after it.
    pub retries: Vec<Retry>,
    /// What had been bridged before it failed: adaptations of the request, leniencies in what had arrived.
    pub ledger: Vec<LedgerEntry>,
}

impl LlmError {
    /// A failure of `kind` with its sentence. `retryable` starts as the kind's own.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind,
            message: message.into(),
            link: None,
            status_code: None,
            retryable: kind.retryable(),
            retry_after: None,
            request_id: None,
            url: None,
            body: None,
            code: None,
            param: None,
            context_limit: None,
            requested_tokens: None,
            partial: None,
            hint: None,
            attempts: 0,
            retries: Vec::new(),
            ledger: Vec::new(),
        }))
    }

    /// A [`ErrorKind::Config`] error.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// A [`ErrorKind::BadResponse`] error.
    pub fn bad_response(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadResponse, message)
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what had arrived; nothing is added when nothing had. Tokens that were counted are something.
    #[must_use]
    pub fn with_partial(mut self, partial: Completion) -> Self {
        if !partial.is_empty() || partial.usage.is_some() {
            self.partial = Some(Box::new(partial));
        }
        self
    }

    /// Whether the server says that it is still loading the model (llama.cpp, Xinference, Hugging Face).
    pub fn is_loading(&self) -> bool {
        crate::verdict::is_loading(self.kind, &self.message)
    }

    /// Names the link that failed.
    #[must_use]
    pub fn with_link(mut self, link: Link) -> Self {
        self.link = Some(link);
        self
    }

    /// Sets whether a repetition may succeed.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }
}

impl std::ops::Deref for LlmError {
    type Target = Details;
    fn deref(&self) -> &Details {
        &self.0
    }
}

impl std::ops::DerefMut for LlmError {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

impl fmt::Display for LlmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(status) = self.status_code {
            write!(f, " [HTTP {status}]")?;
        }
        if let Some(url) = &self.url {
            write!(f, " ({url})")?;
        }
        if self.attempts > 1 {
            write!(f, " after {} attempts", self.attempts)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, ". Hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for LlmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for LlmError {}
