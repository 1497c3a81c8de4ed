//! Any OpenAI-compatible service: `custom` demands a base URL and takes no other provider's key.
//!
//! Run it with `cargo run --example custom [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "https://your-service.com/v1".to_owned());
    let agent = loom::agent("assistant")
        .llm("custom")
        .api_key("your-api-key")
        .base_url(base_url)
        .model("your-model-name")
        .build()?;
    println!("{}", agent.run("Hello!").await?.text());
    Ok(())
}
