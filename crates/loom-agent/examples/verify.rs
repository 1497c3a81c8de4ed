//! Does the configuration work? If not, the error says which link failed and what to do.
//!
//! Run it with `cargo run --example verify [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

use loom::AgentError;

#[tokio::main]
async fn main() -> Result<(), AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "https://your-service.com/v1".to_owned());
    let agent = loom::agent("test-agent")
        .llm("custom")
        .api_key("your-key")
        .base_url(base_url)
        .model("your-model")
        .build()?;
    match agent.run("Hello!").await {
        Ok(answer) => println!("✅ it works: {}", answer.text()),
        Err(AgentError::Llm { error, .. }) => println!("❌ {}: {error}", error.kind),
        Err(error) => println!("❌ {error}"),
    }
    Ok(())
}
