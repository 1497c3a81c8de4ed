//! An adapter for what is not OpenAI-like: Anthropic's Messages API, streamed, with tools and thinking. (The Python
//! example has pictures, too.)
//!
//! Run it with `ANTHROPIC_API_KEY=… cargo run --example anthropic_llm [BASE_URL]`.
#![allow(clippy::print_stdout)] // an example is there to print
#![allow(clippy::indexing_slicing)] // a JSON value gives null for a name that it has not

use loom::endpoint::Auth;
use loom::{Adapter, LlmError, Profile};
use serde_json::{Value, json};

struct Messages;

impl Adapter for Messages {
    fn path(&self) -> &str {
        "messages"
    }

    fn profile(&self) -> Profile {
        let profile = json!({"system": "first", "alternate_roles": true, "tool_choice": "auto", "response_format": "prompt"});
        serde_json::from_value(profile).unwrap_or_default()
    }

    fn request(&self, mut body: Value) -> Result<Value, LlmError> {
        let (system, turns): (Vec<_>, Vec<_>) =
            list(body["messages"].take()).partition(|message| message["role"] == "system");
        body["system"] = system.into_iter().map(|message| message["content"].clone()).next().into();
        body["messages"] = turns.into_iter().map(turn).collect();
        for tool in body["tools"].as_array_mut().into_iter().flatten() {
            let said = &tool["function"];
            *tool = json!({"name": said["name"], "description": said["description"], "input_schema": said["parameters"]});
        }
        Ok(body)
    }

    fn chunk(&self, event: Value) -> Result<Option<Value>, LlmError> {
        let (block, delta, index) = (&event["content_block"], &event["delta"], &event["index"]);
        let said = match delta["type"].as_str().or(block["type"].as_str()) {
            Some("tool_use") => json!({"tool_calls": [{"index": index, "id": block["id"], "function":
                {"name": block["name"], "arguments": ""}}]}),
            Some("input_json_delta") => json!({"tool_calls": [{"index": index, "function":
                {"arguments": delta["partial_json"]}}]}),
            Some("thinking_delta") => json!({"reasoning_details": [{"text": delta["thinking"]}]}),
            Some("signature_delta") => json!({"reasoning_details": [{"signature": delta["signature"]}]}),
            Some("text_delta") => json!({"content": delta["text"]}),
            _ => json!({}),
        };
        let usage = if event["usage"].is_null() { &event["message"]["usage"] } else { &event["usage"] };
        let choice = json!({"delta": said, "finish_reason": delta["stop_reason"]});
        Ok(Some(json!({"choices": [choice], "usage": usage})))
    }
}

/// A message as a turn, which holds blocks.
fn turn(mut message: Value) -> Value {
    let content = message["content"].take();
    if message["role"] == "tool" {
        let result =
            json!({"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content});
        return json!({"role": "user", "content": [result]});
    }
    let thought: Vec<Value> = list(message["reasoning_details"].take()).collect();
    let all = |key: &str| thought.iter().filter_map(|piece| piece[key].as_str()).collect::<String>();
    let mut blocks = Vec::new();
    if !all("signature").is_empty() {
        blocks.push(json!({"type": "thinking", "thinking": all("text"), "signature": all("signature")}));
    }
    match content {
        Value::String(text) => blocks.push(json!({"type": "text", "text": text})),
        parts => blocks.extend(list(parts)),
    }
    for call in list(message["tool_calls"].take()) {
        let (id, called) = (&call["id"], &call["function"]);
        let input: Value =
            called["arguments"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        blocks.push(json!({"type": "tool_use", "id": id, "name": called["name"], "input": input}));
    }
    json!({"role": message["role"], "content": blocks})
}

fn list(value: Value) -> impl Iterator<Item = Value> {
    if let Value::Array(items) = value { items } else { Vec::new() }.into_iter()
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Weather {
    city: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args().nth(1).unwrap_or_else(|| "https://api.anthropic.com/v1".to_owned());
    let llm = loom::UnifiedLlm::builder()
        .base_url(base)
        .model("claude-sonnet-4-5")
        .max_tokens(4096) // the API wants a limit
        .api_key(std::env::var("ANTHROPIC_API_KEY")?)
        .auth(Auth::header("x-api-key"))
        .header("anthropic-version", "2023-06-01")
        .adapter(Messages)
        .build()?;
    let weather = loom::tool("weather", "The weather in a city.", |asked: Weather| async move {
        Ok::<_, String>(format!("sunny, 21 degrees celsius in {}", asked.city))
    });
    let agent = loom::agent("assistant").llm(llm).system_prompt("Be brief.").tool(weather).build()?;
    println!("{}", agent.run("What is the weather in Paris?").await?.text());
    Ok(())
}
