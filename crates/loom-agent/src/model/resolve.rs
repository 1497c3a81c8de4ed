//! What settings come to: argument, then configuration, then environment, then provider.

use loom_wire::LlmError;
use loom_wire::request::Written;

use crate::endpoint::{BaseUrl, Endpoint, Key, Options, Retries, Throttle, Timeout};
use crate::model::config::Config;
use crate::model::provider::{self, Provider};
use crate::model::record::Record;
use crate::model::settings::LlmSettings;
use crate::model::unified::{Inner, Reading, UnifiedLlm};

/// The names of settings, here and of an agent, as Python has them.
const SETTINGS: &[&str] = &[
    "provider",
    "api_key",
    "auth",
    "sign",
    "verify",
    "cert",
    "min_tls_version",
    "dangerously_skip_verify",
    "proxy",
    "resolve",
    "http2",
    "http_client",
    "base_url",
    "model",
    "timeout",
    "max_retries",
    "max_concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "default_headers",
    "default_query",
    "extra_body",
    "strict",
    "drop_params",
    "profile",
    "temperature",
    "max_tokens",
    "system_prompt",
    "tools",
    "max_recursion_depth",
    "event_handler",
    "limits",
    "parse_text",
    "adapter",
];

/// Request parameters that are numbers everywhere.
const NUMBERS: [&str; 7] = [
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_completion_tokens",
    "frequency_penalty",
    "presence_penalty",
];

/// Request parameters that are right as they are although they resemble a setting.
const PARAMETERS: [&str; 4] = ["temperature", "max_tokens", "model", "models"];

impl LlmSettings {
    /// The `loom.toml` in use.
    pub(super) fn config(&self) -> Result<Option<Config>, LlmError> {
        match &self.config_file {
            Some(path) => Config::load(path).map(Some),
            None => Config::find(),
        }
    }

