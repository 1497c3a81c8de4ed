//! The floor: reqwest, request bodies made beforehand, bytes read and counted, nothing decoded.

use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::header::CONTENT_TYPE;

use crate::{Answer, Error, Peer, is_streamed, messages};

pub struct Bare {
    client: reqwest::Client,
    url: String,
    bodies: Vec<String>,
    /// How long the answer is: the first one says it, all must be the same.
    length: AtomicUsize,
}

impl Peer for Bare {
    fn new(case: &str, url: &str) -> Result<Self, Error> {
        let calls: usize = case.strip_prefix("agent-").map_or(Ok(0), str::parse)?;
        let mut all: Vec<serde_json::Value> = messages(case)
            .into_iter()
            .map(|(user, text)| serde_json::json!({"role": if user { "user" } else { "assistant" }, "content": text}))
            .collect();
        let mut bodies = Vec::new();
        for at in 0..=calls {
            let mut body = serde_json::json!({"model": "m", "messages": all});
            if is_streamed(case) {
                body["stream"] = true.into();
                body["stream_options"] = serde_json::json!({"include_usage": true});
            }
            if calls > 0 {
                body["tools"] = serde_json::json!([{"type": "function", "function": {
                    "name": "get_weather", "description": "The weather in a city now",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
            }
            bodies.push(body.to_string());
            let call = serde_json::json!({"id": format!("call_{at}"), "type": "function",
                "function": {"name": "get_weather", "arguments": "{\"city\":\"Paris\"}"}});
            all.push(serde_json::json!({"role": "assistant", "tool_calls": [call]}));
            all.push(
                serde_json::json!({"role": "tool", "tool_call_id": format!("call_{at}"), "content": "sunny"}),
            );
        }
        Ok(Self {
            client: reqwest::Client::builder().build()?,
            url: format!("{url}/chat/completions"),
            bodies,
            length: AtomicUsize::new(0),
        })
    }

    async fn call(&self) -> Result<Answer, Error> {
        let mut answer = Answer::default();
        let mut length = 0;
        for body in &self.bodies {
            let request =
                self.client.post(&self.url).header(CONTENT_TYPE, "application/json").body(body.clone());
            let mut response = request.send().await?.error_for_status()?;
            while let Some(bytes) = response.chunk().await? {
                answer.first.get_or_insert_with(std::time::Instant::now);
                length += bytes.len();
            }
        }
        let before = self.length.swap(length, Ordering::Relaxed);
        if before != 0 && before != length {
            return Err(format!("{length} bytes, and {before} before").into());
        }
        Ok(answer)
    }

    fn check(&self, _: &Answer, expected: &str) -> bool {
        self.length.load(Ordering::Relaxed) > expected.len()
    }
}
