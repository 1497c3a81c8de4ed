//! How a key is shown to the endpoint: in which header or parameter, and in which form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use loom_wire::LlmError;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::endpoint::header::{header_name, header_value};

/// How a key is shown.
///
/// In `loom.toml` and JSON: `"bearer"`, `"basic"`, `"none"`, `{ header = "x-api-key", prefix = "Token " }`,
/// `{ basic = "user" }`, `{ query = "key" }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
#[non_exhaustive]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    #[default]
    Bearer,
    /// The key in this header, behind the prefix (none for Azure's `api-key`).
    Header {
        /// The header's name.
        name: String,
        /// What stands before the key, its blank included (`"Token "`); usually empty.
        prefix: String,
    },
    /// `Authorization: Basic …`; the key is the password, or `user:password` where no user is named.
    Basic {
        /// The user's name.
        user: Option<String>,
    },
    /// The key as a query parameter.
    Query {
        /// The parameter's name.
        name: String,
    },
    /// No key is sent, even if there is one.
    None,
}

/// The forms in which it is written down.
#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "auth is \"bearer\", \"basic\", \"none\", { header = \"NAME\", prefix = \"…\" }, { basic = \"USER\" } or { query = \"NAME\" }"
)]
enum Written {
    Word(Word),
    Header {
        header: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
    Basic {
        basic: String,
    },
    Query {
        query: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Bearer,
    Basic,
    None,
}

impl From<Written> for Auth {
    fn from(written: Written) -> Self {
        match written {
            Written::Word(Word::Bearer) => Self::Bearer,
            Written::Word(Word::Basic) => Self::Basic { user: None },
            Written::Word(Word::None) => Self::None,
            Written::Header { header, prefix } => Self::Header { name: header, prefix },
            Written::Basic { basic } => Self::Basic { user: Some(basic) },
            Written::Query { query } => Self::Query { name: query },
        }
    }
}

impl From<Auth> for Written {
    fn from(auth: Auth) -> Self {
        match auth {
            Auth::Bearer => Self::Word(Word::Bearer),
            Auth::Header { name, prefix } => Self::Header { header: name, prefix },
            Auth::Basic { user: None } => Self::Word(Word::Basic),
            Auth::Basic { user: Some(user) } => Self::Basic { basic: user },
            Auth::Query { name } => Self::Query { query: name },
            Auth::None => Self::Word(Word::None),
        }
    }
}

/// A key as a request carries it.
#[derive(Clone)]
pub(in crate::endpoint) enum Shown {
    Header(HeaderName, HeaderValue),
    Query(String, SecretString),
}

impl Auth {
    /// The key in a header of its own, without a prefix.
    pub fn header(name: impl Into<String>) -> Self {
        Self::Header { name: name.into(), prefix: String::new() }
    }

    /// Refuses what no request could carry, before there is a key.
    pub(super) fn check(&self) -> Result<(), LlmError> {
        match self {
            Self::Header { name, prefix } => {
                header_name(name)?;
                header_value(name, prefix).map(drop)
            }
            Self::Basic { user: Some(user) } if user.contains(':') || user.is_empty() => Err(
                LlmError::config("the user's name of basic authentication is not empty and holds no \":\""),
            ),
            Self::Query { name } if name.trim().is_empty() => {
                Err(LlmError::config("the query parameter that shall hold the key needs a name"))
            }
            _ => Ok(()),
        }
    }

    /// The key as a request carries it.
    pub(super) fn show(&self, key: &SecretString) -> Result<Option<Shown>, LlmError> {
        let key = key.expose_secret();
        let (name, text) = match self {
            Self::None => return Ok(None),
            Self::Query { name } => return Ok(Some(Shown::Query(name.clone(), key.into()))),
            Self::Bearer => (AUTHORIZATION, format!("Bearer {key}")),
            Self::Header { name, prefix } => (header_name(name)?, format!("{prefix}{key}")),
            Self::Basic { .. } => (AUTHORIZATION, format!("Basic {}", self.basic(key)?)),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            LlmError::config("the API key holds characters that a header cannot carry")
                .with_hint("was it copied with a line break or with typographic quotes?")
        })?;
        value.set_sensitive(true);
        Ok(Some(Shown::Header(name, value)))
    }

    fn basic(&self, key: &str) -> Result<String, LlmError> {
        match self {
            Self::Basic { user: Some(user) } => Ok(STANDARD.encode(format!("{user}:{key}"))),
            _ if key.contains(':') => Ok(STANDARD.encode(key)),
            _ => Err(LlmError::config("basic authentication needs a user's name")
                .with_hint("name the user in `auth`, or give the key as user:password")),
        }
    }

    /// The texts that give the key away, besides the key itself.
    pub(super) fn traces(&self, key: &str) -> Vec<String> {
        match self {
            Self::Basic { .. } => self
                .basic(key)
                .into_iter()
                .chain(key.split_once(':').map(|(_, password)| password.to_owned()))
                .collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_written() {
        for (text, auth) in [
            ("\"bearer\"", Auth::Bearer),
            ("\"basic\"", Auth::Basic { user: None }),
            ("\"none\"", Auth::None),
            ("{\"header\":\"api-key\"}", Auth::header("api-key")),
            (
                "{\"header\":\"x\",\"prefix\":\"Token \"}",
                Auth::Header { name: "x".into(), prefix: "Token ".into() },
            ),
            ("{\"basic\":\"ada\"}", Auth::Basic { user: Some("ada".into()) }),
            ("{\"query\":\"key\"}", Auth::Query { name: "key".into() }),
        ] {
            assert_eq!(serde_json::from_str::<Auth>(text).unwrap(), auth);
            assert_eq!(serde_json::to_string(&auth).unwrap(), text);
        }
        for wrong in ["\"digest\"", "{\"heder\":\"x\"}", "{\"header\":\"x\",\"prefx\":\"y\"}", "7"] {
            let error = serde_json::from_str::<Auth>(wrong).unwrap_err().to_string();
            assert!(error.contains("auth is"), "{error}");
        }
    }

    #[test]
    fn a_basic_key_is_encoded() {
        let shown = |auth: Auth, key: &str| match auth.show(&key.into()).unwrap() {
            Some(Shown::Header(_, value)) => value.to_str().unwrap().to_owned(),
            _ => panic!("no header"),
        };
        let ada = Auth::Basic { user: Some("Aladdin".into()) };
        assert_eq!(shown(ada, "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(
            shown(Auth::Basic { user: None }, "Aladdin:open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert!(Auth::Basic { user: None }.show(&"no-colon".into()).is_err());
    }
}
