//! `LlmSettings`: settings as a value, which can be kept, passed on, cloned and completed.
//!
//! Run it with `cargo run --example settings [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

use loom::LlmSettings;

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "https://your-service.com/v1".to_owned());
    let settings = LlmSettings::default()
        .provider("custom")
        .api_key("your-key")
        .base_url(base_url)
        .model("your-model")
        .temperature(0.7)
        .max_tokens(2000);

    let careful = settings.clone().temperature(0.0);
    for (name, settings) in [("creative", settings), ("careful", careful)] {
        let agent = loom::agent(name).llm(settings.build()?).build()?;
        println!("{name}: {}", agent.run("Hello!").await?.text());
    }
    Ok(())
}
