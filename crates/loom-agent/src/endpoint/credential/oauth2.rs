//! OAuth2 client credentials (RFC 6749, section 4.4): a token for a client's id and secret.
//!
//! The request goes out the same way as all others of the endpoint, through its proxy and with its certificates.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use loom_wire::{ErrorKind, LlmError};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::key::{Token, no_key};
use crate::endpoint::base_url::{checked_url, visible};
use crate::endpoint::clocks::Clocks;
use crate::endpoint::exit::Exit;
use crate::endpoint::sent::Sent;

/// The most that is read of a token server's answer.
const MAX_BODY: usize = 1 << 20;

/// A client of an OAuth2 server, which gives tokens for its id and secret. Cannot be printed.
pub struct OAuth2 {
    token_url: String,
    client_id: String,
    client_secret: SecretString,
    fields: Vec<(String, String)>,
    /// The server takes id and secret in the body, not in the header: found by trying.
    in_body: AtomicBool,
}

impl OAuth2 {
    /// A client with its id and secret at a token URL, such as `https://login.example.com/oauth2/token`.
    pub fn new(
        token_url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<SecretString>,
    ) -> Self {
        Self {
            token_url: token_url.into(),
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            fields: Vec::new(),
            in_body: AtomicBool::new(false),
        }
    }

    /// The scope to ask for; several are parted by blanks.
    #[must_use]
    pub fn scope(self, scope: impl Into<String>) -> Self {
        self.field("scope", scope)
    }

    /// A further field of the token request, such as `audience` or `resource`.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    pub(super) fn check(&self) -> Result<(), LlmError> {
        checked_url("token_url", &self.token_url).map(drop)
    }

    pub(super) fn secret(&self) -> &SecretString {
        &self.client_secret
    }

    /// Asks for a token. Most servers want id and secret in the header; one that refuses that is asked once more with
    /// both in the body.
    pub(super) async fn token(&self, exit: &Exit, clocks: &Clocks) -> Result<Token, LlmError> {
        let in_body = self.in_body.load(Ordering::Relaxed);
        match self.ask(in_body, exit, clocks).await {
            Err(error) if !in_body && matches!(error.status_code, Some(400 | 401)) => {
                let token = self.ask(true, exit, clocks).await.map_err(|_| error)?;
                self.in_body.store(true, Ordering::Relaxed);
                Ok(token)
            }
            other => other,
        }
    }

    async fn ask(&self, in_body: bool, exit: &Exit, clocks: &Clocks) -> Result<Token, LlmError> {
        let url = checked_url("token_url", &self.token_url)?;
        let secret = self.client_secret.expose_secret();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if !in_body {
            // Section 2.3.1: both are form-encoded before they are joined.
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", encoded(&self.client_id), encoded(secret)));
            if let Ok(mut value) = HeaderValue::from_str(&format!("Basic {pair}")) {
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
        }
        let body = self.form(in_body).into();
        let request = Sent { method: Method::POST, url: url.clone(), headers, body, basic_user: None };
        let mut response = exit.send(&request, clocks).await.map_err(|mut error| {
            error.message = format!("the OAuth2 server gave no token: {}", error.message);
            error
        })?;
        let status = response.status.as_u16();
        let mut body = Vec::new();
        while let Some(bytes) =
            clocks.wait(response.chunk()).await?.map_err(|error| self.failed(&url, None, error.chain()))?
        {
            body.extend_from_slice(&bytes);
            if body.len() > MAX_BODY {
                return Err(self.failed(&url, None, "its answer is too large"));
            }
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = |name: &str| answer.get(name).and_then(Value::as_str);
        if !response.status.is_success() {
            let why = [said("error"), said("error_description")]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(": ");
            let why = if why.is_empty() { format!("HTTP {status}") } else { why };
            return Err(self.failed(&url, Some(status), why));
        }
        answer
            .as_object()
            .and_then(Token::from_fields)
            .ok_or_else(|| self.failed(&url, None, "its answer holds no access_token"))
    }

    fn form(&self, with_secret: bool) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials").extend_pairs(&self.fields);
        if with_secret {
            form.append_pair("client_id", &self.client_id);
            form.append_pair("client_secret", self.client_secret.expose_secret());
        }
        form.finish()
    }

    fn failed(&self, url: &Url, status: Option<u16>, why: impl fmt::Display) -> LlmError {
        let mut error = no_key("the OAuth2 server gave no token:", why)
            .with_hint("check token_url, client_id, client_secret and scope");
        if status.is_some_and(|status| status == 429 || status >= 500) {
            error.kind = ErrorKind::Server;
            error.retryable = true;
        }
        error.status_code = status;
        error.url = Some(visible(url));
        error
    }
}

impl fmt::Debug for OAuth2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}
