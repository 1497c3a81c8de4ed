//! What is told to the model where the endpoint does not take a field for it.

use serde_json::{Value, json};

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

/// `tools`. The form of a call is Hermes', which most open models have seen.
pub(super) fn tools(tools: &[ToolSpec]) -> String {
    let mut text = "You have tools. To call one, write the call as a JSON object between tags, with the arguments that \
                    its JSON schema asks for, and nothing after it:\n<tool_call>\n{\"name\": \"NAME\", \"arguments\": \
                    {}}\n</tool_call>\nSeveral calls are several such blocks. The results come back between \
                    <tool_response> tags. If no tool is needed, answer without them.\n\nThe tools:"
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

/// A call as the model wrote it, or would have.
pub(super) fn call(call: &ToolCall) -> String {
    let arguments = match call.invalid {
        None => Value::Object(call.arguments_object()),
        Some(_) => Value::from(call.arguments.as_str()),
    };
    format!("<tool_call>\n{}\n</tool_call>", json!({"name": call.name, "arguments": arguments}))
}

/// The result of a call.
pub(super) fn result(content: &str) -> String {
    format!("<tool_response>\n{content}\n</tool_response>")
}

/// A result whose call is not in the conversation.
pub(super) fn stray_result(content: &str) -> String {
    format!("(The result of an earlier tool call:)\n{content}")
}
