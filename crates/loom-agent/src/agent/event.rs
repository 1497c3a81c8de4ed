//! What a run reports while it goes on: one vocabulary for Rust, Python and `--json`.

use loom_wire::{Content, LedgerEntry, Message, Retry, ToolCall, Usage};
use serde::Serialize;

use crate::agent::context::Compacted;

/// An event of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AgentEvent {
    /// The run begins.
    RunStart {
        /// The agent's name.
        agent: String,
    },
    /// The model is asked.
    ModelRequest {
        /// Counts from 1.
        turn: u32,
    },
    /// More of the answer.
    ContentDelta {
        /// The text.
        content: String,
    },
    /// More of the value that was asked for, as it has come so far: it only grows. It is not checked yet; a later turn may
    /// begin anew.
    Partial {
        /// The value so far.
        value: serde_json::Value,
    },
    /// More of the thinking.
    ReasoningDelta {
        /// The text.
        content: String,
    },
    /// The model calls tools.
    ToolCalls {
        /// In the order of the model.
        #[serde(serialize_with = "flat_calls")]
        tool_calls: Vec<ToolCall>,
    },
    /// A tool starts.
    ToolStart {
        /// The call's id.
        id: String,
        /// The tool's name.
        name: String,
        /// The arguments.
        arguments: serde_json::Map<String, serde_json::Value>,
    },
    /// A tool has ended.
    ToolEnd {
        /// The call's id.
        id: String,
        /// The tool's name.
        name: String,
        /// What the model gets to read.
        content: Content,
        /// The tool failed, or was not called (then there was no `tool_start`).
        is_error: bool,
    },
    /// Calls wait for approval. The run ends here; it can be resumed.
    ApprovalRequired {
        /// The calls.
        #[serde(serialize_with = "flat_calls")]
        tool_calls: Vec<ToolCall>,
    },
    /// What the last turn needed, of the server or of the model, to be usable.
    Adaptation {
        /// The entries of the ledger.
        ledger: Vec<LedgerEntry>,
    },
    /// Old turns are no longer sent, since the model's context is full.
    ContextCompacted(Compacted),
    /// Tokens used by one turn.
    Usage(Usage),
    /// A try to ask the model failed, or the server is loading it; another try follows.
    Retry(Retry),
    /// The end: exactly once, last.
    Finish {
        /// Why the answer ended.
        finish_reason: Option<loom_wire::FinishReason>,
        /// The answer, with the usage of the whole run.
        message: Box<Message>,
    },
}

fn flat_calls<S: serde::Serializer>(calls: &[ToolCall], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(calls.iter().map(ToolCall::to_flat))
}
