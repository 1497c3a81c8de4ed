//! The ledger: each leniency that reading or sending needed, as a typed entry. The table below names the rules.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::error::LlmError;

/// One row is one rule: what it does (also its documentation), its name for users, and what part of the exchange it is
/// about. Users read these names: `docs/python-api.md` lists them, and a test compares.
macro_rules! rules {
    ($($(#[doc = $what:literal])+ $variant:ident = $name:literal in $place:literal,)*) => {
        /// Which rule bridged something.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Rule {
            $($(#[doc = $what])+ #[serde(rename = $name)] $variant,)*
        }

        impl Rule {
            /// Every rule, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name, as Python and the shell have it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// What the rule does, in one sentence.
            pub fn what(self) -> &'static str {
                match self { $(Self::$variant => concat!($($what),+).trim_ascii()),* }
            }

            /// What it is usually about: a field of the request or of the answer, or the connection.
            pub fn place(self) -> &'static str {
                match self { $(Self::$variant => $place),* }
            }
        }
    };
}

rules! {
    /// Bytes that are not UTF-8 were shown as U+FFFD.
    InvalidUtf8 = "invalid_utf8" in "answer",
    /// The stream ended without `[DONE]`.
    MissingDone = "missing_done" in "answer",
    /// `[DONE]` came, but finish reasons were only ever `""`: taken as `stop`.
    EmptyFinishReason = "empty_finish_reason" in "answer.finish_reason",
    /// A finish reason was renamed to the format's own.
    FinishReasonRenamed = "finish_reason_renamed" in "answer.finish_reason",
    /// The finish reason was not `tool_calls` although there are calls.
    FinishReasonOverCalls = "finish_reason_over_calls" in "answer.finish_reason",
    /// The finish reason was `tool_calls` although there are none.
    ToolCallsMissing = "tool_calls_missing" in "answer.tool_calls",
    /// The stream was answered by a whole completion.
    WholeForStream = "whole_for_stream" in "answer",
    /// A whole completion was answered by a stream.
    StreamForWhole = "stream_for_whole" in "answer",
    /// Chunks of the stream held messages where deltas should be; of each counted what those before it had not said.
    MessageForDelta = "message_for_delta" in "answer",
    /// A tool call came without an id; one was made.
    ToolCallIdMade = "tool_call_id_made" in "answer.tool_calls.id",
    /// Two tool calls had one id; the later got a new one.
    ToolCallIdDuplicate = "tool_call_id_duplicate" in "answer.tool_calls.id",
    /// A tool call fragment had no usable index.
    ToolCallIndex = "tool_call_index" in "answer.tool_calls.index",
    /// Arguments were an object, not text.
    ArgumentsObject = "arguments_object" in "answer.tool_calls.arguments",
    /// Arguments were JSON inside a JSON string.
    ArgumentsDoubleEncoded = "arguments_double_encoded" in "answer.tool_calls.arguments",
    /// Arguments were empty: taken as `{}`.
    ArgumentsEmpty = "arguments_empty" in "answer.tool_calls.arguments",
    /// Arguments were nearly JSON, with one reading: taken as that.
    ArgumentsRepaired = "arguments_repaired" in "answer.tool_calls.arguments",
    /// Tool calls stood in the text and were taken out of it.
    ToolCallsInText = "tool_calls_in_text" in "answer.content",
    /// Thinking stood between tags in the text and was kept apart.
    ReasoningInText = "reasoning_in_text" in "answer.content",
    /// A part of the content has no known form: taken as the JSON that it is, or left out.
    ContentPart = "content_part" in "answer.content",
    /// JSON was asked for, and was taken out of the fence or the prose around it.
    JsonExtracted = "json_extracted" in "answer.content",
    /// A value in the JSON that was asked for missed its schema with one reading: taken as that.
    JsonRead = "json_read" in "answer.content",
    /// The token limit was reached before the model said anything.
    NothingSaid = "nothing_said" in "answer.content",
    /// A line of the stream that is neither a field nor a comment was skipped.
    StrayLine = "stray_line" in "answer",
    /// The stream's framing was off: lines without `data:` or blank lines between, several objects in one event.
    FramingMended = "framing_mended" in "answer",
    /// JSON that breaks its own rules was read: control characters in strings, a character cut between two chunks, `NaN`.
    JsonMended = "json_mended" in "answer",
    /// The answer was taken out of an envelope (`result`, `data`, a text that is JSON).
    AnswerUnwrapped = "answer_unwrapped" in "answer",
    /// The choices beyond the first were left out.
    ExtraChoice = "extra_choice" in "answer.choices",
    /// A format asked for as one call was answered with several; the first is the answer.
    ExtraCall = "extra_call" in "answer.tool_calls",
    /// Token counts that cannot be were taken as unknown.
    UsageInvalid = "usage_invalid" in "answer.usage",
    /// The connection broke after the answer was complete.
    BrokenAfterEnd = "broken_after_end" in "connection",
    /// The server passed over `tool_choice`: the model was told in words and asked once more.
    ToolChoiceIgnored = "tool_choice_ignored" in "answer.tool_calls",
    /// The server did not count tokens; four bytes were taken for one, for the limits of the run.
    UsageEstimated = "usage_estimated" in "answer.usage",
    /// The endpoint does not take tools and a format at once: the format was asked for when the tools were done.
    FormatAfterTools = "format_after_tools" in "request.response_format",
    /// The answer did not fit the schema: the model was told what is wrong and asked again.
    OutputRepaired = "output_repaired" in "answer.content",
    /// The model's context was full: the oldest turns were not sent.
    ContextCompacted = "context_compacted" in "request.messages",
    /// What the server refuses or passes over was left out or respelled.
    RequestAdapted = "request_adapted" in "request",
    /// The path that answered differs from the base URL as given.
    PathAdapted = "path_adapted" in "request.url",
    /// A parameter that has no meaning in this request was not sent.
    ParameterLeftOut = "parameter_left_out" in "request",
    /// The conversation was put in order: each call has one result, directly after it.
    HistoryMended = "history_mended" in "request.messages",
    /// The endpoint refused the key: another one was used, or a new one asked for.
    KeyReplaced = "key_replaced" in "request.key",
    /// A member of a pool failed, and another was asked.
    FailedOver = "failed_over" in "connection",
    /// The server's certificate was not checked, since the caller said so.
    TlsNotVerified = "tls_not_verified" in "connection",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One leniency that was used.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LedgerEntry {
    /// The rule.
    pub rule: Rule,
    /// Where: a field of the request or of the answer, or the connection.
    #[serde(rename = "where", default)]
    pub place: String,
    /// What it was applied to, in short: the bytes or the name as they came, or what was done.
    pub detail: String,
    /// Which event of the stream it was first used on, from 1; none for what is not about one event.
    #[serde(default)]
    pub event: Option<u64>,
    /// How often it was used.
    #[serde(default = "once")]
    pub count: u64,
}

fn once() -> u64 {
    1
}

/// The most characters of a detail.
const MAX_DETAIL: usize = 200;

/// The most entries of one answer.
const MAX_ENTRIES: usize = 64;

impl LedgerEntry {
    /// An entry at the rule's usual place.
    pub fn new(rule: Rule, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL) {
            detail.truncate(end);
            detail.push('…');
        }
        Self { rule, place: rule.place().to_owned(), detail, event: None, count: 1 }
    }

    /// Whether two entries say the same, but for when and how often.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.rule == other.rule && self.place == other.place && self.detail == other.detail
    }

    /// What `strict` makes of it in an answer.
    pub fn into_error(self) -> LlmError {
        let mut error = LlmError::bad_response(format!("strict: {self}")).with_hint(
            "strict=True makes each leniency an error; without it, Loom bridges this and notes it",
        );
        error.ledger.push(self);
        error
    }
}

