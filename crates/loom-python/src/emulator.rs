//! Emulated servers in the process, for `loom.testing`.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use loom_testkit::servers::{self, BadProxy};
use loom_testkit::{RecordedRequest, Server, Turn};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::Value;

use crate::convert;
use crate::runtime::runtime;

/// The name that is no row of the table.
const BADPROXY: &str = "badproxy";

/// Method, target, headers, body.
type Request<'py> = (String, String, Vec<(String, String)>, Bound<'py, PyBytes>);

/// A server that runs until it is closed or dropped.
#[pyclass(frozen, module = "loom._loom")]
pub(crate) struct EmulatedServer {
    /// None once it is closed; what it got stays.
    server: Mutex<Option<Server>>,
    kept: Mutex<Vec<RecordedRequest>>,
    #[pyo3(get)]
    base_url: String,
    #[pyo3(get)]
    origin: String,
    #[pyo3(get)]
    models: Vec<String>,
}

#[pymethods]
impl EmulatedServer {
    /// What it got: method, target, headers, body.
    fn requests<'py>(&self, py: Python<'py>) -> Vec<Request<'py>> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = server.as_ref().map(Server::requests);
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = |request: RecordedRequest| {
            (request.method, request.target, request.headers, PyBytes::new(py, &request.body))
        };
        requests.unwrap_or_else(kept).into_iter().map(read).collect()
    }

    /// Frees the port.
    fn close(&self, py: Python<'_>) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = server.requests();
            // At the end of the process the port is freed without this.
            if let Ok(runtime) = runtime() {
                py.detach(|| runtime.block_on(server.shutdown()));
            }
        }
    }
}

/// Names and titles of the servers.
#[pyfunction]
pub(crate) fn emulators() -> Vec<(&'static str, &'static str)> {
    let listed = servers::ALL.iter().map(|spec| (spec.name, spec.title));
    listed.chain([(BADPROXY, "a proxy that breaks answers")]).collect()
}

/// Starts a server.
#[allow(clippy::too_many_arguments, reason = "they are the keyword arguments of loom.testing.emulate")]
#[pyfunction]
#[pyo3(signature = (name, api_key, models, script, context, token_delay, port))]
pub(crate) fn emulate(
    py: Python<'_>,
    name: &str,
    api_key: Option<String>,
    models: Vec<String>,
    script: &Bound<'_, PyAny>,
    context: Option<usize>,
    token_delay: f64,
    port: u16,
) -> PyResult<EmulatedServer> {
    let address = (Ipv4Addr::LOCALHOST, port);
    let delay = Duration::try_from_secs_f64(token_delay)
        .map_err(|error| PyValueError::new_err(format!("token_delay: {error}")))?;
    let runtime = runtime()?;
    let (server, models) = if name == BADPROXY {
        let names = BadProxy::faults().map(|(name, _)| name.to_owned()).collect();
        (py.detach(|| runtime.block_on(Server::bind(address, BadProxy::new()))), names)
    } else {
        let emulator = servers::named(name).ok_or_else(|| unknown(name))?;
        let emulator = models.into_iter().fold(emulator, |emulator, model| emulator.model(model));
        let emulator = api_key.into_iter().fold(emulator, |emulator, key| emulator.api_key(key));
        let emulator = context.into_iter().fold(emulator, |emulator, tokens| emulator.context(tokens));
        let emulator = emulator.script(turns(script)?).token_delay(delay);
        let models = emulator.models();
        (py.detach(|| runtime.block_on(Server::bind(address, emulator))), models)
    };
    let server =
        server.map_err(|error| PyOSError::new_err(format!("cannot listen on 127.0.0.1:{port}: {error}")))?;
    Ok(EmulatedServer {
        base_url: server.base_url(),
        origin: server.origin(),
        models,
        server: Mutex::new(Some(server)),
        kept: Mutex::default(),
    })
}

fn turns(script: &Bound<'_, PyAny>) -> PyResult<Vec<Turn>> {
    if script.is_none() {
        return Ok(Vec::new());
    }
    let script: Value = convert::from_py(script, "script")?;
    Turn::script(&script).map_err(PyValueError::new_err)
}

fn unknown(name: &str) -> PyErr {
    let names: Vec<&str> = emulators().into_iter().map(|(name, _)| name).collect();
    PyValueError::new_err(format!("no emulated server is called {name:?}; there are: {}", names.join(", ")))
}
