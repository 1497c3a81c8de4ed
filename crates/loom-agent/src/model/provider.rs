//! Providers: the built-in table, and those that users add.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};

use loom_wire::{LlmError, Profile};
use serde::{Deserialize, Serialize};

use crate::endpoint::{Auth, presentable};
use crate::model::config::{Config, SEARCHED};

/// Where a kind of endpoint is and what it expects. A provider is data: everything here is a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Provider {
    /// The name users write.
    pub name: String,
    /// The name people read.
    pub title: String,
    /// The name of the Python class that presets this provider.
    pub class: String,
    /// Up to, not including, `/chat/completions`; `None` if the user must give it.
    pub base_url: Option<String>,
    /// Environment variables that hold a base URL; the first one set counts.
    pub base_url_env: Vec<String>,
    /// Environment variables that hold the key; the first one set counts.
    pub key_env: Vec<String>,
    /// The model to ask for when the user names none.
    pub default_model: Option<String>,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// A server on this machine, which needs no key.
    pub local: bool,
    /// For a server on this machine: the command that usually starts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// How the key is shown.
    pub auth: Auth,
    /// What the provider's own address takes and how it spells it. Default: what is known of a server of that name.
    pub profile: Profile,
    /// The provider's own page.
    pub docs: String,
    /// Its name in the GenAI conventions of OpenTelemetry, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otel: Option<String>,
}

impl Provider {
    /// Whether this is its name or one of its aliases, in any case.
    pub fn answers_to(&self, name: &str) -> bool {
        let wanted = name.trim().to_lowercase();
        self.name.to_lowercase() == wanted || self.aliases.iter().any(|alias| alias.to_lowercase() == wanted)
    }
}

/// Name of the provider that has no address of its own.
pub const CUSTOM: &str = "custom";

#[derive(Deserialize)]
struct Table {
    provider: Vec<Provider>,
}

/// The built-in providers, in the order of the documentation.
pub fn builtin() -> &'static [Provider] {
    static TABLE: OnceLock<Vec<Provider>> = OnceLock::new();
    // The file is part of the crate, and a test reads it: an unreadable table cannot be released.
    TABLE.get_or_init(|| {
        toml::from_str::<Table>(include_str!("providers.toml"))
            .map(|table| table.provider)
            .unwrap_or_default()
    })
}

static ADDED: LazyLock<RwLock<HashMap<String, Provider>>> = LazyLock::new(RwLock::default);

/// Adds a provider for this process, or replaces one of that name.
///
/// # Errors
/// `config` if the name is empty or the base URL cannot be read.
pub fn register(provider: Provider) -> Result<(), LlmError> {
    if provider.name.trim().is_empty() {
        return Err(LlmError::config("a provider needs a name"));
    }
    if let Some(base) = &provider.base_url {
        crate::endpoint::BaseUrl::parse(base)?;
    }
    ADDED.write().unwrap_or_else(PoisonError::into_inner).insert(provider.name.to_lowercase(), provider);
    Ok(())
}

/// All providers: the built-in ones, then those that were added, by name.
pub fn all() -> Vec<Provider> {
    let added = ADDED.read().unwrap_or_else(PoisonError::into_inner);
    let mut all: Vec<Provider> =
        builtin().iter().filter(|provider| !added.contains_key(&provider.name)).cloned().collect();
    let mut own: Vec<Provider> = added.values().cloned().collect();
    own.sort_by(|a, b| a.name.cmp(&b.name));
    all.extend(own);
    all
}

/// The provider of that name or alias, in any case. Added ones come first.
pub fn find(name: &str) -> Option<Provider> {
    let is_it = |provider: &&Provider| provider.answers_to(name);
    let added = ADDED.read().unwrap_or_else(PoisonError::into_inner);
    added.values().find(is_it).or_else(|| builtin().iter().find(is_it)).cloned()
}

/// The servers whose usual port this is.
pub(crate) fn usually_at(port: Option<u16>) -> impl Iterator<Item = &'static Provider> {
    builtin().iter().filter(move |provider| {
        let own = provider.base_url.as_deref().filter(|_| provider.local);
        port.is_some() && own.and_then(|url| crate::endpoint::BaseUrl::parse(url).ok()?.port()) == port
    })
}

