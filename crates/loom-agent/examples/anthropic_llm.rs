//! An adapter for what is not OpenAI-like: Anthropic's Messages API, streamed, with tools, pictures and thinking.
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
        let profile = json!({"system": "first", "tool_choice": "auto", "response_format": "prompt"});
        serde_json::from_value(profile).unwrap_or_default()
    }

    fn request(&self, mut body: Value) -> Result<Value, LlmError> {
        let mut turns: Vec<Value> = Vec::new();
        for message in list(body["messages"].take()) {
            let role = if message["role"] == "assistant" { "assistant" } else { "user" };
            match turns.last_mut() {
                _ if message["role"] == "system" => body["system"] = message["content"].clone(),
                Some(Value::Object(turn)) if turn["role"] == role => {
                    turn["content"] = list(turn["content"].take()).chain(blocks(message)).collect();
                }
                _ => turns.push(json!({"role": role, "content": blocks(message)})),
            }
        }
        body["messages"] = turns.into();
        for tool in body["tools"].as_array_mut().into_iter().flatten() {
            let mut function = tool["function"].take();
            function["input_schema"] = function["parameters"].take();
            function.as_object_mut().map(|function| function.remove("parameters"));
            *tool = function;
        }
        if body["max_tokens"].is_null() {
            body["max_tokens"] = 4096.into();
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

/// A message's content as blocks.
fn blocks(mut message: Value) -> Vec<Value> {
    let content = message["content"].take();
    if message["role"] == "tool" {
        let id = &message["tool_call_id"];
        return vec![json!({"type": "tool_result", "tool_use_id": id, "content": content})];
    }
    let thought: Vec<Value> = list(message["reasoning_details"].take()).collect();
    let all = |key: &str| thought.iter().filter_map(|piece| piece[key].as_str()).collect::<String>();
    let mut found = match all("signature") {
        none if none.is_empty() => vec![],
        signature => vec![json!({"type": "thinking", "thinking": all("text"), "signature": signature})],
    };
    match content {
        Value::String(text) => found.push(json!({"type": "text", "text": text})),
        parts => found.extend(list(parts).map(|part| match part["image_url"]["url"].as_str() {
            None => part,
            Some(url) => json!({"type": "image", "source":
            match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
                Some((kind, data)) => json!({"type": "base64", "media_type": kind, "data": data}),
                None => json!({"type": "url", "url": url}),
            }}),
        })),
    }
    found.extend(list(message["tool_calls"].take()).map(|mut call| {
        let arguments = call["function"]["arguments"].as_str().unwrap_or("{}");
        let input: Value = serde_json::from_str(arguments).unwrap_or_default();
        json!({"type": "tool_use", "id": call["id"], "name": call["function"]["name"].take(), "input": input})
    }));
    found
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
