//! The ledger: each leniency that reading or sending needed, as a typed entry.

use serde::{Deserialize, Serialize};

/// Which rule bridged something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// Bytes that are not UTF-8 were shown as U+FFFD.
    InvalidUtf8,
    /// The stream ended without `[DONE]`.
    MissingDone,
    /// `[DONE]` came, but finish reasons were only ever `""`: taken as `stop`.
    EmptyFinishReason,
    /// A finish reason was renamed to the format's own.
    FinishReasonRenamed,
    /// `finish_reason` was not `tool_calls` although there are calls.
    FinishReasonOverCalls,
    /// `finish_reason` was `tool_calls` although there are none.
    ToolCallsMissing,
    /// The stream was answered by a whole completion.
    WholeForStream,
    /// A whole completion was answered by a stream.
    StreamForWhole,
    /// A tool call came without an id; one was made.
    ToolCallIdMade,
    /// Two tool calls had one id; the later got a new one.
    ToolCallIdDuplicate,
    /// A tool call fragment had no usable index.
    ToolCallIndex,
    /// Arguments were an object, not text.
    ArgumentsObject,
    /// Arguments were JSON inside a JSON string.
    ArgumentsDoubleEncoded,
    /// Arguments were empty: taken as `{}`.
    ArgumentsEmpty,
    /// A line of the stream that is neither a field nor a comment was skipped.
    StrayLine,
    /// The choices beyond the first were left out.
    ExtraChoice,
    /// Token counts that cannot be were taken as unknown.
    UsageInvalid,
    /// The connection broke after the answer was complete.
    BrokenAfterEnd,
    /// A parameter that the server refused was left out or respelled.
    RequestAdapted,
    /// The path that answered differs from the base URL as given.
    PathAdapted,
    /// The endpoint refused the key: another one was used, or a new one asked for.
    KeyReplaced,
}

/// One leniency that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The rule.
    pub rule: Rule,
    /// What it was applied to, in short.
    pub detail: String,
}

/// Collects entries; a rule that repeats with the same detail is noted once.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Vec<LedgerEntry>);

impl Ledger {
    /// Notes the use of a rule.
    pub fn note(&mut self, rule: Rule, detail: impl Into<String>) {
        let entry = LedgerEntry { rule, detail: detail.into() };
        // Bounded, so that a hostile stream cannot grow it.
        if self.0.len() < 64 && !self.0.contains(&entry) {
            self.0.push(entry);
        }
    }

    /// The entries, leaving the ledger empty.
    pub fn take(&mut self) -> Vec<LedgerEntry> {
        std::mem::take(&mut self.0)
    }
}
