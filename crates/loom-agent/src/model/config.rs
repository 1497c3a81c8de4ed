//! `loom.toml`: named endpoints and providers of one's own.
//!
//! ```toml
//! default = "office"
//!
//! [endpoints.office]
//! provider = "custom"                        # default: custom with a base_url, else openai
//! base_url = "https://llm.example.internal/v1"
//! model = "company-gpt-model"
//! api_key = { env = "OFFICE_KEY" }           # or the key itself, or one of the forms below
//! auth = { header = "x-api-key" }            # or "bearer" (default), "basic", "none", { basic = "USER" }, { query = "NAME" }
//! headers = { "X-Team" = "search", "User-Agent" = false }   # false leaves a header out
//! params = { temperature = 0.2, max_tokens = 2000 }
//! timeout = 120.0                            # or { connect = 5, first_token = 60, idle = 30, total = 600 }
//! max_retries = 2
//! strict = false
//! limits = { body_bytes = 1000000 }          # event_bytes, body_bytes, tool_calls, json_depth, header_count, …
//! parse_text = true                          # take thinking and tool calls out of the text
//! drop_params = true                         # leave out what the endpoint refuses; default false
//! profile = { system = "first" }             # what the endpoint takes; see docs/providers.md
//!
//! [endpoints.gateway]
//! base_url = "https://llm-gateway.example.internal/v1"
//! api_key = { oauth2 = { token_url = "https://login.example.internal/token", client_id = "loom", client_secret = { env = "SECRET" } } }
//! # or { command = "pass show gateway" }, or several, of which the next is used when one is refused: [ …, … ]
//! max_concurrency = 8                        # also requests_per_minute, tokens_per_minute
//!
//! [pools.all]                                # several endpoints as one
//! members = ["office", "office-2"]
//! fallbacks = ["cloud"]
//!
//! [providers.acme]
//! base_url = "https://api.acme.example/v1"
//! key_env = ["ACME_API_KEY"]
//! default_model = "acme-large"
//!
//! [mcp.search]                               # an MCP server: command and env, cwd, or url and headers
//! url = "https://mcp.example.internal/mcp"
//! headers = { Authorization = { env = "SEARCH_TOKEN" } }   # the value itself, or the variable that holds it
//! timeout = 60.0
//! prefix = "search"
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use loom_wire::{Limits, LlmError, Profile};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::endpoint::{Auth, ClientCert, Key, Network, OAuth2, Proxy, RateLimits, Timeout, TlsVersion};
use crate::model::mcp_config::McpConfig;
use crate::model::pool::Pool;
use crate::model::pool::config::PoolConfig;
use crate::model::provider::Provider;
use crate::model::settings::LlmSettings;

/// The variable that names the file.
pub const CONFIG_VARIABLE: &str = "LOOM_CONFIG";

/// What a `loom.toml` says.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    default: Option<String>,
    endpoints: BTreeMap<String, EndpointConfig>,
    pools: BTreeMap<String, PoolConfig>,
    providers: BTreeMap<String, Provider>,
    #[cfg_attr(not(feature = "mcp"), allow(dead_code))]
    mcp: BTreeMap<String, McpConfig>,
    #[serde(skip)]
    path: PathBuf,
    /// The file was found in the working directory and not named by the user.
    #[serde(skip)]
    found_here: bool,
}

/// A named endpoint.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointConfig {
    provider: Option<String>,
    base_url: Option<String>,
    model: Option<String>,
    api_key: Option<KeyConfig>,
    auth: Option<Auth>,
    headers: BTreeMap<String, HeaderConfig>,
    query: BTreeMap<String, String>,
    params: Map<String, Value>,
    extra_body: Map<String, Value>,
    timeout: Option<TimeoutConfig>,
    max_retries: Option<u32>,
    strict: Option<bool>,
    max_concurrency: Option<u32>,
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u32>,
    // How it is reached; see `Network`.
    verify: Option<PathBuf>,
    cert: Option<ClientCert>,
    min_tls_version: Option<TlsVersion>,
    dangerously_skip_verify: bool,
    proxy: Option<Proxy>,
    resolve: BTreeMap<String, IpAddr>,
    http2: Option<bool>,
    limits: Option<Limits>,
    parse_text: Option<bool>,
    drop_params: Option<bool>,
    profile: Profile,
}

/// TOML has no null.
#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "a header is a text, or false to leave it out")]
enum HeaderConfig {
    Sent(String),
    LeftOut(False),
}

#[derive(Clone, Deserialize)]
#[serde(try_from = "bool")]
struct False;

