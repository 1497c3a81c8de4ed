//! Agents: a model, tools, and the loop between them.

mod builder;
mod context;
mod driver;
pub(crate) mod error;
mod event;
mod execute;
mod run;
mod stats;
mod tool;

pub use builder::{AgentBuilder, LlmSource, agent};
pub use context::{CompactReason, Compacted, Context, ContextPolicy, Cut};
pub use driver::{Agent, AgentStream, Conversation};
pub use error::AgentError;
pub use event::AgentEvent;
pub use run::{
    Input, Limit, Offer, Output, Prices, Run, RunLimits, RunOptions, Step, ToolResult, Unkept, Used,
};
pub use stats::{Outcome, Stats, StatsSnapshot};
pub use tool::{Tool, offered_names, schema_of, tool};
