//! Is the request right by the rules of OpenAI, the strictest of all? If not, the error that OpenAI would answer.

use serde_json::{Map, Value};

use super::history;
use crate::api_error::ApiError;
use crate::request::RecordedRequest;

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

/// Checks a request as OpenAI does.
pub(super) fn check(request: &RecordedRequest, body: &Value) -> Result<(), ApiError> {
    let content_type = request.header("content-type").unwrap_or_default();
    if content_type.split(';').next().map(str::trim) != Some("application/json") {
        return Err(ApiError::invalid(format!(
            "Unsupported content type: '{content_type}'. This API method only accepts \
             'application/json' requests."
        )));
    }
    let Value::Object(body) = body else {
        return Err(ApiError::invalid(
            "We could not parse the JSON body of your request. The API expects a JSON payload, but what was \
             sent was not valid JSON.",
        ));
    };
    check_types(body)?;
    if body.get("model").and_then(Value::as_str).is_none() {
        return Err(ApiError::invalid("you must provide a model parameter"));
    }
    history::check(array(body, "messages")?.ok_or_else(|| missing("messages"))?)?;
    let tools = tools(body)?;
    tool_choice(body, &tools)?;
    format(body)?;
    stop(body)?;
    max_tokens(body)?;
    choices(body)?;
    include_usage(body)
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

fn tools(body: &Map<String, Value>) -> Result<Vec<String>, ApiError> {
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
        tools.push(name.to_owned());
    }
    Ok(tools)
}

fn tool_choice(body: &Map<String, Value>, tools: &[String]) -> Result<(), ApiError> {
    let refused = |message: String| Err(ApiError::invalid_param("tool_choice", None, message));
    let Some(choice) = body.get("tool_choice") else {
        return Ok(());
    };
    if tools.is_empty() {
        return refused(
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
                .into(),
        );
    }
    match choice.as_str().or_else(|| choice.pointer("/function/name").and_then(Value::as_str)) {
        Some("none" | "auto" | "required") if choice.is_string() => Ok(()),
        Some(other) if choice.is_string() => refused(format!(
            "Invalid value: '{other}'. Supported values are: 'none', 'auto', and 'required'."
        )),
        Some(name) if tools.iter().any(|tool| tool == name) => Ok(()),
        Some(name) => refused(format!("Tool choice '{name}' not found in 'tools' parameter.")),
        None => Err(missing("tool_choice.function.name")),
    }
}

fn format(body: &Map<String, Value>) -> Result<(), ApiError> {
    let Some(format) = body.get("response_format") else {
        return Ok(());
    };
    match format.get("type").and_then(Value::as_str) {
        Some("text" | "json_object") => Ok(()),
        Some("json_schema") => {
            let schema = format.get("json_schema").ok_or_else(|| missing("response_format.json_schema"))?;
            let name = schema.get("name").and_then(Value::as_str);
            name.map(|_| ()).ok_or_else(|| missing("response_format.json_schema.name"))
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

fn stop(body: &Map<String, Value>) -> Result<(), ApiError> {
    let texts = body.get("stop").and_then(Value::as_array);
    match texts.into_iter().flatten().find(|text| !text.is_string()) {
        Some(other) => Err(invalid_type("stop", "a string", other)),
        None => Ok(()),
    }
}

fn max_tokens(body: &Map<String, Value>) -> Result<(), ApiError> {
    match (count(body, "max_tokens")?, count(body, "max_completion_tokens")?) {
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        )),
        _ => Ok(()),
    }
}

fn include_usage(body: &Map<String, Value>) -> Result<(), ApiError> {
    if body.contains_key("stream_options") && body.get("stream") != Some(&Value::Bool(true)) {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(ApiError::invalid_param("stream_options", None, message));
    }
    Ok(())
}

fn choices(body: &Map<String, Value>) -> Result<(), ApiError> {
    match count(body, "n")?.unwrap_or(1) {
        n if n > MAX_CHOICES => {
            let message = format!(
                "Invalid 'n': integer above maximum value. Expected a value <= {MAX_CHOICES}, but got \
                 {n} instead."
            );
            Err(ApiError::invalid_param("n", "integer_above_max_value", message))
        }
        _ => Ok(()),
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
