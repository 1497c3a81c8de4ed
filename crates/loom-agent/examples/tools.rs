//! A tool: the model asks for it, Loom calls the function, the model answers with its result. The server must be one
//! that has tools: `vllm serve Qwen/Qwen2.5-7B-Instruct --enable-auto-tool-choice --tool-call-parser hermes`.
//!
//! Run it with `cargo run --example tools [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
struct Place {
    /// The city's name
    city: String,
}

async fn weather(place: Place) -> Result<String, std::io::Error> {
    Ok(format!("sunny, 21 °C in {}", place.city))
}

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:8000/v1".to_owned());
    let agent = loom::agent("assistant")
        .base_url(base_url)
        .tool(loom::tool("get_weather", "The weather in a city now", weather))
        .build()?;
    println!("{}", agent.run("How is the weather in Paris?").await?.text());
    Ok(())
}
