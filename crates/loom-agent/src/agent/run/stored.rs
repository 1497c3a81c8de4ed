//! A run as JSON: stored between any two steps, and resumed by another process in another language.

use serde::Deserialize;

use super::Run;
use crate::agent::error::AgentError;

/// The form in which runs are stored; a program refuses newer ones.
pub(super) const VERSION: u32 = 1;

impl Run {
    /// The run as JSON. It holds the conversation, and no keys.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A run that was stored.
    ///
    /// # Errors
    /// [`AgentError::Execution`] if it is none, or one of a later version of Loom.
    pub fn from_json(text: &str) -> Result<Self, AgentError> {
        #[derive(Deserialize)]
        struct Head {
            version: Option<u32>,
        }
        let wrong = |error: String| AgentError::Execution(format!("this is no stored run: {error}"));
        let head: Head = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        match head.version {
            None => Err(wrong("it has no version".to_owned())),
            Some(version) if version > VERSION => Err(wrong(format!(
                "it has version {version}, and this Loom knows {VERSION}: use the Loom that stored it, or a newer one"
            ))),
            Some(_) => serde_json::from_str(text).map_err(|error| wrong(error.to_string())),
        }
    }
}
