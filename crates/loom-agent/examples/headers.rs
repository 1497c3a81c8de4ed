//! Headers of your own. A header replaces Loom's of that name, so `Authorization` may take any form.
//!
//! Run it with `cargo run --example headers [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

use loom::{Message, Request, UnifiedLlm};

#[tokio::main]
async fn main() -> Result<(), loom::LlmError> {
    let base_url = std::env::args().nth(1).unwrap_or_else(|| "https://your-service.com/v1".to_owned());
    let llm = UnifiedLlm::builder()
        .provider("custom")
        .base_url(base_url)
        .model("your-model")
        .header("X-Custom-Header", "value")
        .header("Authorization", "Token your-key")
        .build()?;
    let completion = llm.generate(Request::new(vec![Message::user("Hello!")])).await?;
    println!("{}", completion.content);
    Ok(())
}
