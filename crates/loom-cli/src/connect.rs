//! From flags and `LOOM_*` variables to the settings of an LLM.
//!
//! Each setting is the flag's, else the variable's, else that of `loom.toml`, else the provider's own. The *place*
//! (`llm`, `base_url`, `endpoint`) is one setting: who names it on the command line gets that place and no part of
//! another that the variables name. A key belongs to its place: `LOOM_API_KEY` goes nowhere but to the place that the
//! `LOOM_*` variables name, if they name one.

use std::path::PathBuf;
use std::sync::Arc;

use loom::endpoint::{Auth, BaseUrl, Key, Proxy};
use loom::model::config::SEARCHED;
use loom::{Config, ErrorKind, Llm, LlmError, LlmSettings, UnifiedLlm};
use serde_json::Value;

use crate::args::Options;
use crate::failure::Failure;

/// How a variable of the environment is read; injected, so that tests need not change the process.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's environment; an empty variable is none.
pub(crate) fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// What the flags and variables come to.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Everything about the LLM.
    pub(crate) settings: LlmSettings,
    /// The instructions before the conversation.
    pub(crate) system: Option<String>,
    /// Nothing and nobody named a place, so that the library's default applies.
    nowhere: bool,
    /// `LOOM_API_KEY` is set and was not used, since it belongs elsewhere.
    key_withheld: bool,
    /// Headers were given, which may be credentials.
    has_headers: bool,
    /// The endpoints of a `loom.toml` that chooses none by itself.
    unchosen: Option<(PathBuf, Vec<String>)>,
}

#[derive(Default, PartialEq, Eq)]
struct Place {
    endpoint: Option<String>,
    llm: Option<String>,
    base_url: Option<String>,
}

impl Place {
    fn is_named(&self) -> bool {
        *self != Self::default()
    }

    /// Whether a key for the one may go to the other.
    fn shares_keys_with(&self, other: &Self) -> bool {
        match (&self.base_url, &other.base_url) {
            (Some(a), Some(b)) => match (BaseUrl::parse(a), BaseUrl::parse(b)) {
                (Ok(a), Ok(b)) => a.same_origin(&b),
                _ => false,
            },
            (None, None) => self == other,
            _ => false,
        }
    }
}

impl Connection {
    /// Reads flags and variables, the key's command and `loom.toml` where they are needed.
    pub(crate) fn new(options: Options, env: Env<'_>) -> Result<Self, Failure> {
        let given = Place { endpoint: options.endpoint, llm: options.llm, base_url: options.base_url };
        let named =
            Place { endpoint: env("LOOM_ENDPOINT"), llm: env("LOOM_LLM"), base_url: env("LOOM_BASE_URL") };
        let mut key_withheld = false;
        let key = match options.api_key {
            Some(key) => Some(key_itself(&key, env)?),
            None => match env("LOOM_API_KEY") {
                Some(_) if given.is_named() && named.is_named() && !given.shares_keys_with(&named) => {
                    key_withheld = true;
                    None
                }
                Some(key) => Some(key_itself(&key, env)?),
                None => None,
            },
        };

        let mut settings = LlmSettings::default();
        if let Some(path) = &options.config {
            settings = settings.config_file(path);
        }
        if let Some(key) = key {
            settings = settings.api_key(key);
        }
        let mut connection = Self {
            settings,
            system: options.system.or_else(|| env("LOOM_SYSTEM")).filter(|text| !text.is_empty()),
            nowhere: false,
            key_withheld,
            has_headers: !options.header.is_empty(),
            unchosen: None,
        };
        connection.go_to(if given.is_named() { given } else { named }, options.config)?;

        let mut settings = connection.settings;
        if let Some(model) = options.model.or_else(|| env("LOOM_MODEL")) {
            settings = settings.model(model);
        }
        if let Some(auth) = options.auth.or_else(|| env("LOOM_AUTH")) {
            settings = settings.auth(auth_itself(&auth)?);
        }
        if let Some(file) = options.verify {
            settings = settings.verify(file);
        }
        if let Some(cert) = options.cert {
            settings = settings.cert(cert.clone(), options.cert_key.unwrap_or(cert));
        }
        if options.dangerously_skip_verify {
            settings = settings.dangerously_skip_verify();
        }
        if let Some(proxy) = &options.proxy {
            settings = settings.proxy(proxy_itself(proxy, env)?);
        }
        for given in &options.resolve {
            let (name, address) = given
                .split_once('=')
                .and_then(|(name, address)| Some((name.trim(), address.trim().parse().ok()?)))
                .ok_or_else(|| Failure::usage("--resolve takes NAME=ADDRESS, such as llm.corp=10.0.0.5"))?;
            settings = settings.resolve(name, address);
        }
        for header in &options.header {
            settings = match header_pair(header, "--header")? {
                (name, Some(value)) => settings.header(name, value),
                (name, None) => settings.without_header(name),
            };
        }
        let temperature = number(options.temperature, "temperature", env("LOOM_TEMPERATURE"))?;
        if let Some(temperature) = temperature {
            settings = settings.temperature(temperature);
        }
        let tokens = number(options.max_tokens, "max-tokens", env("LOOM_MAX_TOKENS"))?;
        if let Some(tokens) = tokens {
            settings = settings.max_tokens(tokens);
        }
        let seconds: Option<f64> = number(options.timeout, "timeout", env("LOOM_TIMEOUT"))?;
        if let Some(seconds) = seconds {
            if seconds <= 0.0 {
                return Err(Failure::usage(format!("a timeout of {seconds} seconds lets no call succeed")));
            }
            settings = settings.timeout_secs(seconds);
        }
        if let Some(retries) = number(options.max_retries, "max-retries", env("LOOM_MAX_RETRIES"))? {
            settings = settings.max_retries(retries);
        }
        if options.strict {
            settings = settings.strict(true);
        }
        for param in &options.param {
            let (name, value) = param_pair(param)?;
            settings = settings.param(name, value);
        }
        if options.drop_params {
            settings = settings.drop_params(true);
        }
        connection.settings = settings;
        Ok(connection)
    }

