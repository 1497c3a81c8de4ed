//! One origin: its URL, credentials, headers, clocks and retries. Requests go in, response bytes come out.

mod advice;
mod base_url;
mod clocks;
mod credential;
mod exit;
pub(crate) mod explanation;
mod failure;
mod header;
mod retry;
mod secrets;
mod sign;
mod transport;

use std::pin::Pin;
use std::sync::{Mutex, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::FutureExt;
use loom_wire::limits::{self, Limits};
use loom_wire::{LedgerEntry, LlmError, Rule, api_error};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use reqwest::{Method, Response, Url};
use secrecy::ExposeSecret;
use tokio::time::Sleep;

pub use base_url::BaseUrl;
pub(crate) use base_url::visible;
pub(crate) use clocks::Clocks;
pub use clocks::Timeout;
pub use credential::{Auth, CallbackError, Key, OAuth2, Token};
pub use explanation::Explanation;
pub use header::Headers;
pub use retry::Retries;
pub use sign::{Signer, Unsigned};

use credential::{Credential, Grant, Shown};
use exit::Exit;
use explanation::Sent;
use header::{header_name, header_value};

/// What Loom calls itself. Nothing else about the caller's machine is told.
const OWN_NAME: &str = concat!("loom/", env!("CARGO_PKG_VERSION"));
/// The most that is read of a refusal's body.
const MAX_ERROR_BODY: usize = 1 << 20;
/// The most that is read of a list of models.
const MAX_MODELS_BODY: usize = 16 << 20;

/// What there is to say about an endpoint besides its address.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// The key, or where it comes from.
    pub key: Option<Key>,
    /// How the key is shown.
    pub auth: Auth,
    /// Signs each request.
    pub signer: Option<Signer>,
    /// Headers of each request; they replace Loom's own of the same name.
    pub headers: Headers,
    /// Query parameters of each request.
    pub query: Vec<(String, String)>,
    /// The limits on waiting.
    pub timeout: Timeout,
    /// How often a failed call is repeated.
    pub retries: Retries,
}

/// An endpoint: everything about it but what is asked.
#[derive(Debug)]
pub struct Endpoint {
    base: BaseUrl,
    credential: Credential,
    signer: Option<Signer>,
    exit: Exit,
    has_key: bool,
    secrets: secrets::Secrets,
    headers: HeaderMap,
    removed: Vec<reqwest::header::HeaderName>,
    query: Vec<(String, String)>,
    /// The limits on waiting.
    pub timeout: Timeout,
    /// How often a failed call is repeated.
    pub retries: Retries,
    /// What an answer may hold at most.
    pub limits: Limits,
    /// No other path is tried than the one given.
    pub(crate) fixed_path: bool,
    /// The base that answered when the one given did not: the same with `/v1`.
    found: RwLock<Option<BaseUrl>>,
    /// The request of a call that was sent last.
    sent: Mutex<Option<Sent>>,
}

impl Endpoint {
    /// An endpoint at a base URL.
    ///
    /// # Errors
    /// `config` if a key or a header cannot be sent.
    pub fn new(base: BaseUrl, options: Options) -> Result<Self, LlmError> {
        let Options { key, auth, signer, headers, query, timeout, retries } = options;
        let credential = Credential::new(auth, key)?;
        let mut sent = HeaderMap::new();
        let mut removed = Vec::new();
        sent.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &headers {
            let key = header_name(name)?;
            match value {
                None => {
                    sent.remove(&key);
                    removed.push(key);
                }
                Some(value) => {
                    sent.insert(key, header_value(name, value)?);
                }
            }
        }
        let has_key = !credential.is_none() || signer.is_some() || names_a_credential(&headers);
        let secrets = secrets::Secrets::new(
            credential.secrets(),
            &headers,
            &[query.as_slice(), &base.query()].concat(),
        );
        Ok(Self {
            base,
            credential,
            signer,
            exit: Exit::new(timeout.connect),
            has_key,
            secrets,
            headers: sent,
            removed,
            query,
            timeout,
            retries,
            limits: Limits::default(),
            fixed_path: false,
            found: RwLock::new(None),
            sent: Mutex::new(None),
        })
    }

