//! MCP servers as tools: in a process of their own (stdio) or behind a URL (streamable HTTP).
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let files = loom::mcp::stdio("npx -y @modelcontextprotocol/server-filesystem /tmp").open()?;
//! let search = loom::mcp::http("https://mcp.example/mcp").header("Authorization", "Bearer …").open()?;
//!
//! let agent = loom::agent("assistant")
//!     .base_url("http://localhost:8000/v1")
//!     .tools_from(files.clone())
//!     .tools_from(search)
//!     .build()?;
//! println!("{}", agent.run("Which files are in /tmp?").await?.text());
//! files.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! A server is connected when its tools are first wanted, and again, once, when a call finds that it has ended. A call that
//! was under way then is not repeated: it may have been carried out. The protocol is the crate `rmcp`'s; its HTTP goes
//! through Loom's own clients, with their proxies and certificates.
//!
//! | module | owns |
//! |---|---|
//! | `child` | a server in a process: its start, its messages, its end |
//! | `server` | the connection, its tools and their calls |
//! | `result` | what a tool returned, as the model gets it |

mod child;
mod error;
mod result;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use reqwest::Url;

pub use error::McpError;
pub use server::{Outcome, Server};

/// How long a server may take to start, and for each call, unless told otherwise. Its first start may download it.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// A server that is started as a process: `"npx -y some-server --flag"`. Words are split as a shell does, and
/// `NAME=value` before the program sets a variable, but no shell runs; use [`stdio_words`] for words as they are.
pub fn stdio(command: impl AsRef<str>) -> Settings {
    let Some(mut words) = shlex::split(command.as_ref()) else {
        return Settings::new(Source::Wrong("the quotes of its command do not match".to_owned()));
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let pair = |word: &String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
    let program = words.iter().position(|word| !pair(word)).unwrap_or(words.len());
    let variables: Vec<String> = words.drain(..program).collect();
    let settings = Settings::new(Source::Command(words));
    variables
        .iter()
        .filter_map(|word| word.split_once('='))
        .fold(settings, |all, (name, value)| all.env(name, value))
}

/// A server that is started as a process, given as program and arguments.
pub fn stdio_words<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Settings {
    Settings::new(Source::Command(words.into_iter().map(Into::into).collect()))
}

/// A server that is reached by streamable HTTP at this URL.
pub fn http(url: impl Into<String>) -> Settings {
    Settings::new(Source::Url(url.into()))
}

/// A server as people write it in one text: a URL, or a command.
pub fn at(text: &str) -> Settings {
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    if is_url { http(text) } else { stdio(text) }
}

/// The settings of a server.
#[must_use]
#[derive(Clone)]
pub struct Settings {
    source: Source,
    env: Vec<(String, String)>,
    folder: Option<PathBuf>,
    headers: Vec<(String, String)>,
    timeout: Duration,
    prefix: Option<String>,
    name: Option<String>,
}

#[derive(Clone)]
enum Source {
    Command(Vec<String>),
    Url(String),
    Wrong(String),
}

impl Settings {
    fn new(source: Source) -> Self {
        Self {
            source,
            env: Vec::new(),
            folder: None,
            headers: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            prefix: None,
            name: None,
        }
    }

    /// A variable of the process's environment. Without it a server gets what it takes to find programs, files and the
    /// network (`PATH`, `HOME`, the proxies, …), and none of this program's keys.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The folder that the process starts in. Default: this program's.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// A header of each request, such as `Authorization`. It goes to the server's own address and is never shown.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// How long the start and each call may take. Default [`DEFAULT_TIMEOUT`].
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Stands before the name of each tool, with `_` between. Default: none; where two tools of an agent share a name,
    /// the server's name stands before it.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// What the server is called here. Default: what it calls itself.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The server, not connected yet. No process is started and no network used.
    ///
    /// # Errors
    /// [`McpError::Config`]: the command is empty, the URL is none, or a header cannot be sent.
    pub fn open(self) -> Result<Server, McpError> {
        if self.timeout.is_zero() {
            return Err(McpError::Config("the timeout is a time above 0 s".to_owned()));
        }
        let (way, shown) = match self.source {
            Source::Wrong(why) => return Err(McpError::Config(why)),
            Source::Command(words) => {
                if !self.headers.is_empty() {
                    let why = "headers are for a server behind a URL; a process gets variables (env)";
                    return Err(McpError::Config(why.to_owned()));
                }
                // Further words may be keys.
                let mut shown =
                    words.iter().enumerate().filter(|(at, word)| *at == 0 || !word.starts_with('-'));
                let shown: Vec<&str> = shown.by_ref().take(2).map(|(_, word)| word.as_str()).collect();
                if shown.first().is_none_or(|program| program.is_empty()) {
                    return Err(McpError::Config("the command is empty".to_owned()));
                }
                let shown = shown.join(" ");
                (server::Way::Command { words, env: self.env, folder: self.folder }, shown)
            }
            Source::Url(url) => {
                if !self.env.is_empty() || self.folder.is_some() {
                    let why = "env and folder are for a server in a process; one behind a URL gets headers";
                    return Err(McpError::Config(why.to_owned()));
                }
                let url: Url = url
                    .parse()
                    .ok()
                    .filter(|url: &Url| matches!(url.scheme(), "http" | "https"))
                    .ok_or_else(|| McpError::Config(format!("{url:?} is no http:// or https:// URL")))?;
                let headers = self.headers.iter().map(header).collect::<Result<_, _>>()?;
                let shown = crate::endpoint::visible(&url);
                (server::Way::Url { url, headers }, shown)
            }
        };
        Ok(Server::new(way, shown, self.timeout, self.prefix, self.name))
    }
}

fn header((name, value): &(String, String)) -> Result<(HeaderName, HeaderValue), McpError> {
    let read = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
    let (name, mut value) =
        read.ok_or_else(|| McpError::Config(format!("the header {name:?} cannot be sent")))?;
    value.set_sensitive(true);
    Ok((name, value))
}
