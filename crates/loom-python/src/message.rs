//! `Message` and `Usage`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use loom::{Content, Role};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use crate::completion::ToolCall;
use crate::convert;

/// One message. Immutable.
#[pyclass(frozen, subclass, module = "loom")]
pub(crate) struct Message(pub(crate) Arc<loom::Message>, Option<Py<PyAny>>);

impl Message {
    pub(crate) fn of(message: Arc<loom::Message>) -> Self {
        Self(message, None)
    }
}

#[pymethods]
impl Message {
    #[new]
    #[pyo3(signature = (role, content = None, *, name = None, tool_calls = None, tool_call_id = None, reasoning = None, **extra))]
    fn new(
        role: &str,
        content: Option<&Bound<'_, PyAny>>,
        name: Option<String>,
        tool_calls: Option<&Bound<'_, PyAny>>,
        tool_call_id: Option<String>,
        reasoning: Option<String>,
        extra: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let known = Role::parse(role).ok_or_else(|| {
            PyValueError::new_err(format!("role {role:?}: it is system, developer, user, assistant or tool"))
        })?;
        let mut message = loom::Message::new(known, "");
        message.content = content.map(extract_content).transpose()?;
        message.name = name;
        message.tool_call_id = tool_call_id;
        message.reasoning = reasoning;
        message.extra = convert::params(extra)?;
        if let Some(calls) = tool_calls.filter(|calls| !calls.is_none()) {
            message.tool_calls = calls
                .try_iter()?
                .map(|call| match call?.cast_into::<ToolCall>() {
                    Ok(call) => Ok(call.get().0.clone()),
                    Err(other) => convert::from_py(&other.into_inner(), "tool_calls"),
                })
                .collect::<PyResult<_>>()?;
        }
        Ok(Self::of(Arc::new(message)))
    }

    #[getter]
    fn role(&self) -> &'static str {
        self.0.role.as_str()
    }

    #[getter]
    fn content<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(match &self.0.content {
            None => None,
            Some(Content::Text(text)) => Some(PyString::new(py, text).into_any()),
            Some(parts) => Some(convert::to_py(py, parts)?),
        })
    }

    /// The text of the content; empty when there is none.
    #[getter]
    fn text(&self) -> String {
        self.0.text()
    }

    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    #[getter]
    fn tool_calls(&self) -> Vec<ToolCall> {
        self.0.tool_calls.iter().cloned().map(ToolCall).collect()
    }

    #[getter]
    fn tool_call_id(&self) -> Option<&str> {
        self.0.tool_call_id.as_deref()
    }

    #[getter]
    fn reasoning(&self) -> Option<&str> {
        self.0.reasoning.as_deref()
    }

    #[getter]
    fn refusal(&self) -> Option<&str> {
        self.0.refusal.as_deref()
    }

    #[getter]
    fn usage(&self) -> Option<Usage> {
        self.0.usage.map(Usage)
    }

    #[getter]
    fn finish_reason(&self) -> Option<&str> {
        self.0.finish_reason.as_ref().map(loom::FinishReason::as_str)
    }

    #[getter]
    fn model(&self) -> Option<&str> {
        self.0.model.as_deref()
    }

    #[getter]
    fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    #[getter]
    fn ledger<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &self.0.ledger)
    }

    /// The value of an answer that had to fit a schema, else `None`.
    #[getter]
    fn parsed<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match &self.1 {
            Some(typed) => Ok(Some(typed.bind(py).clone())),
            None => self.0.parsed.as_ref().map(|value| convert::to_py(py, value)).transpose(),
        }
    }

    /// The same, with the value of its answer as a type has it.
    fn _with_parsed(&self, typed: Py<PyAny>) -> Self {
        Self(Arc::clone(&self.0), Some(typed))
    }

    /// The message as a dict in OpenAI's form, with usage and the like where they are known.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &*self.0)
    }

    /// The message of such a dict.
    #[classmethod]
    fn from_dict(_class: &Bound<'_, PyType>, data: &Bound<'_, PyDict>) -> PyResult<Self> {
        convert::from_py(data.as_any(), "message").map(|message| Self::of(Arc::new(message)))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| *other.get().0 == *self.0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0.role, self.0.text(), &self.0.tool_call_id).hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let text = self.0.text();
        let short: String = text.chars().take(200).collect();
        let more = if short.len() < text.len() { "…" } else { "" };
        let mut shown = format!("Message(role={:?}, content={:?}{more}", self.role(), short);
        if !self.0.tool_calls.is_empty() {
            let names: Vec<&str> = self.0.tool_calls.iter().map(|call| call.name.as_str()).collect();
            shown.push_str(&format!(", tool_calls={names:?}"));
        }
        if let Some(reason) = &self.0.finish_reason {
            shown.push_str(&format!(", finish_reason={:?}", reason.as_str()));
        }
        shown + ")"
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyAny>,))> {
        let from_dict = slf.get_type().getattr("from_dict")?;
        Ok((from_dict, (slf.get().to_dict(slf.py())?,)))
    }
}

pub(crate) fn extract_content(content: &Bound<'_, PyAny>) -> PyResult<Content> {
    if let Ok(text) = content.cast::<PyString>() {
        return Ok(Content::Text(text.to_cow()?.into_owned()));
    }
    convert::from_py(content, "content").map(Content::Parts).map_err(|_| {
        PyTypeError::new_err(format!(
            "content is a str or a list of parts (dicts), not {}",
            content.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string())
        ))
    })
}

/// Tokens used; what the server did not say is `None`.
#[pyclass(frozen, eq, skip_from_py_object, module = "loom")]
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Usage(pub(crate) loom::Usage);

#[pymethods]
impl Usage {
    #[new]
    #[pyo3(signature = (prompt_tokens = None, completion_tokens = None, total_tokens = None, cached_tokens = None, reasoning_tokens = None))]
    fn new(
        prompt_tokens: Option<u64>,
        completion_tokens: Option<u64>,
        total_tokens: Option<u64>,
        cached_tokens: Option<u64>,
        reasoning_tokens: Option<u64>,
    ) -> Self {
        Self(loom::Usage { prompt_tokens, completion_tokens, total_tokens, cached_tokens, reasoning_tokens })
    }

    #[getter]
    fn prompt_tokens(&self) -> Option<u64> {
        self.0.prompt_tokens
    }

    #[getter]
    fn completion_tokens(&self) -> Option<u64> {
        self.0.completion_tokens
    }

    #[getter]
    fn total_tokens(&self) -> Option<u64> {
        self.0.total_tokens
    }

    #[getter]
    fn cached_tokens(&self) -> Option<u64> {
        self.0.cached_tokens
    }

    #[getter]
    fn reasoning_tokens(&self) -> Option<u64> {
        self.0.reasoning_tokens
    }

    #[allow(clippy::wrong_self_convention)] // Python's name
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &self.0)
    }

    fn __repr__(&self) -> String {
        let shown = |count: Option<u64>| count.map_or_else(|| "None".to_owned(), |count| count.to_string());
        format!(
            "Usage(prompt_tokens={}, completion_tokens={}, total_tokens={})",
            shown(self.0.prompt_tokens),
            shown(self.0.completion_tokens),
            shown(self.0.total_tokens)
        )
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
        let usage = slf.get().0;
        let fields = [
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
        ];
        Ok((slf.get_type(), PyTuple::new(slf.py(), fields)?))
    }
}
