//! LLMs: the trait, the one for OpenAI-compatible endpoints, and the data it works from.

mod adapt;
mod call;
pub mod config;
mod habits;
mod hints;
mod llm;
mod path;
pub mod provider;
mod record;
mod settings;
mod unified;

pub(crate) use llm::unfinished;
pub use llm::{EventStream, Llm, collect};
pub use settings::LlmSettings;
pub use unified::UnifiedLlm;
