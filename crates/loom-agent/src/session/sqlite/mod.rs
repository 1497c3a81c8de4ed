//! Sessions in an SQLite file that any number of processes may use at once.
//!
//! Each change is one `BEGIN IMMEDIATE` transaction in WAL mode, synced: what is killed in the middle has changed
//! nothing, and what was reported is on disk. A file that is not Loom's is not touched: its `application_id` tells.
//! Every call blocks, for up to 10 s when another process holds the lock.

mod connect;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use loom_wire::Message;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::Value;

use self::connect::Open;
use super::record::{self, Record, SessionInfo};
use super::{Loaded, SessionError};

const INFO: &str = "SELECT id, title, metadata, parent, created_at, updated_at,
    (SELECT count(*) FROM messages WHERE session = id), context FROM sessions";

/// A file of sessions.
pub(super) struct SqliteStore {
    path: PathBuf,
    open: Mutex<Option<Open>>,
}

/// The files in use, so that all sessions of one share a connection.
static STORES: Mutex<Vec<Weak<SqliteStore>>> = Mutex::new(Vec::new());

impl SqliteStore {
    /// The store at that path. Nothing is opened.
    pub(super) fn at(path: &Path) -> Result<Arc<Self>, SessionError> {
        let path = std::path::absolute(path)
            .map_err(|error| SessionError::Io { path: path.to_owned(), why: error.to_string() })?;
        let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|store| store.strong_count() > 0);
        if let Some(store) = stores.iter().filter_map(Weak::upgrade).find(|store| store.path == path) {
            return Ok(store);
        }
        let store = Arc::new(Self { path, open: Mutex::new(None) });
        stores.push(Arc::downgrade(&store));
        Ok(store)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn list(&self) -> Result<Vec<SessionInfo>, SessionError> {
        let list = self.read(|connection| {
            let mut rows = connection.prepare(&format!("{INFO} ORDER BY updated_at DESC, rowid DESC"))?;
            let list = rows.query_map([], row)?.collect::<Result<Vec<_>, _>>()?;
            Ok(list.into_iter().map(|(info, _)| info).collect())
        })?;
        Ok(list.unwrap_or_default())
    }

    /// The session's facts; `None` if there is no such session yet.
    pub(super) fn info(&self, id: &str) -> Result<Option<SessionInfo>, SessionError> {
        Ok(self.read(|connection| Ok(info(connection, id)?.map(|(info, _)| info)))?.flatten())
    }

    pub(super) fn record(&self, id: &str) -> Result<Option<Record>, SessionError> {
        let read = self.read(|connection| {
            // One snapshot for both questions.
            let reading = connection.transaction()?;
            let Some((info, context)) = info(&reading, id)? else { return Ok(None) };
            Ok(Some((info, context, messages(&reading, id)?)))
        })?;
        let Some((info, context, texts)) = read.flatten() else { return Ok(None) };
        let messages = self.parse(id, texts)?;
        Ok(Some(Record::new(info, messages, serde_json::from_str(&context).unwrap_or_default())))
    }

    pub(super) fn load(&self, id: &str) -> Result<Loaded, SessionError> {
        Ok(self
            .record(id)?
            .map(|record| Loaded { messages: record.messages, context: record.context })
            .unwrap_or_default())
    }

    /// Adds messages after whatever is there. `context` is kept if the `seen` messages that it speaks of are still there.
    pub(super) fn append(
        &self,
        id: &str,
        new: &[Arc<Message>],
        context: Option<(&Value, usize)>,
    ) -> Result<(), SessionError> {
        let texts = texts(new)?;
        self.write(|change| {
            touch(change, id)?;
            let count: i64 =
                change
                    .query_row("SELECT count(*) FROM messages WHERE session = ?1", [id], |row| row.get(0))?;
            insert(change, id, count, &texts)?;
            if let Some((context, seen)) = context
                && count >= i64::try_from(seen).unwrap_or(i64::MAX)
            {
                change.execute(
                    "UPDATE sessions SET context = ?2 WHERE id = ?1",
                    params![id, context.to_string()],
                )?;
            }
            Ok(Ok(()))
        })
    }

    pub(super) fn clear(&self, id: &str) -> Result<(), SessionError> {
        self.write(|change| {
            touch(change, id)?;
            change.execute("DELETE FROM messages WHERE session = ?1", [id])?;
            change.execute("UPDATE sessions SET context = 'null' WHERE id = ?1", [id])?;
            Ok(Ok(()))
        })
    }

    pub(super) fn delete(&self, id: &str) -> Result<bool, SessionError> {
        if self.info(id)?.is_none() {
            return Ok(false);
        }
        self.write(|change| Ok(Ok(change.execute("DELETE FROM sessions WHERE id = ?1", [id])? > 0)))
    }

    pub(super) fn set_title(&self, id: &str, title: Option<&str>) -> Result<(), SessionError> {
        self.write(|change| {
            touch(change, id)?;
            change.execute("UPDATE sessions SET title = ?2 WHERE id = ?1", params![id, title])?;
            Ok(Ok(()))
        })
    }

