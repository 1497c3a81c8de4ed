//! The events of a run while it goes on. Dropping the stream ends the run and closes its connection.
//! Any server will do: `vllm serve Qwen/Qwen2-7B-Instruct --port 8000`.
//!
//! Run it with `cargo run --example stream [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

use std::io::Write;

use futures_util::StreamExt;
use loom::AgentEvent;

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:8000/v1".to_owned());
    let agent = loom::agent("assistant").base_url(base_url).build()?;
    let mut events = agent.stream("Tell me a story");
    while let Some(event) = events.next().await {
        match event? {
            AgentEvent::ContentDelta { content } => {
                print!("{content}");
                let _ = std::io::stdout().flush();
            }
            AgentEvent::Finish { finish_reason, .. } => println!("\n[{finish_reason:?}]"),
            _ => {}
        }
    }
    Ok(())
}
