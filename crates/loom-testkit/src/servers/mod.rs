//! The servers that can be emulated, by name.
//!
//! Each is a file here, with a [`ServerSpec`] that says where every fact in it was seen. To add one: copy the file of its
//! closest relative, change what differs, name it in the table below.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> std::io::Result<()> {
//! let server = loom_testkit::servers::ollama().model("qwen3:8b").start().await?;
//! assert!(server.base_url().ends_with("/v1"));
//! # Ok(())
//! # }
//! ```

mod azure;
mod badproxy;
mod clouds;
mod compatible;
mod deepseek;
mod doubao;
mod fastchat;
mod gemini;
mod groq;
mod kimi;
mod litellm;
mod llama_cpp_python;
mod llamacpp;
mod lmdeploy;
mod lmstudio;
mod mistral;
mod ollama;
mod oneapi;
mod openai;
mod openrouter;
mod qwen;
mod sglang;
mod textgen;
mod tgi;
mod transformers;
mod vllm;
mod xinference;
mod zhipu;

pub use azure::AZURE;
pub use badproxy::BadProxy;
pub use clouds::{ANTHROPIC, FIREWORKS, SILICONFLOW, TOGETHER, XAI, YI};
pub use deepseek::DEEPSEEK;
pub use doubao::DOUBAO;
pub use fastchat::FASTCHAT;
pub use gemini::GEMINI;
pub use groq::GROQ;
pub use kimi::KIMI;
pub use litellm::LITELLM;
pub use llama_cpp_python::LLAMA_CPP_PYTHON;
pub use llamacpp::LLAMACPP;
pub use lmdeploy::LMDEPLOY;
pub use lmstudio::LMSTUDIO;
pub use mistral::MISTRAL;
pub use ollama::OLLAMA;
pub use oneapi::ONEAPI;
pub use openai::OPENAI;
pub use openrouter::OPENROUTER;
pub use qwen::QWEN;
pub use sglang::SGLANG;
pub use textgen::TEXTGEN;
pub use tgi::TGI;
pub use transformers::TRANSFORMERS;
pub use vllm::{VLLM, VLLM_NO_TOOLS, VLLM_OLD};
pub use xinference::XINFERENCE;
pub use zhipu::ZHIPU;

use crate::emulator::{Emulator, ServerSpec};

macro_rules! servers {
    ($($function:ident $spec:ident),* $(,)?) => {
        /// All of them but [`BadProxy`], in the order in which they are listed.
        pub const ALL: &[ServerSpec] = &[$($spec),*];

        $(
            #[doc = concat!("Emulates what [`", stringify!($spec), "`] describes.")]
            pub fn $function() -> Emulator {
                Emulator::of($spec)
            }
        )*
    };
}

servers! {
    openai OPENAI,
    vllm VLLM,
    vllm_no_tools VLLM_NO_TOOLS,
    vllm_old VLLM_OLD,
    sglang SGLANG,
    ollama OLLAMA,
    llamacpp LLAMACPP,
    llama_cpp_python LLAMA_CPP_PYTHON,
    lmstudio LMSTUDIO,
    fastchat FASTCHAT,
    textgen TEXTGEN,
    tgi TGI,
    lmdeploy LMDEPLOY,
    xinference XINFERENCE,
    transformers TRANSFORMERS,
    deepseek DEEPSEEK,
    qwen QWEN,
    kimi KIMI,
    zhipu ZHIPU,
    doubao DOUBAO,
    yi YI,
    siliconflow SILICONFLOW,
    openrouter OPENROUTER,
    groq GROQ,
    mistral MISTRAL,
    together TOGETHER,
    fireworks FIREWORKS,
    xai XAI,
    gemini GEMINI,
    anthropic ANTHROPIC,
    azure AZURE,
    oneapi ONEAPI,
    litellm LITELLM,
}

/// A proxy that breaks answers in the way that a request names.
pub fn badproxy() -> BadProxy {
    BadProxy::new()
}

/// The server of this name; `badproxy` is none of these.
pub fn named(name: &str) -> Option<Emulator> {
    ALL.iter().find(|spec| spec.name == name).map(|spec| Emulator::of(*spec))
}
