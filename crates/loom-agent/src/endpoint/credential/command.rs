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
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    #[cfg(unix)]
    shell.process_group(0);
    let child = shell.spawn().map_err(|error| failed(format!("cannot be started: {error}")))?;
    #[cfg(unix)]
    let group = Group::of(&child);
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    #[cfg(unix)]
    group.leave();
    if !output.status.success() {
        return Err(failed(format!("failed ({})", output.status)));
    }
    Token::parse(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| failed("printed nothing, or JSON without a token"))
}

/// What the shell started. Killing the shell would leave it behind, so all of it is killed when this is dropped.
#[cfg(unix)]
struct Group(Option<rustix::process::Pid>);

#[cfg(unix)]
impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// The command has ended by itself; what it left running on purpose (an agent that keeps keys) stays.
    fn leave(mut self) {
        self.0 = None;
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

fn failed(why: impl std::fmt::Display) -> LlmError {
    no_key(SOURCE, why).with_hint("nothing was sent: run the command by hand; its first line must be the key")
}
