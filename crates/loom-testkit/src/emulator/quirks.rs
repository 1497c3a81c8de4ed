//! How servers differ from OpenAI's, as data.

/// The ways in which an [`Emulator`](crate::Emulator) differs from OpenAI's server. The default is no
/// difference.
///
/// ```
/// use loom_testkit::{Emulator, Quirks, UsageChunk};
///
/// // FastChat sends no usage in a stream, whether asked for it or not.
/// let quirks = Quirks { usage: UsageChunk::Never, ..Quirks::default() };
/// let emulator = Emulator::new().model("vicuna-7b").quirks(quirks);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quirks {
    /// What stands before `/models` and `/chat/completions`. Default: `/v1`.
    pub base_path: String,
    /// Any model name is accepted, as by llama-server. Default: false.
    pub any_model: bool,
    /// A parameter that is `null` counts as absent. Default: false.
    pub null_fields: bool,
    /// `"tools": []` counts as absent. Default: false.
    pub empty_tools: bool,
    /// An event starts with `data: `; without it with `data:`, as from text-generation-inference. Default:
    /// true.
    pub data_space: bool,
    /// A stream ends with `data: [DONE]`; without it, it just ends, as that of transformers serve. Default:
    /// true.
    pub done: bool,
    /// When a stream carries a chunk of usage. Default: when asked for.
    pub usage: UsageChunk,
    /// A tool call is streamed in fragments; without it in one piece, as by Ollama. Default: true.
    pub fragments: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            base_path: "/v1".to_owned(),
            any_model: false,
            null_fields: false,
            empty_tools: false,
            data_space: true,
            done: true,
            usage: UsageChunk::WhenAsked,
            fragments: true,
        }
    }
}

/// When a stream carries a last chunk with the usage and no choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageChunk {
    /// With `"stream_options": {"include_usage": true}`.
    WhenAsked,
    /// Never, as with FastChat and llama-cpp-python.
    Never,
    /// Always.
    Always,
}
