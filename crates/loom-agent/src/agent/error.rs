//! How a run can end without an answer. What had been done by then is never lost: each error of a run holds the run.

use std::sync::Arc;

use loom_wire::{Completion, LlmError, Message, ToolCall};

use crate::agent::run::{Limit, Run};
use crate::schema::Problem;
use crate::session::SessionError;

/// An agent's failure.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The model call failed, or the settings cannot work.
    #[error("{error}")]
    Llm {
        /// What failed.
        #[source]
        error: LlmError,
        /// The run up to there; none if it had not begun.
        run: Option<Box<Run>>,
    },
    /// The model wanted more turns than the run may take.
    #[error(
        "the run has reached max_recursion_depth ({limit} turns) without an answer: raise it, or see in the transcript what the model repeats"
    )]
    Recursion {
        /// The limit.
        limit: u32,
        /// The run up to there.
        run: Box<Run>,
    },
    /// Another limit of the run was reached.
    #[error("{message}")]
    Limit {
        /// Which one.
        limit: Limit,
        /// What was used of it.
        message: String,
        /// What had arrived of an answer when the time was up.
        partial: Option<Box<Completion>>,
        /// The run up to there.
        run: Box<Run>,
    },
    /// The answer did not become what was asked for.
    #[error("the answer is not what was asked for: {}", listed(problems))]
    Output {
        /// What does not fit in the last answer.
        problems: Vec<Problem>,
        /// The last answer.
        text: String,
        /// The run up to there.
        run: Box<Run>,
    },
    /// The model did not call the tool that it was to call.
    #[error("{message}")]
    ToolChoice {
        /// Which one.
        message: String,
        /// The run up to there.
        run: Box<Run>,
    },
    /// The run waits for somebody's approval of calls: approve or deny them on the run, then run it again.
    #[error("the run waits for approval of {}", names(calls))]
    ApprovalRequired {
        /// The calls that wait.
        calls: Vec<ToolCall>,
        /// The run, to be stored or resumed.
        run: Box<Run>,
    },
    /// The session could not be read or kept.
    #[error("{error}")]
    Session {
        /// What failed.
        #[source]
        error: SessionError,
        /// The run, with its answer if it had one; none if it had not begun.
        run: Option<Box<Run>>,
    },
    /// A tool cannot be used, or has failed and was to end the run.
    #[error("{0}")]
    Tool(String),
    /// A call failed of a tool whose failures end the run ([`ToolOptions::raise_errors`](super::ToolOptions::raise_errors)).
    #[error("the tool {tool:?} failed: {message}")]
    ToolFailed {
        /// The tool's name.
        tool: String,
        /// What the model would have got to read.
        message: String,
        /// The run up to there.
        run: Box<Run>,
    },
    /// The run itself went wrong.
    #[error("{0}")]
    Execution(String),
}

impl AgentError {
    /// The failed model call, if it was one.
    pub fn llm(&self) -> Option<&LlmError> {
        match self {
            Self::Llm { error, .. } => Some(error),
            _ => None,
        }
    }

    /// What went wrong, in a word: the kind of a failed model call, or `recursion`, the limit's name, `output`, `tool_choice`,
    /// `approval_required`, `tool`, `execution`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Llm { error, .. } => error.kind.as_str(),
            Self::Recursion { .. } => "recursion",
            Self::Limit { limit, .. } => limit.as_str(),
            Self::Output { .. } => "output",
            Self::ToolChoice { .. } => "tool_choice",
            Self::ApprovalRequired { .. } => "approval_required",
            Self::Tool(_) | Self::ToolFailed { .. } => "tool",
            Self::Session { .. } => "session",
            Self::Execution(_) => "execution",
        }
    }

    /// The run up to the failure: it can be stored, and resumed.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Llm { run, .. } | Self::Session { run, .. } => run.as_deref(),
            Self::Recursion { run, .. }
            | Self::Limit { run, .. }
            | Self::Output { run, .. }
            | Self::ToolChoice { run, .. }
            | Self::ToolFailed { run, .. }
            | Self::ApprovalRequired { run, .. } => Some(run),
            Self::Tool(_) | Self::Execution(_) => None,
        }
    }

    pub(crate) fn run_mut(&mut self) -> Option<&mut Run> {
        match self {
            Self::Llm { run, .. } | Self::Session { run, .. } => run.as_deref_mut(),
            Self::Recursion { run, .. }
            | Self::Limit { run, .. }
            | Self::Output { run, .. }
            | Self::ToolChoice { run, .. }
            | Self::ToolFailed { run, .. }
            | Self::ApprovalRequired { run, .. } => Some(run),
            Self::Tool(_) | Self::Execution(_) => None,
        }
    }

    /// The conversation up to the failure.
    pub fn transcript(&self) -> &[Arc<Message>] {
        self.run().map(Run::messages).unwrap_or_default()
    }
}

impl From<LlmError> for AgentError {
    fn from(error: LlmError) -> Self {
        Self::Llm { error, run: None }
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn names(calls: &[ToolCall]) -> String {
    calls.iter().map(|call| call.name.as_str()).collect::<Vec<_>>().join(", ")
}
