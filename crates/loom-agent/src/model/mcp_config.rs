//! The `[mcp.NAME]` sections of `loom.toml`: MCP servers that a name stands for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::model::endpoint_config::SecretConfig;

/// A server.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(feature = "mcp"), allow(dead_code))] // read all the same, so that a mistake in it is told
pub(super) struct McpConfig {
    command: Option<Command>,
    url: Option<String>,
    env: BTreeMap<String, SecretConfig>,
    cwd: Option<PathBuf>,
    headers: BTreeMap<String, SecretConfig>,
    timeout: Option<f64>,
    prefix: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "command is a text, or a list of program and arguments")]
#[cfg_attr(not(feature = "mcp"), allow(dead_code))]
enum Command {
    Line(String),
    Words(Vec<String>),
}

#[cfg(feature = "mcp")]
impl McpConfig {
    /// The settings that it stands for. Secrets are looked up now.
    ///
    /// # Errors
    /// `config` if it names no server or two, a variable is not set, or the timeout is none.
    pub(super) fn settings(&self, name: &str) -> Result<crate::mcp::Settings, loom_wire::LlmError> {
        use crate::mcp;

        let wrong = |why: String| loom_wire::LlmError::config(format!("[mcp.{name}]: {why}"));
        let mut settings = match (&self.command, &self.url) {
            (Some(Command::Line(line)), None) => mcp::stdio(line),
            (Some(Command::Words(words)), None) => mcp::stdio_words(words.iter().cloned()),
            (None, Some(url)) => mcp::http(url),
            _ => return Err(wrong("give a command or a url, one of the two".to_owned())),
        };
        settings = settings.name(name);
        for (variable, value) in &self.env {
            settings = settings.env(variable, value.value("a variable of an MCP server")?);
        }
        for (header, value) in &self.headers {
            settings = settings.header(header, value.value("a header of an MCP server")?);
        }
        if let Some(folder) = &self.cwd {
            settings = settings.folder(folder);
        }
        if let Some(prefix) = &self.prefix {
            settings = settings.prefix(prefix);
        }
        if let Some(seconds) = self.timeout {
            let limit = std::time::Duration::try_from_secs_f64(seconds)
                .map_err(|_| wrong(format!("timeout = {seconds} is not a number of seconds")))?;
            settings = settings.timeout(limit);
        }
        Ok(settings)
    }
}
