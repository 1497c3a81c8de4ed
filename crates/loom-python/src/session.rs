//! `Session`: conversations that are kept. Reading and writing a file does not hold the interpreter.

use std::path::PathBuf;
use std::sync::Arc;

use loom::SessionError;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use serde_json::{Map, Value};

use crate::message::Message;
use crate::{convert, errors};

/// A conversation that is kept, in memory or in an SQLite file.
#[pyclass(frozen, module = "loom")]
pub(crate) struct Session(pub(crate) loom::Session);

/// Does work that may block on a file.
fn blocking<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T, SessionError> + Send) -> PyResult<T> {
    py.detach(work).map_err(|error| errors::session_error(py, &error))
}

#[pymethods]
impl Session {
    #[new]
    fn new() -> Self {
        Self(loom::Session::new())
    }

    #[staticmethod]
    #[pyo3(signature = (path, id = None))]
    fn open(py: Python<'_>, path: PathBuf, id: Option<String>) -> PyResult<Self> {
        blocking(py, || match id {
            Some(id) => loom::Session::open(path, id),
            None => loom::Session::create(path),
        })
        .map(Self)
    }

    #[staticmethod]
    fn list(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyAny>> {
        convert::to_py(py, &blocking(py, || loom::Session::list(path))?)
    }

    #[staticmethod]
    #[pyo3(signature = (text, path = None, id = None))]
    fn from_json(py: Python<'_>, text: &str, path: Option<PathBuf>, id: Option<&str>) -> PyResult<Self> {
        if path.is_none() && id.is_some() {
            return Err(PyValueError::new_err("id names the session in a file: give the file as path"));
        }
        blocking(py, || {
            let session = loom::Session::from_json(text)?;
            match path {
                Some(path) => session.copy_to(path, id),
                None => Ok(session),
            }
        })
        .map(Self)
    }

    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        blocking(py, || self.0.to_json())
    }

    #[getter]
    fn id(&self) -> &str {
        self.0.id()
    }

    #[getter]
    fn path(&self) -> Option<PathBuf> {
        self.0.path().map(Into::into)
    }

    #[getter]
    fn title(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(blocking(py, || self.0.info())?.title)
    }

    #[setter]
    fn set_title(&self, py: Python<'_>, title: Option<&str>) -> PyResult<()> {
        blocking(py, || self.0.set_title(title))
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &blocking(py, || self.0.info())?.metadata)
    }

    #[setter]
    fn set_metadata(&self, py: Python<'_>, metadata: &Bound<'_, PyDict>) -> PyResult<()> {
        let metadata: Map<String, Value> = convert::from_py(metadata.as_any(), "metadata")?;
        blocking(py, || self.0.set_metadata(metadata))
    }

    /// What is known about it, without the messages, as in `Session.list`.
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_py(py, &blocking(py, || self.0.info())?)
    }

    #[getter]
    fn messages(&self, py: Python<'_>) -> PyResult<Vec<Message>> {
        Ok(blocking(py, || self.0.messages())?.into_iter().map(Message::of).collect())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(blocking(py, || self.0.info())?.message_count)
    }

    /// An empty session is one, too.
    fn __bool__(&self) -> bool {
        true
    }

    fn append(&self, py: Python<'_>, messages: &Bound<'_, PyAny>) -> PyResult<()> {
        let messages = convert::messages(messages)?;
        blocking(py, || self.0.append(messages.into_iter().map(Arc::unwrap_or_clone)))
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        blocking(py, || self.0.clear())
    }

    fn delete(&self, py: Python<'_>) -> PyResult<bool> {
        blocking(py, || self.0.delete())
    }

    #[pyo3(signature = (new_id = None, *, at = None))]
    fn fork(&self, py: Python<'_>, new_id: Option<&str>, at: Option<usize>) -> PyResult<Self> {
        blocking(py, || self.0.fork(new_id, at)).map(Self)
    }

    fn __repr__(&self) -> String {
        match self.0.path() {
            Some(path) => format!("Session.open({:?}, {:?})", path.display().to_string(), self.0.id()),
            None => format!("Session(id={:?})", self.0.id()),
        }
    }

    /// One in memory is one object of one process; only what names a file can be handed to another.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (py, session) = (slf.py(), &slf.get().0);
        let class: Bound<'py, PyType> = slf.get_type();
        match session.path() {
            Some(path) => {
                Ok((class.getattr("open")?, PyTuple::new(py, [path.as_os_str(), session.id().as_ref()])?))
            }
            None => Ok((class.getattr("from_json")?, PyTuple::new(py, [slf.get().to_json(py)?])?)),
        }
    }
}
