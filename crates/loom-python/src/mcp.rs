//! MCP servers: `loom::mcp::Server` as `loom.MCPServer` uses it.

use std::path::PathBuf;
use std::time::Duration;

use loom::mcp::{self, McpError, Server};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::awaitable::{Awaitable, Job};
use crate::{convert, errors};

/// A server; connected when it is first asked for something.
#[pyclass(frozen, module = "loom._loom")]
pub(crate) struct McpServer(Server);

#[pymethods]
impl McpServer {
    #[new]
    #[pyo3(signature = (command = None, url = None, env = None, cwd = None, headers = None, timeout = None, prefix = None, name = None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        command: Option<&Bound<'_, PyAny>>,
        url: Option<String>,
        env: Option<&Bound<'_, PyDict>>,
        cwd: Option<PathBuf>,
        headers: Option<&Bound<'_, PyDict>>,
        timeout: Option<f64>,
        prefix: Option<String>,
        name: Option<String>,
    ) -> PyResult<Self> {
        let mut settings = match (command, url) {
            (Some(command), None) => match command.cast::<PyString>() {
                Ok(line) => mcp::stdio(line.to_cow()?),
                Err(_) => mcp::stdio_words(command.extract::<Vec<String>>()?),
            },
            (None, Some(url)) => mcp::http(url),
            _ => {
                let why = "it takes a command or a url, one of them".to_owned();
                return Err(failed(py, &McpError::Config(why)));
            }
        };
        for (name, value) in env.into_iter().flat_map(|env| env.iter()) {
            settings = settings.env(name.extract::<String>()?, value.extract::<String>()?);
        }
        for (name, value) in headers.into_iter().flat_map(|headers| headers.iter()) {
            settings = settings.header(name.extract::<String>()?, value.extract::<String>()?);
        }
        if let Some(folder) = cwd {
            settings = settings.folder(folder);
        }
        if let Some(seconds) = timeout {
            let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
            settings = settings.timeout(limit);
        }
        if let Some(prefix) = prefix {
            settings = settings.prefix(prefix);
        }
        if let Some(name) = name {
            settings = settings.name(name);
        }
        settings.open().map(Self).map_err(|error| failed(py, &error))
    }

    /// The server of a section of `loom.toml`.
    #[staticmethod]
    #[pyo3(signature = (name, file = None))]
    fn named(py: Python<'_>, name: &str, file: Option<PathBuf>) -> PyResult<Self> {
        let wrong = |error| errors::llm_error(py, error);
        let config = match file {
            Some(path) => loom::Config::load(&path).map(Some),
            None => loom::Config::find(),
        };
        let config = config.map_err(wrong)?;
        let settings = config.as_ref().map_or(Ok(None), |config| config.mcp(name)).map_err(wrong)?;
        let lacking = || {
            let place = config.as_ref().map_or("there is no loom.toml".to_owned(), |config| {
                format!("{} has no section [mcp.{name}]", config.path().display())
            });
            wrong(loom::LlmError::config(format!("no MCP server is called {name:?}: {place}")))
        };
        settings.ok_or_else(lacking)?.open().map(Self).map_err(|error| failed(py, &error))
    }

    #[getter]
    fn name(&self) -> String {
        self.0.name()
    }

    /// Whether the tools that were listed last are those that it has.
    fn is_current(&self) -> bool {
        self.0.is_current()
    }

    /// Waits for the connection.
    fn connect(&self) -> PyResult<Awaitable> {
        let server = self.0.clone();
        Job::start(async move { server.connect().await }, |py, done| {
            done.map(|()| py.None()).map_err(|error| failed(py, &error))
        })
    }

    /// Waits for the tools: their names here, descriptions, schemas, and the server's own names for them.
    fn tools(&self) -> PyResult<Awaitable> {
        let server = self.0.clone();
        Job::start(async move { server.listed().await }, |py, listed| {
            let listed = listed.map_err(|error| failed(py, &error))?;
            let rows = listed.into_iter().map(|(remote, spec)| {
                let parameters = convert::to_py(py, &spec.parameters)?;
                (spec.name, spec.description.unwrap_or_default(), parameters, remote).into_pyobject(py)
            });
            Ok(PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)?.into_any().unbind())
        })
    }

    /// Waits for a call: `(content, is_error)`, the content a text or parts.
    fn call(&self, tool: String, arguments: &Bound<'_, PyDict>) -> PyResult<Awaitable> {
        let server = self.0.clone();
        let arguments = convert::from_py(arguments.as_any(), "the arguments")?;
        Job::start(async move { server.call(&tool, arguments).await }, |py, outcome| {
            let outcome = outcome.map_err(|error| failed(py, &error))?;
            let content = convert::to_py(py, &outcome.content)?;
            Ok((content, outcome.is_error).into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Waits for the end of the connection and the process.
    fn close(&self) -> PyResult<Awaitable> {
        let server = self.0.clone();
        Job::start(async move { server.close().await }, |py, ()| Ok(py.None()))
    }
}

fn failed(py: Python<'_>, error: &McpError) -> PyErr {
    match error {
        McpError::Config(_) => errors::llm_error(py, loom::LlmError::config(error.to_string())),
        _ => errors::agent_error(py, loom::AgentError::Tool(error.to_string())),
    }
}
