//! `loom.toml`: named endpoints and providers of one's own.
//!
//! ```toml
//! default = "office"
//!
//! [endpoints.office]
//! provider = "custom"                        # default: custom
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
use std::path::{Path, PathBuf};

use loom_wire::LlmError;
use serde::Deserialize;

pub use crate::model::endpoint_config::{EndpointConfig, KeySource};
use crate::model::mcp_config::McpConfig;
use crate::model::pool::Pool;
use crate::model::pool::config::PoolConfig;
use crate::model::provider::Provider;
use crate::model::settings::LlmSettings;

/// The variable that names the file.
pub const CONFIG_VARIABLE: &str = "LOOM_CONFIG";

/// Where a file is looked for, in words.
pub const SEARCHED: &str =
    "$LOOM_CONFIG, ./loom.toml, loom/loom.toml in the configuration folder (~/.config)";

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
        let file = Path::new("loom.toml");
        assert_eq!(office.fill(&mut settings, "office", file).unwrap(), "custom");
        assert_eq!(settings.base_url.as_deref(), Some("http://office/v1"));
        assert_eq!(settings.asked.params.get("temperature"), Some(&0.9.into()));
        assert_eq!(settings.timeout.unwrap().total.unwrap().as_secs(), 9);
        assert_eq!(settings.headers.last().unwrap().1.as_deref(), Some("code"));
        assert!(settings.headers.contains(&("User-Agent".to_owned(), None)));
        assert!(settings.api_key.is_some());

        let mut elsewhere = LlmSettings::default().base_url("http://other/v1");
        office.fill(&mut elsewhere, "office", file).unwrap();
        assert!(elsewhere.api_key.is_none(), "the file's key belongs to the file's address");
        assert!(elsewhere.headers.is_empty(), "and so do its headers");
    }

    #[test]
    fn an_endpoint_without_an_address_goes_nowhere() {
        let refused = |section: &str| {
            let config = config(&format!("[endpoints.office]\n{section}")).unwrap();
            let office = config.endpoint("office").unwrap();
            let mut settings = LlmSettings::default();
            office.fill(&mut settings, "office", Path::new("my.toml")).unwrap_err().to_string()
        };
        let error = refused("model = 'm'");
        for part in ["endpoint \"office\" has neither base_url nor provider", "[endpoints.office] in my.toml"]
        {
            assert!(error.contains(part), "{error}");
        }
        let error = refused("base_url = 'http://office/v1'\napi_key = { env = 'LOOM_TEST_NOT_SET' }");
        assert!(error.contains("export LOOM_TEST_NOT_SET=… (endpoint \"office\" of my.toml)"), "{error}");
        for written in ["$OFFICE_KEY", "${OFFICE_KEY}"] {
            let error = refused(&format!("base_url = 'http://office/v1'\napi_key = '{written}'"));
            assert!(
                error.contains("write { env = \"OFFICE_KEY\" } (endpoint \"office\" of my.toml)"),
                "{error}"
            );
        }
        let config =
            config("[endpoints.office]\nbase_url = 'http://office/v1'\napi_key = '$not a variable'").unwrap();
        let mut settings = LlmSettings::default();
        config.endpoint("office").unwrap().fill(&mut settings, "office", Path::new("my.toml")).unwrap();
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
