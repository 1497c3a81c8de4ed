//! Where a key comes from: given as it is, or yielded by a function, a command, an OAuth2 server, or one of several.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use loom_wire::{ErrorKind, LlmError};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::oauth2::OAuth2;

/// An API key, or where one comes from. Cannot be printed.
///
/// ```
/// use loom::endpoint::{Key, Token};
///
/// let fixed = Key::from("sk-…");
/// let command = Key::command("pass show office");
/// let function = Key::call(|| async { Ok(Token::new("eyJ…")) });
/// let several = Key::several([Key::from("sk-1"), Key::from("sk-2")]);
/// assert_eq!(format!("{fixed:?} {command:?} {function:?} {several:?}"), "Key(fixed) Key(command) Key(function) Key(2 keys)");
/// ```
#[derive(Clone)]
pub struct Key(pub(super) Source);

#[derive(Clone)]
pub(super) enum Source {
    Fixed(SecretString),
    Call(Callback),
    Command(String),
    OAuth2(Arc<OAuth2>),
    Several(Vec<Key>),
}

/// A failure of a caller's function.
pub type CallbackError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type Callback = Arc<dyn Fn() -> BoxFuture<'static, Result<Token, CallbackError>> + Send + Sync>;

impl Key {
    /// A function that yields the key. It is asked before each call, unless its token says how long it holds; and
    /// once more when the endpoint refuses the key with 401.
    pub fn call<F, Fut>(function: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Token, CallbackError>> + Send + 'static,
    {
        Self(Source::Call(Arc::new(move || function().boxed())))
    }

    /// A shell command that prints the key in its first line, or `{"token": …, "expires_in": seconds}`. It runs before
    /// the first call, when the token expires, and once more when the endpoint refuses the key with 401.
    pub fn command(command: impl Into<String>) -> Self {
        Self(Source::Command(command.into()))
    }

    /// Several keys. The first is used until the endpoint refuses it (401, 429, quota); then the next.
    pub fn several(keys: impl IntoIterator<Item = Self>) -> Self {
        Self(Source::Several(keys.into_iter().collect()))
    }

    /// The single sources; an empty key is none.
    pub(super) fn sources(self) -> Vec<Source> {
        match self.0 {
            Source::Several(keys) => keys.into_iter().flat_map(Self::sources).collect(),
            Source::Fixed(key) => match key.expose_secret().trim() {
                "" => Vec::new(),
                trimmed => vec![Source::Fixed(trimmed.into())],
            },
            other => vec![other],
        }
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Self(Source::Fixed(key.into()))
    }
}

impl From<&String> for Key {
    fn from(key: &String) -> Self {
        key.as_str().into()
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self(Source::Fixed(key.into()))
    }
}

impl From<OAuth2> for Key {
    fn from(oauth2: OAuth2) -> Self {
        Self(Source::OAuth2(Arc::new(oauth2)))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Fixed(_) => f.write_str("Key(fixed)"),
            Source::Call(_) => f.write_str("Key(function)"),
            Source::Command(_) => f.write_str("Key(command)"),
            Source::OAuth2(_) => f.write_str("Key(OAuth2)"),
            Source::Several(keys) => write!(f, "Key({} keys)", keys.len()),
        }
    }
}

/// A key that was yielded, and how long it holds. Cannot be printed.
#[derive(Clone)]
pub struct Token {
    pub(super) key: SecretString,
    pub(super) expires_in: Option<Duration>,
}

impl Token {
    /// A token. If it is a JWT, its own `exp` says how long it holds.
    pub fn new(key: impl AsRef<str>) -> Self {
        let key = key.as_ref().trim();
        Self { key: key.into(), expires_in: jwt_expiry(key) }
    }

    /// Says how long it holds from now on.
    #[must_use]
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = Some(time);
        self
    }

    /// Reads what a command printed: the first line that is not empty, or a JSON object with `token` (or
    /// `access_token`, `key`) and `expires_in` (seconds) or `expires_at`/`expires_on` (seconds since 1970).
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(Value::Object(fields)) = serde_json::from_str(text) {
            return Self::from_fields(&fields);
        }
        text.lines().map(str::trim).find(|line| !line.is_empty()).map(Self::new)
    }

    /// The same from fields that have been read already.
    pub(super) fn from_fields(fields: &serde_json::Map<String, Value>) -> Option<Self> {
        let text =
            |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        // Some servers write numbers as text.
        let seconds = |name: &str| {
            let value = fields.get(name)?;
            value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
        };
        let mut token = Self::new(["access_token", "token", "key"].iter().find_map(|name| text(name))?);
        let until = ["expires_at", "expires_on"].iter().find_map(|name| seconds(name)).and_then(remaining);
        let stated = seconds("expires_in").and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        token.expires_in = stated.or(until).or(token.expires_in);
        Some(token)
    }
}

impl From<&str> for Token {
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}

impl From<String> for Token {
    fn from(key: String) -> Self {
        Self::new(key)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(…, expires_in: {:?})", self.expires_in)
    }
}

/// From now to a time in seconds since 1970; nothing is left of one that is past.
fn remaining(epoch_seconds: f64) -> Option<Duration> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Duration::try_from_secs_f64(epoch_seconds).ok()?.saturating_sub(now))
}

/// How long a JWT says that it holds. It is not verified: that is the endpoint's task.
fn jwt_expiry(key: &str) -> Option<Duration> {
    let mut parts = key.split('.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    remaining(claims.get("exp")?.as_f64()?)
}

/// The error when no key could be had; `source` is the beginning of the sentence.
pub(super) fn no_key(source: &str, why: impl fmt::Display) -> LlmError {
    LlmError::new(ErrorKind::Auth, format!("{source} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(exp: u64) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}")))
    }

    #[test]
    fn every_form_of_expiry_is_understood() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let expiry =
            |text: &str| Token::parse(text).unwrap().expires_in.map(|left| left.as_secs().div_ceil(10));
        assert_eq!(expiry("sk-plain"), None);
        assert_eq!(expiry(&jwt(now + 100)), Some(10));
        assert_eq!(expiry(&jwt(now - 100)), Some(0));
        assert_eq!(expiry(r#"{"token": "a", "expires_in": 60}"#), Some(6));
        assert_eq!(expiry(r#"{"access_token": "a", "expires_in": "60"}"#), Some(6));
        assert_eq!(expiry(&format!(r#"{{"token": "a", "expires_on": {}}}"#, now + 100)), Some(10));
        assert_eq!(expiry(&format!(r#"{{"token": "{}"}}"#, jwt(now + 100))), Some(10));
        assert_eq!(Token::parse("\n  sk-second line \nrest").unwrap().key.expose_secret(), "sk-second line");
        for nothing in ["", " \n", "{}", r#"{"token": ""}"#] {
            assert!(Token::parse(nothing).is_none(), "{nothing:?}");
        }
        for no_jwt in ["a.b.c", "a.b", "a.b.c.d", "..", "e30.bm9qc29u.x"] {
            assert_eq!(expiry(no_jwt), None);
        }
    }
}
