//! Rust's errors as the Python exceptions of `loom.errors`.

use loom::{AgentError, LlmError, SessionError};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::completion::Completion;
use crate::convert;
use crate::message::Message;

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

/// A failed run.
pub(crate) fn agent_error(py: Python<'_>, error: AgentError) -> PyErr {
    let text = error.to_string();
    let build = |name: &str, transcript: Option<&[std::sync::Arc<loom::Message>]>| -> PyResult<PyErr> {
        let class = py.import("loom.errors")?.getattr(name)?;
        let exception = class.call1((text.as_str(),))?;
        if let Some(messages) = transcript {
            let messages: Vec<Message> = messages.iter().map(|message| Message(message.clone())).collect();
            exception.setattr("transcript", PyList::new(py, messages)?)?;
        }
        Ok(PyErr::from_value(exception))
    };
    let built = match error {
        AgentError::Llm(error) => return llm_error(py, error),
        AgentError::Recursion { transcript, .. } => build("RecursionError", Some(&transcript)),
        AgentError::Tool(_) => build("ToolError", None),
        _ => build("ExecutionError", None),
    };
    built.unwrap_or_else(|failure| PyRuntimeError::new_err(failure.to_string()))
}
