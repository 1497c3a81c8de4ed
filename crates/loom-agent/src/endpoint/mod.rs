//! One origin: its URL, credentials, headers, clocks and retries. Requests go in, response bytes come out.

mod advice;
mod answer;
mod base_url;
mod certificate;
mod client;
mod clocks;
mod credential;
mod environment;
mod exit;
pub(crate) mod explanation;
mod failure;
mod header;
mod network;
mod outgoing;
mod plain;
mod proxy;
mod redirect;
mod resolver;
mod response;
mod retry;
mod retry_budget;
mod secrets;
mod sent;
pub(crate) mod server;
mod sign;
mod straight;
mod throttle;
mod tls;
mod transport;
mod windows;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use http::Method;
use loom_wire::{LedgerEntry, Limits, LlmError, Rule};
use url::Url;

pub(crate) use answer::{Answer, Rest, read_on};
pub use base_url::BaseUrl;
pub(crate) use base_url::{presentable, visible};
pub use client::{ByteStream, HttpClient, Transport};
pub use clocks::Timeout;
pub(crate) use clocks::{Clocks, soon};
pub use credential::{Auth, CallbackError, Key, OAuth2, Token};
pub use explanation::Explanation;
pub use header::Headers;
pub use network::{ClientCert, Network};
pub(crate) use outgoing::Additions;
pub use proxy::Proxy;
pub use retry::Retries;
pub(crate) use retry::Tries;
pub(crate) use retry_budget::succeeded as retry_succeeded;
pub use sign::{Signer, Unsigned};
pub use throttle::RateLimits;
pub(crate) use throttle::{Pass, Throttle};
pub use tls::TlsVersion;

use answer::check_headers;
use credential::{Credential, Grant};
use exit::Exit;
#[cfg(feature = "mcp")]
pub(crate) use exit::client_for;
use outgoing::Outgoing;
use redirect::redirected;
use sent::Sent;

/// The most that is read of a list of models.
const MAX_MODELS_BODY: usize = 16 << 20;

/// What there is to say about an endpoint besides its address.
#[derive(Clone, Default)]
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
    /// How it is reached.
    pub network: Network,
    /// The caller's own client, which then brings its own network.
    pub http_client: Option<HttpClient>,
    /// The limits on waiting.
    pub timeout: Timeout,
    /// How often a failed call is repeated.
    pub retries: Retries,
}

/// An endpoint: everything about it but what is asked.
pub struct Endpoint {
    base: Arc<BaseUrl>,
    credential: Credential,
    signer: Option<Signer>,
    exit: Exit,
    has_key: bool,
    secrets: secrets::Secrets,
    additions: Additions,
    /// The limits on waiting.
    pub timeout: Timeout,
    /// How often a failed call is repeated.
    pub retries: Retries,
    /// What an answer may hold at most.
    pub limits: Limits,
    /// No other path is tried than the one given.
    pub(crate) fixed_path: bool,
    pub(crate) throttle: Throttle,
    /// The base that answered when the one given did not: the same with `/v1`.
    found: RwLock<Option<Arc<BaseUrl>>>,
    /// The request of a call that was sent last.
    sent: Mutex<Option<Arc<Sent>>>,
    /// Which software answers there.
    server: Arc<server::Seen>,
}