impl fmt::Display for LedgerEntry {
    /// In plain words: `missing_done (answer): The stream ended without …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.rule, self.place)?;
        if let Some(event) = self.event {
            write!(f, ", event {event}")?;
        }
        write!(f, "): {}", self.rule.what())?;
        if !self.detail.is_empty() {
            write!(f, " [{}]", self.detail)?;
        }
        if self.count > 1 {
            write!(f, " × {}", self.count)?;
        }
        Ok(())
    }
}

impl Serialize for LedgerEntry {
    /// With `what`, so that whoever reads it elsewhere needs no table.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            rule: Rule,
            what: &'static str,
            r#where: &'a str,
            detail: &'a str,
            event: Option<u64>,
            count: u64,
        }
        Row {
            rule: self.rule,
            what: self.rule.what(),
            r#where: &self.place,
            detail: &self.detail,
            event: self.event,
            count: self.count,
        }
        .serialize(serializer)
    }
}

/// Adds entries to others; what they say already is counted.
pub fn merge(into: &mut Vec<LedgerEntry>, entries: impl IntoIterator<Item = LedgerEntry>) {
    for entry in entries {
        if let Some(known) = into.iter_mut().find(|known| known.says_the_same(&entry)) {
            known.count = known.count.saturating_add(entry.count);
        } else if into.len() < MAX_ENTRIES {
            // Bounded, so that a hostile stream cannot grow it.
            into.push(entry);
        }
    }
}

