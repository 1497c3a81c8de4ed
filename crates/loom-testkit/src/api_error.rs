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

    pub(crate) fn wrong_method(request: &RecordedRequest) -> Self {
        let message = format!(
            "Not allowed to {} on {}. (HINT: Perhaps you meant to use a different HTTP method?)",
            request.method, request.path
        );
        Self { status: 405, code: Some("method_not_supported"), ..Self::invalid(message) }
    }

    pub(crate) fn no_such_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        Self { status: 404, code: Some("model_not_found"), ..Self::invalid(message) }
    }

    /// The key itself is never repeated: what a server says ends up in logs.
    pub(crate) fn wrong_key(key_given: bool) -> Self {
        let (message, code) = if key_given {
            ("Incorrect API key provided.", Some("invalid_api_key"))
        } else {
            (
                "You didn't provide an API key. You need to provide your API key in an Authorization header \
                 using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                None,
            )
        };
        Self { status: 401, code, ..Self::invalid(message) }
    }

    pub(crate) fn into_reply(self) -> Reply {
        let error =
            json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
        Reply::json(self.status, &json!({ "error": error }))
    }
}
