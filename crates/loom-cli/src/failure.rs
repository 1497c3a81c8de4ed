//! How a command can fail, and how that is told: a sentence and a hint on stderr, or a JSON object on stdout, and an
//! exit code.

use std::io;

use anstyle::{AnsiColor, Style};
use clap::error::{ContextKind, ContextValue};
use loom::{AgentError, ErrorKind, Explanation, LlmError, SessionError};
use serde_json::{Value, json};

use crate::screen::{Screen, harmless};

/// Exit code of a failure.
pub(crate) const FAILED: u8 = 1;
/// Exit code of a mistake in the command line or the configuration.
pub(crate) const USAGE: u8 = 2;
/// Exit code after Ctrl-C: 128 and the signal's number.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The run failed; also: the command line or the configuration is wrong (kind `config`).
    Run(AgentError),
    /// Stdin, stdout or the runtime failed.
    Output(io::Error),
    /// Ctrl-C.
    Interrupted,
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        Self::Run(error)
    }
}

impl From<LlmError> for Failure {
    fn from(error: LlmError) -> Self {
        Self::Run(error.into())
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// A mistake of the caller.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        LlmError::config(message).into()
    }

    /// Tells it, and returns the exit code.
    pub(crate) fn report(&self, screen: &Screen, as_json: bool, explanation: Option<&Explanation>) -> u8 {
        match self {
            Self::Interrupted => INTERRUPTED,
            // `loom run … | head -1`: the reader has what it wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(error) => {
                tell(screen, &error.to_string(), None);
                FAILED
            }
            Self::Run(error) => {
                if as_json {
                    let mut line = to_json(error);
                    if let (Some(fields), Some(explanation)) = (line.as_object_mut(), explanation) {
                        fields.insert("explain".to_owned(), json!(explanation));
                    }
                    if screen.out(&format!("{line}\n")).is_err() {
                        tell_error(screen, error);
                    }
                } else {
                    tell_error(screen, error);
                }
                if error.kind() == ErrorKind::Config.as_str() { USAGE } else { FAILED }
            }
        }
    }
}

/// A command line that cannot be read, as a mistake of the caller. What clap writes below the first paragraph is the
/// hint: the usage, a proposal.
pub(crate) fn of_arguments(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let (first, rest) = text.trim().split_once("\n\n").unwrap_or((text.trim(), ""));
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let failure = LlmError::config(one_line(first.strip_prefix("error: ").unwrap_or(first)));
    if rest.is_empty() { failure.into() } else { failure.with_hint(one_line(rest)).into() }
}

/// Adds what clap cannot guess: a flag by its other name, and the command that asks.
pub(crate) fn propose(error: &mut clap::Error) {
    let invalid = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => flag.as_str(),
        _ => "",
    };
    if error.kind() == clap::error::ErrorKind::UnknownArgument && invalid == "--url" {
        error.insert(ContextKind::SuggestedArg, ContextValue::String("--base-url".to_owned()));
    } else if error.kind() == clap::error::ErrorKind::InvalidSubcommand {
        let tip = "to ask a question: loom run \"hello\"";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
}

/// Tells an error on stderr.
pub(crate) fn tell_error(screen: &Screen, error: &AgentError) {
    let AgentError::Llm { error, .. } = error else {
        return tell(screen, &error.to_string(), hint_of(error));
    };
    let mut message = in_shell_words(&error.message);
    if let Some(status) = error.status_code {
        message.push_str(&format!(" [HTTP {status}]"));
    }
    if let Some(url) = &error.url {
        message.push_str(&format!(" ({url})"));
    }
    if error.attempts > 1 {
        message.push_str(&format!(" after {} attempts", error.attempts));
    }
    if let Some(id) = &error.request_id {
        message.push_str(&format!(", request id {id}"));
    }
    tell(screen, &message, error.hint.as_deref().map(in_shell_words).as_deref());
}

