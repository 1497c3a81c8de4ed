//! The run of an agent as Python's driver sees it: the state machine of `loom::agent::Run`.

use std::sync::Arc;

use loom::ToolSpec;
use loom::agent::{Input, Run as RustRun, Step, ToolResult};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::completion::{Completion, ToolCall};
use crate::message::Message;
use crate::{convert, errors};

/// The tools of an agent, read once, and whether they are to be described in the prompt.
#[pyclass(frozen, module = "loom._loom")]
pub(crate) struct Tools(pub(crate) Vec<ToolSpec>, pub(crate) bool);

#[pymethods]
impl Tools {
    #[new]
    #[pyo3(signature = (tools, in_prompt = false))]
    fn new(tools: &Bound<'_, PyAny>, in_prompt: bool) -> PyResult<Self> {
        convert::tools(Some(tools)).map(|specs| Self(specs, in_prompt))
    }

    /// The tools as OpenAI's dicts.
    fn to_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &self.0)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

/// What the model shall be asked.
#[pyclass(frozen, module = "loom._loom")]
pub(crate) struct Request(pub(crate) loom::Request);

#[pymethods]
impl Request {
    /// The messages as OpenAI's dicts, for LLMs written in Python.
    fn to_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let dicts = self.0.messages.iter().map(|message| convert::to_py(py, &**message));
        PyList::new(py, dicts.collect::<PyResult<Vec<_>>>()?)
    }
}

/// The state machine. Each step returns `(kind, value)`: `("model", Request)`, `("tools", [ToolCall])` or
/// `("done", Message)`.
#[pyclass(module = "loom._loom")]
pub(crate) struct Run {
    run: RustRun,
    tools: Py<Tools>,
}

#[pymethods]
impl Run {
    #[new]
    fn new(
        messages: &Bound<'_, PyAny>,
        system_prompt: Option<&str>,
        max_turns: u32,
        tools: Py<Tools>,
    ) -> PyResult<Self> {
        let mut messages = convert::messages(messages)?;
        if let Some(prompt) = system_prompt {
            messages.insert(0, Arc::new(loom::Message::system(prompt)));
        }
        Ok(Self { run: RustRun::new(messages, max_turns), tools })
    }

    #[getter]
    fn turns(&self) -> u32 {
        self.run.turns()
    }

    /// The whole conversation so far.
    #[getter]
    fn messages(&self) -> Vec<Message> {
        self.run.messages().iter().cloned().map(Message).collect()
    }

    fn start<'py>(&mut self, py: Python<'py>) -> PyResult<(&'static str, Bound<'py, PyAny>)> {
        self.step(py, Input::Start)
    }

    fn completion<'py>(
        &mut self,
        py: Python<'py>,
        completion: &Bound<'py, Completion>,
    ) -> PyResult<(&'static str, Bound<'py, PyAny>)> {
        self.step(py, Input::Completion(Box::new(completion.get().0.clone())))
    }

    /// Takes results as `(id, content, is_error)`.
    fn tool_results<'py>(
        &mut self,
        py: Python<'py>,
        results: Vec<(String, String, bool)>,
    ) -> PyResult<(&'static str, Bound<'py, PyAny>)> {
        let results = results.into_iter().map(|(id, content, is_error)| ToolResult { id, content, is_error });
        self.step(py, Input::ToolResults(results.collect()))
    }
}

impl Run {
    fn step<'py>(&mut self, py: Python<'py>, input: Input) -> PyResult<(&'static str, Bound<'py, PyAny>)> {
        let step =
            self.run.step(input, &self.tools.get().0).map_err(|error| errors::agent_error(py, error))?;
        Ok(match step {
            Step::CallModel(request) => ("model", Bound::new(py, Request(*request))?.into_any()),
            Step::CallTools(calls) => {
                let calls = calls.into_iter().map(|call| Bound::new(py, ToolCall(call)));
                ("tools", PyList::new(py, calls.collect::<PyResult<Vec<_>>>()?)?.into_any())
            }
            Step::Done(message) => ("done", Bound::new(py, Message(Arc::new(*message)))?.into_any()),
        })
    }
}
