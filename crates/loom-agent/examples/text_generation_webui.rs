//! text-generation-webui. Start it with `python server.py --api`, and load a model.
//!
//! Run it with `cargo run --example text_generation_webui [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:5000/v1".to_owned());
    let agent = loom::agent("assistant")
        .llm("custom")
        .api_key("EMPTY")
        .base_url(base_url)
        .model("your-model")
        .build()?;
    println!("{}", agent.run("Hello!").await?.text());
    Ok(())
}
