//! `Completion`, `ToolCall`, and the collector that sums up the events of an LLM written in Python.

use loom::{Event, Finish, FinishReason};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::convert;
use crate::errors;
use crate::message::{Message, Usage};

/// A call that the model made.
#[pyclass(frozen, eq, skip_from_py_object, module = "loom")]
#[derive(Clone, PartialEq)]
pub(crate) struct ToolCall(pub(crate) loom::ToolCall);

#[pymethods]
impl ToolCall {
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// The arguments; empty when they are invalid.
    #[getter]
    fn arguments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // Python's own parser: it keeps integers of any size.
        let text = if self.0.invalid.is_none() { self.0.arguments.as_str() } else { "{}" };
        py.import("json")?.call_method1("loads", (text,))
    }

    /// The arguments as the model wrote them.
    #[getter]
    fn arguments_text(&self) -> &str {
        &self.0.arguments
    }

    /// Why the arguments cannot be used, or `None`.
    #[getter]
    fn invalid(&self) -> Option<&str> {
        self.0.invalid.as_deref()
    }

    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &self.0.to_flat())
    }

    /// The call of such a dict, or of OpenAI's nested form.
    #[classmethod]
    fn from_dict(_class: &Bound<'_, PyType>, data: &Bound<'_, PyDict>) -> PyResult<Self> {
        convert::from_py(data.as_any(), "tool call").map(Self)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyAny>,))> {
        Ok((slf.get_type().getattr("from_dict")?, (convert::to_py(slf.py(), &slf.get().0)?,)))
    }

    fn __repr__(&self) -> String {
        format!("ToolCall(id={:?}, name={:?}, arguments={})", self.0.id, self.0.name, self.0.arguments)
    }
}

/// A whole answer.
#[pyclass(frozen, module = "loom")]
pub(crate) struct Completion(pub(crate) loom::Completion);

#[pymethods]
impl Completion {
    #[getter]
    fn content(&self) -> &str {
        &self.0.content
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
    fn tool_calls(&self) -> Vec<ToolCall> {
        self.0.tool_calls.iter().cloned().map(ToolCall).collect()
    }

    #[getter]
    fn finish_reason(&self) -> Option<&str> {
        self.0.finish_reason.as_ref().map(FinishReason::as_str)
    }

    #[getter]
    fn usage(&self) -> Option<Usage> {
        self.0.usage.map(Usage)
    }

    #[getter]
    fn model(&self) -> Option<&str> {
        self.0.model.as_deref()
    }

    #[getter]
    fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    #[getter]
    fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    #[getter]
    fn queue_seconds(&self) -> Option<f64> {
        self.0.queue_seconds
    }

    #[getter]
    fn ledger<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &self.0.ledger)
    }

    /// The completion as an assistant message.
    fn to_message(&self) -> Message {
        Message::of(std::sync::Arc::new(self.0.clone().into()))
    }

    /// The events whose sum this is, but for the finish.
    fn events<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let completion = &self.0;
        let mut events = Vec::new();
        if let Some(content) = completion.reasoning.clone() {
            events.push(Event::ReasoningDelta { content });
        }
        if !completion.content.is_empty() {
            events.push(Event::ContentDelta { content: completion.content.clone() });
        }
        if !completion.tool_calls.is_empty() {
            events.push(Event::ToolCalls { tool_calls: completion.tool_calls.clone() });
        }
        events.extend(completion.usage.map(Event::Usage));
        events.into_iter().map(|event| crate::events::event_dict(py, event)).collect()
    }

    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &self.0)
    }

    /// The completion of such a dict.
    #[classmethod]
    fn from_dict(_class: &Bound<'_, PyType>, data: &Bound<'_, PyDict>) -> PyResult<Self> {
        convert::from_py(data.as_any(), "completion").map(Self)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyAny>,))> {
        Ok((slf.get_type().getattr("from_dict")?, (slf.get().to_dict(slf.py())?,)))
    }

    fn __repr__(&self) -> String {
        let names: Vec<&str> = self.0.tool_calls.iter().map(|call| call.name.as_str()).collect();
        let reason = self.finish_reason().map_or_else(|| "None".to_owned(), |reason| format!("{reason:?}"));
        format!("Completion(content={:?}, tool_calls={names:?}, finish_reason={reason})", self.0.content)
    }
}

