//! The run of an agent as Python's driver sees it: the state machine of `loom::agent::Run`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use loom::agent::{
    ContextPolicy, Extra, Input, Offer, Outcome, Output, Run as RustRun, RunLimits, RunOptions,
    Stats as RustStats, Step, ToolResult, Used,
};
use loom::schema::{PartialJson, Problem};
use loom::session::off_the_runtime;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyType};
use serde_json::{Map, Value};

use crate::awaitable::{Awaitable, Job};
use crate::completion::{Completion, ToolCall};
use crate::message::Message;
use crate::session::Session;
use crate::{convert, errors};

/// The tools of an agent, read once, and whether they are to be described in the prompt.
#[pyclass(frozen, module = "loom._loom")]
pub(crate) struct Tools(pub(crate) Offer, pub(crate) bool);

#[pymethods]
impl Tools {
    #[new]
    #[pyo3(signature = (tools, in_prompt = false))]
    fn new(tools: &Bound<'_, PyAny>, in_prompt: bool) -> PyResult<Self> {
        convert::tools(Some(tools)).map(|specs| Self(Offer::new(specs), in_prompt))
    }

    /// The tools as OpenAI's dicts.
    fn to_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &self.0.specs())
    }

    fn __len__(&self) -> usize {
        self.0.specs().len()
    }
}

/// What the runs of an agent are asked for, read and checked once.
#[pyclass(frozen, module = "loom._loom")]
pub(crate) struct Options(RunOptions);

#[pymethods]
impl Options {
    /// `output`: a name, a JSON schema, and how often an answer that does not fit is asked for again.
    #[new]
    #[pyo3(signature = (limits, tool_choice = None, output = None, context_policy = None, context_window = None, strict = false))]
    fn new(
        py: Python<'_>,
        limits: &Bound<'_, PyAny>,
        tool_choice: Option<&Bound<'_, PyAny>>,
        output: Option<(String, Bound<'_, PyAny>, u32)>,
        context_policy: Option<&str>,
        context_window: Option<u64>,
        strict: bool,
    ) -> PyResult<Self> {
        let wrong = |message: String| errors::llm_error(py, loom::LlmError::config(message));
        let limits: RunLimits =
            convert::from_py(limits, "limits").map_err(|error| wrong(error.value(py).to_string()))?;
        limits.check().map_err(wrong)?;
        let tool_choice = tool_choice
            .map(|choice| convert::from_py(choice, "tool_choice"))
            .transpose()
            .map_err(|error| wrong(error.value(py).to_string()))?;
        let output = output
            .map(|(name, schema, max_retries)| {
                let schema = convert::from_py(&schema, "the output schema")
                    .map_err(|error| wrong(error.value(py).to_string()))?;
                let mut output = Output::new(&name, schema).map_err(|error| errors::llm_error(py, error))?;
                output.max_retries = max_retries;
                Ok::<_, PyErr>(output)
            })
            .transpose()?;
        let context_policy = context_policy.map(ContextPolicy::parse).transpose().map_err(wrong)?;
        Ok(Self(RunOptions { limits, tool_choice, output, context_policy, context_window, strict }))
    }
}

/// What an agent has done so far.
#[pyclass(frozen, module = "loom._loom")]
pub(crate) struct Stats(RustStats);

#[pymethods]
impl Stats {
    #[new]
    fn new() -> Self {
        Self(RustStats::default())
    }

    /// Adds a run that has ended: `"answered"`, `"paused"` or `"failed"`.
    fn add(&self, outcome: &str, run: &Run) {
        let outcome = match outcome {
            "answered" => Outcome::Answered,
            "paused" => Outcome::Paused,
            _ => Outcome::Failed,
        };
        self.0.add(outcome, &run.run.used().since(&run.before));
    }

    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &self.0.snapshot())
    }
}

/// What the model shall be asked. It is taken out by the LLM that is asked.
#[pyclass(frozen, module = "loom._loom")]
pub(crate) struct Request(Mutex<loom::Request>);

