//! An adapter for what is not OpenAI-like: Anthropic's Messages API, streamed, with tools.
//!
//! Run it with `ANTHROPIC_API_KEY=… cargo run --example anthropic_llm [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print
#![allow(clippy::indexing_slicing)] // a JSON value gives null for a name that it has not

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use loom::sse::{Frame, SseDecoder};
use loom::{
    ErrorKind, Event, EventStream, Finish, FinishReason, Llm, LlmError, Request, Role, ToolCall, Usage,
};
use serde_json::{Value, json};

#[derive(Clone)]
struct MessagesLlm {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Llm for MessagesLlm {
    fn model_name(&self) -> String {
        "claude-sonnet-4-5".to_owned()
    }

    fn stream(&self, request: Request) -> EventStream {
        let llm = self.clone();
        // The whole answer is read, then told: `stream::unfold` would tell it piece by piece.
        let call = async move { llm.call(&request).await.unwrap_or_else(|error| vec![Err(error)]) };
        Box::pin(stream::once(call).flat_map(stream::iter))
    }
}

impl MessagesLlm {
    async fn call(&self, request: &Request) -> Result<Vec<Result<Event, LlmError>>, LlmError> {
        let broken =
            |error: reqwest::Error| LlmError::new(ErrorKind::Connection, error.without_url().to_string());
        let builder = self.client.post(&self.url).header("x-api-key", &self.key);
        let builder =
            builder.header("anthropic-version", "2023-06-01").header("content-type", "application/json");
        let mut response = builder.body(self.body(request).to_string()).send().await.map_err(broken)?;
        let status = response.status().as_u16();
        if status != 200 {
            let kind = if status == 401 { ErrorKind::Auth } else { ErrorKind::BadRequest };
            let mut error = LlmError::new(kind, response.text().await.unwrap_or_default());
            error.status_code = Some(status);
            return Err(error);
        }
        let (mut events, mut finish) = (Vec::new(), Finish::default());
        let (mut calls, mut usage) = (BTreeMap::<u64, (String, String, String)>::new(), json!({}));
        let mut decoder = SseDecoder::new(1 << 20);
        while let Some(bytes) = response.chunk().await.map_err(broken)? {
            decoder.push(&bytes);
            while let Some(frame) =
                decoder.next_frame().map_err(|_| LlmError::bad_response("an event is too large"))?
            {
                let Frame::Data { data, .. } = frame else { continue };
                let event: Value = serde_json::from_slice(data)
                    .map_err(|error| LlmError::bad_response(error.to_string()))?;
                let (delta, index) = (&event["delta"], event["index"].as_u64().unwrap_or_default());
                for counted in [&event["usage"], &event["message"]["usage"]] {
                    for (name, count) in counted.as_object().into_iter().flatten() {
                        usage[name] = count.clone();
                    }
                }
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                if event["content_block"]["type"] == "tool_use" {
                    let block = &event["content_block"];
                    calls.insert(index, (text(&block["id"]), text(&block["name"]), String::new()));
                }
                match delta["type"].as_str() {
                    Some("text_delta") => {
                        events.push(Ok(Event::ContentDelta { content: text(&delta["text"]) }))
                    }
                    Some("input_json_delta") => {
                        let call = calls.entry(index).or_default();
                        call.2.push_str(&text(&delta["partial_json"]));
                    }
                    _ => {}
                }
                finish.finish_reason = match delta["stop_reason"].as_str() {
                    None => finish.finish_reason,
                    Some("tool_use") => Some(FinishReason::ToolCalls),
                    Some("max_tokens") => Some(FinishReason::Length),
                    Some(_) => Some(FinishReason::Stop),
                };
            }
        }
        if !calls.is_empty() {
            let calls = calls.into_values().map(|(id, name, arguments)| ToolCall::new(id, name, &arguments));
            events.push(Ok(Event::ToolCalls { tool_calls: calls.collect() }));
        }
        let count = |name: &str| usage[name].as_u64();
        let total = count("input_tokens").zip(count("output_tokens")).map(|(prompt, answer)| prompt + answer);
        events.push(Ok(Event::Usage(Usage {
            prompt_tokens: count("input_tokens"),
            completion_tokens: count("output_tokens"),
            total_tokens: total,
            ..Usage::default()
        })));
        events.push(Ok(Event::Finish(Box::new(finish))));
        Ok(events)
    }

    /// OpenAI's messages as Anthropic's: tool calls and results are blocks, and results stand in the user's turn.
    fn body(&self, request: &Request) -> Value {
        let (mut system, mut turns) = (Vec::new(), Vec::<(&str, Vec<Value>)>::new());
        for message in &request.messages {
            let text = message.text();
            let mut blocks =
                if text.is_empty() { vec![] } else { vec![json!({"type": "text", "text": &text})] };
            let role = match message.role {
                Role::System | Role::Developer => {
                    system.push(text);
                    continue;
                }
                Role::Assistant => "assistant",
                Role::User => "user",
                Role::Tool => {
                    let id = &message.tool_call_id;
                    blocks = vec![json!({"type": "tool_result", "tool_use_id": id, "content": text})];
                    "user"
                }
            };
            blocks.extend(message.tool_calls.iter().map(|call| {
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments_object()})
            }));
            match turns.last_mut() {
                Some((last, content)) if *last == role => content.extend(blocks),
                _ => turns.push((role, blocks)),
            }
        }
        let turns: Vec<Value> =
            turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
        let tools: Vec<Value> = (request.tools.iter())
            .map(|tool| json!({"name": tool.name, "description": tool.description, "input_schema": tool.parameters}))
            .collect();
        let mut body =
            json!({"model": self.model_name(), "max_tokens": 1024, "stream": true, "messages": turns});
        if !system.is_empty() {
            body["system"] = system.join("\n\n").into();
        }
        if !tools.is_empty() {
            body["tools"] = tools.into();
        }
        for (name, value) in &request.params {
            body[name] = value.clone();
        }
        body
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Weather {
    city: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Not needed with reqwest's default features, which choose a crypto provider themselves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let base = std::env::args().nth(1).unwrap_or_else(|| "https://api.anthropic.com".to_owned());
    let llm = MessagesLlm {
        client: reqwest::Client::builder().build()?,
        url: format!("{base}/v1/messages"),
        key: std::env::var("ANTHROPIC_API_KEY")?,
    };
    let weather = loom::tool("weather", "The weather in a city.", |asked: Weather| async move {
        Ok::<_, String>(format!("sunny, 21 degrees celsius in {}", asked.city))
    });
    let agent = loom::agent("assistant").llm(llm).system_prompt("Be brief.").tool(weather).build()?;
    println!("{}", agent.run("What is the weather in Paris?").await?.text());
    Ok(())
}
