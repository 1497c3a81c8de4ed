//! An adapter written in Python: `loom.Adapter`.

use loom::{Adapter, LlmError, Profile};
use pyo3::prelude::*;
use serde_json::Value;

use crate::callback::in_python;
use crate::convert;

/// The user's object, with what it says once for all.
pub(crate) struct PythonAdapter {
    object: Py<PyAny>,
    path: String,
    profile: Profile,
}

impl PythonAdapter {
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            path: object.getattr("path")?.extract()?,
            profile: convert::from_py(&object.getattr("profile")?, "the adapter's profile")?,
            object: object.clone().unbind(),
        })
    }

    fn call(&self, method: &str, value: &Value) -> Result<Value, String> {
        in_python(|py| {
            let result = self.object.bind(py).call_method1(method, (convert::to_py(py, value)?,))?;
            convert::from_py(&result, &format!("the result of {method}()"))
        })
        .map_err(|error| format!("the adapter's {method}() failed: {error}"))
    }
}

impl Adapter for PythonAdapter {
    fn path(&self) -> &str {
        &self.path
    }

    fn profile(&self) -> Profile {
        self.profile.clone()
    }

    fn request(&self, body: Value) -> Result<Value, LlmError> {
        self.call("request", &body).map_err(LlmError::config)
    }

    fn chunk(&self, event: Value) -> Result<Option<Value>, LlmError> {
        let chunk = self.call("chunk", &event).map_err(LlmError::bad_response)?;
        Ok(Some(chunk).filter(|chunk| !chunk.is_null()))
    }
}
