//! The question whether a path rather than a model is missing, and the error when its alternative is missing as well.

use loom_wire::{ErrorKind, LlmError};

use crate::endpoint::BaseUrl;

/// Whether a refusal says that the path does not exist, and not the model.
pub(crate) fn is_wrong_path(error: &LlmError) -> bool {
    let web_page = error.kind == ErrorKind::BadResponse
        && error.body.as_deref().is_some_and(loom_wire::api_error::is_html);
    let missing = error.kind == ErrorKind::NotFound && matches!(error.status_code, None | Some(404 | 405));
    web_page
        || (missing
            && !error.message.to_lowercase().contains("model")
            // Azure calls a model that is served a deployment.
            && !matches!(error.code.as_deref(), Some("model_not_found" | "DeploymentNotFound")))
}

/// The error when the alternative path failed as well.
pub(crate) fn path_error(mut original: LlmError, tried: &BaseUrl, other: &LlmError) -> LlmError {
    if !is_wrong_path(other) {
        // The alternative exists and says something of its own: that is the answer.
        return other.clone();
    }
    original.hint = Some(format!("{tried} was tried as well, and is not there either: check the base URL"));
    original.attempts = other.attempts.max(original.attempts);
    original
}