impl Request {
    pub(crate) fn take(&self) -> loom::Request {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl Request {
    /// The messages as OpenAI's dicts, and the keyword arguments for an LLM written in Python.
    fn arguments<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyDict>)> {
        let request = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = |(name, value): (String, Option<String>)| (name, value.into());
        let headers: Map<String, Value> = request.extra_headers.into_iter().map(text).collect();
        let query = request.extra_query.into_iter().map(|(name, value)| (name, value.into())).collect();
        let body = request.extra_body;
        let dicts = request.messages.iter().map(|message| convert::to_py(py, &**message));
        let messages = PyList::new(py, dicts.collect::<PyResult<Vec<_>>>()?)?;
        let arguments = PyDict::new(py);
        if !request.tools.is_empty() {
            arguments.set_item("tools", convert::to_py(py, &request.tools)?)?;
        }
        if let Some(format) = &request.response_format {
            arguments.set_item("response_format", convert::to_py(py, format)?)?;
        }
        if let Some(choice) = &request.tool_choice {
            arguments.set_item("tool_choice", convert::to_py(py, choice)?)?;
        }
        for (name, fields) in [("extra_headers", headers), ("extra_query", query), ("extra_body", body)] {
            if !fields.is_empty() {
                arguments.set_item(name, convert::to_py(py, &fields)?)?;
            }
        }
        Ok((messages, arguments))
    }
}

/// JSON that is still being written.
#[pyclass(module = "loom._loom")]
pub(crate) struct Partial(PartialJson);

#[pymethods]
impl Partial {
    /// Adds text, and returns the value so far, if it has grown.
    fn push<'py>(&mut self, py: Python<'py>, text: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.push(text).map(|value| convert::to_py(py, &value)).transpose()
    }
}

type Stepped<'py> = (&'static str, Bound<'py, PyAny>);

/// A run: the conversation so far, and where it stands. It can be stored between any two steps and resumed elsewhere.
#[pyclass(module = "loom")]
pub(crate) struct Run {
    run: RustRun,
    tools: Option<Py<Tools>>,
    /// Whom the driver asks.
    llm: Option<Py<PyAny>>,
    /// What is added to each request.
    extra: Extra,
    /// What it had used before this driver took it on.
    before: Used,
    clock: Option<Instant>,
}

impl Run {
    pub(crate) fn of(run: RustRun) -> Self {
        Self { before: *run.used(), run, tools: None, llm: None, extra: Extra::default(), clock: None }
    }
}

#[pymethods]
impl Run {
    #[new]
    #[pyo3(signature = (messages, system_prompt, options))]
    fn new(
        messages: &Bound<'_, PyAny>,
        system_prompt: Option<&str>,
        options: &Bound<'_, Options>,
    ) -> PyResult<Self> {
        let mut messages = convert::messages(messages)?;
        if let Some(prompt) = system_prompt {
            messages.insert(0, Arc::new(loom::Message::system(prompt)));
        }
        Ok(Self::of(RustRun::new(messages, options.get().0.clone())))
    }

    /// A run that was stored by `to_json`, in Python or in Rust.
    #[classmethod]
    fn from_json(cls: &Bound<'_, PyType>, text: &str) -> PyResult<Self> {
        RustRun::from_json(text).map(Self::of).map_err(|error| errors::agent_error(cls.py(), error))
    }

    fn to_json(&self) -> String {
        self.run.to_json()
    }

    fn __copy__(&self) -> Self {
        Self::of(self.run.clone())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((slf.get_type().getattr("from_json")?, (slf.borrow().to_json(),)))
    }

    #[getter]
    fn turns(&self) -> u32 {
        self.run.turns()
    }

    #[getter]
    fn is_done(&self) -> bool {
        self.run.is_done()
    }

    /// The whole conversation so far.
    #[getter]
    fn messages(&self) -> Vec<Message> {
        self.run.messages().iter().cloned().map(Message::of).collect()
    }

    /// What the run has added to the conversation.
    #[getter]
    fn new_messages(&self) -> Vec<Message> {
        self.run.new_messages().iter().cloned().map(Message::of).collect()
    }

