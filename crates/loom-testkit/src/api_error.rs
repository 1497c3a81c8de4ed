//! Errors in OpenAI's shape: `{"error":{"message","type","param","code"}}`.

use serde_json::json;

use crate::reply::Reply;
use crate::request::RecordedRequest;

/// A refusal, as OpenAI words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) message: String,
    /// The field `type`.
    pub(crate) kind: &'static str,
    /// The parameter that is to blame, if one is.
    pub(crate) param: Option<String>,
    /// A name for the error that programs can match on, if it has one.
    pub(crate) code: Option<&'static str>,
}

impl ApiError {
    /// A 400 that blames no parameter.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into(), kind: "invalid_request_error", param: None, code: None }
    }

    /// An error of the type that OpenAI gives to this status.
    pub(crate) fn of_status(status: u16, message: impl Into<String>) -> Self {
        let kind = match status {
            401 => "authentication_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        Self { status, kind, ..Self::invalid(message) }
    }

    /// A 400 that blames `param`.
    pub(crate) fn invalid_param(
        param: impl Into<String>,
        code: impl Into<Option<&'static str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { param: Some(param.into()), code: code.into(), ..Self::invalid(message) }
    }

    pub(crate) fn no_such_path(request: &RecordedRequest) -> Self {
        Self { status: 404, ..Self::invalid(format!("Invalid URL ({} {})", request.method, request.path)) }
    }

    pub(crate) fn into_reply(self) -> Reply {
        let error =
            json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
        Reply::json(self.status, &json!({ "error": error }))
    }
}
