//! Agents on any OpenAI-compatible endpoint, given only its `base_url`.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), loom::AgentError> {
//! let agent = loom::agent("assistant")
//!     .llm("custom")
//!     .base_url("http://localhost:8000/v1")
//!     .model("Qwen/Qwen2-7B-Instruct")
//!     .build()?;
//! println!("{}", agent.run("Introduce vLLM").await?.text());
//! # Ok(())
//! # }
//! ```
//!
//! Three layers, each of which knows only those below it: [`agent`](mod@agent) runs the loop between model and tools,
//! [`model`] turns requests into events, [`endpoint`] brings bytes from one origin. Below them `loom-wire` owns the
//! chat format.

pub mod agent;
pub mod endpoint;
#[cfg(feature = "mcp")]
pub mod mcp;
pub mod model;
pub mod schema;
pub mod session;

pub use agent::{
    Agent, AgentBuilder, AgentError, AgentEvent, AgentStream, CompactReason, Compacted, ContextPolicy,
    FunctionTool, Tool, agent, tool,
};
pub use endpoint::{Explanation, Timeout};
pub use loom_wire::sse;
pub use loom_wire::{
    Completion, Content, ErrorKind, Event, Finish, FinishReason, LedgerEntry, Limits, Link, LlmError,
    Message, Profile, Request, Retry, Role, Rule, ToolCall, ToolChoice, ToolSpec, Usage, part, profile,
};
pub use model::config::Config;
pub use model::pool::{Pool, PoolMember};
pub use model::provider::{self, Provider};
pub use model::{Adapter, EventStream, Llm, LlmSettings, UnifiedLlm, collect, generate};
pub use session::{Session, SessionError, SessionInfo};

/// The Rust programs of the documentation, compiled as tests.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../README.zh-CN.md")]
    struct ReadmeInChinese;
    #[doc = include_str!("../../../docs/rust-api.md")]
    struct RustApi;
    #[doc = include_str!("../../../docs/rust-api.zh.md")]
    struct RustApiInChinese;
    #[doc = include_str!("../../../docs/pools.md")]
    struct Pools;
    #[doc = include_str!("../../../docs/pools.zh.md")]
    struct PoolsInChinese;
    #[cfg(feature = "otel")]
    #[doc = include_str!("../../../docs/observability.md")]
    struct Observability;
    #[cfg(feature = "otel")]
    #[doc = include_str!("../../../docs/observability.zh.md")]
    struct ObservabilityInChinese;
    #[cfg(feature = "sqlite")]
    #[doc = include_str!("../../../docs/sessions.md")]
    struct Sessions;
    #[cfg(feature = "sqlite")]
    #[doc = include_str!("../../../docs/sessions.zh.md")]
    struct SessionsInChinese;
    #[cfg(feature = "mcp")]
    #[doc = include_str!("../../../docs/tools.md")]
    struct Tools;
    #[cfg(feature = "mcp")]
    #[doc = include_str!("../../../docs/tools.zh.md")]
    struct ToolsInChinese;
    #[doc = include_str!("../../../docs/typed-answers.md")]
    struct TypedAnswers;
    #[doc = include_str!("../../../docs/typed-answers.zh.md")]
    struct TypedAnswersInChinese;
    #[doc = include_str!("../../../docs/testing.md")]
    struct Testing;
    #[doc = include_str!("../../../docs/testing.zh.md")]
    struct TestingInChinese;
}
