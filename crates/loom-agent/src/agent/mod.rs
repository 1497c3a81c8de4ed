//! Agents: a model, tools, and the loop between them.

mod as_tool;
mod builder;
mod context;
mod driver;
pub(crate) mod error;
mod event;
mod execute;
mod extra;
mod listener;
#[cfg(feature = "otel")]
pub mod otel;
mod run;
mod schema;
mod start;
mod stats;
mod tool;
mod tool_options;

pub use as_tool::AgentTool;
pub use builder::{AgentBuilder, LlmSource, agent};
pub use context::{CompactReason, Compacted, Context, ContextPolicy, Cut};
pub use error::AgentError;
pub use event::AgentEvent;
pub use execute::{DEFAULT_MAX_PARALLEL_TOOLS, limited};
pub use extra::Extra;
pub use run::{
    Input, Limit, Offer, Output, Prices, Run, RunLimits, RunOptions, Step, ToolResult, Unkept, Used,
};
pub use schema::schema_of;
pub use start::{Agent, AgentStream, Conversation};
pub use stats::{Outcome, Stats, StatsSnapshot};
pub use tool::{FunctionTool, Tool, ToolSource, offered_names, tool, tool_with_context};
pub use tool_options::{Approval, DEFAULT_MAX_RESULT_CHARS, Deps, ToolContext, ToolOptions};
