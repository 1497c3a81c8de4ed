//! Where the lines of a chat come from: an editor with history on a terminal that can have one, else stdin as it is.

use std::io::{self, BufRead};
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::screen::Screen;
use crate::sessions::make_private_folder;

const PROMPT: &str = "> ";
/// How many lines the history keeps.
const HISTORY_LINES: usize = 1000;

/// What a person or a pipe has entered.
pub(crate) enum Line {
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// Ctrl-D, or the end of the pipe.
    End,
}

/// A source of lines.
pub(crate) enum Input<'a> {
    Editor {
        editor: Box<Editor<Continuation, FileHistory>>,
        history: Option<PathBuf>,
        screen: &'a Screen,
    },
    /// Lines as they come, read by a thread of their own, so that Ctrl-C is heard while none comes.
    Plain {
        lines: mpsc::Receiver<io::Result<Vec<u8>>>,
        prompt: Option<&'a Screen>,
    },
}

impl<'a> Input<'a> {
    /// The editor with the lines of earlier chats if there is a person at a terminal that can move its cursor.
    pub(crate) fn new(interactive: bool, screen: &'a Screen) -> Self {
        let can_edit = interactive && anstyle_query::term_supports_ansi_color();
        let Some(mut editor) = can_edit.then(editor).flatten() else {
            return Self::Plain { lines: read_lines(), prompt: interactive.then_some(screen) };
        };
        let mut history = history_file();
        if let Some(path) = &history {
            let result = make_private_folder(path).and_then(|()| match editor.load_history(path) {
                Err(ReadlineError::Io(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            });
            if let Err(error) = result {
                screen.note(&format!("no history: {}: {error}", path.display()));
                history = None;
            }
        }
        Self::Editor { editor: Box::new(editor), history, screen }
    }

    /// For answers to questions: without history.
    pub(crate) fn for_answers(screen: &'a Screen) -> Self {
        match anstyle_query::term_supports_ansi_color().then(editor).flatten() {
            Some(editor) => Self::Editor { editor: Box::new(editor), history: None, screen },
            None => Self::Plain { lines: read_lines(), prompt: Some(screen) },
        }
    }

    /// Waits for a line.
    pub(crate) fn next(&mut self, runtime: &Runtime, interrupt: &Interrupt) -> Result<Line, Failure> {
        let line = self.ask(PROMPT, runtime, interrupt)?;
        match (line, self) {
            (Line::Text(text), Self::Editor { editor, history, screen }) => {
                remember(editor, history, screen, &text);
                Ok(Line::Text(text.replace("\\\n", "\n")))
            }
            (line, _) => Ok(line),
        }
    }

    /// Waits for an answer, which is not kept.
    pub(crate) fn ask(
        &mut self,
        question: &str,
        runtime: &Runtime,
        interrupt: &Interrupt,
    ) -> Result<Line, Failure> {
        match self {
            Self::Plain { lines, prompt } => {
                if let Some(screen) = prompt {
                    screen.out(question)?;
                }
                let line = runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = interrupt.pressed() => Err(Line::Interrupted),
                        line = lines.recv() => Ok(line),
                    }
                });
                let bytes = match line {
                    Err(interrupted) => return Ok(interrupted),
                    Ok(None) => return Ok(Line::End),
                    Ok(Some(bytes)) => bytes?,
                };
                let text = String::from_utf8(bytes)
                    .map_err(|_| Failure::usage("what stands on stdin is not UTF-8 text"))?;
                Ok(Line::Text(text.trim_end_matches(['\n', '\r']).to_owned()))
            }
            Self::Editor { editor, .. } => match editor.readline(question) {
                Ok(text) => Ok(Line::Text(text)),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Io(error)) => Err(error.into()),
                Err(error) => Err(io::Error::other(error).into()),
            },
        }
    }
}

/// Reads stdin line by line, one ahead of the chat. The channel closes where stdin ends.
fn read_lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        loop {
            let mut bytes = Vec::new();
            let line = match io::stdin().lock().read_until(b'\n', &mut bytes) {
                Ok(0) => return,
                Ok(_) => Ok(bytes),
                Err(error) => Err(error),
            };
            let is_last = line.is_err();
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

fn editor() -> Option<Editor<Continuation, FileHistory>> {
    let config = Config::builder()
        .auto_add_history(false)
        .history_ignore_space(true)
        .max_history_size(HISTORY_LINES)
        .and_then(|builder| builder.history_ignore_dups(true))
        .ok()?
        .build();
    let mut editor = Editor::with_config(config).ok()?;
    editor.set_helper(Some(Continuation));
    Some(editor)
}

/// Keeps a line. It is written at once: a chat that is killed loses nothing.
fn remember(
    editor: &mut Editor<Continuation, FileHistory>,
    history: &mut Option<PathBuf>,
    screen: &Screen,
    line: &str,
) {
    if line.trim().is_empty() || !editor.add_history_entry(line).unwrap_or(false) {
        return;
    }
    if let Some(path) = history
        && let Err(error) = editor.append_history(path)
    {
        screen.note(&format!("no history any more: {}: {error}", path.display()));
        *history = None;
    }
}

/// `LOOM_HISTORY`, else the user's folder for such things; `None` if none is wanted or there is no such folder.
fn history_file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LOOM_HISTORY") {
        return Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty());
    }
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME")
        .or_else(|| folder("LOCALAPPDATA"))
        .or_else(|| folder("HOME").map(|home| home.join(".local").join("state")))?;
    Some(state.join("loom").join("history"))
}

/// A backslash at the end of a line goes on in the next.
pub(crate) struct Continuation;

impl Validator for Continuation {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let goes_on = context.input().ends_with('\\');
        Ok(if goes_on { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Helper for Continuation {}
impl Highlighter for Continuation {}
impl Completer for Continuation {
    type Candidate = String;
}
impl Hinter for Continuation {
    type Hint = String;
}
