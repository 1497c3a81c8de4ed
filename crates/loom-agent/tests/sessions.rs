//! Sessions in files: several processes at once, processes that are killed, files that are not Loom's.
#![cfg(feature = "sqlite")]
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use loom::{Message, Session, SessionError, ToolCall};

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("loom-sessions-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What one run adds: a question, a call, its result, the answer.
fn block(name: &str) -> Vec<Message> {
    let call = Message { tool_calls: vec![ToolCall::new("c1", "look", "{}")], ..Message::assistant("") };
    vec![
        Message::user(format!("{name} asks")),
        Message { content: None, ..call },
        Message::tool("c1", format!("{name} found")),
        Message::assistant(format!("{name} answers")),
    ]
}

/// This test program again, as the process that `child` below describes.
fn spawn(work: &str, path: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--quiet"])
        .env("LOOM_TEST_WORK", work)
        .env("LOOM_TEST_PATH", path)
        .env("LOOM_TEST_NAME", name)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// No test by itself: what the processes of the tests do.
#[test]
fn child() {
    let Ok(work) = std::env::var("LOOM_TEST_WORK") else { return };
    let name = std::env::var("LOOM_TEST_NAME").unwrap();
    let session = Session::open(std::env::var_os("LOOM_TEST_PATH").unwrap(), "shared").unwrap();
    match work.as_str() {
        "append" => (0..25).for_each(|at| session.append(block(&format!("{name}.{at}"))).unwrap()),
        "for ever" => loop {
            session.append((0..50).flat_map(|_| block(&name))).unwrap();
        },
        other => panic!("{other}"),
    }
}

#[test]
fn sessions_in_memory_and_in_files_do_the_same() {
    let folder = Folder::new("same");
    for session in [Session::new(), Session::open(folder.file("a.db"), "talk").unwrap()] {
        assert_eq!(session.messages().unwrap().len(), 0);
        session.append(block("one")).unwrap();
        session.append(block("two")).unwrap();
        session.set_title(Some("Finding things")).unwrap();
        session.set_metadata(serde_json::from_str(r#"{"user": 7}"#).unwrap()).unwrap();
        let info = session.info().unwrap();
        assert_eq!((info.id.as_str(), info.message_count), (session.id(), 8));
        assert!(info.updated_at >= info.created_at && info.created_at > 1.7e9);

        let open = session.append(block("three")[..2].to_vec()).unwrap_err();
        assert!(matches!(open, SessionError::Incomplete { at: 1, .. }), "{open}");
        assert!(matches!(session.fork(None, Some(2)), Err(SessionError::Incomplete { .. })));
        assert!(matches!(session.fork(None, Some(9)), Err(SessionError::Invalid(_))));
        assert!(matches!(session.fork(Some(session.id()), None), Err(SessionError::Exists { .. })));

        let fork = session.fork(None, Some(4)).unwrap();
        fork.append(block("elsewhere")).unwrap();
        assert_eq!(fork.info().unwrap().parent.as_deref(), Some(session.id()));
        assert_eq!(fork.info().unwrap().title.as_deref(), Some("Finding things"));
        assert_eq!(fork.messages().unwrap()[7].text(), "elsewhere answers");
        assert_eq!(session.messages().unwrap()[7].text(), "two answers");

        let read = Session::from_json(&session.to_json().unwrap()).unwrap();
        assert_eq!(read.messages().unwrap(), session.messages().unwrap());
        assert_eq!(read.info().unwrap(), session.info().unwrap());

        session.clear().unwrap();
        assert_eq!(session.messages().unwrap().len(), 0);
        assert_eq!(session.info().unwrap().metadata["user"], 7);
        assert_eq!(fork.messages().unwrap().len(), 8);
    }
    let file = folder.file("a.db");
    let ids = |list: Vec<loom::SessionInfo>| list.into_iter().map(|info| info.id).collect::<Vec<_>>();
    assert_eq!(ids(Session::list(&file).unwrap()).len(), 2);
    let talk = Session::open(&file, "talk").unwrap();
    assert!(talk.delete().unwrap());
    assert!(!talk.delete().unwrap());
    assert!(!ids(Session::list(&file).unwrap()).contains(&"talk".to_owned()));
    assert_eq!(ids(Session::list(folder.file("none.db")).unwrap()).len(), 0);
    assert!(!folder.file("none.db").exists(), "looking makes no file");
    assert!(Session::open(&file, " ").is_err());
}

#[test]
fn a_copy_overwrites_nothing() {
    let folder = Folder::new("copy");
    let session = Session::new();
    session.append(block("one")).unwrap();
    let copy = session.copy_to(folder.file("a.db"), Some("kept")).unwrap();
    assert_eq!(copy.messages().unwrap(), session.messages().unwrap());
    let again = session.copy_to(folder.file("a.db"), Some("kept")).unwrap_err();
    assert!(matches!(again, SessionError::Exists { .. }), "{again}");
}

#[test]
fn processes_that_append_at_once_lose_and_interleave_nothing() {
    let folder = Folder::new("at-once");
    let file = folder.file("chat.db");
    // The file is made by whoever is first.
    let children: Vec<Child> = ["a", "b", "c", "d"].iter().map(|name| spawn("append", &file, name)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let messages = Session::open(&file, "shared").unwrap().messages().unwrap();
    assert_eq!(messages.len(), 4 * 25 * 4);
    for name in ["a", "b", "c", "d"] {
        let mut blocks = messages.chunks(4).filter(|block| block[0].text().starts_with(name));
        for at in 0..25 {
            let block = blocks.next().unwrap();
            assert_eq!(block[0].text(), format!("{name}.{at} asks"));
            assert_eq!(block[2].text(), format!("{name}.{at} found"));
            assert_eq!(block[3].text(), format!("{name}.{at} answers"));
        }
    }
}

#[test]
fn a_process_that_is_killed_leaves_whole_blocks() {
    let folder = Folder::new("killed");
    let file = folder.file("chat.db");
    let mut count = 0;
    for round in 0..12 {
        let mut child = spawn("for ever", &file, "killed");
        // Not before it writes, and each time somewhere else.
        let seen =
            || Session::open(&file, "shared").map(|session| session.info().unwrap().message_count).unwrap();
        while seen() == count {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(round * 3));
        child.kill().unwrap();
        child.wait().unwrap();
        count = seen();
        assert_eq!(count % 200, 0, "a block is there as a whole or not at all");
    }
    let connection = rusqlite::Connection::open(&file).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    assert_eq!(Session::open(&file, "shared").unwrap().messages().unwrap().len(), count);
}

#[test]
fn a_file_that_is_not_looms_is_left_as_it_is() {
    let folder = Folder::new("foreign");
    let other = folder.file("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE sessions (x)").unwrap();
    let newer = folder.file("newer.db");
    Session::open(&newer, "a").unwrap().append(block("one")).unwrap();
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let text = folder.file("notes.txt");
    std::fs::write(&text, "short").unwrap();

    for (file, words) in [
        (&other, "another program"),
        (&newer, "newer Loom (schema 99"),
        (&text, "not an SQLite file"),
        (&folder.0, "cannot be used"),
        (&folder.file("none/a.db"), "cannot be used"),
    ] {
        let before = std::fs::read(file).ok();
        let failed = match Session::open(file, "a") {
            Err(error) => error,
            Ok(session) => session.append(block("x")).unwrap_err(),
        };
        assert!(failed.to_string().contains(words), "{failed}");
        assert!(file == &folder.file("none/a.db") || Session::list(file).is_err());
        assert_eq!(std::fs::read(file).ok(), before);
    }
    let empty = folder.file("empty.db");
    std::fs::write(&empty, "").unwrap();
    Session::open(&empty, "a").unwrap().append(block("one")).unwrap();
}

#[test]
fn a_damaged_file_is_an_error_and_stays_as_it_is() {
    let folder = Folder::new("damaged");
    let file = folder.file("a.db");
    {
        let session = Session::open(&file, "a").unwrap();
        session.append((0..200).flat_map(|at| block(&at.to_string()))).unwrap();
    }
    let mut bytes = std::fs::read(&file).unwrap();
    let size = bytes.len();
    assert!(size > 40_000, "the journal is in the file once nobody uses it: {size}");
    bytes[4096..size].fill(0xa5);
    std::fs::write(&file, &bytes).unwrap();
    let failed = Session::open(&file, "a").and_then(|session| session.messages()).unwrap_err();
    assert!(matches!(failed, SessionError::Corrupt { .. }), "{failed}");
    let failed = Session::open(&file, "a").and_then(|session| session.append(block("x"))).unwrap_err();
    assert!(matches!(failed, SessionError::Corrupt { .. }), "{failed}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[cfg(unix)]
#[test]
fn a_file_is_for_its_user_alone_and_may_be_replaced_while_it_is_open() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new("replaced");
    let file = folder.file("a.db");
    let session = Session::open(&file, "a").unwrap();
    session.append(block("one")).unwrap();
    for file in std::fs::read_dir(&folder.0).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
    for name in ["a.db", "a.db-wal", "a.db-shm"] {
        let _ = std::fs::remove_file(folder.file(name));
    }
    assert_eq!(session.messages().unwrap().len(), 0);
    session.append(block("two")).unwrap();
    assert_eq!(session.messages().unwrap()[0].text(), "two asks");
    assert!(file.exists());
}
