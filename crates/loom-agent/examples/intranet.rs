//! A service within a company. Set `SSL_CERT_FILE` if a private authority signs its certificate.
//!
//! Run it with `cargo run --example intranet [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print

#[tokio::main]
async fn main() -> Result<(), loom::AgentError> {
    let base_url =
        std::env::args().nth(1).unwrap_or_else(|| "https://llm.yourcompany.internal/v1".to_owned());
    let agent = loom::agent("assistant")
        .llm("custom")
        .api_key("your-internal-key")
        .base_url(base_url)
        .model("company-gpt-model")
        .build()?;
    println!("{}", agent.run("Hello!").await?.text());
    Ok(())
}
