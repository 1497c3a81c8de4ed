//! Is the request right? Turns a body into a [`ChatRequest`], or into the error that OpenAI would answer.

use serde_json::{Map, Value};

use super::history;
use super::quirks::Quirks;
use crate::api_error::ApiError;
use crate::request::RecordedRequest;

/// A chat request, checked.
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

/// The most choices that OpenAI gives for one request.
const MAX_CHOICES: usize = 128;

/// The types that OpenAI demands, of the parameters that this server heeds and of those that users set most
/// often.
const TYPES: &[(&str, &str)] = &[
    ("model", "a string"),
    ("messages", "an array"),
    ("stream", "a boolean"),
    ("stream_options", "an object"),
    ("tools", "an array"),
    ("tool_choice", "a string or an object"),
    ("parallel_tool_calls", "a boolean"),
    ("response_format", "an object"),
    ("stop", "a string or an array"),
    ("max_tokens", "an integer"),
    ("max_completion_tokens", "an integer"),
    ("n", "an integer"),
    ("seed", "an integer"),
    ("temperature", "a decimal"),
    ("top_p", "a decimal"),
    ("frequency_penalty", "a decimal"),
    ("presence_penalty", "a decimal"),
    ("user", "a string"),
];

/// Reads and checks the body of `POST /v1/chat/completions`.
pub(super) fn parse(request: &RecordedRequest, quirks: &Quirks) -> Result<ChatRequest, ApiError> {
    let content_type = request.header("content-type").unwrap_or_default();
    if content_type.split(';').next().map(str::trim) != Some("application/json") {
        return Err(ApiError::invalid(format!(
            "Unsupported content type: '{content_type}'. This API method only accepts \
             'application/json' requests."
        )));
    }
    let Ok(Value::Object(mut body)) = serde_json::from_slice(&request.body) else {
        return Err(ApiError::invalid(
            "We could not parse the JSON body of your request. The API expects a JSON payload, but what was \
             sent was not valid JSON.",
        ));
    };
    if quirks.null_fields {
        body.retain(|_, value| !value.is_null());
    }
    if quirks.empty_tools && body.get("tools").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        body.remove("tools");
    }
    check_types(&body)?;

    let Some(model) = body.get("model").and_then(Value::as_str) else {
        return Err(ApiError::invalid("you must provide a model parameter"));
    };
    let messages = array(&body, "messages")?.ok_or_else(|| missing("messages"))?;
    history::check(messages)?;
    let tools = tools(&body)?;
    Ok(ChatRequest {
        model: model.to_owned(),
        messages: messages.clone(),
        tool_choice: tool_choice(&body, &tools)?,
        tools,
        parallel_tool_calls: flag(&body, "parallel_tool_calls").unwrap_or(true),
        format: format(&body)?,
        stop: stop(&body)?,
        max_tokens: max_tokens(&body)?,
        n: choices(&body)?,
        include_usage: include_usage(&body)?,
        stream: flag(&body, "stream").unwrap_or(false),
    })
}

fn check_types(body: &Map<String, Value>) -> Result<(), ApiError> {
    for (name, value) in body {
        let wanted = TYPES.iter().find(|(known, _)| known == name).map(|(_, wanted)| *wanted);
        let right = match (wanted, value) {
            // No parameter of OpenAI's needs a null, and many servers refuse one: leaving it out is always
            // right.
            (_, Value::Null) => false,
            (None, _) => true,
            // A whole number is a decimal as well.
            (Some("a decimal"), value) => value.is_number(),
            (Some(wanted), value) => wanted.split(" or ").any(|one| one == type_of(value)),
        };
        if !right {
            return Err(invalid_type(name, wanted.unwrap_or("a value"), value));
        }
    }
    Ok(())
}

fn tools(body: &Map<String, Value>) -> Result<Vec<Tool>, ApiError> {
    let mut tools = Vec::new();
    for (index, tool) in array(body, "tools")?.into_iter().flatten().enumerate() {
        let path = format!("tools[{index}].function");
        let name = tool
            .pointer("/function/name")
            .and_then(Value::as_str)
            .ok_or_else(|| missing(&format!("{path}.name")))?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            let message = format!(
                "Invalid '{path}.name': string does not match pattern. Expected a string that matches the \
                 pattern '^[a-zA-Z0-9_-]+$'."
            );
            return Err(ApiError::invalid_param(format!("{path}.name"), "invalid_value", message));
        }
        let parameters = tool.pointer("/function/parameters").cloned().unwrap_or_default();
        tools.push(Tool { name: name.to_owned(), parameters });
    }
    Ok(tools)
}