/// Tells an error and what to do about it.
pub(crate) fn tell(screen: &Screen, message: &str, hint: Option<&str>) {
    const ERROR: Style = AnsiColor::Red.on_default().bold();
    const HINT: Style = AnsiColor::Cyan.on_default().bold();
    screen.err(ERROR, "error: ");
    screen.err(Style::new(), &format!("{}\n", harmless(message)));
    if let Some(hint) = hint {
        screen.err(HINT, "hint: ");
        screen.err(Style::new(), &format!("{}\n", harmless(hint)));
    }
}

/// What to do about an error that is not the endpoint's.
fn hint_of(error: &AgentError) -> Option<&'static str> {
    matches!(error, AgentError::ApprovalRequired { .. })
        .then_some("nobody can be asked here: run it on a terminal, or leave such tools out of --approve")
}

/// An error as the last line of `--json`.
fn to_json(error: &AgentError) -> Value {
    let AgentError::Llm { error: details, .. } = error else {
        return json!({
            "type": "error", "kind": error.kind(), "message": error.to_string(),
            "status_code": null, "retryable": false, "hint": hint_of(error), "partial": null,
        });
    };
    json!({
        "type": "error",
        "kind": error.kind(),
        "message": details.message,
        "link": details.link,
        "status_code": details.status_code,
        "retryable": details.retryable,
        "retry_after": details.retry_after.map(|wait| wait.as_secs_f64()),
        "code": details.code,
        "param": details.param,
        "context_limit": details.context_limit,
        "requested_tokens": details.requested_tokens,
        "hint": details.hint.as_deref().map(in_shell_words),
        "partial": details.partial,
        "url": details.url,
        "request_id": details.request_id,
        "attempts": details.attempts,
        "ledger": details.ledger,
        "retries": details.retries,
    })
}

/// How the library's hints, which speak of arguments, are said in the shell.
const SHELL_WORDS: &[(&str, &str)] = &[
    ("that is an address: base_url=", "that is an address: --base-url "),
    ("llm=\"custom\" with base_url", "--base-url URL"),
    ("llm=\"custom\" needs a base_url", "--llm custom needs a --base-url"),
    ("base_url=\"http://localhost:8000/v1\"", "--base-url http://localhost:8000/v1"),
    ("model=\"…\"", "--model NAME"),
    ("give one as api_key", "give one with --api-key"),
    ("strict=True", "--strict"),
    ("as base_url", "as --base-url"),
    ("default_headers={\"Authorization\": \"Basic …\"}", "--header \"Authorization: Basic …\""),
];

fn in_shell_words(text: &str) -> String {
    SHELL_WORDS.iter().fold(text.to_owned(), |text, (library, shell)| text.replace(library, shell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_all_that_is_known() {
        let mut error = LlmError::new(ErrorKind::Overloaded, "full").with_hint("choose one: model=\"…\"");
        error.status_code = Some(503);
        let json = to_json(&error.into());
        assert_eq!(json["type"], "error");
        assert_eq!(json["kind"], "overloaded");
        assert_eq!(json["status_code"], 503);
        assert_eq!(json["retryable"], true);
        assert_eq!(json["hint"], "choose one: --model NAME");
        assert_eq!(json["partial"], Value::Null);
    }

    /// The table above names the library's words; if those change, this fails.
    #[test]
    fn the_librarys_hints_are_known() {
        let custom = loom::UnifiedLlm::builder().provider("custom").build().unwrap_err();
        assert_eq!(in_shell_words(&custom.message), "--llm custom needs a --base-url");
        assert!(
            in_shell_words(custom.hint.as_deref().unwrap()).contains("--base-url http://localhost:8000/v1")
        );
        let unknown = loom::provider::unknown("zzz", None);
        assert!(in_shell_words(unknown.hint.as_deref().unwrap()).starts_with("use --base-url URL"));
        let address = loom::provider::unknown("http://h/v1", None);
        assert_eq!(
            in_shell_words(address.hint.as_deref().unwrap()),
            "that is an address: --base-url \"http://h/v1\""
        );
    }
}
