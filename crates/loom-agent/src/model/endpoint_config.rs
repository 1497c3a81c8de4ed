//! The `[endpoints.NAME]` sections of `loom.toml`: endpoints with a name, and where their keys come from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use loom_wire::{Limits, LlmError, Profile};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::endpoint::{Auth, ClientCert, Key, Network, OAuth2, Proxy, RateLimits, Timeout, TlsVersion};
use crate::model::settings::LlmSettings;

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
            Self::Itself(secret) => itself(secret, what).map(str::to_owned),
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

    /// Fills what `settings` leave open and returns the provider's name. `name` and `file` are for errors.
    pub(crate) fn fill(
        &self,
        settings: &mut LlmSettings,
        name: &str,
        file: &Path,
    ) -> Result<String, LlmError> {
        let file = file.display();
        // Never another's address by default: a prompt that is meant for an office would leave it.
        if settings.base_url.is_none() && self.base_url.is_none() && self.provider.is_none() {
            return Err(LlmError::config(format!("endpoint {name:?} has neither base_url nor provider"))
                .with_hint(format!(
                    "write one of them below [endpoints.{name}] in {file}: its address, base_url = \"https://…/v1\", \
                     or provider = \"openai\""
                )));
        }
        // Key, headers, query and body fields of the file belong to the address of the file: any may be a secret.
        let at_its_address = settings.base_url.is_none();
        if let (None, true, Some(key)) = (&settings.api_key, at_its_address, &self.api_key) {
            settings.api_key = Some(key.key().map_err(|mut error| {
                let hint = error.hint.take().map(|hint| format!("{hint} (endpoint {name:?} of {file})"));
                error.hint = hint;
                error
            })?);
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
        Ok(self.provider.clone().unwrap_or_else(|| super::provider::CUSTOM.to_owned()))
    }
}

impl KeyConfig {
    fn key(&self) -> Result<Key, LlmError> {
        Ok(match self {
            Self::Itself(key) => itself(key, "the API key")?.into(),
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
    std::env::var(name).map_err(|_| {
        LlmError::config(format!("the variable {name}, which shall hold {what}, is not set"))
            .with_hint(format!("export {name}=…"))
    })
}

/// A secret that stands in the file. `$NAME` and `${NAME}` are what a shell would replace, and no secrets.
fn itself<'a>(secret: &'a str, what: &str) -> Result<&'a str, LlmError> {
    let name = secret
        .trim()
        .strip_prefix('$')
        .map(|rest| rest.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(rest));
    let is_variable = |name: &&str| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    match name.filter(is_variable) {
        None => Ok(secret),
        Some(name) => Err(LlmError::config(format!("{what} is a text that names a variable: ${name}"))
            .with_hint(format!("write {{ env = \"{name}\" }}"))),
    }
}
