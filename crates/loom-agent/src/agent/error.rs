//! How a run can end without an answer.

use std::sync::Arc;

use loom_wire::{LlmError, Message};

/// An agent's failure.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The model call failed.
    #[error(transparent)]
    Llm(#[from] LlmError),
    /// The model wanted more turns than the run may take.
    #[error(
        "the run has reached max_recursion_depth ({limit} turns) without an answer: raise it, or see in the transcript what the model repeats"
    )]
    Recursion {
        /// The limit.
        limit: u32,
        /// The conversation up to there.
        transcript: Vec<Arc<Message>>,
    },
    /// A tool cannot be used.
    #[error("{0}")]
    Tool(String),
    /// The run itself went wrong.
    #[error("{0}")]
    Execution(String),
}