    /// What it has used of its limits.
    #[getter]
    fn used<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, self.run.used())
    }

    #[getter]
    fn ledger<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &self.run.ledger())
    }

    /// What is there of the answer's value while it is written; `None` if any text is an answer.
    fn partial(&self) -> Option<Partial> {
        self.run.output().map(|output| Partial(output.partial()))
    }

    /// The calls that wait for approval.
    #[getter]
    fn held(&self) -> Vec<ToolCall> {
        self.run.held().into_iter().map(ToolCall).collect()
    }

    #[pyo3(signature = (id = None))]
    fn approve(&mut self, py: Python<'_>, id: Option<&str>) -> PyResult<()> {
        self.run.approve(id).map_err(|error| errors::agent_error(py, error))
    }

    #[pyo3(signature = (id = None, reason = ""))]
    fn deny(&mut self, py: Python<'_>, id: Option<&str>, reason: &str) -> PyResult<()> {
        self.run.deny(id, reason).map_err(|error| errors::agent_error(py, error))
    }

    fn is_approved(&self, id: &str) -> bool {
        self.run.is_approved(id)
    }

    /// Begins to drive the run, or goes on with it, within these limits. `llm`: whom the driver asks. `extra`:
    /// `extra_headers`, `extra_query` and `extra_body` of each request.
    #[pyo3(signature = (tools, options, llm = None, extra = None))]
    fn start<'py>(
        &mut self,
        py: Python<'py>,
        tools: Py<Tools>,
        options: &Bound<'py, Options>,
        llm: Option<Py<PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Stepped<'py>> {
        self.extra = convert::extra(&mut convert::params(extra)?)?;
        self.run.limits_mut().clone_from(&options.get().0.limits);
        self.before = *self.run.used();
        self.clock = Some(Instant::now());
        self.tools = Some(tools);
        self.llm = llm;
        self.step(py, Input::Start)
    }

    fn completion<'py>(
        &mut self,
        py: Python<'py>,
        completion: &Bound<'py, Completion>,
    ) -> PyResult<Stepped<'py>> {
        self.step(py, Input::Completion(Box::new(completion.get().0.clone())))
    }

    /// The answer's type refuses the value, for this reason.
    fn refuse<'py>(&mut self, py: Python<'py>, why: String) -> PyResult<Stepped<'py>> {
        self.step(py, Input::Refused(vec![Problem { path: String::new(), message: why }]))
    }

    /// These calls wait for approval.
    fn hold<'py>(&mut self, py: Python<'py>, ids: Vec<String>) -> PyResult<Stepped<'py>> {
        self.step(py, Input::Held(ids))
    }

    /// Offers other tools from now on.
    fn set_tools(&mut self, tools: Py<Tools>) {
        self.tools = Some(tools);
    }

    /// Takes results as `(id, content, is_error)`; the content is a text or a list of parts.
    fn tool_results<'py>(
        &mut self,
        py: Python<'py>,
        results: Vec<(String, Bound<'py, PyAny>, bool)>,
    ) -> PyResult<Stepped<'py>> {
        let results = results
            .into_iter()
            .map(|(id, content, is_error)| {
                Ok(ToolResult { id, content: convert::from_py(&content, "the result of a tool")?, is_error })
            })
            .collect::<PyResult<_>>()?;
        self.step(py, Input::ToolResults(results))
    }

    /// Starts from what was said in the session, of which `offset` messages of the run are no part.
    fn open_session(
        slf: &Bound<'_, Self>,
        session: &Bound<'_, Session>,
        offset: usize,
        model: String,
    ) -> PyResult<Awaitable> {
        let (run, session) = (slf.clone().unbind(), session.get().0.clone());
        Job::start(off_the_runtime(move || session.load()), move |py, loaded| {
            let loaded = loaded.map_err(|error| errors::session_error(py, &error))?;
            run.borrow_mut(py).run.continue_session(offset, loaded.messages, &loaded.context, &model);
            Ok(py.None())
        })
    }

    /// Adds to the session what it lacks of the run.
    fn keep(slf: &Bound<'_, Self>, session: &Bound<'_, Session>, model: &str) -> PyResult<Awaitable> {
        let (run, session) = (slf.clone().unbind(), session.get().0.clone());
        let unkept = Arc::new(slf.borrow_mut().run.take_unkept(model));
        let adding = Arc::clone(&unkept);
        Job::start(off_the_runtime(move || adding.add_to(&session)), move |py, kept| {
            kept.map(|()| py.None()).map_err(|error| {
                run.borrow_mut(py).run.not_kept(&unkept);
                errors::session_error(py, &error)
            })
        })
    }

    /// As `keep`, at once: for a run that is left before its end, when nothing can be awaited any more.
    fn keep_now(&mut self, py: Python<'_>, session: &Bound<'_, Session>, model: &str) -> PyResult<()> {
        let (session, unkept) = (session.get().0.clone(), self.run.take_unkept(model));
        py.detach(|| unkept.add_to(&session)).map_err(|error| {
            self.run.not_kept(&unkept);
            errors::session_error(py, &error)
        })
    }

    /// The server refused the request as too long: the next step, or `None` if nothing can be left out.
    fn overflowed<'py>(
        &mut self,
        py: Python<'py>,
        context_limit: Option<u64>,
        requested_tokens: Option<u64>,
    ) -> PyResult<Option<Stepped<'py>>> {
        let mut error = loom::LlmError::new(loom::ErrorKind::ContextLength, "the conversation is too long");
        (error.context_limit, error.requested_tokens) = (context_limit, requested_tokens);
        if !self.run.may_compact(&error) {
            return Ok(None);
        }
        self.step(py, Input::Failed(error)).map(Some)
    }

    /// The summary that was asked for, or why there is none.
    fn summary<'py>(&mut self, py: Python<'py>, summary: &Bound<'py, PyAny>) -> PyResult<Stepped<'py>> {
        let summary = match summary.cast::<Completion>() {
            Ok(completion) => Ok(Box::new(completion.get().0.clone())),
            Err(_) => Err(loom::LlmError::bad_response(summary.extract::<String>()?)),
        };
        self.step(py, Input::Summary(summary))
    }

    /// What is to be told of the last step, as events.
    fn reports<'py>(&mut self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.run.take_reports().iter().map(|event| convert::to_py(py, event)).collect()
    }

    /// Seconds that are left, or `None` for any number.
    fn time_left(&mut self) -> Option<f64> {
        let most = self.run.limits().max_seconds?;
        self.keep_time();
        Some((most - self.run.used().seconds).max(0.0))
    }

    /// Raises that the time is up. `partial`: what had arrived of an answer.
    #[pyo3(signature = (partial = None))]
    fn out_of_time(&mut self, py: Python<'_>, partial: Option<&Bound<'_, Completion>>) -> PyResult<()> {
        self.keep_time();
        Err(errors::agent_error(py, self.run.out_of_time(partial.map(|partial| partial.get().0.clone()))))
    }

    fn __repr__(&self) -> String {
        let state = if self.run.is_done() { "done" } else { "open" };
        format!("Run({state}, messages={}, turns={})", self.run.messages().len(), self.run.turns())
    }
}

