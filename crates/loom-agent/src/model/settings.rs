//! What a user says about an LLM. What it comes to is `resolve`'s to say.

use std::sync::Arc;
use std::time::Duration;

use loom_wire::{Limits, LlmError, Profile};
use serde_json::{Map, Value};

use crate::endpoint::{
    Auth, BaseUrl, ClientCert, Headers, HttpClient, Key, Network, Proxy, RateLimits, Signer, Timeout,
    TlsVersion, Transport,
};
use crate::model::adapter::Adapter;
use crate::model::llm::Llm;
use crate::model::pool::Pool;
use crate::model::provider;
use crate::model::unified::UnifiedLlm;

/// The settings of a [`UnifiedLlm`]. What is not set is not sent.
#[derive(Clone, Default)]
#[must_use]
pub struct LlmSettings {
    pub(crate) provider: Option<String>,
    /// `provider` is an endpoint of `loom.toml`, even if a provider has the same name.
    pub(crate) is_endpoint: bool,
    pub(crate) api_key: Option<Key>,
    pub(crate) auth: Option<Auth>,
    pub(crate) signer: Option<Signer>,
    pub(crate) network: Network,
    pub(crate) http_client: Option<HttpClient>,
    pub(crate) base_url: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) timeout: Option<Timeout>,
    pub(crate) max_retries: Option<u32>,
    pub(crate) rate_limits: RateLimits,
    pub(crate) headers: Headers,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) asked: Defaults,
    /// As given: `None` leaves the word to `loom.toml`.
    pub(crate) drop_params: Option<bool>,
    pub(crate) strict: Option<bool>,
    pub(crate) limits: Option<Limits>,
    pub(crate) parse_text: Option<bool>,
    pub(crate) adapter: Option<Arc<dyn Adapter>>,
    pub(crate) config_file: Option<std::path::PathBuf>,
}

/// What is asked for with each call that says nothing else.
#[derive(Clone, Default)]
pub(crate) struct Defaults {
    pub(crate) params: Map<String, Value>,
    pub(crate) extra_body: Map<String, Value>,
    /// The user's own word on what the endpoint takes.
    pub(crate) profile: Profile,
    /// Whether parameters that the endpoint refuses may be left out.
    pub(crate) drop_params: bool,
}

impl LlmSettings {
    /// The provider's name: one of `loom providers`, one that was registered, or an endpoint of `loom.toml`.
    /// Default: `custom` if a base URL is given, else `openai`.
    pub fn provider(mut self, name: impl Into<String>) -> Self {
        self.provider = Some(name.into());
        self.is_endpoint = false;
        self
    }

    /// An endpoint of `loom.toml`, even if a provider has the same name.
    pub fn endpoint(mut self, name: impl Into<String>) -> Self {
        self.provider = Some(name.into());
        self.is_endpoint = true;
        self
    }

    /// The key, or where it comes from (see [`Key`]). Default: the provider's environment variable, if the provider's
    /// own address is used.
    pub fn api_key(mut self, key: impl Into<Key>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// How the key is shown. Default: as the provider wants it, else `Authorization: Bearer`.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Signs each request: the function is shown it and says which headers to add.
    pub fn sign(mut self, signer: Signer) -> Self {
        self.signer = Some(signer);
        self
    }

    /// The client that requests go through, instead of Loom's own: a [`reqwest::Client`] with whatever is set on it.
    pub fn http_client(mut self, client: impl Into<HttpClient>) -> Self {
        self.http_client = Some(client.into());
        self
    }

    /// Whatever shall answer the requests.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.http_client = Some(HttpClient::Transport(std::sync::Arc::new(transport)));
        self
    }

    /// How the endpoint is reached, all at once.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// A PEM file with certificates of authorities to trust besides the system's: a company's own, for one.
    pub fn verify(mut self, bundle: impl Into<std::path::PathBuf>) -> Self {
        self.network.verify = Some(bundle.into());
        self
    }

    /// The client's certificate and its key, as PEM files, for endpoints that want one (mTLS).
    pub fn cert(mut self, cert: impl Into<std::path::PathBuf>, key: impl Into<std::path::PathBuf>) -> Self {
        self.network.cert = Some(ClientCert::Pair(cert.into(), key.into()));
        self
    }

    /// The lowest version of TLS that is spoken. Default 1.2.
    pub fn min_tls_version(mut self, version: TlsVersion) -> Self {
        self.network.min_tls_version = Some(version);
        self
    }

    /// Takes any certificate from anyone: whoever is on the way can then read the key and the prompt. Each call has it
    /// on its ledger.
    pub fn dangerously_skip_verify(mut self) -> Self {
        self.network.dangerously_skip_verify = true;
        self
    }

