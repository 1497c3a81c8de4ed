//! The connection to a file of sessions: made when it is needed, on the file that stands there, if that is Loom's.

use std::fs::OpenOptions;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{SessionError, SqliteStore};

/// "Loom" in ASCII.
const APPLICATION_ID: i64 = 0x4c6f_6f6d;
const SCHEMA_VERSION: i64 = 1;
/// How long another process's lock is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// `created_at` and `updated_at` are milliseconds since 1970; the rest that is not a name is JSON.
const SCHEMA: &str = "
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        title TEXT,
        metadata TEXT NOT NULL DEFAULT '{}',
        parent TEXT,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        context TEXT NOT NULL DEFAULT 'null'
    ) STRICT;
    CREATE TABLE messages (
        session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        place INTEGER NOT NULL,
        message TEXT NOT NULL,
        PRIMARY KEY (session, place)
    ) STRICT, WITHOUT ROWID;
";

/// A connection, and what it is for: it is not used in a forked child, nor after its file was replaced or removed.
pub(super) struct Open {
    connection: Connection,
    process: u32,
    file: Option<FileId>,
}

type FileId = (u64, u64);

impl SqliteStore {
    pub(super) fn connection<'o>(
        &self,
        open: &'o mut Option<Open>,
        make: bool,
    ) -> Result<Option<&'o mut Connection>, SessionError> {
        let (process, file) = (std::process::id(), file_id(&self.path));
        if let Some(old) = open.take_if(|old| old.process != process || old.file != file)
            && old.process != process
        {
            // The parent's, which still uses it: closing it here could take its files from under it.
            std::mem::forget(old);
        }
        if open.is_none() {
            let Some(connection) = self.connect(make)? else { return Ok(None) };
            *open = Some(Open { connection, process, file: file_id(&self.path) });
        }
        Ok(open.as_mut().map(|open| &mut open.connection))
    }

    /// Opens the file, and with `make` makes what is missing.
    fn connect(&self, make: bool) -> Result<Option<Connection>, SessionError> {
        let io = |error: std::io::Error| SessionError::Io { path: self.path.clone(), why: error.to_string() };
        let mut head = Vec::new();
        match std::fs::File::open(&self.path) {
            Ok(file) => file.take(16).read_to_end(&mut head).map(|_| ()).map_err(io)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !make => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                make_private_file(&self.path).map_err(io)?
            }
            Err(error) => return Err(io(error)),
        }
        if !head.is_empty() && head != b"SQLite format 3\0" {
            return Err(self.foreign("it is not an SQLite file"));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> rusqlite::Result<Result<Option<Connection>, SessionError>> {
            let mut connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            // Of one moment: another process may be making the file right now.
            let found = Found::read(&*connection.transaction()?)?;
            if found.is_ours() {
                return Ok(self.check_version(&found).map(|()| Some(connection)));
            }
            if !found.is_empty() {
                return Ok(Err(self.foreign("it is an SQLite database of another program")));
            }
            if !make {
                return Ok(Ok(None));
            }
            use_wal(&connection)?;
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have been quicker.
            let found = Found::read(&change)?;
            if !found.is_empty() {
                drop(change);
                let ours = if found.is_ours() {
                    self.check_version(&found)
                } else {
                    Err(self.foreign("another program uses it"))
                };
                return Ok(ours.map(|()| Some(connection)));
            }
            change.execute_batch(SCHEMA)?;
            change.pragma_update(None, "application_id", APPLICATION_ID)?;
            change.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            change.commit()?;
            Ok(Ok(Some(connection)))
        };
        open().map_err(|error| self.failed(&error))?
    }

    fn check_version(&self, found: &Found) -> Result<(), SessionError> {
        if found.version > SCHEMA_VERSION {
            let (found, known) = (found.version, SCHEMA_VERSION);
            return Err(SessionError::Newer { path: self.path.clone(), found, known });
        }
        Ok(())
    }
}

/// What kind of database a file is.
struct Found {
    application: i64,
    version: i64,
    tables: i64,
}

impl Found {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            application: connection.pragma_query_value(None, "application_id", |row| row.get(0))?,
            version: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
            tables: connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?,
        })
    }

    fn is_ours(&self) -> bool {
        self.application == APPLICATION_ID
    }

    fn is_empty(&self) -> bool {
        (self.application, self.version, self.tables) == (0, 0, 0)
    }
}

/// Switches to WAL. SQLite does not wait for the lock that this needs, so it is tried again while another process has it.
/// Where the file system has no WAL, SQLite's journal does the same, with readers waiting for writers.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let start = Instant::now();
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())) {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && start.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// Makes the file, for the user alone: it holds conversations. SQLite gives its other files the same rights.
fn make_private_file(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ())
}

/// Which file stands there; `None` where there is none, or where an open one cannot be replaced.
fn file_id(path: &Path) -> Option<FileId> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}
