//! Credentials: how a key is shown to the endpoint, and to nobody else.

use std::fmt;

use loom_wire::LlmError;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

/// A key and the way it is sent. Cannot be printed.
#[derive(Clone, Default)]
pub enum Credential {
    /// Nothing is sent.
    #[default]
    None,
    /// `Authorization: Bearer KEY`.
    Bearer(SecretString),
    /// The key alone in a header (Azure's `api-key`).
    Header {
        /// The header's name.
        name: String,
        /// The key.
        key: SecretString,
    },
}

impl Credential {
    /// A bearer key; surrounding blanks and line ends are dropped, an empty key is no key.
    pub fn bearer(key: &str) -> Self {
        match key.trim() {
            "" => Self::None,
            key => Self::Bearer(key.into()),
        }
    }

    /// A key in a header of its own.
    pub fn header(name: impl Into<String>, key: &str) -> Self {
        match key.trim() {
            "" => Self::None,
            key => Self::Header { name: name.into(), key: key.into() },
        }
    }

    /// Whether there is no key.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The key itself, for [`super::secrets`] alone.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Bearer(key) | Self::Header { key, .. } => Some(key.expose_secret()),
        }
    }

    /// Puts the key on a request.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) -> Result<(), LlmError> {
        let (name, value) = match self {
            Self::None => return Ok(()),
            Self::Bearer(key) => (AUTHORIZATION, format!("Bearer {}", key.expose_secret())),
            Self::Header { name, key } => (header_name(name)?, key.expose_secret().to_owned()),
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            LlmError::config("the API key holds characters that a header cannot carry")
                .with_hint("was it copied with a line break or with typographic quotes?")
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }
}

/// A header's name, or an error that names it.
pub(crate) fn header_name(name: &str) -> Result<HeaderName, LlmError> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| LlmError::config(format!("{name:?} cannot be the name of a header")))
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bearer(_) => f.write_str("Bearer(…)"),
            Self::Header { name, .. } => write!(f, "Header({name}: …)"),
        }
    }
}
