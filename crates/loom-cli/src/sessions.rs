//! `loom sessions`: the conversations that are kept, and where they are.

use std::borrow::Borrow;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use loom::{Message, Role, Session};
use serde_json::json;

use crate::args::{SessionOption, SessionsArgs, SessionsCommand};
use crate::failure::Failure;
use crate::screen::{BOLD, Screen, harmless};

/// Runs the command.
pub(crate) fn sessions(args: SessionsArgs, screen: &Screen) -> Result<(), Failure> {
    let store = store(args.store)?;
    let there = |id: &str| {
        let session = Session::open(&store, id)?;
        if session.exists()? {
            return Ok(session);
        }
        let missing = format!("there is no session {id:?} in {}: loom sessions list", store.display());
        Err(Failure::usage(missing))
    };
    match args.command {
        SessionsCommand::List { json } => list(&store, json, screen),
        SessionsCommand::Show { id } => {
            let text = markdown(&there(&id)?.messages()?);
            Ok(screen.out(&screen.foreign(&text))?)
        }
        SessionsCommand::Export { id } => Ok(screen.out(&format!("{}\n", there(&id)?.to_json()?))?),
        SessionsCommand::Import { file, id } => {
            let text = if file.as_os_str() == "-" { stdin() } else { std::fs::read_to_string(&file) };
            let text = text.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
            make_private_folder(&store)?;
            told(&Session::from_json(&text)?.copy_to(&store, id.as_deref())?, screen)
        }
        SessionsCommand::Fork { id, new, at } => told(&there(&id)?.fork(new.as_deref(), at)?, screen),
        SessionsCommand::Delete { id } => {
            there(&id)?.delete()?;
            Ok(())
        }
    }
}

/// The session's id goes to stdout, for whoever goes on with it.
fn told(session: &Session, screen: &Screen) -> Result<(), Failure> {
    Ok(screen.out(&format!("{}\n", harmless(session.id())))?)
}

fn list(store: &Path, as_json: bool, screen: &Screen) -> Result<(), Failure> {
    let list = Session::list(store)?;
    if as_json {
        return Ok(screen.out(&format!("{}\n", json!(list)))?);
    }
    if list.is_empty() {
        screen.note(&format!("no sessions in {}: loom chat --session NAME begins one", store.display()));
        return Ok(());
    }
    let width = list.iter().map(|info| info.id.chars().count()).max().unwrap_or(0).max(2);
    screen.line(BOLD, &format!("{:width$}  {:>8}  {:>8}  TITLE", "ID", "MESSAGES", "CHANGED"))?;
    for info in list {
        let (id, title) = (&info.id, info.title.unwrap_or_default());
        let (count, ago) = (info.message_count, ago(info.updated_at));
        screen.out(&format!(
            "{}\n",
            screen.foreign(format!("{id:width$}  {count:>8}  {ago:>8}  {title}").trim_end())
        ))?;
    }
    Ok(())
}

/// How long ago, in the largest unit that fits.
fn ago(then: f64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let seconds = (now - then).max(0.0);
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    let found = units.into_iter().find(|(length, _)| seconds >= *length).unwrap_or((1.0, "s"));
    format!("{:.0} {}", (seconds / found.0).floor(), found.1)
}

/// The session that a command goes on with, if one was named.
pub(crate) fn named(option: SessionOption) -> Result<Option<Session>, Failure> {
    let Some(id) = option.session else { return Ok(None) };
    let store = store(option.store)?;
    make_private_folder(&store)?;
    Ok(Some(Session::open(store, id)?))
}

/// The file of sessions: as given, else `LOOM_SESSIONS`, else in the user's folder for data.
pub(crate) fn store(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    if let Some(path) = given.or_else(|| variable("LOOM_SESSIONS")) {
        return Ok(path);
    }
    let folder = |name: &str| variable(name).filter(|path| path.is_absolute());
    let data = folder("XDG_DATA_HOME")
        .or_else(|| folder("LOCALAPPDATA"))
        .or_else(|| folder("HOME").map(|home| home.join(".local").join("share")));
    match data {
        Some(data) => Ok(data.join("loom").join("sessions.db")),
        None => Err(Failure::usage(
            "there is no folder for sessions, as HOME is not set: name a file with --store",
        )),
    }
}

/// Makes the folder of a file, for the user alone.
pub(crate) fn make_private_folder(file: &Path) -> io::Result<()> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// A conversation to be read by people.
pub(crate) fn markdown(conversation: &[impl Borrow<Message>]) -> String {
    let turns = conversation.iter().map(Borrow::borrow).map(|message| {
        let speaker = match message.role {
            Role::User => "You",
            Role::Assistant => "Assistant",
            Role::Tool => "Tool",
            _ => "Instructions",
        };
        let calls =
            message.tool_calls.iter().map(|call| format!("calls `{}` with `{}`", call.name, call.arguments));
        let said = Some(message.text().trim_end().to_owned()).filter(|text| !text.is_empty());
        let paragraphs: Vec<String> = said.into_iter().chain(calls).collect();
        format!("**{speaker}:**\n\n{}\n", paragraphs.join("\n\n"))
    });
    turns.collect::<Vec<_>>().join("\n")
}

fn stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}