    /// The base URL as given, brought to one form.
    pub fn base_url(&self) -> &BaseUrl {
        &self.base
    }

    /// Takes the key out of an error that quotes it.
    pub(crate) fn scrub(&self, mut error: LlmError) -> LlmError {
        self.secrets.scrub(&mut error);
        error
    }

    /// Takes secrets out of the details of a ledger: servers quote what they were sent.
    pub(crate) fn scrub_ledger(&self, ledger: &mut [LedgerEntry]) {
        for entry in ledger {
            self.secrets.scrub_text(&mut entry.detail);
        }
    }

    /// The request of a call that was sent last: its URL and the curl command that sends it again.
    pub(crate) fn sent(&self) -> Option<(String, String)> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some((sent.shown_url(), sent.curl(|text| self.secrets.scrub_text(text))))
    }

    /// Whether a key is sent, be it in a header that the caller gave.
    pub fn has_key(&self) -> bool {
        self.has_key
    }

    /// The base that requests go to now.
    pub fn current_base(&self) -> BaseUrl {
        self.found.read().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_else(|| self.base.clone())
    }

    /// The other base to try when the path was not found, or `None` if there is none or it is in use already.
    pub(crate) fn alternative(&self) -> Option<BaseUrl> {
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        if found.is_some() || self.fixed_path { None } else { self.base.with_v1() }
    }

    /// Remembers the base that answered.
    pub(crate) fn remember(&self, base: BaseUrl) {
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = Some(base);
    }

    /// Posts a body and waits for the head of the answer. A refusal is an error, its body read.
    pub(crate) async fn post(
        &self,
        base: &BaseUrl,
        path: &str,
        body: Bytes,
        stream: bool,
        clocks: &Clocks,
    ) -> Result<Answer, LlmError> {
        self.send(Method::POST, base.join(path), Some(body), stream, clocks).await
    }

    /// The ids of the models that the endpoint serves.
    ///
    /// # Errors
    /// As any call; `bad_response` if the answer is no list of models.
    pub async fn models(&self) -> Result<Vec<String>, LlmError> {
        self.models_within(&Clocks::start(self.timeout)).await
    }

    pub(crate) async fn models_within(&self, clocks: &Clocks) -> Result<Vec<String>, LlmError> {
        let mut attempts = 1;
        loop {
            let mut error = match self.find_models(clocks).await {
                Ok(ids) => return Ok(ids),
                Err(error) => self.scrub(error),
            };
            error.attempts = attempts;
            match self.retries.wait(&error, attempts) {
                Some(wait) if clocks.left().is_none_or(|left| wait < left) => tokio::time::sleep(wait).await,
                _ => return Err(error),
            }
            attempts += 1;
        }
    }

    async fn find_models(&self, clocks: &Clocks) -> Result<Vec<String>, LlmError> {
        let base = self.current_base();
        match self.models_at(&base, clocks).await {
            Ok(ids) => Ok(ids),
            Err(error) => match self.alternative() {
                Some(other) if error.status_code == Some(404) || error.status_code.is_none() => {
                    let ids = self.models_at(&other, clocks).await.map_err(|_| error)?;
                    self.remember(other);
                    Ok(ids)
                }
                _ => Err(error),
            },
        }
    }

    async fn models_at(&self, base: &BaseUrl, clocks: &Clocks) -> Result<Vec<String>, LlmError> {
        let mut answer = self.send(Method::GET, base.join("models"), None, false, clocks).await?;
        let body = answer.read_all(MAX_MODELS_BODY, clocks).await?;
        loom_wire::models::ids(&body).ok_or_else(|| {
            let mut error = LlmError::bad_response("the answer is not a list of models");
            error.url = Some(answer.url.clone());
            error
        })
    }

    /// Sends a request, once more with another key where the first was refused and there is another.
    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<Bytes>,
        stream: bool,
        clocks: &Clocks,
    ) -> Result<Answer, LlmError> {
        let mut changes = Vec::new();
        loop {
            let grant = self.credential.grant(&self.exit, &self.secrets, clocks).await?;
            let error = match self.follow(&method, url.clone(), &body, stream, &grant, clocks).await {
                Ok(answer) => return Ok(Answer { changes, ..answer }),
                Err(error) => error,
            };
            let Some(change) = self.credential.after(&grant, &error, changes.len()).await else {
                return Err(error);
            };
            tracing::info!(target: "loom", "{change}");
            changes.push(LedgerEntry::new(Rule::KeyReplaced, change));
        }
    }

    /// Sends a request. A redirect within the origin is followed with method and body as they are, three times at most.
    async fn follow(
        &self,
        method: &Method,
        mut url: Url,
        body: &Option<Bytes>,
        stream: bool,
        grant: &Grant,
        clocks: &Clocks,
    ) -> Result<Answer, LlmError> {
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        for _ in 0..=3 {
            let mut request = reqwest::Request::new(method.clone(), url.clone());
            let headers = request.headers_mut();
            headers.clone_from(&self.headers);
            let default = |headers: &mut HeaderMap, name: reqwest::header::HeaderName, value: HeaderValue| {
                if !headers.contains_key(&name) && !self.removed.contains(&name) {
                    headers.insert(name, value);
                }
            };
            if let Some(Shown::Header(name, value)) = &grant.shown {
                default(headers, name.clone(), value.clone());
            }
            let accepted = if stream { "text/event-stream" } else { "application/json" };
            default(headers, ACCEPT, HeaderValue::from_static(accepted));
            default(headers, USER_AGENT, HeaderValue::from_static(OWN_NAME));
            // Compressing proxies hold tokens back; what comes compressed all the same is decoded.
            if stream {
                default(headers, ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            if body.is_none() {
                headers.remove(CONTENT_TYPE);
            }
            if let Some(Shown::Query(name, key)) = &grant.shown {
                request.url_mut().query_pairs_mut().append_pair(name, key.expose_secret());
            }
            *request.body_mut() = body.clone().map(Into::into);
            if let Some(signer) = &self.signer {
                clocks.wait(signer.sign(&mut request, &self.secrets)).await??;
            }
            let shown = visible(request.url());
            if let Some(body) = body {
                let sent = Sent {
                    url: request.url().clone(),
                    headers: request.headers().clone(),
                    body: body.clone(),
                };
                *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
            }
            let response = self.exit.send(request, clocks).await?;
            check_headers(response.headers(), &self.limits).map_err(|error| located(error, &shown))?;
            if response.status().is_redirection() {
                url = redirected(&url, &response).map_err(|error| located(error, &shown))?;
                continue;
            }
            let answer = Answer {
                url: shown,
                request_id: request_id(response.headers()),
                changes: Vec::new(),
                response,
                timer: None,
                ended: false,
            };
            return if answer.response.status().is_success() {
                Ok(answer)
            } else {
                Err(answer.refusal(clocks).await)
            };
        }
        Err(located(LlmError::bad_response("the endpoint redirects in a circle"), &visible(&url)))
    }
}

/// Refuses more headers than the limits allow.
fn check_headers(headers: &HeaderMap, limits: &Limits) -> Result<(), LlmError> {
    if headers.len() > limits.header_count {
        let what = format!("the answer has more than {} headers", limits.header_count);
        return Err(limits::passed(what, "header_count"));
    }
    // A line of a header is its name, its value, and four bytes around them.
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits.header_bytes {
        let what = format!("the headers of the answer are larger than {} bytes", limits.header_bytes);
        return Err(limits::passed(what, "header_bytes"));
    }
    Ok(())
}

fn located(mut error: LlmError, url: &str) -> LlmError {
    error.url.get_or_insert_with(|| url.to_owned());
    error
}

/// Whether the caller's headers hold a credential.
fn names_a_credential(headers: &Headers) -> bool {
    const NAMES: [&str; 4] = ["authorization", "api-key", "x-api-key", "x-auth-token"];
    headers
        .iter()
        .any(|(name, value)| value.is_some() && NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)))
}

