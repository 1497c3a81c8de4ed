//! What a chat request asks for, read as leniently as the servers that let it pass.

use serde_json::{Map, Value};

use super::spec::ServerSpec;

/// A chat request.
#[derive(Debug)]
pub(super) struct ChatRequest {
    pub(super) model: String,
    pub(super) messages: Vec<Value>,
    pub(super) tools: Vec<Tool>,
    pub(super) tool_choice: ToolChoice,
    pub(super) parallel_tool_calls: bool,
    pub(super) format: Format,
    pub(super) stop: Vec<String>,
    pub(super) max_tokens: Option<usize>,
    /// How many choices to send.
    pub(super) n: usize,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// Whether the model is to think before it speaks.
    pub(super) thinks: bool,
}

/// A tool that is offered.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    /// The JSON schema of the arguments; null for a tool that has none.
    pub(super) parameters: Value,
}

/// Which tool is to be called.
#[derive(Debug)]
pub(super) enum ToolChoice {
    None,
    Auto,
    Required,
    Named(String),
}

/// What the content of the answer is to be.
#[derive(Debug)]
pub(super) enum Format {
    Text,
    /// A JSON object of any kind.
    JsonObject,
    /// JSON by this schema.
    JsonSchema(Value),
}

/// The most choices that any server gives for one request.
const MAX_CHOICES: usize = 128;

/// Where servers look for the schema of a `response_format`: OpenAI, llama.cpp, TGI.
const SCHEMAS: &[&str] = &["/json_schema/schema", "/schema", "/value/schema", "/value"];

impl ChatRequest {
    /// Reads a body; what is not understood is as if it were not there.
    pub(super) fn read(body: &Map<String, Value>, spec: &ServerSpec) -> Self {
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let list = |name: &str| body.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let flag = |name: &str| body.get(name).and_then(Value::as_bool);
        let count = |name: &str| {
            body.get(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok())
        };
        let tools: Vec<Tool> = list("tools").iter().filter_map(tool).collect();
        Self {
            model: text("model").to_owned(),
            messages: list("messages"),
            tool_choice: tool_choice(body.get("tool_choice"), &tools),
            tools,
            parallel_tool_calls: flag("parallel_tool_calls").unwrap_or(spec.parallel_calls),
            format: match spec.grammars.iter().find_map(|place| at(body, place)) {
                Some(schema) => Format::JsonSchema(schema.clone()),
                None => format(body.get("response_format")),
            },
            stop: stop(body.get("stop")),
            max_tokens: count("max_completion_tokens").or(count("max_tokens")),
            n: count("n").unwrap_or(1).clamp(1, MAX_CHOICES),
            stream: flag("stream").unwrap_or(false),
            include_usage: body.get("stream_options").and_then(|options| options.get("include_usage"))
                == Some(&Value::Bool(true)),
            thinks: thinks(body),
        }
    }
}

fn tool(tool: &Value) -> Option<Tool> {
    let name = tool.pointer("/function/name").and_then(Value::as_str)?.to_owned();
    Some(Tool { name, parameters: tool.pointer("/function/parameters").cloned().unwrap_or_default() })
}

fn tool_choice(choice: Option<&Value>, tools: &[Tool]) -> ToolChoice {
    let named =
        |name: &str| tools.iter().any(|tool| tool.name == name).then(|| ToolChoice::Named(name.to_owned()));
    match choice {
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => ToolChoice::None,
            "required" | "any" => ToolChoice::Required, // "any" is Mistral's word
            name => named(name).unwrap_or(ToolChoice::Auto), // a bare name is TGI's way
        },
        Some(choice) => choice
            .pointer("/function/name")
            .and_then(Value::as_str)
            .and_then(named)
            .unwrap_or(ToolChoice::Auto),
        None => ToolChoice::Auto,
    }
}

fn format(format: Option<&Value>) -> Format {
    let Some(format) = format else {
        return Format::Text;
    };
    let kind = format.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind != "json_object" && kind != "json_schema" {
        return Format::Text;
    }
    let schema =
        SCHEMAS.iter().find_map(|pointer| format.pointer(pointer).filter(|schema| schema.is_object()));
    schema.cloned().map_or(Format::JsonObject, Format::JsonSchema)
}

fn stop(stop: Option<&Value>) -> Vec<String> {
    match stop {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// What stands at a JSON pointer.
fn at<'a>(body: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let mut parts = pointer.split('/').skip(1);
    let first = parts.next().and_then(|name| body.get(name));
    parts.try_fold(first?, |value, name| value.get(name))
}

/// In all the ways in which thinking is switched on, and by the names that models which think have.
fn thinks(body: &Map<String, Value>) -> bool {
    let at = |pointer: &str| at(body, pointer);
    let switched = ["/enable_thinking", "/chat_template_kwargs/enable_thinking"]
        .iter()
        .find_map(|pointer| at(pointer)?.as_bool());
    let kind = at("/thinking/type").and_then(Value::as_str).map(|kind| kind != "disabled");
    let effort = at("/reasoning_effort")
        .or(at("/reasoning/effort"))
        .and_then(Value::as_str)
        .map(|effort| effort != "none");
    switched.or(kind).or(effort).unwrap_or_else(|| {
        let model = at("/model").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        ["think", "reason", "-r1", "magistral"].iter().any(|part| model.contains(part))
    })
}
