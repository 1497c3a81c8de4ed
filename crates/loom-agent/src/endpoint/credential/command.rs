//! A shell command that prints a key. Its output is shown nowhere.

use std::process::Stdio;

use loom_wire::LlmError;
use tokio::process::Command;

use super::key::{Token, no_key};

const SOURCE: &str = "the command that shall yield the API key";

/// Runs the command; what it writes to stderr is passed on to the terminal. Dropping the future ends it.
pub(super) async fn run(command: &str) -> Result<Token, LlmError> {
    let mut shell = if cfg!(windows) { Command::new("cmd") } else { Command::new("sh") };
    shell.arg(if cfg!(windows) { "/C" } else { "-c" }).arg(command).kill_on_drop(true);
    let output = shell
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("failed ({})", output.status)));
    }
    Token::parse(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| failed("printed nothing, or JSON without a token"))
}

fn failed(why: impl std::fmt::Display) -> LlmError {
    no_key(SOURCE, why).with_hint("nothing was sent: run the command by hand; its first line must be the key")
}