    pub(super) fn set_metadata(&self, id: &str, metadata: &Value) -> Result<(), SessionError> {
        self.write(|change| {
            touch(change, id)?;
            change.execute(
                "UPDATE sessions SET metadata = ?2 WHERE id = ?1",
                params![id, metadata.to_string()],
            )?;
            Ok(Ok(()))
        })
    }

    /// Adds a whole session; one of that id must not be there.
    pub(super) fn insert(&self, record: &Record) -> Result<(), SessionError> {
        let (info, texts) = (&record.info, texts(&record.messages)?);
        let metadata = Value::Object(info.metadata.clone()).to_string();
        self.write(|change| {
            if exists(change, &info.id)? {
                let place = self.path.display().to_string();
                return Ok(Err(SessionError::Exists { id: info.id.clone(), place }));
            }
            change.execute(
                "INSERT INTO sessions (id, title, metadata, parent, created_at, updated_at, context)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    info.id,
                    info.title,
                    metadata,
                    info.parent,
                    millis(info.created_at),
                    millis(info.updated_at),
                    record.context.to_string(),
                ],
            )?;
            insert(change, &info.id, 0, &texts)?;
            Ok(Ok(()))
        })
    }

    /// Looks; `None` if there is no file yet, or nothing in it.
    fn read<T>(
        &self,
        look: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, SessionError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match self.connection(&mut open, false)? {
            Some(connection) => look(connection).map(Some).map_err(|error| self.failed(&error)),
            None => Ok(None),
        }
    }

    /// Changes, as a whole or not at all.
    fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Result<T, SessionError>>,
    ) -> Result<T, SessionError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = self.connection(&mut open, true)? else {
            return Err(SessionError::Io { path: self.path.clone(), why: "it cannot be made".to_owned() });
        };
        let work = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            match change(&transaction)? {
                Ok(value) => transaction.commit().map(|()| Ok(value)),
                refused => Ok(refused),
            }
        };
        work().map_err(|error| self.failed(&error))?
    }

    fn foreign(&self, why: &str) -> SessionError {
        SessionError::Foreign { path: self.path.clone(), why: why.to_owned() }
    }

    fn failed(&self, error: &rusqlite::Error) -> SessionError {
        let (path, why) = (self.path.clone(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SessionError::Locked { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => SessionError::Corrupt { path, why },
            Some(_) => SessionError::Io { path, why },
            // What was read is not of the type that the schema says.
            None => SessionError::Corrupt { path, why },
        }
    }

    fn parse(&self, id: &str, texts: Vec<String>) -> Result<Vec<Arc<Message>>, SessionError> {
        let parse = |(place, text): (usize, String)| {
            serde_json::from_str(&text).map(Arc::new).map_err(|error| SessionError::Corrupt {
                path: self.path.clone(),
                why: format!("message {place} of session {id:?}: {error}"),
            })
        };
        texts.into_iter().enumerate().map(parse).collect()
    }
}

fn texts(messages: &[Arc<Message>]) -> Result<Vec<String>, SessionError> {
    let text = |message: &Arc<Message>| serde_json::to_string(&**message);
    messages
        .iter()
        .map(text)
        .collect::<Result<_, _>>()
        .map_err(|error| SessionError::Invalid(error.to_string()))
}

fn millis(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "no date is that far away")]
    let millis = (seconds * 1000.0).round() as i64;
    millis
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(SessionInfo, String)> {
    #[expect(clippy::cast_precision_loss, reason = "no date is that far away")]
    let seconds = |at: usize| row.get::<_, i64>(at).map(|millis| millis as f64 / 1000.0);
    let metadata: String = row.get(2)?;
    let info = SessionInfo {
        id: row.get(0)?,
        title: row.get(1)?,
        metadata: serde_json::from_str(&metadata).unwrap_or_default(),
        parent: row.get(3)?,
        created_at: seconds(4)?,
        updated_at: seconds(5)?,
        message_count: row.get::<_, i64>(6).map(|count| usize::try_from(count).unwrap_or_default())?,
    };
    Ok((info, row.get(7)?))
}

fn info(connection: &Connection, id: &str) -> rusqlite::Result<Option<(SessionInfo, String)>> {
    connection.query_row(&format!("{INFO} WHERE id = ?1"), [id], row).optional()
}

fn messages(connection: &Connection, id: &str) -> rusqlite::Result<Vec<String>> {
    let mut rows = connection.prepare("SELECT message FROM messages WHERE session = ?1 ORDER BY place")?;
    rows.query_map([id], |row| row.get(0))?.collect()
}

fn exists(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ?1)", [id], |row| row.get(0))
}

/// Makes the session if it is not there, and notes that it is changed now.
fn touch(change: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    let now = millis(record::now());
    change.execute(
        "INSERT INTO sessions (id, created_at, updated_at) VALUES (?1, ?2, ?2)
         ON CONFLICT (id) DO UPDATE SET updated_at = ?2",
        params![id, now],
    )?;
    Ok(())
}

fn insert(change: &Transaction<'_>, id: &str, first: i64, texts: &[String]) -> rusqlite::Result<()> {
    let mut insert = change.prepare("INSERT INTO messages (session, place, message) VALUES (?1, ?2, ?3)")?;
    for (place, text) in (first..).zip(texts) {
        insert.execute(params![id, place, text])?;
    }
    Ok(())
}