    pub(crate) fn build_with(mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<UnifiedLlm, LlmError> {
        let provider = self.resolve_provider()?;
        self.check()?;
        let (base, named_by) = self.resolve_base(&provider, env)?;
        let own_base = provider.base_url.as_deref().and_then(|url| BaseUrl::parse(url).ok());
        let at_home = own_base.as_ref().is_some_and(|own| own.same_origin(&base));
        // A key of the environment belongs to the provider's own host, or to the URL that the environment names.
        let key_allowed = at_home || named_by == NamedBy::Environment;
        let key = match self.api_key.take() {
            Some(key) => Some(key),
            None if key_allowed => provider.key_env.iter().find_map(|name| env(name)).map(Key::from),
            None => None,
        };
        let mut endpoint = Endpoint::new(
            base,
            Options {
                key,
                auth: self.auth.take().unwrap_or_else(|| provider.auth.clone()),
                signer: self.signer.take(),
                headers: std::mem::take(&mut self.headers),
                query: std::mem::take(&mut self.query),
                network: std::mem::take(&mut self.network),
                http_client: self.http_client.take(),
                timeout: Self::check_timeout(self.timeout.unwrap_or_default())?,
                retries: Retries { max: self.max_retries.unwrap_or(Retries::default().max) },
            },
        )?;
        let reading =
            Reading { limits: self.limits.unwrap_or_default(), parse_text: self.parse_text.unwrap_or(true) };
        reading.limits.check()?;
        endpoint.limits = reading.limits;
        endpoint.fixed_path = self.strict.unwrap_or(false);
        endpoint.throttle = Throttle::new(self.rate_limits.check()?);
        let model = self.model.filter(|name| !name.trim().is_empty());
        self.asked.drop_params = self.drop_params.unwrap_or_default();
        Ok(UnifiedLlm::new(Inner {
            endpoint,
            provider,
            at_home,
            key_allowed,
            model,
            found_model: std::sync::RwLock::default(),
            asked: self.asked,
            strict: self.strict.unwrap_or(false),
            record: Record::default(),
            written: Written::default(),
            reading,
            adapter: self.adapter,
        }))
    }

    /// What cannot be meant: a misspelt setting, which would be sent as a request parameter, and a word for a number.
    fn check(&self) -> Result<(), LlmError> {
        for name in self.asked.params.keys().filter(|name| !PARAMETERS.contains(&name.as_str())) {
            if let Some(meant) = SETTINGS.iter().find(|known| strsim::osa_distance(known, name) <= 1) {
                return Err(LlmError::config(format!("there is no setting {name:?}: did you mean {meant}?"))
                    .with_hint("to send it as a request parameter all the same, put it into extra_body"));
            }
        }
        for (name, value) in &self.asked.params {
            if NUMBERS.contains(&name.as_str()) && !value.is_number() && !value.is_null() {
                return Err(LlmError::config(format!("{name} is a number, not {value}")));
            }
        }
        Ok(())
    }

    fn check_timeout(timeout: Timeout) -> Result<Timeout, LlmError> {
        let clocks = [timeout.connect, timeout.first_token, timeout.idle, timeout.loading, timeout.total];
        if clocks.into_iter().flatten().any(|limit| limit.is_zero()) {
            return Err(LlmError::config(
                "a timeout is a number of seconds above 0; leave a clock out for no limit",
            ));
        }
        Ok(timeout)
    }

    /// The provider, after an endpoint of `loom.toml` has filled in what was not given.
    fn resolve_provider(&mut self) -> Result<Provider, LlmError> {
        let name = match &self.provider {
            Some(name) => name.clone(),
            None if self.base_url.is_some() => provider::CUSTOM.to_owned(),
            None => "openai".to_owned(),
        };
        if let Some(provider) = provider::find(&name).filter(|_| !self.is_endpoint) {
            return Ok(provider);
        }
        let Some(config) = self.config()? else { return Err(provider::unknown(&name, None)) };
        if let Some(provider) = config.provider(&name).filter(|_| !self.is_endpoint) {
            return Ok(provider.clone());
        }
        let Some(endpoint) = config.endpoint(&name) else {
            if config.has_pool(&name) {
                return Err(LlmError::config(format!("{name:?} is a pool of several endpoints"))
                    .with_hint("name one of its members"));
            }
            return Err(provider::unknown(&name, Some(&config)));
        };
        let underlying = endpoint.fill(self, &name, config.path())?;
        match config.provider(&underlying) {
            Some(provider) => Ok(provider.clone()),
            None => provider::find(&underlying).ok_or_else(|| provider::unknown(&underlying, Some(&config))),
        }
    }

    fn resolve_base(
        &self,
        provider: &Provider,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(BaseUrl, NamedBy), LlmError> {
        if let Some(url) = &self.base_url {
            return Ok((BaseUrl::parse(url)?, NamedBy::Caller));
        }
        if let Some((name, url)) = provider.base_url_env.iter().find_map(|name| Some((name, env(name)?))) {
            let base = BaseUrl::parse(&url).map_err(|mut error| {
                error.message = format!("{name}: {}", error.message);
                error
            })?;
            return Ok((base, NamedBy::Environment));
        }
        match &provider.base_url {
            Some(url) => Ok((BaseUrl::parse(url)?, NamedBy::Provider)),
            None => Err(LlmError::config(format!("llm={:?} needs a base_url", provider.name)).with_hint(
                "give the address of your endpoint, such as base_url=\"http://localhost:8000/v1\"",
            )),
        }
    }
}

/// Who named the base URL.
#[derive(PartialEq, Eq)]
enum NamedBy {
    Caller,
    Environment,
    Provider,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(settings: LlmSettings, env: &[(&str, &str)]) -> Result<UnifiedLlm, LlmError> {
        let env: std::collections::HashMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        settings.build_with(&|name| env.get(name).cloned())
    }

    fn has_key(settings: LlmSettings, env: &[(&str, &str)]) -> bool {
        build(settings, env).unwrap().endpoint().has_key()
    }

    #[test]
    fn a_key_of_the_environment_goes_only_where_it_belongs() {
        let openai = || LlmSettings::default().provider("openai");
        let key = ("OPENAI_API_KEY", "sk-env");
        assert!(has_key(openai(), &[key]));
        assert!(has_key(openai(), &[key, ("OPENAI_BASE_URL", "https://proxy/v1")]));
        assert!(has_key(openai().base_url("https://api.openai.com/v1"), &[key]));
        assert!(!has_key(openai().base_url("https://evil/v1"), &[key]));
        assert!(!has_key(
            openai().base_url("https://evil/v1"),
            &[key, ("OPENAI_BASE_URL", "https://proxy/v1")]
        ));
        assert!(!has_key(LlmSettings::default().base_url("https://evil/v1"), &[key]));
        assert!(has_key(openai().base_url("https://evil/v1").api_key("sk-given"), &[]));
        assert!(!has_key(openai().api_key("  "), &[key]), "an empty key is no key, not the environment's");
    }

    #[test]
    fn the_base_url_is_the_callers_then_the_environments_then_the_providers() {
        let base =
            |settings, env: &[(&str, &str)]| build(settings, env).unwrap().endpoint().base_url().to_string();
        let env = [("OPENAI_BASE_URL", "http://env/v1")];
        assert_eq!(base(LlmSettings::default(), &[]), "https://api.openai.com/v1");
        assert_eq!(base(LlmSettings::default(), &env), "http://env/v1");
        assert_eq!(base(LlmSettings::default().base_url("http://given/v1"), &env), "http://given/v1");
        let error = build(LlmSettings::default().provider("custom"), &env).unwrap_err();
        assert!(error.to_string().contains("needs a base_url"), "{error}");
        let error = build(LlmSettings::default(), &[("OPENAI_BASE_URL", "nonsense")]).unwrap_err();
        assert!(error.to_string().contains("OPENAI_BASE_URL"), "{error}");
    }

    #[test]
    fn a_misspelt_setting_is_not_sent_as_a_parameter() {
        for (written, meant) in [
            ("base_ulr", "base_url"),
            ("api_kye", "api_key"),
            ("max_token", "max_tokens"),
            ("sytem_prompt", "system_prompt"),
        ] {
            let error = build(LlmSettings::default().param(written, "x"), &[]).unwrap_err().to_string();
            assert!(error.contains(meant), "{error}");
        }
        for parameter in ["top_p", "min_tokens", "max_completion_tokens", "seed", "models", "top_k"] {
            build(LlmSettings::default().param(parameter, 1), &[]).unwrap();
        }
    }

    #[test]
    fn a_word_is_no_number() {
        let error = build(LlmSettings::default().param("temperature", "hot"), &[]).unwrap_err().to_string();
        assert!(error.contains("temperature is a number, not \"hot\""), "{error}");
        build(LlmSettings::default().param("temperature", serde_json::Value::Null), &[]).unwrap();
    }

    #[test]
    fn a_timeout_of_nothing_is_refused() {
        for seconds in [0.0, -1.0, f64::NAN] {
            assert!(build(LlmSettings::default().timeout_secs(seconds), &[]).is_err(), "{seconds}");
        }
    }

    #[test]
    fn nothing_prints_the_key() {
        let settings = LlmSettings::default()
            .base_url("https://h/v1")
            .api_key("sk-secret")
            .header("X-Token", "sk-secret");
        let shown = format!("{settings:?} {:?}", settings.clone().build().unwrap());
        assert!(!shown.contains("sk-secret"), "{shown}");
    }
}
