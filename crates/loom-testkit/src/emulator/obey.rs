//! What a prompt asks for in words, where the request has no field for it or the server ignores the field: tools that are
//! described between the lines, and JSON. A model that was trained for chat does as it is told.

use serde_json::{Value, json};

use super::history::text;
use super::request::{ChatRequest, Format, Tool};

/// The tags of a call in Hermes' form, which most open models write.
const CALL: (&str, &str) = ("<tool_call>", "</tool_call>");
/// Where the result of such a call stands.
const RESULT: (&str, &str) = ("<tool_response>", "</tool_response>");

/// The tools that a prompt describes: it shows how a call is written, and has a line of JSON for each tool.
pub(super) fn tools(request: &ChatRequest) -> Vec<Tool> {
    let prompts = request.messages.iter().map(text).filter(|prompt| prompt.contains(CALL.0));
    let lines = prompts.flat_map(|prompt| prompt.lines().map(str::to_owned).collect::<Vec<_>>());
    let described = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    described
        .filter_map(|tool| {
            let tool = tool.get("function").unwrap_or(&tool).clone();
            let name = tool.get("name")?.as_str()?.to_owned();
            Some(Tool { name, parameters: tool.get("parameters")?.clone() })
        })
        .collect()
}

/// The tool that must be called by the words of the prompt: a quoted name behind "must call the tool", or with "must call …
/// tool" any.
pub(super) fn must_call<'a>(request: &ChatRequest, tools: &'a [Tool]) -> Option<&'a Tool> {
    let prompts = request.messages.iter().map(text).collect::<Vec<_>>();
    let told = prompts.iter().filter_map(|prompt| prompt.split_once("must call ")).map(|(_, told)| told);
    let mut told =
        told.filter(|told| told.split(['.', '\n']).next().is_some_and(|told| told.contains("tool")));
    let named = |told: &str| tools.iter().find(|tool| told.contains(&format!("{:?}", tool.name)));
    told.next_back().and_then(|told| named(told).or(tools.first()))
}

/// Calls as the prompt wants them written.
pub(super) fn calls<'a>(calls: impl Iterator<Item = (&'a str, Value)>) -> String {
    let written = calls.map(|(name, arguments)| {
        format!("{}\n{}\n{}", CALL.0, json!({"name": name, "arguments": arguments}), CALL.1)
    });
    written.collect::<Vec<_>>().join("\n")
}

/// The results that stand in the last message.
pub(super) fn results(request: &ChatRequest) -> Vec<String> {
    let last = request.messages.last().map(text).unwrap_or_default();
    let parts = last.split(RESULT.0).skip(1);
    parts.filter_map(|part| part.split_once(RESULT.1)).map(|(result, _)| result.trim().to_owned()).collect()
}

/// The JSON that a prompt asks for in so many words, with the schema if one follows.
pub(super) fn format(request: &ChatRequest) -> Option<Format> {
    let asks = |prompt: &String| prompt.contains("JSON object") && prompt.contains("nothing else");
    let prompt = request.messages.iter().map(text).find(asks)?;
    let schema = prompt.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let schema = schema.filter(Value::is_object).find(|value| value.get("parameters").is_none());
    Some(schema.map_or(Format::JsonObject, Format::JsonSchema))
}