impl Run {
    fn keep_time(&mut self) {
        let now = Instant::now();
        if let Some(since) = self.clock.replace(now) {
            self.run.add_seconds((now - since).as_secs_f64());
        }
    }

    fn step<'py>(&mut self, py: Python<'py>, input: Input) -> PyResult<Stepped<'py>> {
        self.keep_time();
        let Some(tools) = &self.tools else {
            return Err(errors::agent_error(
                py,
                loom::AgentError::Execution("start the run first: agent.run(run)".to_owned()),
            ));
        };
        let Tools(offer, in_prompt) = tools.get();
        // An LLM of the user's own may not know, or say it in a form of its own.
        let window = || self.llm.as_ref()?.getattr(py, "context_window").ok()?.extract(py).ok();
        self.run.learn_window(window);
        let step = self.run.step(input, offer).map_err(|error| errors::agent_error(py, error))?;
        let calls = |calls: Vec<loom::ToolCall>| -> PyResult<Bound<'py, PyAny>> {
            let calls = calls.into_iter().map(|call| Bound::new(py, ToolCall(call)));
            Ok(PyList::new(py, calls.collect::<PyResult<Vec<_>>>()?)?.into_any())
        };
        let ask = |request: loom::Request| -> PyResult<Bound<'py, PyAny>> {
            Ok(Bound::new(py, Request(Mutex::new(self.extra.added_to(request))))?.into_any())
        };
        Ok(match step {
            Step::CallModel(request) => {
                ("model", ask(loom::Request { tools_in_prompt: *in_prompt, ..*request })?)
            }
            Step::Summarize(request) => ("summary", ask(*request)?),
            Step::CallTools(open) => ("tools", calls(open)?),
            Step::Pause(held) => ("pause", calls(held)?),
            Step::Done(message) => ("done", Bound::new(py, Message::of(Arc::new(*message)))?.into_any()),
        })
    }
}
