//! FastChat. Start each of the three in a terminal of its own:
//!
//! ```text
//! python -m fastchat.serve.controller
//! python -m fastchat.serve.model_worker --model-path lmsys/vicuna-7b-v1.5 --model-names vicuna-7b
//! python -m fastchat.serve.openai_api_server --port 8000
//! ```
//!
//! Run it with `cargo run --example fastchat [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:8000/v1".to_owned());
    let agent = loom::agent("assistant")
        .llm("custom")
        .api_key("EMPTY")
        .base_url(base_url)
        .model("vicuna-7b")
        .build()?;
    println!("{}", agent.run("Hello!").await?.text());
    Ok(())
}
