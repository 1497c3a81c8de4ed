//! How keeping a conversation can fail.

use std::path::PathBuf;

/// A session's failure. Nothing was changed by what failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The file is something else. It is left as it is.
    #[error("{} holds no sessions of Loom: {why}. It is left as it is; name another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// The file is damaged. It is left as it is.
    #[error("{} is damaged: {why}. It is left as it is; restore it from a copy, or name another file", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What cannot be read.
        why: String,
    },
    /// The file was written by a newer Loom.
    #[error("{} was written by a newer Loom (schema {found}, this one knows {known}): update Loom", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The file's schema.
        found: i64,
        /// The newest schema that is known here.
        known: i64,
    },
    /// Another process kept the file locked for too long.
    #[error("{} has been locked by another process for 10 s: try again, or end that process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("{} cannot be used: {why}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// There is no such session.
    #[error("there is no session {id:?} in {place}")]
    NotFound {
        /// The session.
        id: String,
        /// The file, or `memory`.
        place: String,
    },
    /// There is such a session already; nothing is overwritten.
    #[error("there is a session {id:?} already in {place}: choose another id, or delete that one first")]
    Exists {
        /// The session.
        id: String,
        /// The file, or `memory`.
        place: String,
    },
    /// The messages would separate a tool call from its result.
    #[error("message {at} (from 0) is {what}: a call and its results are kept together or not at all")]
    Incomplete {
        /// Which message.
        at: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A value cannot be used: an id, a place to fork at, JSON.
    #[error("{0}")]
    Invalid(String),
}

impl SessionError {
    /// The name of the kind of failure, as Python's `SessionError.kind` has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Foreign { .. } => "foreign",
            Self::Corrupt { .. } => "corrupt",
            Self::Newer { .. } => "newer",
            Self::Locked { .. } => "locked",
            Self::Io { .. } => "io",
            Self::NotFound { .. } => "not_found",
            Self::Exists { .. } => "exists",
            Self::Incomplete { .. } => "incomplete",
            Self::Invalid(_) => "invalid",
        }
    }
}
