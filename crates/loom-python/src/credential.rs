//! Credentials as `loom.auth` hands them over: keys, their forms, the functions that yield or sign; and the settings of
//! the network.

use std::sync::Arc;
use std::time::Duration;

use loom::endpoint::{Auth, Headers, Key, Network, OAuth2, Signer, Token};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::{callback, convert, errors};

/// How a key is shown.
pub(crate) fn auth(value: &Bound<'_, PyAny>) -> PyResult<Auth> {
    convert::from_py(value, "auth")
}

/// How the endpoint is reached.
pub(crate) fn network(fields: &Bound<'_, PyDict>) -> PyResult<Network> {
    // Not by `from_py`, whose errors are of type TypeError and name the field's type only.
    pythonize::depythonize(fields.as_any())
        .map_err(|error| errors::llm_error(fields.py(), loom::LlmError::config(error.to_string())))
}

/// A str, a function, or a tuple of a kind and its parts (see `loom.auth._native`).
pub(crate) fn key(value: &Bound<'_, PyAny>, calls_python: &mut bool) -> PyResult<Key> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Key::from(&*text.to_cow()?));
    }
    let Ok(parts) = value.cast::<PyTuple>() else {
        *calls_python = true;
        return Ok(function(value.clone().unbind()));
    };
    let (kind, what): (String, Bound<'_, PyAny>) = parts.extract()?;
    match kind.as_str() {
        "command" => Ok(Key::command(what.extract::<String>()?)),
        "oauth2" => {
            let (url, id, secret, fields): (String, String, String, Bound<'_, PyDict>) = what.extract()?;
            let mut client = OAuth2::new(url, id, secret);
            for (name, value) in fields.iter() {
                client = client.field(name.extract::<String>()?, value.extract::<String>()?);
            }
            Ok(client.into())
        }
        _ => {
            let keys: PyResult<Vec<Key>> = what.try_iter()?.map(|item| key(&item?, calls_python)).collect();
            Ok(Key::several(keys?))
        }
    }
}

fn function(function: Py<PyAny>) -> Key {
    let function = Arc::new(function);
    Key::call(move || {
        let function = Arc::clone(&function);
        async move {
            let function = with(&function)?;
            callback::call(function, |py| Ok(PyTuple::empty(py).unbind()), |value| token(&value)).await
        }
    })
}

/// What a key's function returned: a str, a pair of it and its lifetime in seconds, a dict as a token server's answer,
/// or an object with `token` and `expires_on` (azure-identity's `AccessToken`).
fn token(value: &Bound<'_, PyAny>) -> PyResult<Token> {
    let wrong =
        || PyTypeError::new_err("it must return a str, (str, seconds), or a dict with token and expires_in");
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Token::new(&*text.to_cow()?));
    }
    if value.is_instance_of::<PyDict>() {
        let fields: serde_json::Value = convert::from_py(value, "token")?;
        return Token::parse(&fields.to_string()).ok_or_else(wrong);
    }
    if let (Some(text), Some(until)) = (value.getattr_opt("token")?, value.getattr_opt("expires_on")?) {
        let fields =
            serde_json::json!({"token": text.extract::<String>()?, "expires_on": until.extract::<f64>()?});
        return Token::parse(&fields.to_string()).ok_or_else(wrong);
    }
    let (text, seconds): (String, f64) = value.extract().map_err(|_| wrong())?;
    let lifetime = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    Ok(Token::new(text).expires_in(lifetime))
}

/// `sign(method, url, headers, body)`, which returns the headers to add.
pub(crate) fn signer(function: Py<PyAny>) -> Signer {
    let function = Arc::new(function);
    Signer::new(move |request| {
        let function = Arc::clone(&function);
        async move {
            let function = with(&function)?;
            let args = move |py: Python<'_>| {
                let headers = PyDict::new(py);
                for (name, value) in request.headers {
                    headers.set_item(name, value)?;
                }
                (request.method, request.url, headers, PyBytes::new(py, &request.body))
                    .into_pyobject(py)
                    .map(Bound::unbind)
            };
            callback::call(function, args, |value| headers(&value)).await
        }
    })
}

fn headers(value: &Bound<'_, PyAny>) -> PyResult<Headers> {
    if value.is_none() {
        return Ok(Vec::new());
    }
    let items =
        value.call_method0("items").map_err(|_| PyTypeError::new_err("it must return a dict of headers"))?;
    items.try_iter()?.map(|item| item?.extract::<(String, Option<String>)>()).collect()
}

/// Another reference to a function.
fn with(function: &Py<PyAny>) -> Result<Py<PyAny>, loom::endpoint::CallbackError> {
    callback::in_python(|py| Ok(function.clone_ref(py)))
}