/// Where a redirect leads, if the key may go there: the same origin, or the same host from port 80 to TLS on 443.
fn redirected(from: &Url, response: &Response) -> Result<Url, LlmError> {
    let status = response.status().as_u16();
    let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let target = target.and_then(|text| from.join(text).ok());
    let mut refused = LlmError::bad_response("the endpoint redirects without saying where");
    if let Some(target) = target {
        let upgraded = from.host() == target.host()
            && (from.scheme(), from.port_or_known_default()) == ("http", Some(80))
            && (target.scheme(), target.port_or_known_default()) == ("https", Some(443));
        if matches!(status, 301 | 302 | 307 | 308) && (from.origin() == target.origin() || upgraded) {
            return Ok(target);
        }
        refused = LlmError::bad_response(format!("the endpoint redirects to {}", visible(&target))).with_hint(
            "the key and the prompt are not sent to another origin unasked: if that address is right, use it as base_url",
        );
    }
    refused.status_code = Some(status);
    Err(refused)
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    ["x-request-id", "request-id", "x-requestid", "x-generation-id", "x-trace-id"]
        .iter()
        .find_map(|name| headers.get(*name))
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

/// The head of a successful answer, and its bytes as they come. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The URL that answered, fit to be shown.
    pub(crate) url: String,
    /// The server's name for the request.
    pub(crate) request_id: Option<String>,
    /// What was changed on the way, for the ledger.
    pub(crate) changes: Vec<LedgerEntry>,
    response: Response,
    /// Of the clock that runs out next.
    timer: Option<Pin<Box<Sleep>>>,
    /// The framing's end was seen.
    ended: bool,
}

