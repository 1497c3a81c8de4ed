//! The limits that a hostile or broken server cannot pass.

use serde::{Deserialize, Serialize};

use crate::error::LlmError;

/// What one answer may hold. Each limit is a setting, and the error of an answer that passes one names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one event of a stream. Default 16 MiB.
    pub event_bytes: usize,
    /// Bytes of a whole answer, and of the text and calls that a stream adds up to. Default 64 MiB.
    pub body_bytes: usize,
    /// Tool calls of one answer. Default 512.
    pub tool_calls: usize,
    /// How deep the JSON of an answer may be nested. Default and most 128, and that holds for what is read; a lower
    /// limit holds for all that is sent.
    pub json_depth: usize,
    /// Headers of an answer. Default and most 100.
    pub header_count: usize,
    /// Bytes of an answer's headers. Default 64 KiB.
    pub header_bytes: usize,
}

impl Limits {
    /// The deepest JSON that is read.
    pub const MAX_JSON_DEPTH: usize = 128;
    /// The most headers that the HTTP client reads.
    pub const MAX_HEADER_COUNT: usize = 100;

    /// Refuses limits that would let nothing through, or that cannot be kept.
    ///
    /// # Errors
    /// `config`, with the limit's name.
    pub fn check(&self) -> Result<(), LlmError> {
        for (name, value, most) in [
            ("event_bytes", self.event_bytes, usize::MAX),
            ("body_bytes", self.body_bytes, usize::MAX),
            ("tool_calls", self.tool_calls, usize::MAX),
            ("json_depth", self.json_depth, Self::MAX_JSON_DEPTH),
            ("header_count", self.header_count, Self::MAX_HEADER_COUNT),
            ("header_bytes", self.header_bytes, usize::MAX),
        ] {
            if value == 0 || value > most {
                let range = if most == usize::MAX { "at least 1".to_owned() } else { format!("1 to {most}") };
                return Err(LlmError::config(format!("limits: {name} is {value}; it can be {range}")));
            }
        }
        Ok(())
    }
}

/// The error of an answer that passes a limit: what it is (`"the answer is larger than 10 bytes"`) and the limit's name.
pub fn passed(what: impl std::fmt::Display, name: &str) -> LlmError {
    LlmError::bad_response(format!("{what} (the limit {name})"))
        .with_hint(format!("if the server is to be trusted with more, raise it: limits={{\"{name}\": …}}"))
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes: 16 << 20,
            body_bytes: 64 << 20,
            tool_calls: 512,
            json_depth: Self::MAX_JSON_DEPTH,
            header_count: Self::MAX_HEADER_COUNT,
            header_bytes: 64 << 10,
        }
    }
}
