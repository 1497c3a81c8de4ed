//! An LLM of your own, for what does not speak the OpenAI format: one method, which yields events. No server is needed.
//!
//! Run it with `cargo run --example own_llm`.
#![allow(clippy::print_stdout)] // an example is there to print

use futures_util::stream;
use loom::{Event, EventStream, Finish, FinishReason, Llm, Request};

struct Echo;

impl Llm for Echo {
    fn model_name(&self) -> String {
        "echo".to_owned()
    }

    fn stream(&self, request: Request) -> EventStream {
        let said = request.messages.last().map(|message| message.text()).unwrap_or_default();
        let finish = Finish { finish_reason: Some(FinishReason::Stop), ..Finish::default() };
        Box::pin(stream::iter([
            Ok(Event::ContentDelta { content: format!("You said: {said}") }),
            Ok(Event::Finish(Box::new(finish))),
        ]))
    }
}

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let agent = loom::agent("parrot").llm(Echo).build()?;
    println!("{}", agent.run("Hello!").await?.text());
    Ok(())
}
