//! `Llm`: the built-in LLM.

#![allow(clippy::too_many_arguments)] // the names are openai-python's

use std::sync::Arc;
use std::time::Duration;

use loom::endpoint::RateLimits;
use loom::{LlmSettings, Pool, PoolMember, Timeout, ToolChoice, UnifiedLlm};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::adapter::PythonAdapter;
use crate::awaitable::{Awaitable, Job};
use crate::callback::{self, Caller};
use crate::completion::Completion;
use crate::events::EventStream;
use crate::http_client::Httpx;
use crate::run::{Request, Tools};
use crate::{convert, credential, errors};

#[pyclass(frozen, module = "loom._loom")]
pub(crate) struct Llm {
    llm: Arc<dyn loom::Llm>,
    kind: Kind,
    /// Functions of the user are called on the way, so that calls must know where they were made.
    calls_python: bool,
}

/// What an LLM is beside something that can be asked.
enum Kind {
    Unified(UnifiedLlm),
    Pool(Pool),
}

/// LLM, name, weight, whether it is a fallback, context in tokens.
type Member<'py> = (Bound<'py, Llm>, Option<String>, f64, bool, Option<u64>);

#[pymethods]
impl Llm {
    #[new]
    #[pyo3(signature = (
        provider = None, api_key = None, base_url = None, model = None, timeout = None, max_retries = None,
        default_headers = None, default_query = None, extra_body = None, limits = None, parse_text = None, strict = None,
        drop_params = None, profile = None, params = None, auth = None, sign = None, network = None, http_client = None,
        max_concurrency = None, requests_per_minute = None, tokens_per_minute = None, adapter = None
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
        drop_params: Option<bool>,
        profile: Option<&Bound<'_, PyDict>>,
        params: Option<&Bound<'_, PyDict>>,
        auth: Option<&Bound<'_, PyAny>>,
        sign: Option<Py<PyAny>>,
        network: Option<&Bound<'_, PyDict>>,
        http_client: Option<Py<PyAny>>,
        max_concurrency: Option<u32>,
        requests_per_minute: Option<u32>,
        tokens_per_minute: Option<u32>,
        adapter: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mut calls_python = sign.is_some() || http_client.is_some();
        let mut settings = LlmSettings::default().rate_limits(RateLimits {
            max_concurrency,
            requests_per_minute,
            tokens_per_minute,
        });
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
        if let Some(client) = http_client {
            settings = settings.transport(Httpx(Arc::new(client)));
        }
        if let Some(adapter) = adapter {
            settings = settings.adapter(PythonAdapter::new(adapter)?);
        }
        if let Some(network) = network {
            settings = settings.network(credential::network(network)?);
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
        if let Some(allowed) = drop_params {
            settings = settings.drop_params(allowed);
        }
        if let Some(profile) = profile {
            settings = settings.profile(convert::from_py(profile.as_any(), "profile").map_err(|error| {
                errors::llm_error(py, loom::LlmError::config(error.value(py).to_string()))
            })?);
        }
        if let Some(pool) = settings.pool().transpose() {
            return Self::of_pool(py, pool, calls_python);
        }
        let llm = settings.build().map_err(|error| errors::llm_error(py, error))?;
        Ok(Self { llm: Arc::new(llm.clone()), kind: Kind::Unified(llm), calls_python })
    }

    /// Several LLMs as one.
    #[staticmethod]
    #[pyo3(signature = (members, sticky, failover_on = None, max_retries = None, max_failures = None, cooldown = None, timeout = None))]
    fn pool(
        py: Python<'_>,
        members: Vec<Member<'_>>,
        sticky: bool,
        failover_on: Option<&Bound<'_, PyAny>>,
        max_retries: Option<u32>,
        max_failures: Option<u32>,
        cooldown: Option<f64>,
        timeout: Option<f64>,
    ) -> PyResult<Self> {
        let calls_python = members.iter().any(|(llm, ..)| llm.get().calls_python);
        let timeout = timeout.map(|seconds| duration(py, seconds, "timeout")).transpose()?;
        let mut pool = Pool::builder().sticky(sticky).timeout(timeout);
        for (llm, name, weight, is_fallback, context_window) in members {
            let mut member = PoolMember::new(Arc::clone(&llm.get().llm)).weight(weight);
            if let Some(name) = name {
                member = member.name(name);
            }
            if is_fallback {
                member = member.fallback();
            }
            if let Some(tokens) = context_window {
                member = member.context_window(tokens);
            }
            pool = pool.member(member);
        }
        if let Some(kinds) = failover_on {
            pool = pool.failover_on(convert::from_py::<Vec<loom::ErrorKind>>(kinds, "failover_on")?);
        }
        if let Some(retries) = max_retries {
            pool = pool.max_retries(retries);
        }
        if let Some(failures) = max_failures {
            pool = pool.max_failures(failures);
        }
        if let Some(seconds) = cooldown {
            pool = pool.cooldown(duration(py, seconds, "cooldown")?);
        }
        Self::of_pool(py, pool.build(), calls_python)
    }

