//! How a tool's calls are carried out, and what a tool may know of the run that calls it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use loom_wire::ToolCall;
use serde_json::{Map, Value};

/// The most characters of a tool's result, unless told otherwise: some ten thousand tokens.
pub const DEFAULT_MAX_RESULT_CHARS: usize = 50_000;

/// How a tool's calls are carried out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ToolOptions {
    /// Which calls need approval.
    pub approval: Approval,
    /// How long a call may take. `None`: as long as it takes.
    pub timeout: Option<Duration>,
    /// How often a call that failed is repeated.
    pub retries: u32,
    /// Whether no other call of the turn may run at the same time.
    pub sequential: bool,
    /// The most characters of a result.
    pub max_result_chars: usize,
    /// Whether a failure ends the run.
    pub raise_errors: bool,
}

impl ToolOptions {
    /// No approval, no limit of time, no repetition; results up to [`DEFAULT_MAX_RESULT_CHARS`].
    pub const DEFAULT: Self = Self {
        approval: Approval::Never,
        timeout: None,
        retries: 0,
        sequential: false,
        max_result_chars: DEFAULT_MAX_RESULT_CHARS,
        raise_errors: false,
    };
}

impl Default for ToolOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Which calls of a tool need somebody's approval.
#[derive(Clone)]
pub enum Approval {
    /// None.
    Never,
    /// All.
    Always,
    /// Those of which this is true, told by their arguments.
    If(Arc<Predicate>),
}

type Predicate = dyn Fn(&Map<String, Value>) -> bool + Send + Sync;

impl Approval {
    /// Whether this call needs approval.
    pub fn is_needed(&self, call: &ToolCall) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::If(needed) => needed(&call.arguments_object()),
        }
    }
}

impl fmt::Debug for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "Never",
            Self::Always => "Always",
            Self::If(_) => "If",
        })
    }
}

/// What the caller of a run hands to its tools.
pub type Deps = Arc<dyn Any + Send + Sync>;

/// What a tool may know of the run that calls it; the model knows nothing of it.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ToolContext {
    /// The agent's name.
    pub agent: String,
    /// The call's id.
    pub call_id: String,
    /// The name that the tool was called by.
    pub tool: String,
    /// Counts from 1; more when a call is repeated.
    pub attempt: u32,
    /// What the caller of the run handed over: see [`Self::deps`].
    pub given: Option<Deps>,
}

impl ToolContext {
    /// What the caller of the run handed over, if it is of that type.
    pub fn deps<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::downcast(Arc::clone(self.given.as_ref()?)).ok()
    }
}

impl fmt::Debug for ToolContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolContext")
            .field("agent", &self.agent)
            .field("call_id", &self.call_id)
            .field("tool", &self.tool)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