    /// Sets the place, looking endpoints up in `loom.toml`.
    fn go_to(&mut self, place: Place, config: Option<PathBuf>) -> Result<(), Failure> {
        let settings = std::mem::take(&mut self.settings);
        let load = || match &config {
            Some(path) => Config::load(path).map(Some),
            None => Config::find(),
        };
        self.settings = match (place.endpoint, place.llm) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage(
                    "--endpoint and --llm (or their variables) both name an endpoint: give one",
                ));
            }
            (Some(name), None) => {
                known_endpoint(&name, load()?.as_ref())?;
                settings.endpoint(name)
            }
            (None, Some(name)) => settings.provider(name),
            (None, None) if place.base_url.is_some() => settings,
            (None, None) => {
                let config = load()?;
                match config.as_ref().and_then(|config| config.default_endpoint()) {
                    Some(name) if config.as_ref().is_some_and(|config| config.has_place(name)) => {
                        settings.endpoint(name)
                    }
                    Some(name) => settings.provider(name),
                    None => {
                        self.nowhere = true;
                        self.unchosen = config
                            .map(|config| (config.path().to_owned(), config.endpoint_names()))
                            .filter(|(_, names)| !names.is_empty());
                        settings
                    }
                }
            }
        };
        if let Some(url) = place.base_url {
            self.settings = std::mem::take(&mut self.settings).base_url(url);
        }
        Ok(())
    }

    /// The LLM or the pool, to be asked; and the LLM, if it is one.
    pub(crate) fn open(&self) -> Result<(Arc<dyn Llm>, Option<UnifiedLlm>), Failure> {
        if let Some(pool) = self.settings.pool()? {
            return Ok((Arc::new(pool), None));
        }
        let llm = self.llm()?;
        Ok((Arc::new(llm.clone()), Some(llm)))
    }

    /// The LLM, or a friendly word when nothing at all is configured.
    pub(crate) fn llm(&self) -> Result<UnifiedLlm, Failure> {
        let llm = self.settings.clone().build()?;
        if self.nowhere && llm.at_home() && !llm.endpoint().has_key() && !self.has_headers {
            let file = match &self.unchosen {
                None => "name endpoints in loom.toml".to_owned(),
                Some((path, names)) => {
                    format!("choose one of {}: -e {}", path.display(), names.join(" | -e "))
                }
            };
            return Err(LlmError::config("no endpoint is configured, and there is no OPENAI_API_KEY")
                .with_hint(format!(
                    "`loom demo` needs neither. For an endpoint of yours: --base-url http://localhost:8000/v1; for a \
                     provider: --llm NAME (`loom providers` lists them) and its key; or {file}"
                ))
                .into());
        }
        Ok(llm)
    }

    /// Adds what only the command line knows about a refusal.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Run(loom::AgentError::Llm { mut error, .. })
                if self.key_withheld && error.kind == ErrorKind::Auth =>
            {
                error.hint = Some(
                    "LOOM_API_KEY is set, but it belongs to the endpoint that the LOOM_* variables name and is not \
                     sent to another: give this endpoint's key with --api-key"
                        .to_owned(),
                );
                error.into()
            }
            other => other,
        }
    }
}