    /// How the members of a pool are doing; `None` for an LLM that is no pool.
    fn members<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match &self.kind {
            Kind::Pool(pool) => convert::to_py(py, &pool.members()).map(Some),
            Kind::Unified(_) => Ok(None),
        }
    }

    #[getter]
    fn model_name(&self) -> String {
        self.llm.model_name()
    }

    /// How many tokens the model's context holds, as far as the server has said it.
    #[getter]
    fn context_window(&self) -> Option<u64> {
        self.llm.context_window()
    }

    #[getter]
    fn is_strict(&self) -> bool {
        self.llm.is_strict()
    }

    #[getter]
    fn base_url(&self) -> PyResult<String> {
        self.unified().map(|llm| llm.endpoint().base_url().to_string())
    }

    #[getter]
    fn provider(&self) -> PyResult<&str> {
        self.unified().map(|llm| llm.provider().name.as_str())
    }

    /// What was bridged in all calls.
    #[getter]
    fn ledger<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &self.unified()?.ledger())
    }

    /// The request that was sent last and how it went, also in plain words (`text`).
    fn explain<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(explanation) = self.unified()?.explain() else { return Ok(None) };
        let fields = convert::to_py(py, &explanation)?;
        fields.set_item("text", explanation.to_string())?;
        Ok(Some(fields))
    }

    #[getter]
    fn server(&self) -> Option<&'static str> {
        self.unified().ok()?.server()
    }

    /// The events of a call; `deltas` says whether they are wanted as they come, `batched` that they are handed over as
    /// lists of what has arrived.
    #[pyo3(signature = (messages, tools = None, response_format = None, tool_choice = None, params = None, deltas = true, batched = false))]
    fn stream(
        &self,
        messages: &Bound<'_, PyAny>,
        tools: Option<&Bound<'_, PyAny>>,
        response_format: Option<&Bound<'_, PyAny>>,
        tool_choice: Option<&Bound<'_, PyAny>>,
        params: Option<&Bound<'_, PyDict>>,
        deltas: bool,
        batched: bool,
    ) -> PyResult<EventStream> {
        let request = request(messages, tools, response_format, tool_choice, params, deltas)?;
        Ok(EventStream::new(Arc::clone(&self.llm), request, self.calls_python, batched))
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
        let llm = Arc::clone(&self.llm);
        let work = async move {
            if checked {
                loom::generate(&*llm, request).await
            } else {
                loom::collect(llm.stream(request)).await
            }
        };
        Job::start(callback::scope(self.caller(py), work), |py, result| match result {
            Ok(completion) => Ok(Py::new(py, Completion(completion))?.into_any()),
            Err(error) => Err(errors::llm_error(py, error)),
        })
    }

    /// The ids of the models that the endpoint serves.
    fn models(&self, py: Python<'_>) -> PyResult<Awaitable> {
        let llm = self.unified()?.clone();
        Job::start(callback::scope(self.caller(py), async move { llm.models().await }), |py, result| {
            match result {
                Ok(ids) => Ok(ids.into_pyobject(py)?.into_any().unbind()),
                Err(error) => Err(errors::llm_error(py, error)),
            }
        })
    }
}

impl Llm {
    fn caller(&self, py: Python<'_>) -> Option<Arc<Caller>> {
        if self.calls_python { Caller::current(py) } else { None }
    }

    fn of_pool(py: Python<'_>, pool: Result<Pool, loom::LlmError>, calls_python: bool) -> PyResult<Self> {
        let pool = pool.map_err(|error| errors::llm_error(py, error))?;
        Ok(Self { llm: Arc::new(pool.clone()), kind: Kind::Pool(pool), calls_python })
    }

    fn unified(&self) -> PyResult<&UnifiedLlm> {
        match &self.kind {
            Kind::Unified(llm) => Ok(llm),
            Kind::Pool(_) => Err(PyTypeError::new_err("a pool has no endpoint of its own: ask its members")),
        }
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
    if let Ok(request) = messages.cast::<Request>() {
        // Of an agent's run: it holds all there is.
        return Ok(loom::Request { stream, ..request.get().take() });
    }
    let mut tools_in_prompt = false;
    let tools = match given(tools) {
        None => Vec::new(),
        Some(tools) => match tools.cast::<Tools>() {
            Ok(tools) => {
                tools_in_prompt = tools.get().1;
                tools.get().0.specs().to_vec()
            }
            Err(_) => convert::tools(Some(tools))?,
        },
    };
    let mut params = convert::params(params)?;
    let extra = convert::extra(&mut params)?;
    Ok(extra.added_to(loom::Request {
        messages: convert::messages(messages)?,
        tools,
        tools_in_prompt,
        tool_choice: given(tool_choice)
            .map(|choice| convert::from_py::<ToolChoice>(choice, "tool_choice"))
            .transpose()?,
        response_format: given(response_format)
            .map(|format| convert::from_py(format, "response_format"))
            .transpose()?,
        params,
        stream,
        ..loom::Request::default()
    }))
}

/// Seconds for the whole call, or an object with `connect`, `first_token`, `idle`, `loading` and `total`.
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
        loading: clock("loading")?,
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