impl Endpoint {
    /// An endpoint at a base URL.
    ///
    /// # Errors
    /// `config` if a key or a header cannot be sent.
    pub fn new(base: BaseUrl, options: Options) -> Result<Self, LlmError> {
        let Options { key, auth, signer, headers, query, network, http_client, timeout, retries } = options;
        let exit = Exit::new(&base, &network, http_client, timeout.connect)?;
        let credential = Credential::new(auth, key)?;
        let has_key = !credential.is_none() || signer.is_some() || names_a_credential(&headers);
        plain::warn(&base, has_key);
        let mut keys = credential.secrets();
        keys.extend(network.proxy.iter().flat_map(Proxy::secrets));
        let secrets = secrets::Secrets::new(keys, &headers, &[query.as_slice(), &base.query()].concat());
        let server = server::Seen::at(&base.origin());
        Ok(Self {
            base: Arc::new(base),
            credential,
            signer,
            exit,
            has_key,
            secrets,
            additions: Additions::new(&headers, query)?,
            timeout,
            retries,
            limits: Limits::default(),
            fixed_path: false,
            throttle: Throttle::new(RateLimits::default()),
            found: RwLock::new(None),
            sent: Mutex::new(None),
            server,
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

    /// The software that answers there, as far as its answers gave it away: `vllm`, `ollama`, `litellm`, … The names are those
    /// of providers where there is one.
    pub fn server(&self) -> Option<&'static str> {
        self.server.name()
    }

    /// The base that requests go to now.
    pub fn current_base(&self) -> Arc<BaseUrl> {
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(found.as_ref().unwrap_or(&self.base))
    }

    /// The other base to try when the path was not found, or `None` if there is none or it is in use already.
    pub(crate) fn alternative(&self) -> Option<BaseUrl> {
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        if found.is_some() || self.fixed_path { None } else { self.base.with_v1() }
    }

    /// Remembers the base that answered.
    pub(crate) fn remember(&self, base: Arc<BaseUrl>) {
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = Some(base);
    }

    /// Posts a body and waits for the head of the answer. A refusal is an error, its body read.
    pub(crate) async fn post(
        &self,
        url: Url,
        body: Bytes,
        stream: bool,
        call: &Additions,
        clocks: &Clocks,
    ) -> Result<Answer, LlmError> {
        let outgoing =
            Outgoing { method: Method::POST, body: Some(body), stream, own: &self.additions, call };
        self.send(url, outgoing, clocks).await
    }

    /// What a single call adds, its headers kept out of errors.
    pub(crate) fn additions(
        &self,
        headers: &Headers,
        query: Vec<(String, String)>,
    ) -> Result<Additions, LlmError> {
        self.secrets.learn_headers(headers);
        if !query.is_empty() {
            self.secrets.learn(query.iter().map(|(_, value)| value.clone()));
        }
        Additions::new(headers, query)
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
        let origin = self.base.origin();
        let mut tries = Tries::new(self.retries, &origin);
        loop {
            let mut error = match self.find_models(clocks).await {
                Ok(ids) => return Ok(ids),
                Err(error) => self.scrub(error),
            };
            error.attempts = attempts;
            match tries.after(&mut error, clocks) {
                Some(retry) => tokio::time::sleep(std::time::Duration::from_secs_f64(retry.wait)).await,
                None => return Err(error),
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
                    self.remember(Arc::new(other));
                    Ok(ids)
                }
                _ => Err(error),
            },
        }
    }

    async fn models_at(&self, base: &BaseUrl, clocks: &Clocks) -> Result<Vec<String>, LlmError> {
        let outgoing = Outgoing {
            method: Method::GET,
            body: None,
            stream: false,
            own: &self.additions,
            call: &Additions::default(),
        };
        let mut answer = self.send(base.join("models"), outgoing, clocks).await?;
        let body = answer.read_all(MAX_MODELS_BODY, clocks).await?;
        let models = loom_wire::models::listed(&body).ok_or_else(|| {
            let mut error = LlmError::bad_response("the answer is not a list of models");
            error.url = Some(answer.url());
            error
        })?;
        for model in &models {
            if let Some(tokens) = model.context_window {
                self.learn_window(&model.id, tokens);
            }
        }
        Ok(models.into_iter().map(|model| model.id).collect())
    }

    /// How many tokens the model's context holds, if the server has said it.
    pub(crate) fn context_window(&self, model: &str) -> Option<u64> {
        windows::of(self.base.origin_text(), model)
    }

    pub(crate) fn learn_window(&self, model: &str, tokens: u64) {
        windows::learn(self.base.origin_text(), model, tokens);
    }

    /// Sends a request, once more with another key where the first was refused and there is another.
    async fn send(&self, url: Url, outgoing: Outgoing<'_>, clocks: &Clocks) -> Result<Answer, LlmError> {
        let url = outgoing.with_query(url);
        let mut changes = Vec::new();
        let mut replaced = 0;
        if self.exit.skips_verification() && url.scheme() == "https" {
            changes.push(LedgerEntry::new(Rule::TlsNotVerified, "the server's certificate was not checked"));
        }
        loop {
            let grant = self.credential.grant(&self.exit, &self.secrets, clocks).await?;
            let error = match self.follow(&url, &outgoing, &grant, clocks).await {
                Ok(mut answer) => {
                    answer.changes = changes;
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let Some(change) = self.credential.after(&grant, &error, replaced).await else {
                return Err(error);
            };
            tracing::info!(target: "loom", "{change}");
            replaced += 1;
            changes.push(LedgerEntry::new(Rule::KeyReplaced, change));
        }
    }

    /// Sends a request. A redirect within the origin is followed with method and body as they are, three times at most.
    async fn follow(
        &self,
        url: &Url,
        outgoing: &Outgoing<'_>,
        grant: &Grant,
        clocks: &Clocks,
    ) -> Result<Answer, LlmError> {
        let mut url = Cow::Borrowed(url);
        for _ in 0..=3 {
            let mut request = outgoing.request(&url, grant.shown.as_ref());
            if let Some(signer) = &self.signer {
                clocks.wait(signer.sign(&mut request, &self.secrets)).await??;
            }
            request.basic_user = self.credential.basic_user();
            let sent = Arc::new(request);
            if outgoing.body.is_some() {
                *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&sent));
            }
            let response = self.exit.send(&sent, clocks).await?;
            let located = |error| located(error, &self.exit.shown(&sent.url));
            check_headers(&response.headers, &self.limits).map_err(located)?;
            if response.status.is_redirection() {
                url = Cow::Owned(redirected(&url, &response).map_err(located)?);
                continue;
            }
            self.throttle.observe(&response.headers);
            let is_success = response.status.is_success();
            // A refusal shows more than an answer does.
            let unknown_server = (!is_success || self.server.is_open()).then(|| Arc::clone(&self.server));
            let mut answer = Answer::new(&sent.url, Arc::clone(self.exit.way()), response, unknown_server);
            if let Some(id) = &mut answer.request_id {
                // A server that sends back what it got must not make the key a name.
                self.secrets.scrub_text(id);
            }
            if is_success {
                return Ok(answer);
            }
            return Err(Box::pin(answer.refusal(clocks, self.exit.via(&url).as_ref())).await);
        }
        Err(located(LlmError::bad_response("the endpoint redirects in a circle"), &self.exit.shown(&url)))
    }
}

impl fmt::Debug for Options {
    /// Without the values of headers and query, which may be keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("key", &self.key).field("auth", &self.auth).finish_non_exhaustive()
    }
}

impl fmt::Debug for Endpoint {
    /// Without the values of headers and query, which may be keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("base", &self.base)
            .field("credential", &self.credential)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
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
