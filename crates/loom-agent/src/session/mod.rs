//! Sessions: conversations that are kept, in memory or in an SQLite file.
//!
//! A session is an ordered list of messages with an id. What a run adds is appended as one block, after whatever is
//! there by then: runs that go on at once in one session, also in several processes, follow each other whole, and none
//! is lost. A tool call and its results are kept together or not at all. Everything is kept: what an agent leaves out of
//! a request because the context is full stays here.

mod error;
mod record;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use loom_wire::Message;
use serde_json::{Map, Value};

pub use error::SessionError;
use record::Record;
pub use record::SessionInfo;
pub(crate) use record::complete_part;

/// A conversation that is kept. Cheap to clone; clones are the same session.
///
/// In memory with [`Session::new`], in a file with [`Session::open`]. Methods of a session in a file read and write that
/// file: they block for about a millisecond, and for up to 10 s while another process holds the lock. Agents do that
/// beside the async runtime.
///
/// ```
/// use loom::{Message, Session};
///
/// # fn main() -> Result<(), loom::SessionError> {
/// let session = Session::new();
/// session.append([Message::user("Hello!"), Message::assistant("Good morning.")])?;
/// let other = session.fork(None, None)?;
/// other.append([Message::user("And now?"), Message::assistant("Now, too.")])?;
/// assert_eq!(session.messages()?.len(), 2);
/// assert_eq!(other.messages()?.len(), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session {
    id: Arc<str>,
    store: Store,
}

#[derive(Clone)]
enum Store {
    Memory(Arc<Mutex<Record>>),
    #[cfg(feature = "sqlite")]
    File(Arc<sqlite::SqliteStore>),
}

/// What a run starts from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// What was said.
    pub messages: Vec<Arc<Message>>,
    /// What was learnt about sending it.
    pub context: Value,
}

/// Does a session's work, which may block on a file, beside the async runtime.
///
/// # Errors
/// The work's own; [`SessionError::Invalid`] if the runtime ends.
pub async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SessionError> + Send + 'static,
) -> Result<T, SessionError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(SessionError::Invalid(format!("the session's work was given up: {error}"))),
    }
}

impl Session {
    /// A new session in memory; it is gone with its last clone.
    pub fn new() -> Self {
        let id = record::new_id().unwrap_or_else(|_| format!("{:032x}", fastrand::u128(..)));
        Self::in_memory(Record::empty(id))
    }

    fn in_memory(record: Record) -> Self {
        Self { id: record.info.id.as_str().into(), store: Store::Memory(Arc::new(Mutex::new(record))) }
    }

    /// The session `id` of a file, which several processes may use at once. Neither needs to be there yet: the first
    /// change makes them, the file for the user alone (mode 600). Its folder must be there.
    ///
    /// # Errors
    /// [`SessionError::Foreign`], [`SessionError::Corrupt`] or [`SessionError::Newer`] for a file that cannot be used;
    /// it is left as it is. [`SessionError::Invalid`] for an empty id.
    #[cfg(feature = "sqlite")]
    pub fn open(path: impl AsRef<std::path::Path>, id: impl Into<String>) -> Result<Self, SessionError> {
        let id = id.into();
        record::check_id(&id)?;
        let store = sqlite::SqliteStore::at(path.as_ref())?;
        store.info(&id)?;
        Ok(Self { id: id.into(), store: Store::File(store) })
    }

    /// A new session of a file, with an id that nobody can guess. It is made by its first change.
    ///
    /// # Errors
    /// As [`Session::open`].
    #[cfg(feature = "sqlite")]
    pub fn create(path: impl AsRef<std::path::Path>) -> Result<Self, SessionError> {
        Self::open(path, record::new_id()?)
    }

    /// The sessions of a file, the one that was changed last first; none if there is no such file.
    ///
    /// # Errors
    /// As [`Session::open`].
    #[cfg(feature = "sqlite")]
    pub fn list(path: impl AsRef<std::path::Path>) -> Result<Vec<SessionInfo>, SessionError> {
        sqlite::SqliteStore::at(path.as_ref())?.list()
    }

    /// Reads what [`to_json`](Self::to_json) wrote, or a list of messages in OpenAI's form, as a session in memory.
    ///
    /// # Errors
    /// [`SessionError::Invalid`] for what is neither, [`SessionError::Incomplete`] if a call lacks its result.
    pub fn from_json(text: &str) -> Result<Self, SessionError> {
        Record::from_json(text).map(Self::in_memory)
    }