/// Collects the entries of one answer; a rule that repeats with the same detail is counted.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Vec<LedgerEntry>,
    event: Option<u64>,
}

impl Ledger {
    /// Says which event of the stream what follows is about.
    pub fn at_event(&mut self, event: Option<u64>) {
        self.event = event;
    }

    /// Notes the use of a rule at its usual place.
    pub fn note(&mut self, rule: Rule, detail: impl Into<String>) {
        self.add(LedgerEntry::new(rule, detail));
    }

    /// Adds an entry.
    pub fn add(&mut self, mut entry: LedgerEntry) {
        entry.event = entry.event.or(self.event);
        merge(&mut self.entries, [entry]);
    }

    /// The entries.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// The entries, leaving the ledger empty.
    pub fn take(&mut self) -> Vec<LedgerEntry> {
        std::mem::take(&mut self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_serialise_as_they_are() {
        for (at, rule) in Rule::ALL.iter().enumerate() {
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.as_str());
            assert!(!Rule::ALL[..at].iter().any(|other| other.as_str() == rule.as_str()), "{rule}");
            assert!(rule.what().ends_with('.'), "{rule}: {}", rule.what());
            let part = rule.place().split('.').next().unwrap();
            assert!(["request", "answer", "connection"].contains(&part), "{rule}: {part}");
        }
    }

    #[test]
    fn a_ledger_is_bounded_and_counts() {
        let mut ledger = Ledger::default();
        ledger.at_event(Some(3));
        ledger.note(Rule::StrayLine, "x".repeat(10_000));
        ledger.at_event(Some(4));
        ledger.note(Rule::StrayLine, "x".repeat(10_000));
        assert_eq!(ledger.entries().len(), 1);
        let entry = &ledger.entries()[0];
        assert_eq!((entry.count, entry.event, entry.detail.chars().count()), (2, Some(3), 201));
        for number in 0..1000 {
            ledger.note(Rule::StrayLine, number.to_string());
        }
        assert_eq!(ledger.take().len(), MAX_ENTRIES);
    }

    #[test]
    fn an_entry_reads_back_as_it_was() {
        let entry = LedgerEntry { event: Some(2), ..LedgerEntry::new(Rule::FinishReasonRenamed, "eos") };
        let text = serde_json::to_string(&entry).unwrap();
        assert!(
            text.contains("\"where\":\"answer.finish_reason\"")
                && text.contains("\"what\":\"A finish reason was")
        );
        assert_eq!(serde_json::from_str::<LedgerEntry>(&text).unwrap(), entry);
        // As versions without these fields have stored it.
        let older: LedgerEntry = serde_json::from_str(r#"{"rule":"missing_done","detail":""}"#).unwrap();
        assert_eq!(older.count, 1);
    }
}