impl TryFrom<bool> for False {
    type Error = &'static str;

    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value { Err("a header cannot be true") } else { Ok(Self) }
    }
}

impl HeaderConfig {
    fn value(self) -> Option<String> {
        match self {
            Self::Sent(value) => Some(value),
            Self::LeftOut(False) => None,
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "api_key is a text, { env = \"NAME\" }, { command = \"…\" }, { oauth2 = { token_url, client_id, client_secret, … } } or a list of those"
)]
enum KeyConfig {
    Itself(String),
    Env { env: String },
    Command { command: String },
    OAuth2 { oauth2: OAuth2Config },
    Several(Vec<Self>),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct OAuth2Config {
    token_url: String,
    client_id: String,
    client_secret: SecretConfig,
    scope: Option<String>,
    /// Further fields of the token request (`audience`, `resource`).
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "a secret is a text or { env = \"NAME\" }")]
pub(super) enum SecretConfig {
    Itself(String),
    Env { env: String },
}

impl SecretConfig {
    /// The secret. `what` it is, for the error.
    pub(super) fn value(&self, what: &str) -> Result<String, LlmError> {
        match self {
            Self::Itself(secret) => Ok(secret.clone()),
            Self::Env { env } => variable(env, what),
        }
    }
}

/// Where the key of an endpoint comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource<'a> {
    /// No key is named; the provider's variables count, at the provider's own address.
    None,
    /// The key stands in the file.
    File,
    /// This environment variable.
    Variable(&'a str),
    /// A command prints it.
    Command,
    /// An OAuth2 server gives it.
    OAuth2,
    /// There are several.
    Several,
}

#[derive(Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "timeout is seconds, or a table of connect, first_token, idle, loading and total"
)]
enum TimeoutConfig {
    Total(f64),
    Clocks(Timeout),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// `config`, with the file and the place in it.
    pub fn load(path: &Path) -> Result<Self, LlmError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| LlmError::config(format!("{} cannot be read: {error}", path.display())))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            // Only the reason and the line: the text around it may hold a key.
            let line = error
                .span()
                .map_or(1, |span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
            LlmError::config(format!("{} line {line}: {}", path.display(), without_values(error.message())))
        })?;
        config.path = path.to_owned();
        for (name, provider) in &mut config.providers {
            provider.name.clone_from(name);
        }
        Ok(config)
    }

    /// Reads the file that `LOOM_CONFIG` names, else `./loom.toml`, else `loom/loom.toml` in the user's configuration
    /// folder (`$XDG_CONFIG_HOME`, `~/.config`, `%APPDATA%`); `None` if there is none.
    ///
    /// # Errors
    /// `config` if the file is there and cannot be read.
    pub fn find() -> Result<Option<Self>, LlmError> {
        if let Some(named) = std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()) {
            return Self::load(Path::new(&named)).map(Some);
        }
        let here = Path::new("loom.toml");
        if here.is_file() {
            let mut config = Self::load(here)?;
            config.found_here = true;
            return Ok(Some(config));
        }
        match user_file().filter(|path| path.is_file()) {
            Some(path) => Self::load(&path).map(Some),
            None => Ok(None),
        }
    }

    /// The endpoint to use when none is named.
    ///
    /// A file that merely lies in the working directory chooses nothing by itself: a folder that someone else made
    /// must not decide where a prompt goes or which command yields a key.
    pub fn default_endpoint(&self) -> Option<&str> {
        self.default.as_deref().filter(|_| !self.found_here)
    }

    /// The endpoint of that name.
    pub fn endpoint(&self, name: &str) -> Option<&EndpointConfig> {
        self.endpoints.get(name)
    }

    /// Whether there is an endpoint or a pool of that name.
    pub fn has_place(&self, name: &str) -> bool {
        self.endpoints.contains_key(name) || self.has_pool(name)
    }

    /// Whether there is a pool of that name.
    pub fn has_pool(&self, name: &str) -> bool {
        self.pools.contains_key(name)
    }

    /// The pool of that name, its members made from `settings` and their own.
    ///
    /// # Errors
    /// `config` if there is none, a member is no endpoint of the file, or the settings name a place of their own.
    pub fn pool(&self, name: &str, settings: &LlmSettings) -> Result<Pool, LlmError> {
        let Some(pool) = self.pools.get(name) else {
            return Err(LlmError::config(format!("{} has no pool {name:?}", self.path.display())));
        };
        pool.build(&settings.clone().config_file(&self.path))
    }

    /// The MCP server of that name; `None` if there is none.
    ///
    /// # Errors
    /// `config` if its section cannot be used, or the file merely lies in the working directory: a folder that someone
    /// else made must not decide which program runs.
    #[cfg(feature = "mcp")]
    pub fn mcp(&self, name: &str) -> Result<Option<crate::mcp::Settings>, LlmError> {
        let Some(section) = self.mcp.get(name) else { return Ok(None) };
        if self.found_here {
            let file = self.path.display();
            return Err(LlmError::config(format!("[mcp.{name}] stands in ./{file}, which nobody has named"))
                .with_hint(format!(
                    "if you trust that file, name it: --config {file}, or {CONFIG_VARIABLE}={file}"
                )));
        }
        section.settings(name).map(Some)
    }

    /// The provider of that name.
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.values().find(|provider| provider.answers_to(name))
    }

    /// The providers that the file adds.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values()
    }

    /// All names that may stand for an LLM.
    pub fn names(&self) -> Vec<String> {
        self.endpoints.keys().chain(self.pools.keys()).chain(self.providers.keys()).cloned().collect()
    }

    /// The names of the endpoints and pools.
    pub fn endpoint_names(&self) -> Vec<String> {
        self.endpoints.keys().chain(self.pools.keys()).cloned().collect()
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The parser's reason without the value that it quotes, which may be a key in the wrong place.
fn without_values(reason: &str) -> String {
    match (reason.strip_prefix("invalid type: "), reason.find(", expected ")) {
        (Some(_), Some(expected)) => {
            format!("this is of the wrong type{}", reason.get(expected..).unwrap_or_default())
        }
        _ => reason.to_owned(),
    }
}

impl EndpointConfig {
    /// The provider's name, if one is given.
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// The base URL, if one is given.
    pub fn base_url(&self) -> Option<&str> {
        self.base_url.as_deref()
    }

    /// The model, if one is given.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Where the key comes from.
    pub fn key_source(&self) -> KeySource<'_> {
        match &self.api_key {
            None => KeySource::None,
            Some(KeyConfig::Itself(_)) => KeySource::File,
            Some(KeyConfig::Env { env }) => KeySource::Variable(env),
            Some(KeyConfig::Command { .. }) => KeySource::Command,
            Some(KeyConfig::OAuth2 { .. }) => KeySource::OAuth2,
            Some(KeyConfig::Several(_)) => KeySource::Several,
        }
    }

    fn network(&self) -> Network {
        let mut network = Network::default();
        network.verify.clone_from(&self.verify);
        network.cert.clone_from(&self.cert);
        network.min_tls_version = self.min_tls_version;
        network.dangerously_skip_verify = self.dangerously_skip_verify;
        network.proxy.clone_from(&self.proxy);
        network.resolve = self.resolve.iter().map(|(name, address)| (name.clone(), *address)).collect();
        network.http2 = self.http2;
        network
    }

    /// Fills what `settings` leave open and returns the provider's name.
    pub(crate) fn fill(&self, settings: &mut LlmSettings) -> Result<String, LlmError> {
        // Key, headers, query and body fields of the file belong to the address of the file: any may be a secret.
        let at_its_address = settings.base_url.is_none();
        if let (None, true, Some(key)) = (&settings.api_key, at_its_address, &self.api_key) {
            settings.api_key = Some(key.key()?);
        }
        // Neither a certificate of the client's nor a proxy's password goes to an address that the file does not name.
        if at_its_address {
            settings.network.fill(&self.network());
        }
        if settings.auth.is_none() {
            settings.auth.clone_from(&self.auth);
        }
        let fill = |slot: &mut Option<String>, value: &Option<String>| {
            if slot.is_none() {
                slot.clone_from(value);
            }
        };
        fill(&mut settings.base_url, &self.base_url);
        fill(&mut settings.model, &self.model);
        settings.max_retries = settings.max_retries.or(self.max_retries);
        settings.strict = settings.strict.or(self.strict);
        settings.rate_limits = settings.rate_limits.or(RateLimits {
            max_concurrency: self.max_concurrency,
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
        });
        settings.limits = settings.limits.or(self.limits);
        settings.parse_text = settings.parse_text.or(self.parse_text);
        settings.drop_params = settings.drop_params.or(self.drop_params);
        if let (None, Some(timeout)) = (settings.timeout, &self.timeout) {
            settings.timeout = Some(match timeout {
                TimeoutConfig::Clocks(timeout) => *timeout,
                TimeoutConfig::Total(seconds) => {
                    Timeout::total(std::time::Duration::try_from_secs_f64(*seconds).map_err(|_| {
                        LlmError::config(format!("timeout = {seconds} is not a number of seconds"))
                    })?)
                }
            });
        }
        // What was given in code comes later in the list and so wins.
        let (headers, query, extra_body) = if at_its_address {
            (self.headers.clone(), self.query.clone(), self.extra_body.clone())
        } else {
            Default::default()
        };
        let own: Vec<_> = headers.into_iter().map(|(name, value)| (name, value.value())).collect();
        settings.headers.splice(0..0, own);
        settings.query.splice(0..0, query);
        for (target, source) in
            [(&mut settings.asked.params, &self.params), (&mut settings.asked.extra_body, &extra_body)]
        {
            for (name, value) in source {
                target.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        if at_its_address {
            let given = std::mem::replace(&mut settings.asked.profile, self.profile.clone());
            settings.asked.profile.overlay(&given);
        }
        Ok(self.provider.clone().unwrap_or_else(|| {
            if settings.base_url.is_some() { super::provider::CUSTOM.to_owned() } else { "openai".to_owned() }
        }))
    }
}

impl KeyConfig {
    fn key(&self) -> Result<Key, LlmError> {
        Ok(match self {
            Self::Itself(key) => key.into(),
            Self::Env { env } => variable(env, "the API key")?.into(),
            Self::Command { command } => Key::command(command),
            Self::OAuth2 { oauth2 } => oauth2.client()?.into(),
            Self::Several(keys) => Key::several(keys.iter().map(Self::key).collect::<Result<Vec<_>, _>>()?),
        })
    }
}

impl OAuth2Config {
    fn client(&self) -> Result<OAuth2, LlmError> {
        let secret = self.client_secret.value("the client's secret")?;
        let mut client = OAuth2::new(&self.token_url, &self.client_id, secret);
        if let Some(scope) = &self.scope {
            client = client.scope(scope);
        }
        Ok(self.fields.iter().fold(client, |client, (name, value)| client.field(name, value)))
    }
}

fn variable(name: &str, what: &str) -> Result<String, LlmError> {
    std::env::var(name)
        .map_err(|_| LlmError::config(format!("the variable {name}, which shall hold {what}, is not set")))
}

fn user_file() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .or_else(|| std::env::var_os("APPDATA"))
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(folder.join("loom").join("loom.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, LlmError> {
        let path = std::env::temp_dir().join(format!(
            "loom-config-{}-{:x}.toml",
            std::process::id(),
            fastrand::u64(..)
        ));
        std::fs::write(&path, text).unwrap();
        let result = Config::load(&path);
        std::fs::remove_file(&path).unwrap();
        result
    }

    #[test]
    fn an_endpoint_fills_what_was_not_given() {
        let config = config(
            "[endpoints.office]\nbase_url = 'http://office/v1'\nmodel = 'm'\napi_key = { command = 'echo sk-1' }\n\
             params = { temperature = 0.2 }\ntimeout = 9\nheaders = { User-Agent = false, X-A = 'file' }",
        )
        .unwrap();
        let office = config.endpoint("office").unwrap();
        let mut settings = LlmSettings::default().temperature(0.9).header("X-A", "code");
        assert_eq!(office.fill(&mut settings).unwrap(), "custom");
        assert_eq!(settings.base_url.as_deref(), Some("http://office/v1"));
        assert_eq!(settings.asked.params.get("temperature"), Some(&0.9.into()));
        assert_eq!(settings.timeout.unwrap().total.unwrap().as_secs(), 9);
        assert_eq!(settings.headers.last().unwrap().1.as_deref(), Some("code"));
        assert!(settings.headers.contains(&("User-Agent".to_owned(), None)));
        assert!(settings.api_key.is_some());

        let mut elsewhere = LlmSettings::default().base_url("http://other/v1");
        office.fill(&mut elsewhere).unwrap();
        assert!(elsewhere.api_key.is_none(), "the file's key belongs to the file's address");
        assert!(elsewhere.headers.is_empty(), "and so do its headers");
    }

    #[test]
    fn mistakes_are_named_without_showing_what_stands_there() {
        let error = config("[endpoints.a]\napi_key = 'sk-secret'\nbase_ulr = 'x'").err().unwrap().to_string();
        assert!(
            error.contains("base_ulr") && error.contains("line") && !error.contains("sk-secret"),
            "{error}"
        );
        let error = config("[endpoints.a]\nheaders = { X-A = true }").err().unwrap().to_string();
        assert!(error.contains("false to leave it out"), "{error}");
    }
}
