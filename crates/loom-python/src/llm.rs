//! `Llm`: the built-in LLM.

#![allow(clippy::too_many_arguments)] // the names are openai-python's

use std::time::Duration;

use loom::{LlmSettings, Timeout, ToolChoice, UnifiedLlm};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::awaitable::{Awaitable, Job};
use crate::callback::{self, Caller};
use crate::completion::Completion;
use crate::events::EventStream;
use crate::run::Tools;
use crate::{convert, credential, errors};

#[pyclass(frozen, module = "loom._loom")]
pub(crate) struct Llm {
    llm: UnifiedLlm,
    /// Functions of the user are called on the way, so that calls must know where they were made.
    calls_python: bool,
}

impl Llm {
    fn caller(&self, py: Python<'_>) -> Option<Caller> {
        if self.calls_python { Caller::current(py) } else { None }
    }
}

#[pymethods]
impl Llm {
    #[new]
    #[pyo3(signature = (
        provider = None, api_key = None, base_url = None, model = None, timeout = None, max_retries = None,
        default_headers = None, default_query = None, extra_body = None, limits = None, parse_text = None,
        strict = None, params = None, auth = None, sign = None
    ))]
    fn new(
        py: Python<'_>,
        provider: Option<String>,
        api_key: Option<&Bound<'_, PyAny>>,
        base_url: Option<String>,
        model: Option<String>,
        timeout: Option<&Bound<'_, PyAny>>,
        max_retries: Option<u32>,
        default_headers: Option<&Bound<'_, PyDict>>,
        default_query: Option<&Bound<'_, PyDict>>,
        extra_body: Option<&Bound<'_, PyDict>>,
        limits: Option<&Bound<'_, PyDict>>,
        parse_text: Option<bool>,
        strict: Option<bool>,
        params: Option<&Bound<'_, PyDict>>,
        auth: Option<&Bound<'_, PyAny>>,
        sign: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let mut calls_python = sign.is_some();
        let mut settings = LlmSettings::default();
        if let Some(name) = provider {
            settings = settings.provider(name);
        }
        if let Some(key) = api_key {
            settings = settings.api_key(credential::key(key, &mut calls_python)?);
        }
        if let Some(auth) = auth {
            settings = settings.auth(credential::auth(auth)?);
        }
        if let Some(function) = sign {
            settings = settings.sign(credential::signer(function));
        }
        if let Some(url) = base_url {
            settings = settings.base_url(url);
        }
        if let Some(name) = model {
            settings = settings.model(name);
        }
        if let Some(timeout) = timeout {
            settings = settings.timeout(extract_timeout(timeout)?);
        }
        if let Some(retries) = max_retries {
            settings = settings.max_retries(retries);
        }
        if let Some(strict) = strict {
            settings = settings.strict(strict);
        }
        for (name, value) in default_headers.into_iter().flat_map(|headers| headers.iter()) {
            let name: String = name.extract()?;
            settings = match value.is_none() {
                true => settings.without_header(name),
                false => settings.header(name, text_of(&value)?),
            };
        }
        for (name, value) in default_query.into_iter().flat_map(|query| query.iter()) {
            if !value.is_none() {
                settings = settings.query(name.extract::<String>()?, text_of(&value)?);
            }
        }
        if let Some(limits) = limits {
            let limits = convert::from_py(limits.as_any(), "limits").map_err(|error| {
                errors::llm_error(py, loom::LlmError::config(error.value(py).to_string()))
            })?;
            settings = settings.limits(limits);
        }
        if let Some(parse) = parse_text {
            settings = settings.parse_text(parse);
        }
        for (name, value) in convert::params(params)? {
            settings = settings.param(name, value);
        }
        if let Some(fields) = extra_body {
            settings = settings.extra_body(convert::from_py(fields.as_any(), "extra_body")?);
        }
        let llm = settings.build().map_err(|error| errors::llm_error(py, error))?;
        Ok(Self { llm, calls_python })
    }

    #[getter]
    fn model_name(&self) -> String {
        loom::Llm::model_name(&self.llm)
    }

    #[getter]
    fn base_url(&self) -> String {
        self.llm.endpoint().base_url().to_string()
    }

    #[getter]
    fn provider(&self) -> &str {
        &self.llm.provider().name
    }

    /// What was bridged in all calls.
    #[getter]
    fn ledger<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &self.llm.ledger())
    }

    /// The request that was sent last and how it went, also in plain words (`text`).
    fn explain<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(explanation) = self.llm.explain() else { return Ok(None) };
        let fields = convert::to_py(py, &explanation)?;
        fields.set_item("text", explanation.to_string())?;
        Ok(Some(fields))
    }

    /// The events of a call; `deltas` says whether they are wanted as they come.
    #[pyo3(signature = (messages, tools = None, response_format = None, tool_choice = None, params = None, deltas = true))]
    fn stream(
        &self,
        messages: &Bound<'_, PyAny>,
        tools: Option<&Bound<'_, PyAny>>,
        response_format: Option<&Bound<'_, PyAny>>,
        tool_choice: Option<&Bound<'_, PyAny>>,
        params: Option<&Bound<'_, PyDict>>,
        deltas: bool,
    ) -> PyResult<EventStream> {
        let request = request(messages, tools, response_format, tool_choice, params, deltas)?;
        Ok(EventStream::new(self.llm.clone(), request, self.calls_python))
    }

    /// The completion of a call. `checked`: invalid tool arguments are an error.
    #[pyo3(signature = (messages, tools = None, response_format = None, tool_choice = None, params = None, checked = true))]
    fn generate(
        &self,
        py: Python<'_>,
        messages: &Bound<'_, PyAny>,
        tools: Option<&Bound<'_, PyAny>>,
        response_format: Option<&Bound<'_, PyAny>>,
        tool_choice: Option<&Bound<'_, PyAny>>,
        params: Option<&Bound<'_, PyDict>>,
        checked: bool,
    ) -> PyResult<Awaitable> {
        let request = request(messages, tools, response_format, tool_choice, params, false)?;
        let llm = self.llm.clone();
        let work = async move {
            if checked {
                llm.generate(request).await
            } else {
                loom::collect(loom::Llm::stream(&llm, request)).await
            }
        };
        Job::start(callback::scope(self.caller(py), work), |py, result| match result {
            Ok(completion) => Ok(Py::new(py, Completion(completion))?.into_any()),
            Err(error) => Err(errors::llm_error(py, error)),
        })
    }

    /// The ids of the models that the endpoint serves.
    fn models(&self, py: Python<'_>) -> PyResult<Awaitable> {
        let llm = self.llm.clone();
        Job::start(callback::scope(self.caller(py), async move { llm.models().await }), |py, result| {
            match result {
                Ok(ids) => Ok(ids.into_pyobject(py)?.into_any().unbind()),
                Err(error) => Err(errors::llm_error(py, error)),
            }
        })
    }
}

