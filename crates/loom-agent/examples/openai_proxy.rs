//! OpenAI through a forwarding service. There is no server to start; put in your address and its key.
//!
//! Run it with `cargo run --example openai_proxy [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "https://api.openai-proxy.com/v1".to_owned());
    let agent = loom::agent("assistant")
        .llm("openai") // or "custom", with a model
        .api_key("sk-...") // OPENAI_API_KEY is not sent to an address that stands in the code
        .base_url(base_url)
        .build()?;
    println!("{}", agent.run("Hello!").await?.text());
    Ok(())
}