    /// The proxy, such as [`Proxy::parse("http://user:password@proxy:3128")`](Proxy::parse), or [`Proxy::direct`] for
    /// none. Default: the environment's.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.network.proxy = Some(proxy);
        self
    }

    /// Gives a name an address, instead of asking the resolver. Repeatable.
    pub fn resolve(mut self, host: impl Into<String>, address: std::net::IpAddr) -> Self {
        self.network.resolve.push((host.into(), address));
        self
    }

    /// Whether HTTP/2 is spoken with servers that offer it. Default true.
    pub fn http2(mut self, allowed: bool) -> Self {
        self.network.http2 = Some(allowed);
        self
    }

    /// The base URL, such as `http://localhost:8000/v1`.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The model's name. Default: the provider's, or the one model that the endpoint serves.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// Sampling temperature.
    pub fn temperature(self, temperature: f64) -> Self {
        self.param("temperature", temperature)
    }

    /// The most tokens of an answer.
    pub fn max_tokens(self, limit: u64) -> Self {
        self.param("max_tokens", limit)
    }

    /// Any request parameter, by its wire name.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.asked.params.insert(name.into(), value.into());
        self
    }

    /// The limits on waiting. Default: connect 5 s, total 600 s.
    pub fn timeout(mut self, timeout: Timeout) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// A limit on the whole call, in seconds.
    pub fn timeout_secs(self, seconds: f64) -> Self {
        // What is no length of time becomes 0, which `build` refuses.
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or(if seconds > 0.0 {
            Duration::MAX
        } else {
            Duration::ZERO
        });
        self.timeout(Timeout::total(limit))
    }

    /// Repetitions of a failed call. Default 2.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// The most calls under way at once; further ones wait in the order in which they came. Default: no limit.
    pub fn max_concurrency(mut self, calls: u32) -> Self {
        self.rate_limits.max_concurrency = Some(calls);
        self
    }

    /// The most requests per minute; further ones wait. Default: no limit.
    pub fn requests_per_minute(mut self, requests: u32) -> Self {
        self.rate_limits.requests_per_minute = Some(requests);
        self
    }

    /// The most tokens per minute, of prompts and answers together; calls that would use more wait. Default: no limit.
    pub fn tokens_per_minute(mut self, tokens: u32) -> Self {
        self.rate_limits.tokens_per_minute = Some(tokens);
        self
    }

    /// All three limits at once; those that are `None` stay as they are.
    pub fn rate_limits(mut self, limits: RateLimits) -> Self {
        self.rate_limits = limits.or(self.rate_limits);
        self
    }

    /// What an answer may hold at most; see [`Limits`] for what there is and the defaults.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Whether thinking (`<think>` and its relatives) and tool calls that a server leaves in the text are taken out of
    /// it. Default `true`; `false` leaves the text as it is.
    pub fn parse_text(mut self, parse: bool) -> Self {
        self.parse_text = Some(parse);
        self
    }

    /// A header of each request; it replaces Loom's own of that name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// Leaves a header out that would be sent otherwise.
    pub fn without_header(mut self, name: impl Into<String>) -> Self {
        self.headers.push((name.into(), None));
        self
    }

    /// A query parameter of each request.
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Fields of each request's body; they win over Loom's own.
    pub fn extra_body(mut self, fields: Map<String, Value>) -> Self {
        self.asked.extra_body.extend(fields);
        self
    }

    /// Leaves out parameters that the endpoint refuses (`temperature`, `seed`, …) instead of failing; the ledger says which.
    /// Default no: an answer that was made otherwise than asked for is not what was asked for.
    pub fn drop_params(mut self, allowed: bool) -> Self {
        self.drop_params = Some(allowed);
        self
    }

    /// What the endpoint takes and how it spells it. It wins over what Loom knows and learns.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.asked.profile.overlay(&profile);
        self
    }

    /// Whether each leniency is an error instead of an entry in the ledger. Default `false`.
    ///
    /// An answer that needed one fails with `bad_response`, which names the rule and carries what had arrived. A
    /// request is sent as it is: a refusal that Loom would cure by changing it is the error.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = Some(strict);
        self
    }

    /// Translates for an API that is not OpenAI-like.
    pub fn adapter(mut self, adapter: impl Adapter + 'static) -> Self {
        self.adapter = Some(Arc::new(adapter));
        self
    }

    /// The `loom.toml` to look endpoints up in. Default: see [`Config::find`].
    pub fn config_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.config_file = Some(path.into());
        self
    }

    /// Makes the LLM or the pool that the name stands for. No network is used.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn open(self) -> Result<Arc<dyn Llm>, LlmError> {
        match self.pool()? {
            Some(pool) => Ok(Arc::new(pool)),
            None => Ok(Arc::new(self.build()?)),
        }
    }

    /// The pool of `loom.toml` that the name stands for; `None` if it stands for something else.
    ///
    /// # Errors
    /// `config` if the pool cannot be made.
    pub fn pool(&self) -> Result<Option<Pool>, LlmError> {
        let Some(name) =
            self.provider.as_deref().filter(|name| self.is_endpoint || provider::find(name).is_none())
        else {
            return Ok(None);
        };
        match self.config()? {
            Some(config) if config.has_pool(name) && config.endpoint(name).is_none() => {
                config.pool(name, self).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The first setting that says where calls go.
    pub(crate) fn names_a_place(&self) -> Option<&'static str> {
        [("base_url", self.base_url.is_some()), ("api_key", self.api_key.is_some())]
            .into_iter()
            .find_map(|(name, given)| given.then_some(name))
    }

    /// Makes the LLM. No network is used.
    ///
    /// # Errors
    /// `config`, naming what is wrong and what to write instead.
    pub fn build(self) -> Result<UnifiedLlm, LlmError> {
        self.build_with(&|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
    }
}

impl std::fmt::Debug for LlmSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LlmSettings")
            .field("provider", &self.provider)
            .field(
                "base_url",
                &self.base_url.as_deref().and_then(|url| BaseUrl::parse(url).ok()).map(|url| url.to_string()),
            )
            .field("model", &self.model)
            .field("params", &self.asked.params)
            .finish_non_exhaustive()
    }
}