fn known_endpoint(name: &str, config: Option<&Config>) -> Result<(), Failure> {
    let Some(config) = config else {
        return Err(LlmError::config(format!("there is no loom.toml to look the endpoint {name:?} up in"))
            .with_hint(format!("looked for: {SEARCHED}"))
            .into());
    };
    if config.has_place(name) {
        return Ok(());
    }
    let names = config.endpoint_names();
    let error = LlmError::config(format!("{} has no endpoint {name:?}", config.path().display()));
    Err(if names.is_empty() { error } else { error.with_hint(format!("it has: {}", names.join(", "))) }
        .into())
}

/// A key as `--api-key` takes it: itself, `env:NAME` or `cmd:COMMAND`. No error repeats it.
fn key_itself(given: &str, env: Env<'_>) -> Result<Key, Failure> {
    if let Some(name) = given.strip_prefix("env:") {
        return env(name.trim()).map(Key::from).ok_or_else(|| {
            Failure::usage(format!("the variable {name}, which shall hold the API key, is not set"))
        });
    }
    Ok(match given.strip_prefix("cmd:") {
        Some(command) => Key::command(command),
        None => Key::from(given),
    })
}

/// A proxy's URL, or `env:NAME`.
fn proxy_itself(given: &str, env: Env<'_>) -> Result<Proxy, Failure> {
    let url = match given.strip_prefix("env:") {
        None => given.to_owned(),
        Some(name) => env(name.trim()).ok_or_else(|| {
            Failure::usage(format!("the variable {name}, which shall hold the proxy, is not set"))
        })?,
    };
    Ok(Proxy::parse(&url)?)
}

/// `bearer`, `basic`, `none`, `header:NAME`, `basic:USER` or `query:NAME`.
fn auth_itself(given: &str) -> Result<Auth, Failure> {
    Ok(match given.split_once(':').map_or((given, ""), |(form, name)| (form.trim(), name.trim())) {
        ("bearer", "") => Auth::Bearer,
        ("none", "") => Auth::None,
        ("basic", "") => Auth::Basic { user: None },
        ("basic", user) => Auth::Basic { user: Some(user.to_owned()) },
        ("header", name) if !name.is_empty() => Auth::header(name),
        ("query", name) if !name.is_empty() => Auth::Query { name: name.to_owned() },
        _ => {
            return Err(Failure::usage(
                "--auth takes bearer, basic, none, header:NAME, basic:USER or query:NAME",
            ));
        }
    })
}

/// `NAME=VALUE` or `Name: value`; `Name:` leaves the header out, as with curl. No error repeats the value, which may be
/// a key.
pub(crate) fn header_pair<'a>(given: &'a str, flag: &str) -> Result<(&'a str, Option<&'a str>), Failure> {
    match given.split_once([':', '=']) {
        Some((name, value)) if !name.trim().is_empty() => {
            let is_left_out = value.trim().is_empty() && given.trim_end().ends_with(':');
            Ok((name.trim(), Some(value.trim()).filter(|_| !is_left_out)))
        }
        _ => Err(Failure::usage(format!("{flag} takes NAME=VALUE or \"Name: value\""))),
    }
}

/// `key=json`, or `key=text` where the text does not look like JSON gone wrong.
fn param_pair(given: &str) -> Result<(&str, Value), Failure> {
    let Some((name, text)) = given.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
        return Err(Failure::usage(format!("--param takes KEY=JSON, such as seed=7, not {given:?}")));
    };
    match serde_json::from_str(text) {
        Ok(value) => Ok((name.trim(), value)),
        Err(error) if text.trim_start().starts_with(['{', '[', '"']) => {
            Err(Failure::usage(format!("--param {name}: {text} is not JSON: {error}")))
        }
        Err(_) => Ok((name.trim(), Value::from(text))),
    }
}

/// The flag's number, else the variable's.
fn number<N: std::str::FromStr + Into<Value> + Copy>(
    flag: Option<N>,
    name: &str,
    variable: Option<String>,
) -> Result<Option<N>, Failure> {
    let number = match (flag, variable) {
        (Some(number), _) => number,
        (None, None) => return Ok(None),
        (None, Some(text)) => text.trim().parse().map_err(|_| {
            let variable = name.to_uppercase().replace('-', "_");
            Failure::usage(format!("LOOM_{variable} is not a number: {text:?}"))
        })?,
    };
    // JSON has no words for infinity and not-a-number.
    if number.into().is_null() {
        return Err(Failure::usage(format!("--{name} is not a number")));
    }
    Ok(Some(number))
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
