//! Names and values of headers as callers give them, refused where they could smuggle something in.

use loom_wire::LlmError;
use reqwest::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};

/// Headers with their names; a value of `None` removes what would be sent otherwise.
pub type Headers = Vec<(String, Option<String>)>;

/// Headers that say where a request ends. Whoever sets them to something else begins a second request within the first.
const FRAMING: [HeaderName; 2] = [CONTENT_LENGTH, TRANSFER_ENCODING];

/// A header's name, or an error that names it.
pub(super) fn header_name(name: &str) -> Result<HeaderName, LlmError> {
    let read = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        // What stands behind a line break or a colon may be a key.
        let shown = name.split(|c: char| c.is_control() || c == ':').next().unwrap_or_default();
        LlmError::config(format!("{shown:?} cannot be the name of a header"))
    })?;
    if FRAMING.contains(&read) {
        return Err(LlmError::config(format!("the header {name:?} follows from the body and cannot be set")));
    }
    Ok(read)
}

/// A header's value. It may be a key, so no error repeats it.
pub(super) fn header_value(name: &str, value: &str) -> Result<HeaderValue, LlmError> {
    let mut sent = HeaderValue::from_str(value).map_err(|_| {
        let why = if value.contains(['\r', '\n']) {
            "a line break, which would begin another header"
        } else {
            "characters that a header cannot carry"
        };
        LlmError::config(format!("the value of header {name:?} holds {why}"))
    })?;
    sent.set_sensitive(true);
    Ok(sent)
}
