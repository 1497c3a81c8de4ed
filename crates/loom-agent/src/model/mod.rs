//! LLMs: the trait, the one for OpenAI-compatible endpoints, and the data it works from.

mod adapt;
mod adapter;
mod call;
pub mod config;
mod endpoint_config;
mod format_check;
mod habits;
mod hints;
mod llm;
mod mcp_config;
pub(crate) mod media;
mod notices;
mod path;
pub mod pool;
mod profile;
pub mod provider;
mod reading;
mod record;
mod resolve;
mod settings;
mod unified;

pub use adapter::Adapter;
pub(crate) use llm::unfinished;
pub use llm::{EventStream, Llm, ServedBy, collect, generate};
pub use settings::LlmSettings;
pub use unified::UnifiedLlm;