impl Answer {
    /// More bytes, or `None` at a clean end.
    pub(crate) async fn chunk(&mut self, clocks: &Clocks) -> Result<Option<Bytes>, LlmError> {
        let read = clocks.wait_again(&mut self.timer, self.response.chunk()).await?;
        self.ended = matches!(read, Ok(None));
        read.map_err(|error| {
            let causes = failure::chain(&error);
            LlmError::new(
                loom_wire::ErrorKind::StreamInterrupted,
                format!("the connection broke before the answer was complete: {causes}"),
            )
        })
    }

    /// Reads what stands behind a complete answer (the end of the framing), so that the connection can be used again. It
    /// usually has arrived; if not, it is waited for in the background, not for long.
    pub(crate) fn retire(mut self) {
        if self.ended {
            return;
        }
        let mut rest = Box::pin(async move {
            for _ in 0..16 {
                if !matches!(self.response.chunk().await, Ok(Some(_))) {
                    return;
                }
            }
        });
        if (&mut rest).now_or_never().is_none() {
            tokio::spawn(async move { tokio::time::timeout(std::time::Duration::from_secs(1), rest).await });
        }
    }

    async fn read_all(&mut self, limit: usize, clocks: &Clocks) -> Result<Vec<u8>, LlmError> {
        let mut body = Vec::new();
        while let Some(bytes) = self.chunk(clocks).await? {
            body.extend_from_slice(&bytes);
            if body.len() > limit {
                return Err(LlmError::bad_response(format!("the answer is larger than {limit} bytes")));
            }
        }
        Ok(body)
    }

    async fn refusal(mut self, clocks: &Clocks) -> LlmError {
        let mut body = Vec::new();
        // A body that breaks off still says more than none.
        while let Ok(Some(bytes)) = self.chunk(clocks).await {
            body.extend_from_slice(&bytes);
            if body.len() > MAX_ERROR_BODY {
                break;
            }
        }
        let mut error = api_error::from_http(self.response.status().as_u16(), &body);
        advice::apply(&mut error, self.response.headers(), std::time::SystemTime::now());
        error.request_id = self.request_id.take().or(error.request_id.take());
        error.url = Some(self.url.clone());
        error
    }
}
