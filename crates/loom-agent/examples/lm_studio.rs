//! LM Studio. Load a model and start the server in the Developer tab, or with `lms server start`.
//!
//! Run it with `cargo run --example lm_studio [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:1234/v1".to_owned());
    let agent = loom::agent("assistant")
        .llm("custom")
        .api_key("lm-studio") // any text
        .base_url(base_url)
        .model("local-model")
        .build()?;
    println!("{}", agent.run("Hello!").await?.text());
    Ok(())
}
