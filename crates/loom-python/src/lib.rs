//! The extension module `loom._loom`: Loom's Rust core as Python sees it. Names, docstrings and types are in
//! `python/loom/`; nothing here is meant to be imported by users.

#![allow(missing_docs)] // the documentation of this module is python/loom/_loom.pyi

mod abandoned;
mod adapter;
mod awaitable;
mod callback;
mod completion;
mod convert;
mod credential;
mod emulator;
mod errors;
mod events;
mod http_client;
mod llm;
mod logging;
mod mcp;
mod message;
mod run;
mod runtime;
mod session;
mod wake;

use std::ffi::OsString;

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The providers that are known by name, as dicts.
#[pyfunction]
fn providers(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyAny>>> {
    loom::provider::all().iter().map(|provider| convert::to_py(py, provider)).collect()
}

/// Adds a provider for this process.
#[pyfunction]
fn register_provider(fields: &Bound<'_, PyDict>) -> PyResult<()> {
    let provider = convert::from_py(fields.as_any(), "provider")?;
    loom::provider::register(provider).map_err(|error| errors::llm_error(fields.py(), error))
}

/// Messages in any form that agents take, as OpenAI's dicts.
#[pyfunction]
fn message_dicts<'py>(messages: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    convert::messages(messages)?.iter().map(|message| convert::to_py(messages.py(), &**message)).collect()
}

/// Why a text cannot be the name of a tool, or `None`.
#[pyfunction]
fn check_tool_name(name: &str) -> Option<String> {
    loom::ToolSpec::check_name(name).err()
}

/// A part as servers take it, its file read.
#[pyfunction]
fn resolve_part<'py>(part: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = part.py();
    let part: serde_json::Value = convert::from_py(part, "a part of the result")?;
    let mut message = loom::Message::user(vec![part]);
    loom::part::resolve(&mut message, &|path| std::fs::read(path))
        .map_err(|error| pyo3::exceptions::PyValueError::new_err(error.message.clone()))?;
    match message.content {
        Some(loom::Content::Parts(parts)) => convert::to_py(py, &parts.first()),
        _ => convert::to_py(py, &None::<()>),
    }
}

/// A result of at most so many characters of text; where there were more, its end says so.
#[pyfunction]
fn limited<'py>(content: &Bound<'py, PyAny>, limit: usize) -> PyResult<Bound<'py, PyAny>> {
    let py = content.py();
    convert::to_py(py, &loom::agent::limited(message::extract_content(content)?, limit))
}

/// The names under which tools are offered, each given as its own name and its origin (an MCP server's name).
#[pyfunction]
fn offered_names(tools: Vec<(String, Option<String>)>) -> PyResult<Vec<String>> {
    let tools: Vec<_> = tools.iter().map(|(name, origin)| (name.as_str(), origin.as_deref())).collect();
    loom::agent::offered_names(&tools).map_err(pyo3::exceptions::PyValueError::new_err)
}

/// The rules of the ledger: their names, what they do, and what they are about.
#[pyfunction]
fn ledger_rules(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let row = |rule: &loom::Rule| {
        let row = PyDict::new(py);
        row.set_item("rule", rule.as_str())?;
        row.set_item("what", rule.what())?;
        row.set_item("where", rule.place())?;
        Ok(row)
    };
    loom::Rule::ALL.iter().map(row).collect()
}

/// Runs the command line program with these arguments and returns its exit code.
#[pyfunction]
fn cli_main(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| loom_cli::run_main(args))
}

#[pymodule]
fn _loom(module: &Bound<'_, PyModule>) -> PyResult<()> {
    logging::install();
    runtime::close_at_exit(module.py())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<message::Message>()?;
    module.add_class::<message::Usage>()?;
    module.add_class::<completion::Completion>()?;
    module.add_class::<completion::ToolCall>()?;
    module.add_class::<completion::Collector>()?;
    module.add_class::<llm::Llm>()?;
    module.add_class::<events::EventStream>()?;
    module.add_class::<run::Run>()?;
    module.add_class::<run::Request>()?;
    module.add_class::<run::Tools>()?;
    module.add_class::<session::Session>()?;
    module.add_class::<run::Options>()?;
    module.add_class::<run::Partial>()?;
    module.add_class::<run::Stats>()?;
    module.add_class::<mcp::McpServer>()?;
    module.add_class::<emulator::EmulatedServer>()?;
    module.add_function(wrap_pyfunction!(emulator::emulate, module)?)?;
    module.add_function(wrap_pyfunction!(emulator::emulators, module)?)?;
    module.add_function(wrap_pyfunction!(providers, module)?)?;
    module.add_function(wrap_pyfunction!(register_provider, module)?)?;
    module.add_function(wrap_pyfunction!(message_dicts, module)?)?;
    module.add_function(wrap_pyfunction!(check_tool_name, module)?)?;
    module.add_function(wrap_pyfunction!(limited, module)?)?;
    module.add_function(wrap_pyfunction!(offered_names, module)?)?;
    module.add_function(wrap_pyfunction!(resolve_part, module)?)?;
    module.add_function(wrap_pyfunction!(ledger_rules, module)?)?;
    module.add_function(wrap_pyfunction!(cli_main, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::is_running, module)?)?;
    Ok(())
}