    /// The whole session as JSON: `format`, `version`, `id`, `title`, `metadata`, `parent`, `created_at`, `updated_at`,
    /// `messages`.
    ///
    /// # Errors
    /// What reading the file fails with.
    pub fn to_json(&self) -> Result<String, SessionError> {
        self.record()?.to_json()
    }

    /// Copies the session to a file, under the same id or another one.
    ///
    /// # Errors
    /// [`SessionError::Exists`] if the file has a session of that id; else as [`Session::open`].
    #[cfg(feature = "sqlite")]
    pub fn copy_to(&self, path: impl AsRef<std::path::Path>, id: Option<&str>) -> Result<Self, SessionError> {
        let mut record = self.record()?;
        if let Some(id) = id {
            record.info.id = id.to_owned();
        }
        let copy = Self::open(path, record.info.id.clone())?;
        if let Store::File(store) = &copy.store {
            store.insert(&record)?;
        }
        Ok(copy)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The file it is kept in; none for one in memory.
    pub fn path(&self) -> Option<&std::path::Path> {
        match &self.store {
            Store::Memory(_) => None,
            #[cfg(feature = "sqlite")]
            Store::File(store) => Some(store.path()),
        }
    }

    /// Title, metadata, parent, times, and how many messages there are.
    ///
    /// # Errors
    /// What reading the file fails with.
    pub fn info(&self) -> Result<SessionInfo, SessionError> {
        match &self.store {
            Store::Memory(record) => Ok(lock(record).info.clone()),
            #[cfg(feature = "sqlite")]
            Store::File(store) => {
                Ok(store.info(&self.id)?.unwrap_or_else(|| Record::empty(self.id.to_string()).info))
            }
        }
    }

    /// The messages, oldest first.
    ///
    /// # Errors
    /// What reading the file fails with.
    pub fn messages(&self) -> Result<Vec<Arc<Message>>, SessionError> {
        self.load().map(|loaded| loaded.messages)
    }

    /// Adds messages as one block.
    ///
    /// # Errors
    /// [`SessionError::Incomplete`] if they would separate a tool call from its result.
    pub fn append(&self, messages: impl IntoIterator<Item = impl Into<Message>>) -> Result<(), SessionError> {
        let messages: Vec<Arc<Message>> =
            messages.into_iter().map(|message| Arc::new(message.into())).collect();
        self.add(&messages, None)
    }

    /// Removes the messages; id, title and metadata stay.
    ///
    /// # Errors
    /// What writing the file fails with.
    pub fn clear(&self) -> Result<(), SessionError> {
        match &self.store {
            Store::Memory(record) => {
                let mut record = lock(record);
                let info = SessionInfo { updated_at: record::now(), ..record.info.clone() };
                *record = Record::new(info, Vec::new(), Value::Null);
                Ok(())
            }
            #[cfg(feature = "sqlite")]
            Store::File(store) => store.clear(&self.id),
        }
    }

    /// Deletes the session, and says whether there was anything to delete. The next change would make it anew.
    ///
    /// # Errors
    /// What writing the file fails with.
    pub fn delete(&self) -> Result<bool, SessionError> {
        match &self.store {
            Store::Memory(record) => {
                let mut record = lock(record);
                let had = !record.messages.is_empty();
                *record = Record::empty(self.id.to_string());
                Ok(had)
            }
            #[cfg(feature = "sqlite")]
            Store::File(store) => store.delete(&self.id),
        }
    }

    /// Whether it has been changed ever: until then a session of a file is not in the file.
    ///
    /// # Errors
    /// What reading the file fails with.
    pub fn exists(&self) -> Result<bool, SessionError> {
        match &self.store {
            Store::Memory(_) => Ok(true),
            #[cfg(feature = "sqlite")]
            Store::File(store) => Ok(store.info(&self.id)?.is_some()),
        }
    }

    /// A new session at the same place that begins as a copy of this one.
    ///
    /// # Arguments
    /// `id`: the new one's; made if none is given. `at`: how many messages it takes over; all if none is given.
    ///
    /// # Errors
    /// [`SessionError::Exists`] if the id is taken, [`SessionError::Incomplete`] if `at` would separate a tool call from
    /// its result, [`SessionError::Invalid`] if there are fewer messages than `at`.
    pub fn fork(&self, id: Option<&str>, at: Option<usize>) -> Result<Self, SessionError> {
        let old = self.record()?;
        let count = old.messages.len();
        let at = at.unwrap_or(count);
        let Some(messages) = old.messages.get(..at) else {
            return Err(SessionError::Invalid(format!(
                "the session has {count} messages: at is a number up to that, not {at}"
            )));
        };
        record::check_whole(messages)?;
        let id = match id {
            Some(id) => id.to_owned(),
            None => record::new_id()?,
        };
        record::check_id(&id)?;
        if *id == *self.id {
            return Err(SessionError::Exists { id, place: self.place() });
        }
        let now = record::now();
        let info = SessionInfo {
            id,
            parent: Some(self.id.to_string()),
            created_at: now,
            updated_at: now,
            ..old.info.clone()
        };
        let context = if at == count { old.context.clone() } else { Value::Null };
        let record = Record::new(info, messages.to_vec(), context);
        match &self.store {
            Store::Memory(_) => Ok(Self::in_memory(record)),
            #[cfg(feature = "sqlite")]
            Store::File(store) => {
                store.insert(&record)?;
                Ok(Self { id: record.info.id.into(), store: Store::File(Arc::clone(store)) })
            }
        }
    }

    /// Sets the name for people, or removes it.
    ///
    /// # Errors
    /// What writing the file fails with.
    pub fn set_title(&self, title: Option<&str>) -> Result<(), SessionError> {
        match &self.store {
            Store::Memory(record) => {
                let info = &mut lock(record).info;
                (info.title, info.updated_at) = (title.map(str::to_owned), record::now());
                Ok(())
            }
            #[cfg(feature = "sqlite")]
            Store::File(store) => store.set_title(&self.id, title),
        }
    }

    /// Replaces what the program keeps with the session.
    ///
    /// # Errors
    /// What writing the file fails with.
    pub fn set_metadata(&self, metadata: Map<String, Value>) -> Result<(), SessionError> {
        match &self.store {
            Store::Memory(record) => {
                let info = &mut lock(record).info;
                (info.metadata, info.updated_at) = (metadata, record::now());
                Ok(())
            }
            #[cfg(feature = "sqlite")]
            Store::File(store) => store.set_metadata(&self.id, &Value::Object(metadata)),
        }
    }

    /// The file, or `memory`.
    fn place(&self) -> String {
        self.path().map_or_else(|| "memory".to_owned(), |path| path.display().to_string())
    }

    fn record(&self) -> Result<Record, SessionError> {
        match &self.store {
            Store::Memory(record) => Ok(lock(record).clone()),
            #[cfg(feature = "sqlite")]
            Store::File(store) => {
                Ok(store.record(&self.id)?.unwrap_or_else(|| Record::empty(self.id.to_string())))
            }
        }
    }

    /// What a run starts from; for drivers of runs.
    ///
    /// # Errors
    /// What reading the file fails with.
    pub fn load(&self) -> Result<Loaded, SessionError> {
        match &self.store {
            Store::Memory(record) => {
                let record = lock(record);
                Ok(Loaded { messages: record.messages.clone(), context: record.context.clone() })
            }
            #[cfg(feature = "sqlite")]
            Store::File(store) => store.load(&self.id),
        }
    }

    /// Adds what a run added; for drivers of runs. `context` is kept if the messages it speaks of, so many, are still there.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn add(&self, new: &[Arc<Message>], context: Option<(&Value, usize)>) -> Result<(), SessionError> {
        record::check_whole(new)?;
        match &self.store {
            Store::Memory(record) => {
                let mut record = lock(record);
                if let Some((context, _)) = context.filter(|(_, seen)| record.messages.len() >= *seen) {
                    record.context = context.clone();
                }
                record.messages.extend_from_slice(new);
                record.info.message_count = record.messages.len();
                record.info.updated_at = record::now();
                Ok(())
            }
            #[cfg(feature = "sqlite")]
            Store::File(store) => store.append(&self.id, new, context),
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Session {
    /// Without the messages: they are private.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("place", &self.place()).finish_non_exhaustive()
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
