//! `UnifiedLlm`: the LLM without an agent, or as an object that several agents share.
//!
//! Run it with `cargo run --example unified_llm [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

use loom::{Message, Request, UnifiedLlm};

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "https://your-service.com/v1".to_owned());
    let llm = UnifiedLlm::builder()
        .provider("custom")
        .api_key("your-key")
        .base_url(base_url)
        .model("your-model")
        .temperature(0.7)
        .max_tokens(2000)
        .timeout_secs(120.0)
        .build()?;

    let completion = llm.generate(Request::new(vec![Message::user("Hello!")])).await?;
    println!("{} ({:?})", completion.content, completion.usage);

    let agent = loom::agent("assistant").llm(llm).build()?;
    println!("{}", agent.run("Hello again!").await?.text());
    Ok(())
}
