//! `/save`: a conversation as a file.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use loom::Message;
use serde::Serialize;

use crate::failure::Failure;
use crate::sessions::markdown;

/// Writes the conversation. A file that is there already is replaced only if it is in `own`, where the new one is
/// noted: a slip of the keyboard must not cost a file.
pub(crate) fn save(
    path: &Path,
    conversation: &[impl Borrow<Message> + Serialize],
    own: &mut HashSet<PathBuf>,
) -> Result<PathBuf, Failure> {
    let path = at_home(path);
    let cannot = |why: String| Failure::usage(format!("{} cannot be written: {why}", path.display()));
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let text = if is_json {
        serde_json::to_string_pretty(conversation).map_err(|error| cannot(error.to_string()))? + "\n"
    } else {
        markdown(conversation)
    };
    let mut options = OpenOptions::new();
    options.write(true);
    if own.contains(&path) {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let write = || options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    write().map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => cannot("it is there already".to_owned()),
        _ => cannot(error.to_string()),
    })?;
    own.insert(path.clone());
    Ok(path)
}

/// `~/x`, which no shell has expanded here.
fn at_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_someone_else_is_never_replaced() {
        let folder = std::env::temp_dir().join(format!("loom-save-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let conversation = [Message::user("hi"), Message::assistant("hello\n")];
        let mut own = HashSet::new();

        let path = folder.join("talk.md");
        save(&path, &conversation, &mut own).unwrap();
        save(&path, &conversation, &mut own).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "**You:**\n\nhi\n\n**Assistant:**\n\nhello\n");
        assert!(save(&path, &[] as &[Message], &mut HashSet::new()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

        let path = folder.join("talk.json");
        save(&path, &conversation, &mut own).unwrap();
        let read: Vec<Message> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read, conversation);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
