//! The slash commands of a chat.

use std::path::PathBuf;

/// What `/help` shows.
pub(crate) const HELP: &str = "\
/new          start a new conversation
/model NAME   ask another model from now on; without NAME: show the one in use
/models       list what the endpoint serves
/system TEXT  set the instructions; - takes them away; without TEXT: show them
/save FILE    write the conversation: as JSON if the name ends in .json, else as Markdown
/help         this list
/exit         leave (also Ctrl-D)
Ctrl-C stops an answer. A \\ at the end of a line goes on in the next.
";

/// A line that is meant for the program and not for the model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    New,
    Model(Option<String>),
    Models,
    System(Option<String>),
    Exit,
    Save(PathBuf),
    /// A name that no command has, or a command without what it needs.
    Unknown(String),
}

impl Command {
    /// Reads a line; `None` if it is for the model. `/etc/hosts …` is, as no command has such a name.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let rest = line.strip_prefix('/')?;
        let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic()) {
            return None;
        }
        let argument = Some(argument.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
        Some(match (name, argument) {
            ("help", _) => Self::Help,
            ("new", _) => Self::New,
            ("model", name) => Self::Model(name),
            ("models", _) => Self::Models,
            ("system", text) => Self::System(text),
            ("exit" | "quit", _) => Self::Exit,
            ("save", Some(path)) => Self::Save(path.into()),
            ("save", None) => Self::Unknown("save without FILE".to_owned()),
            (name, _) => Self::Unknown(name.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_what_only_looks_like_one() {
        assert_eq!(Command::parse("/model  gpt x "), Some(Command::Model(Some("gpt x".into()))));
        assert_eq!(Command::parse("/model"), Some(Command::Model(None)));
        assert_eq!(Command::parse("/save a.md"), Some(Command::Save("a.md".into())));
        assert_eq!(Command::parse("/nope"), Some(Command::Unknown("nope".into())));
        for text in ["hello /help", "/etc/hosts holds what?", "/", "/ new", " /new", "/* c */"] {
            assert_eq!(Command::parse(text), None, "{text}");
        }
    }
}
