//! Two clients of the same calls, for a profiler to count: Loom, and a bare one that reads bytes and decodes nothing.
//!
//! `loom-counts serve` prints the address of a server and serves until it is killed; `loom-counts CLIENT CASE URL CALLS`
//! does that many calls, one after the other, on one thread.

use std::error::Error;
use std::sync::Arc;

use futures_util::StreamExt;
use loom::{Event, Llm, Message, Request, UnifiedLlm};
use loom_testkit::{RecordedRequest, Reply, Server};
use reqwest::header::CONTENT_TYPE;

/// Pieces of text in a streamed answer. `benches/counts/run.py` divides by it.
const DELTAS: usize = 256;
const QUESTION: &str = "How is the weather in Paris?";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve"] => serve().await,
        [client, case, url, calls] => {
            let (url, calls) = (format!("{url}/{case}/v1"), calls.parse()?);
            let bytes = match *client {
                "loom" => with_loom(&url, *case == "stream", calls).await?,
                _ => with_nothing(&url, *case == "stream", calls).await?,
            };
            assert!(bytes >= calls * DELTAS, "the answers were read");
            Ok(())
        }
        _ => Err("loom-counts serve, or loom-counts (loom|bare) (stream|whole) URL CALLS".into()),
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    const HEAD: &str = r#""id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","created":1741569952,"model":"gpt-4.1-mini","system_fingerprint":"fp_44709d6fcb""#;
    const USAGE: &str = r#"{"prompt_tokens":19,"completion_tokens":256,"total_tokens":275}"#;
    let chunk = |delta: &str, finish: &str| {
        format!(
            r#"{{{HEAD},"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}],"usage":null}}"#
        )
    };
    let word = |at: usize| format!(" w{at:03}");
    let mut events = vec![chunk(r#"{"role":"assistant","content":""}"#, "null")];
    events.extend((0..DELTAS).map(|at| chunk(&format!(r#"{{"content":"{}"}}"#, word(at)), "null")));
    events.push(chunk("{}", "\"stop\""));
    events.push(format!(r#"{{{HEAD},"object":"chat.completion.chunk","choices":[],"usage":{USAGE}}}"#));
    events.push("[DONE]".to_owned());
    let text: String = (0..DELTAS).map(word).collect();
    let whole = format!(
        r#"{{{HEAD},"object":"chat.completion","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{USAGE}}}"#
    );
    let answer = move |request: &RecordedRequest| match request.path.starts_with("/stream/") {
        true => Reply::sse(events.clone()),
        false => Reply::text(200, whole.clone()).header("content-type", "application/json"),
    };
    let server = Server::start(answer).await?;
    #[allow(clippy::print_stdout)] // this is a program
    {
        println!("{}", server.origin());
    }
    std::future::pending().await
}

async fn with_loom(url: &str, stream: bool, calls: usize) -> Result<usize, Box<dyn Error>> {
    let llm = UnifiedLlm::builder().provider("custom").base_url(url).api_key("sk-test").model("m").build()?;
    let messages = vec![Arc::new(Message::user(QUESTION))];
    let mut bytes = 0;
    for _ in 0..calls {
        let request = Request { messages: messages.clone(), stream, ..Request::default() };
        if stream {
            let mut events = llm.stream(request);
            while let Some(event) = events.next().await {
                if let Event::ContentDelta { content } = event? {
                    bytes += content.len();
                }
            }
        } else {
            bytes += llm.generate(request).await?.content.len();
        }
    }
    Ok(bytes)
}

async fn with_nothing(url: &str, stream: bool, calls: usize) -> Result<usize, Box<dyn Error>> {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).build()?;
    let extra = if stream { r#","stream":true,"stream_options":{"include_usage":true}"# } else { "" };
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{QUESTION}"}}]{extra}}}"#);
    let url = format!("{url}/chat/completions");
    let mut bytes = 0;
    for _ in 0..calls {
        let request = client.post(&url).header(CONTENT_TYPE, "application/json").body(body.clone());
        let mut response = request.send().await?.error_for_status()?;
        while let Some(piece) = response.chunk().await? {
            bytes += piece.len();
        }
    }
    Ok(bytes)
}
