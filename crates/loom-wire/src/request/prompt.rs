//! What is told to the model where the endpoint does not take a field for it.

use serde_json::{Value, json};

use crate::profile::ToolPrompt;
use crate::tool::{ToolCall, ToolSpec};

/// `tool_choice: "required"`.
pub(super) const ANY_TOOL: &str = "You must call at least one of the tools before you answer.";
/// `tool_choice: "none"`.
pub(super) const NO_TOOL: &str = "Do not call a tool. Answer directly.";
/// The result of a call that never got one.
pub(super) const NO_RESULT: &str = "(There is no result: the call was not carried out.)";
/// What the user says before an assistant that speaks first.
pub(super) const OPENING: &str = "(The conversation begins.)";
/// What the assistant says between a tool's result and the user.
pub(super) const BRIDGE: &str = "OK.";

/// `tool_choice` by name.
pub(super) fn this_tool(name: &str) -> String {
    format!("You must call the tool {name:?} now.")
}

/// `response_format`.
pub(super) fn json(schema: Option<&Value>) -> String {
    let answer = "Answer with one JSON object and nothing else: no explanation, no code fence.";
    match schema {
        None => answer.to_owned(),
        Some(schema) => format!("{answer} It must be valid against this JSON schema:\n{schema}"),
    }
}

/// What the tool does whose arguments are the answer.
pub(super) const ANSWER_TOOL: &str = "Gives the answer. Call this instead of writing text.";

/// `tools`, and how to call them.
pub(super) fn tools(tools: &[ToolSpec], form: Option<ToolPrompt>) -> String {
    let mut text = match form {
        None | Some(ToolPrompt::Hermes) => {
            "You have tools. To call one, write the call as a JSON object between tags, with the arguments that \
             its JSON schema asks for, and nothing after it:\n<tool_call>\n{\"name\": \"NAME\", \"arguments\": \
             {}}\n</tool_call>\nSeveral calls are several such blocks. The results come back between \
             <tool_response> tags. If no tool is needed, answer without them.\n\nThe tools:"
        }
        Some(ToolPrompt::Json) => {
            "You have tools. To call one, answer with a JSON object and nothing else, with the parameters that its JSON \
             schema asks for:\n{\"name\": \"NAME\", \"parameters\": {}}\nSeveral calls are a JSON list of such objects. \
             The results come back between <tool_response> tags. If no tool is needed, answer in plain words.\n\n\
             The tools:"
        }
    }
    .to_owned();
    for tool in tools {
        let described = json!({
            "name": tool.name,
            "description": tool.description.as_deref().unwrap_or_default(),
            "parameters": tool.parameters,
        });
        text.push('\n');
        text.push_str(&described.to_string());
    }
    text
}

/// Calls as the model wrote them, or would have.
pub(super) fn calls(calls: &[ToolCall], form: Option<ToolPrompt>) -> String {
    let arguments = |call: &ToolCall| match call.invalid {
        None => Value::Object(call.arguments_object()),
        Some(_) => Value::from(call.arguments.as_str()),
    };
    match (form, calls) {
        (Some(ToolPrompt::Json), calls) => {
            let mut written: Vec<Value> =
                calls.iter().map(|call| json!({"name": call.name, "parameters": arguments(call)})).collect();
            if written.len() == 1 { written.remove(0).to_string() } else { Value::from(written).to_string() }
        }
        (_, calls) => {
            let tagged = |call: &ToolCall| {
                format!(
                    "<tool_call>\n{}\n</tool_call>",
                    json!({"name": call.name, "arguments": arguments(call)})
                )
            };
            calls.iter().map(tagged).collect::<Vec<_>>().join("\n")
        }
    }
}

/// The result of a call.
pub(super) fn result(content: &str) -> String {
    format!("<tool_response>\n{content}\n</tool_response>")
}

/// What a tool's message says where what it returned follows.
pub(super) const SEE_BELOW: &str = "(What the tool returned follows in the next message.)";

/// Before the images and the like of a result.
pub(super) fn returned(tool: &str) -> String {
    format!("(What the tool {tool:?} returned:)")
}

/// A result whose call is not in the conversation.
pub(super) fn stray_result(content: &str) -> String {
    format!("(The result of an earlier tool call:)\n{content}")
}