fn tool_choice(body: &Map<String, Value>, tools: &[Tool]) -> Result<ToolChoice, ApiError> {
    let refused = |message: String| Err(ApiError::invalid_param("tool_choice", None, message));
    let Some(choice) = body.get("tool_choice") else {
        return Ok(ToolChoice::Auto);
    };
    if tools.is_empty() {
        return refused(
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
                .into(),
        );
    }
    match choice.as_str().or_else(|| choice.pointer("/function/name").and_then(Value::as_str)) {
        Some("none") if choice.is_string() => Ok(ToolChoice::None),
        Some("auto") if choice.is_string() => Ok(ToolChoice::Auto),
        Some("required") if choice.is_string() => Ok(ToolChoice::Required),
        Some(other) if choice.is_string() => refused(format!(
            "Invalid value: '{other}'. Supported values are: 'none', 'auto', and 'required'."
        )),
        Some(name) if tools.iter().any(|tool| tool.name == name) => Ok(ToolChoice::Named(name.to_owned())),
        Some(name) => refused(format!("Tool choice '{name}' not found in 'tools' parameter.")),
        None => Err(missing("tool_choice.function.name")),
    }
}

fn format(body: &Map<String, Value>) -> Result<Format, ApiError> {
    let Some(format) = body.get("response_format") else {
        return Ok(Format::Text);
    };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        Some("json_schema") => {
            let schema = format.get("json_schema").ok_or_else(|| missing("response_format.json_schema"))?;
            schema
                .get("name")
                .and_then(Value::as_str)
                .ok_or_else(|| missing("response_format.json_schema.name"))?;
            Ok(schema.get("schema").cloned().map_or(Format::JsonObject, Format::JsonSchema))
        }
        Some(other) => Err(ApiError::invalid_param(
            "response_format.type",
            "invalid_value",
            format!(
                "Invalid value: '{other}'. Supported values are: 'json_object', 'json_schema', and 'text'."
            ),
        )),
        None => Err(missing("response_format.type")),
    }
}

fn stop(body: &Map<String, Value>) -> Result<Vec<String>, ApiError> {
    let texts = match body.get("stop") {
        None => return Ok(Vec::new()),
        Some(Value::Array(texts)) => texts.as_slice(),
        Some(text) => std::slice::from_ref(text),
    };
    texts
        .iter()
        .map(|text| text.as_str().map(str::to_owned).ok_or_else(|| invalid_type("stop", "a string", text)))
        .collect()
}

fn max_tokens(body: &Map<String, Value>) -> Result<Option<usize>, ApiError> {
    match (count(body, "max_tokens")?, count(body, "max_completion_tokens")?) {
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        )),
        (old, new) => Ok(new.or(old)),
    }
}

fn include_usage(body: &Map<String, Value>) -> Result<bool, ApiError> {
    let Some(options) = body.get("stream_options") else {
        return Ok(false);
    };
    if flag(body, "stream") != Some(true) {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(ApiError::invalid_param("stream_options", None, message));
    }
    Ok(options.get("include_usage") == Some(&Value::Bool(true)))
}

fn choices(body: &Map<String, Value>) -> Result<usize, ApiError> {
    match count(body, "n")?.unwrap_or(1) {
        n if n > MAX_CHOICES => {
            let message = format!(
                "Invalid 'n': integer above maximum value. Expected a value <= {MAX_CHOICES}, but got \
                 {n} instead."
            );
            Err(ApiError::invalid_param("n", "integer_above_max_value", message))
        }
        n => Ok(n),
    }
}

/// An array that, if it is there, has something in it.
fn array<'a>(body: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Vec<Value>>, ApiError> {
    match body.get(name).and_then(Value::as_array) {
        Some(items) if items.is_empty() => {
            let message = format!(
                "Invalid '{name}': empty array. Expected an array with minimum length 1, but got an \
                 empty array instead."
            );
            Err(ApiError::invalid_param(name, "empty_array", message))
        }
        items => Ok(items),
    }
}

/// A number that, if it is there, is at least 1.
fn count(body: &Map<String, Value>, name: &str) -> Result<Option<usize>, ApiError> {
    let Some(value) = body.get(name) else {
        return Ok(None);
    };
    match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => {
            let message = format!(
                "Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead."
            );
            Err(ApiError::invalid_param(name, "integer_below_min_value", message))
        }
    }
}

fn flag(body: &Map<String, Value>, name: &str) -> Option<bool> {
    body.get(name).and_then(Value::as_bool)
}

pub(super) fn missing(name: &str) -> ApiError {
    ApiError::invalid_param(
        name,
        "missing_required_parameter",
        format!("Missing required parameter: '{name}'."),
    )
}

pub(super) fn invalid_type(name: &str, wanted: &str, value: &Value) -> ApiError {
    let got = type_of(value);
    let message = format!("Invalid type for '{name}': expected {wanted}, but got {got} instead.");
    ApiError::invalid_param(name, "invalid_type", message)
}

/// A type as OpenAI's messages call it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
