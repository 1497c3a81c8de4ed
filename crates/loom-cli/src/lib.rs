//! The command `loom`: `run`, `chat`, `models`, `providers`, `sessions`, `emulate`, `demo`.
//!
//! [`run_main`] is the whole program as a function, so that the Python package can offer the same command. It uses the
//! process's stdin, stdout and stderr and its environment, makes a runtime of its own, and never ends the process.
//!
//! | module | owns |
//! |---|---|
//! | `args` | what may stand on the command line |
//! | `connect` | flags and `LOOM_*` variables → the settings of an LLM |
//! | `failure` | how a failure is told: sentence and hint, JSON, exit code |
//! | `screen` | stdout and stderr: what is a terminal, colour, control characters |
//! | `interrupt` | Ctrl-C |
//! | `markdown` | text that streams, styled as Markdown |
//! | `approve` | calls that wait for approval |
//! | `answer` | the events of a run → what is printed |
//! | `run`, `chat`, `models`, `providers`, `sessions`, `emulate`, `demo` | one command each |

mod answer;
mod approve;
mod args;
mod chat;
mod connect;
mod demo;
mod emulate;
mod failure;
mod interrupt;
mod markdown;
mod models;
mod providers;
mod run;
mod screen;
mod sessions;
mod tools;

use std::ffi::OsString;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::screen::Screen;

/// Runs the command line `args`, of which the first is the program's name, and returns the exit code:
/// 0 for success (also when the reader of the output has gone), 1 for a failure, 2 for a mistake in the command line
/// or the configuration, 130 after Ctrl-C.
///
/// Ctrl-C is caught only while an answer is under way; at other times what the process has set up for it counts.
/// A Python program should restore `SIG_DFL` for `SIGINT` before it calls this.
pub fn run_main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let asked_for_json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    let parsed = Cli::try_parse_from(args).map_err(|mut error| {
        failure::propose(&mut error);
        error
    });
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) if asked_for_json && error.use_stderr() => {
            return failure::of_arguments(&error).report(&Screen::new(), true, None);
        }
        Err(error) => {
            // A help text that nobody reads to its end is no failure.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(failure::USAGE);
        }
    };
    let screen = Screen::new();
    let as_json = cli.command.wants_json();
    match dispatch(cli.command, &screen) {
        Ok(code) => code,
        Err(failure) => failure.report(&screen, as_json, None),
    }
}

fn dispatch(command: Command, screen: &Screen) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // One thread that always runs: a connection closes at once even while the prompt waits for a line.
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Failure::Output)?;
    let result = match command {
        Command::Run(args) => run::run(args, screen, &runtime),
        Command::Chat(args) => chat::chat(args, screen, &runtime),
        Command::Models(args) => models::models(args, screen, &runtime).map(|()| 0),
        Command::Providers(args) => providers::providers(&args, screen).map(|()| 0),
        Command::Sessions(args) => sessions::sessions(args, screen).map(|()| 0),
        Command::Emulate(args) => emulate::emulate(args, screen, &runtime).map(|()| 0),
        Command::Demo => runtime.block_on(demo::demo(screen)).map(|()| 0),
    };
    // Not waited for: a name lookup that hangs cannot be stopped, and must not hold up the end.
    runtime.shutdown_background();
    result
}
