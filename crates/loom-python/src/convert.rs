//! Values between Python and Rust.

use std::sync::Arc;

use loom::ToolSpec;
use loom::agent::Extra;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList, PyString, PyTuple};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::message::Message;

pub(crate) fn to_py<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    pythonize::pythonize(py, value).map_err(Into::into)
}

/// How deep values may be nested; JSON parsers, the servers' included, set similar limits.
const MAX_DEPTH: usize = 100;

/// Refuses what JSON cannot hold: not-a-number, infinity, and what is nested too deeply, cyclic values above all: converting them would exhaust the stack.
fn check_json(value: &Bound<'_, PyAny>, what: &str, left: usize) -> PyResult<()> {
    let Some(left) = left.checked_sub(1) else {
        return Err(PyValueError::new_err(format!(
            "{what}: it is nested more than {MAX_DEPTH} levels deep, or in itself"
        )));
    };
    if let Ok(dict) = value.cast::<PyDict>() {
        dict.iter().try_for_each(|(_, item)| check_json(&item, what, left))
    } else if let Ok(list) = value.cast::<PyList>() {
        list.iter().try_for_each(|item| check_json(&item, what, left))
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        tuple.iter().try_for_each(|item| check_json(&item, what, left))
    } else if value.cast::<PyFloat>().is_ok_and(|number| !number.value().is_finite()) {
        Err(PyValueError::new_err(format!("{what}: JSON has no {value}")))
    } else {
        Ok(())
    }
}

/// A Python value as `T`; the error names what it was given for.
pub(crate) fn from_py<T: DeserializeOwned>(value: &Bound<'_, PyAny>, what: &str) -> PyResult<T> {
    check_json(value, what, MAX_DEPTH)?;
    pythonize::depythonize(value).map_err(|error| PyTypeError::new_err(format!("{what}: {error}")))
}

/// A dict of parameters without the ones that are `None`: in Python that is how "not set" is written.
pub(crate) fn params(dict: Option<&Bound<'_, PyDict>>) -> PyResult<Map<String, Value>> {
    let mut params = Map::new();
    for (name, value) in dict.into_iter().flat_map(|dict| dict.iter()) {
        if !value.is_none() {
            let name: String = name.extract()?;
            let value = from_py(&value, &name)?;
            params.insert(name, value);
        }
    }
    Ok(params)
}

/// Takes `extra_headers`, `extra_query` and `extra_body` out of a call's parameters.
pub(crate) fn extra(params: &mut Map<String, Value>) -> PyResult<Extra> {
    let mut fields = |of: &str| match params.shift_remove(of) {
        None => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) => Err(PyTypeError::new_err(format!("{of} is a dict"))),
    };
    let mut extra = Extra::default();
    for (name, value) in fields("extra_headers")? {
        extra = match value {
            Value::Null => extra.without_header(name),
            Value::String(value) => extra.header(name, value),
            _ => {
                let why = format!("extra_headers: the value of {name:?} is a str or None");
                return Err(PyTypeError::new_err(why));
            }
        };
    }
    for (name, value) in fields("extra_query")? {
        extra = match value {
            Value::Null => extra,
            Value::String(value) => extra.query(name, value),
            value => extra.query(name, value.to_string()),
        };
    }
    for (name, value) in fields("extra_body")? {
        extra = extra.body(name, value);
    }
    Ok(extra)
}

/// Messages: a text, a message, a dict in OpenAI's form, or a sequence of those.
pub(crate) fn messages(value: &Bound<'_, PyAny>) -> PyResult<Vec<Arc<loom::Message>>> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(vec![Arc::new(loom::Message::user(&*text.to_cow()?))]);
    }
    if value.is_instance_of::<Message>() || value.is_instance_of::<PyDict>() {
        return Ok(vec![message(value)?]);
    }
    if value.hasattr("keys")? {
        // A mapping that is no dict; iterating it would give its keys.
        return Ok(vec![message(
            PyDict::from_sequence(&value.call_method0("items")?.try_iter()?.into_any())?.as_any(),
        )?]);
    }
    let wrong = |_| {
        PyTypeError::new_err(format!(
            "messages are a str, a Message, a dict with role and content, or a list of those or of parts, not {}",
            value.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string())
        ))
    };
    let items: Vec<Bound<'_, PyAny>> = value.try_iter().map_err(wrong)?.collect::<PyResult<_>>()?;
    if items.iter().any(is_part) {
        // A text and an image are one message, not two.
        let parts: Vec<Value> =
            items.iter().map(|item| from_py(item, "a part of the message")).collect::<PyResult<_>>()?;
        return Ok(vec![Arc::new(loom::Message::user(loom::Content::Parts(parts)))]);
    }
    items.iter().map(message).collect()
}

/// A dict with a type and without a role: `loom.Image(…)`, `{"type": "image_url", …}`.
fn is_part(value: &Bound<'_, PyAny>) -> bool {
    value.cast::<PyDict>().is_ok_and(|dict| {
        let has = |name| dict.contains(name).unwrap_or_default();
        has(intern!(value.py(), "type")) && !has(intern!(value.py(), "role"))
    })
}

fn message(value: &Bound<'_, PyAny>) -> PyResult<Arc<loom::Message>> {
    if let Ok(message) = value.cast::<Message>() {
        return Ok(Arc::clone(&message.get().0));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Arc::new(loom::Message::user(&*text.to_cow()?)));
    }
    if let Some(message) = value.cast::<PyDict>().ok().and_then(plain) {
        return Ok(Arc::new(message));
    }
    if !value.is_instance_of::<PyDict>() && value.hasattr("role")? && value.hasattr("content")? {
        // Messages of other libraries: what they have in common.
        let dict = PyDict::new(value.py());
        for name in ["role", "content", "name", "tool_calls", "tool_call_id"] {
            if let Some(field) = value.getattr_opt(name)?.filter(|field| !field.is_none()) {
                dict.set_item(name, field)?;
            }
        }
        return from_py(dict.as_any(), "message").map(Arc::new);
    }
    from_py(value, "message").map(Arc::new)
}

/// The message of a dict that holds a role and a text and nothing else, as most do: read without a pass over it as JSON.
fn plain(dict: &Bound<'_, PyDict>) -> Option<loom::Message> {
    if dict.len() != 2 {
        return None;
    }
    let text = |name| dict.get_item(name).ok().flatten()?.cast_into::<PyString>().ok();
    let role = text(intern!(dict.py(), "role"))?;
    let content = text(intern!(dict.py(), "content"))?;
    // What cannot be read here gets its error where everything is read.
    let role = loom::Role::parse(&role.to_cow().ok()?)?;
    Some(loom::Message::new(role, content.to_cow().ok()?.into_owned()))
}

/// Tools as a list of dicts in OpenAI's form or the flat one; objects may give theirs by `to_schema()`.
pub(crate) fn tools(value: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<ToolSpec>> {
    let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(Vec::new()) };
    value
        .try_iter()?
        .map(|item| {
            let item = item?;
            match item.getattr_opt("to_schema")? {
                Some(schema) => from_py(&schema.call0()?, "tools"),
                None => from_py(&item, "tools"),
            }
        })
        .collect()
}