/// The error for a name that nothing has, with the nearest that something has: a provider, or an endpoint of the
/// `loom.toml` that was found.
pub fn unknown(name: &str, config: Option<&Config>) -> LlmError {
    if name.contains("://") {
        let address = presentable(name.trim());
        return LlmError::config("the name of a provider or an endpoint is wanted, not an address")
            .with_hint(format!("that is an address: base_url={address:?}"));
    }
    let configured = config.map(Config::names).unwrap_or_default();
    let endpoints = match config {
        None => format!("no loom.toml with endpoints was found (looked for: {SEARCHED})"),
        Some(config) => {
            let (names, file) = (config.endpoint_names(), config.path().display());
            if names.is_empty() {
                format!("{file} has no endpoints")
            } else {
                format!("the endpoints of {file} are {}", names.join(", "))
            }
        }
    };
    let added: Vec<String> = ADDED.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
    let wanted = name.trim().to_lowercase();
    // The product's name, which resembles ChatGLM's more than its maker's.
    let wanted = if wanted == "chatgpt" { "openai" } else { &wanted };
    let mut near: Vec<(f64, &str)> = builtin()
        .iter()
        .flat_map(|provider| {
            let score = |known: &String| strsim::jaro_winkler(wanted, known);
            let best =
                std::iter::once(&provider.name).chain(&provider.aliases).map(score).fold(0.0, f64::max);
            Some((best, provider.name.as_str()))
        })
        .chain(
            added
                .iter()
                .chain(&configured)
                .map(|known| (strsim::jaro_winkler(wanted, known), known.as_str())),
        )
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let nearest: Vec<&str> =
        near.iter().filter(|(score, _)| *score > 0.7).take(3).map(|(_, name)| *name).collect();
    let hint = if nearest.is_empty() {
        "use llm=\"custom\" with base_url for any endpoint; `loom providers` lists the names".to_owned()
    } else {
        format!(
            "did you mean {}? Use llm=\"custom\" with base_url for any other endpoint",
            nearest.join(", ")
        )
    };
    // A key in the wrong place must not show; no provider is called like one.
    let shown = if name.starts_with("sk-") || name.len() > 40 { "…" } else { name };
    LlmError::config(format!("no provider is called {shown:?}")).with_hint(format!("{hint}; {endpoints}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_complete_and_consistent() {
        let names: Vec<&str> = builtin().iter().map(|provider| provider.name.as_str()).collect();
        let expected = "openai custom deepseek qwen kimi zhipu doubao yi azure openrouter siliconflow groq mistral \
                        together fireworks xai gemini anthropic vllm ollama lmstudio fastchat textgen llamacpp sglang \
                        lmdeploy tgi xinference";
        assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
        let mut seen = std::collections::HashSet::new();
        for provider in builtin() {
            for name in std::iter::once(&provider.name).chain(&provider.aliases) {
                assert!(seen.insert(name.clone()), "{name} names two providers");
                assert_eq!(find(name).unwrap().name, provider.name);
            }
            assert_eq!(provider.start.is_some(), provider.local, "{}", provider.name);
            assert!(provider.class.ends_with("LLM"), "{}", provider.name);
            if let Some(base) = &provider.base_url {
                let base = crate::endpoint::BaseUrl::parse(base).unwrap();
                assert_eq!(base.is_local(), provider.local, "{}", provider.name);
            }
        }
    }

    #[test]
    fn a_wrong_name_gets_the_nearest() {
        let config = toml::from_str("[endpoints.office]\nbase_url = 'http://office/v1'").ok();
        let error = unknown("deepsek", config.as_ref()).to_string();
        assert!(error.contains("did you mean deepseek") && error.contains("are office"), "{error}");
        assert!(unknown("offise", config.as_ref()).to_string().contains("did you mean office"));
        assert!(unknown("office", Some(&Config::default())).to_string().contains("has no endpoints"));
        let error = unknown("zzz", None).to_string();
        assert!(error.contains("custom") && error.contains("./loom.toml"), "{error}");
        assert!(unknown("chatgpt", None).to_string().contains("did you mean openai"));
        let error = unknown("http://user:secret@h:8000/v1?key=secret", None).to_string();
        assert!(error.contains("that is an address: base_url=\"http://h:8000/v1\""), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
