//! Rust's errors as the Python exceptions of `loom.errors`.

use loom::agent::Limit;
use loom::{AgentError, LlmError, SessionError};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::completion::Completion;
use crate::convert;
use crate::run::Run;

fn build<'py>(py: Python<'py>, error: &LlmError) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("link", error.link.map(loom::Link::as_str))?;
    fields.set_item("status_code", error.status_code)?;
    fields.set_item("retryable", error.retryable)?;
    fields.set_item("retry_after", error.retry_after.map(|wait| wait.as_secs_f64()))?;
    fields.set_item("request_id", &error.request_id)?;
    fields.set_item("url", &error.url)?;
    fields.set_item("body", &error.body)?;
    fields.set_item("code", &error.code)?;
    fields.set_item("param", &error.param)?;
    fields.set_item("context_limit", error.context_limit)?;
    fields.set_item("requested_tokens", error.requested_tokens)?;
    fields.set_item("hint", &error.hint)?;
    fields.set_item("attempts", error.attempts)?;
    fields.set_item("ledger", convert::to_py(py, &error.ledger)?)?;
    fields.set_item("retries", convert::to_py(py, &error.retries)?)?;
    if let Some(partial) = &error.partial {
        fields.set_item("partial", Completion((**partial).clone()))?;
    }
    let classes = py.import("loom.errors")?.getattr("CLASS_OF_KIND")?;
    classes.get_item(error.kind.as_str())?.call((&error.message,), Some(&fields))
}

/// A failed model call.
pub(crate) fn llm_error(py: Python<'_>, error: LlmError) -> PyErr {
    match build(py, &error) {
        Ok(exception) => PyErr::from_value(exception),
        Err(failure) => failure,
    }
}

/// A session that cannot be kept or read.
pub(crate) fn session_error(py: Python<'_>, error: &SessionError) -> PyErr {
    let build =
        || py.import("loom.errors")?.getattr("SessionError")?.call1((error.to_string(), error.kind()));
    build().map_or_else(|failure| failure, PyErr::from_value)
}

/// A failed run. The exception holds the run as it stood.
pub(crate) fn agent_error(py: Python<'_>, error: AgentError) -> PyErr {
    let (text, run) = (error.to_string(), error.run().cloned());
    let build = || -> PyResult<PyErr> {
        let exception = match &error {
            AgentError::Llm { error, .. } => build(py, error)?,
            other => py.import("loom.errors")?.getattr(class_of(other))?.call1((text.as_str(),))?,
        };
        if let AgentError::Output { problems, text, .. } = &error {
            exception.setattr("problems", convert::to_py(py, problems)?)?;
            exception.setattr("text", text)?;
        }
        if let AgentError::Limit { partial: Some(partial), .. } = &error {
            exception.setattr("partial", Completion((**partial).clone()))?;
        }
        if let Some(run) = run {
            exception.setattr("run", Run::of(run))?;
        }
        Ok(PyErr::from_value(exception))
    };
    build().unwrap_or_else(|failure| PyRuntimeError::new_err(failure.to_string()))
}

/// The name of an error's class in `loom.errors`.
fn class_of(error: &AgentError) -> &'static str {
    match error {
        AgentError::Recursion { .. } => "RecursionError",
        AgentError::Limit { limit, .. } => match limit {
            Limit::ToolCalls => "ToolCallLimitError",
            Limit::Tokens => "TokenLimitError",
            Limit::Time => "TimeLimitError",
            Limit::Cost => "CostLimitError",
            Limit::InvalidCalls => "InvalidCallsError",
            Limit::RepeatedCalls => "RepeatedCallError",
            _ => "LimitError",
        },
        AgentError::Output { .. } => "OutputError",
        AgentError::ToolChoice { .. } => "ToolChoiceError",
        AgentError::ApprovalRequired { .. } => "ApprovalRequiredError",
        AgentError::Session { .. } => "SessionError",
        AgentError::Tool(_) | AgentError::ToolFailed { .. } => "ToolError",
        _ => "ExecutionError",
    }
}
