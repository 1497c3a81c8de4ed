//! vLLM. Start it with `vllm serve Qwen/Qwen2-7B-Instruct --port 8000`.
//!
//! Run it with `cargo run --example vllm [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:8000/v1".to_owned());
    let agent = loom::agent("assistant")
        .llm("custom")
        .api_key("EMPTY") // vLLM asks for no key unless it is started with --api-key
        .base_url(base_url)
        .model("Qwen/Qwen2-7B-Instruct")
        .build()?;
    println!("{}", agent.run("Introduce vLLM").await?.text());
    Ok(())
}
