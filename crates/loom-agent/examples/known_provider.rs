//! Known providers through addresses of your own. There is no server to start; put in your proxies and their keys.
//!
//! Run it with `cargo run --example known_provider [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let given = std::env::args().nth(1);
    for (provider, address) in
        [("openai", "https://your-proxy.com/v1"), ("deepseek", "https://your-deepseek-proxy.com/v1")]
    {
        // No model is named, so the provider's default is asked for.
        let agent = loom::agent("assistant")
            .llm(provider)
            .api_key("sk-...")
            .base_url(given.as_deref().unwrap_or(address))
            .build()?;
        println!("{provider}: {}", agent.run("Hello!").await?.text());
    }
    Ok(())
}