/// A value that is not `None`.
fn given<'a, 'py>(value: Option<&'a Bound<'py, PyAny>>) -> Option<&'a Bound<'py, PyAny>> {
    value.filter(|value| !value.is_none())
}

fn request(
    messages: &Bound<'_, PyAny>,
    tools: Option<&Bound<'_, PyAny>>,
    response_format: Option<&Bound<'_, PyAny>>,
    tool_choice: Option<&Bound<'_, PyAny>>,
    params: Option<&Bound<'_, PyDict>>,
    stream: bool,
) -> PyResult<loom::Request> {
    let tools = match given(tools) {
        None => Vec::new(),
        Some(tools) => match tools.cast::<Tools>() {
            Ok(tools) => tools.get().0.clone(),
            Err(_) => convert::tools(Some(tools))?,
        },
    };
    let mut params = convert::params(params)?;
    let extra_body = match params.shift_remove("extra_body") {
        None => serde_json::Map::new(),
        Some(serde_json::Value::Object(fields)) => fields,
        Some(_) => return Err(PyTypeError::new_err("extra_body is a dict")),
    };
    Ok(loom::Request {
        messages: convert::messages(messages)?,
        tools,
        tool_choice: given(tool_choice)
            .map(|choice| convert::from_py::<ToolChoice>(choice, "tool_choice"))
            .transpose()?,
        response_format: given(response_format)
            .map(|format| convert::from_py(format, "response_format"))
            .transpose()?,
        params,
        extra_body,
        stream,
    })
}

/// Seconds for the whole call, or an object with `connect`, `first_token`, `idle` and `total`.
fn extract_timeout(value: &Bound<'_, PyAny>) -> PyResult<Timeout> {
    if let Ok(seconds) = value.extract::<f64>() {
        return Ok(Timeout::total(duration(value.py(), seconds, "timeout")?));
    }
    let clock = |name: &str| -> PyResult<Option<Duration>> {
        let wrong = |_| wrong_timeout(value.py(), "timeout is a number of seconds or a loom.Timeout");
        let field = value.getattr(name).map_err(wrong)?;
        field
            .extract::<Option<f64>>()
            .map_err(wrong)?
            .map(|seconds| duration(value.py(), seconds, name))
            .transpose()
    };
    Ok(Timeout {
        connect: clock("connect")?,
        first_token: clock("first_token")?,
        idle: clock("idle")?,
        total: clock("total")?,
    })
}

fn wrong_timeout(py: Python<'_>, why: &str) -> PyErr {
    errors::llm_error(py, loom::LlmError::config(why))
}

fn duration(py: Python<'_>, seconds: f64, name: &str) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|limit| !limit.is_zero())
        .ok_or_else(|| wrong_timeout(py, &format!("{name}: {seconds} is not a number of seconds above 0")))
}

fn text_of(value: &Bound<'_, PyAny>) -> PyResult<String> {
    value.str()?.extract()
}
