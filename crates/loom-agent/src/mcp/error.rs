//! What can go wrong with an MCP server.

use std::time::Duration;

/// A failure of an MCP server, not of a tool: a tool's own failure is a result that the model reads.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum McpError {
    /// The settings cannot work.
    #[error("an MCP server: {0}")]
    Config(String),
    /// It cannot be started or reached, or does not speak MCP.
    #[error("the MCP server {server} cannot be used: {why}")]
    Connect {
        /// Its command or URL.
        server: String,
        /// What happened, and what it said.
        why: String,
    },
    /// It did not answer in time.
    #[error(
        "the MCP server {server} did not answer within {} s ({what}){said}: a longer timeout may help",
        limit.as_secs_f64()
    )]
    Timeout {
        /// Its name.
        server: String,
        /// What was asked of it.
        what: String,
        /// The limit.
        limit: Duration,
        /// What it said meanwhile.
        said: String,
    },
    /// The connection ended during a call, which may or may not have been carried out. The next call connects anew.
    #[error("the MCP server {server} ended during the call{why}")]
    Ended {
        /// Its name.
        server: String,
        /// How, and what it said.
        why: String,
    },
    /// It refused.
    #[error("the MCP server {server} refused: {why}")]
    Refused {
        /// Its name.
        server: String,
        /// Its words.
        why: String,
    },
}
