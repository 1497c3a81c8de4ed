//! Ollama. Start it with `ollama serve`, after `ollama pull qwen:7b`.
//!
//! Run it with `cargo run --example ollama [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:11434/v1".to_owned());
    let agent = loom::agent("assistant")
        .llm("custom")
        .api_key("EMPTY") // Ollama asks for no key
        .base_url(base_url)
        .model("qwen:7b")
        .build()?;
    println!("{}", agent.run("Hello!").await?.text());
    Ok(())
}