/// Sums up the event dicts of an LLM written in Python. Kinds of events that it does not know are left alone.
#[pyclass(module = "loom._loom")]
#[derive(Default)]
pub(crate) struct Collector {
    completion: loom::Completion,
    finished: bool,
}

#[pymethods]
impl Collector {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Adds an event.
    fn add(&mut self, event: &Bound<'_, PyDict>) -> PyResult<()> {
        let text = |key: &str| -> PyResult<Option<String>> {
            event.get_item(key)?.filter(|value| !value.is_none()).map(|value| value.extract()).transpose()
        };
        let kind =
            text("type")?.ok_or_else(|| PyTypeError::new_err("an event of an LLM needs a \"type\""))?;
        let event = match kind.as_str() {
            "content_delta" => Event::ContentDelta { content: text("content")?.unwrap_or_default() },
            "reasoning_delta" => Event::ReasoningDelta { content: text("content")?.unwrap_or_default() },
            "tool_calls" => {
                let calls = event.get_item("tool_calls")?.filter(|calls| !calls.is_none());
                let mut calls: Vec<loom::ToolCall> = calls
                    .map(|calls| convert::from_py(&calls, "tool_calls"))
                    .transpose()?
                    .unwrap_or_default();
                for (at, call) in calls.iter_mut().enumerate() {
                    if call.id.is_empty() {
                        call.id = format!("call_{at}");
                    }
                }
                Event::ToolCalls { tool_calls: calls }
            }
            "usage" => Event::Usage(convert::from_py(&usage_of(event)?, "usage")?),
            "finish" => {
                self.finished = true;
                let ledger = event.get_item("ledger")?.filter(|ledger| !ledger.is_none());
                Event::Finish(Box::new(Finish {
                    finish_reason: text("finish_reason")?.map(|word| FinishReason::from_wire(&word).0),
                    model: text("model")?,
                    id: text("id")?,
                    request_id: text("request_id")?,
                    refusal: text("refusal")?,
                    content: text("content")?,
                    ledger: ledger
                        .map(|ledger| convert::from_py(&ledger, "ledger"))
                        .transpose()?
                        .unwrap_or_default(),
                    ..Finish::default()
                }))
            }
            _ => return Ok(()),
        };
        self.completion.absorb(&event);
        Ok(())
    }

    /// The sum; an error if the LLM ended without a `finish` event and without anything else.
    fn completion(&mut self, py: Python<'_>) -> PyResult<Completion> {
        let completion = std::mem::take(&mut self.completion);
        if !self.finished && completion.is_empty() {
            let error = loom::LlmError::new(
                loom::ErrorKind::StreamInterrupted,
                "the LLM's stream ended without any event and without a finish event",
            );
            return Err(errors::llm_error(py, error));
        }
        Ok(Completion(completion))
    }

    /// What has come so far.
    fn partial(&self) -> Completion {
        Completion(self.completion.clone())
    }
}

/// The counts, whether they stand in the event itself or in its "usage".
fn usage_of<'py>(event: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    let source = match event.get_item("usage")? {
        Some(inner) if inner.is_instance_of::<PyDict>() => inner.cast_into::<PyDict>()?,
        _ => event.clone(),
    };
    let counts = PyDict::new(event.py());
    for key in ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"] {
        let count = source.get_item(key)?.and_then(|count| count.extract::<u64>().ok());
        counts.set_item(key, count)?;
    }
    Ok(counts.into_any())
}
