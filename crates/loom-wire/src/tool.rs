//! Tools as the model sees them, and the calls it makes.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::arguments;

/// A tool offered to the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// The name the model calls it by.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// JSON schema of the arguments; an object schema.
    pub parameters: Value,
    /// Asks the server to hold the arguments to the schema; sent only when set.
    pub strict: Option<bool>,
}

impl ToolSpec {
    /// A tool without arguments; set `parameters` for more.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: Some(description.into()),
            parameters: empty_object_schema(),
            strict: None,
        }
    }
}

/// OpenAI's limit; what is longer is refused there and at most others.
const LONGEST_NAME: usize = 64;

impl ToolSpec {
    /// Whether a text can be the name of a tool: letters, digits, `_`, `-` and `.`, at most 64 of them. Servers refuse
    /// others, or their templates break on them. Letters of any script pass, since many local servers take them.
    ///
    /// # Errors
    /// Why it cannot, and a name that could.
    pub fn check_name(name: &str) -> Result<(), String> {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if !name.is_empty() && name.chars().all(fits) && name.chars().count() <= LONGEST_NAME {
            return Ok(());
        }
        let words: Vec<&str> = name.split(|c| !fits(c)).filter(|word| !word.is_empty()).collect();
        let better: String = words.join("_").chars().take(LONGEST_NAME).collect();
        let why = format!(
            "{name:?} cannot be the name of a tool, which has letters, digits, '_', '-' and '.', at most {LONGEST_NAME}"
        );
        Err(if better.is_empty() || name == "<lambda>" { why } else { format!("{why}: {better:?} could") })
    }
}

impl ToolSpec {
    /// The wanted name as one that every server takes and that is not taken yet. The same wishes give the same names.
    pub fn free_name(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
        let safe: String =
            wanted.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect();
        let cut = |room: usize| safe.chars().take(room).collect::<String>();
        let mut name = if safe.is_empty() { "tool".to_owned() } else { cut(LONGEST_NAME) };
        let mut count = 2;
        while is_taken(&name) {
            let end = format!("_{count}");
            name = cut(LONGEST_NAME - end.len()) + &end;
            count += 1;
        }
        name
    }
}

/// Some servers (TGI) refuse a tool without `parameters`, so one is always sent.
fn empty_object_schema() -> Value {
    json!({"type": "object", "properties": {}})
}

/// The schema, saying that it is an object's: servers refuse one without `type`.
fn object_schema(schema: &Value) -> Cow<'_, Value> {
    match schema {
        Value::Object(fields) if fields.contains_key("type") => Cow::Borrowed(schema),
        Value::Object(fields) if !fields.is_empty() => {
            let mut typed = Map::new();
            typed.insert("type".to_owned(), "object".into());
            typed.extend(fields.clone());
            Cow::Owned(Value::Object(typed))
        }
        _ => Cow::Owned(empty_object_schema()),
    }
}

impl Serialize for ToolSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Function<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            description: Option<&'a str>,
            parameters: &'a Value,
            #[serde(skip_serializing_if = "Option::is_none")]
            strict: Option<bool>,
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("type", "function")?;
        map.serialize_entry(
            "function",
            &Function {
                name: &self.name,
                description: self.description.as_deref().filter(|text| !text.is_empty()),
                parameters: &object_schema(&self.parameters),
                strict: self.strict,
            },
        )?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for ToolSpec {
    /// Takes OpenAI's nested form and the flat one (`{"name", "description", "parameters"}`).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut outer = Map::deserialize(deserializer)?;
        let mut fields = match outer.remove("function") {
            Some(Value::Object(function)) => function,
            _ => outer,
        };
        let name = match fields.remove("name") {
            Some(Value::String(name)) if !name.is_empty() => name,
            _ => return Err(D::Error::custom("a tool needs a `name`")),
        };
        Self::check_name(&name).map_err(D::Error::custom)?;
        let description = match fields.remove("description") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let parameters = match fields.remove("parameters") {
            Some(Value::Object(schema)) if !schema.is_empty() => Value::Object(schema),
            _ => empty_object_schema(),
        };
        let strict = fields.get("strict").and_then(Value::as_bool);
        Ok(Self { name, description, parameters, strict })
    }
}

/// A call that the model made.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// Ties the result to the call; made by Loom where the server sent none.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// A JSON object as text when `invalid` is `None`, else the text as the model wrote it.
    pub arguments: String,
    /// Why the arguments cannot be used. Such a call is never executed.
    pub invalid: Option<String>,
    /// What else the server put on the call and wants back (Gemini's `extra_content`).
    pub extra: Map<String, Value>,
}

impl ToolCall {
    /// A call with arguments as JSON text; text that is no object is kept and marked invalid.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: &str) -> Self {
        let (arguments, invalid) = match arguments::normalise(arguments) {
            Ok((text, _)) => (text, None),
            Err(reason) => (arguments.to_owned(), Some(reason)),
        };
        Self { id: id.into(), name: name.into(), arguments, invalid, extra: Map::new() }
    }

    /// The arguments as an object; empty when they are invalid.
    pub fn arguments_object(&self) -> Map<String, Value> {
        serde_json::from_str(&self.arguments).unwrap_or_default()
    }

    /// The arguments decoded into `T`.
    pub fn parse<T: for<'de> Deserialize<'de>>(&self) -> Result<T, String> {
        match &self.invalid {
            Some(reason) => Err(reason.clone()),
            None => serde_json::from_str(&self.arguments).map_err(|error| error.to_string()),
        }
    }

    /// The flat form of events: `{"id", "name", "arguments": {…}}`.
    pub fn to_flat(&self) -> Value {
        let mut flat = Map::new();
        flat.insert("id".into(), self.id.clone().into());
        flat.insert("name".into(), self.name.clone().into());
        match &self.invalid {
            None => flat.insert("arguments".into(), self.arguments_object().into()),
            Some(reason) => {
                flat.insert("arguments".into(), self.arguments.clone().into());
                flat.insert("invalid".into(), reason.clone().into())
            }
        };
        Value::Object(flat)
    }
}

impl Serialize for ToolCall {
    /// OpenAI's nested form, as a history carries it. Arguments are always a JSON object there: servers
    /// parse them (vLLM, Qwen, Ollama), so what the model got wrong goes back inside an object.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Function<'a> {
            name: &'a str,
            arguments: &'a str,
        }
        let wrapped;
        let arguments = match &self.invalid {
            None => self.arguments.as_str(),
            Some(_) => {
                wrapped = json!({ "_invalid_arguments": self.arguments }).to_string();
                &wrapped
            }
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("type", "function")?;
        map.serialize_entry("function", &Function { name: &self.name, arguments })?;
        for (key, value) in &self.extra {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for ToolCall {
    /// Takes OpenAI's nested form and the flat one, with arguments as text or as an object.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut outer = Map::deserialize(deserializer)?;
        let id = text_of(outer.remove("id"));
        outer.remove("type");
        outer.remove("index");
        let mut function = match outer.remove("function") {
            Some(Value::Object(function)) => function,
            _ => ["name", "arguments"]
                .into_iter()
                .filter_map(|key| outer.remove(key).map(|value| (key.to_owned(), value)))
                .collect(),
        };
        let name = text_of(function.remove("name"));
        if name.is_empty() {
            return Err(D::Error::custom("a tool call needs a `name`"));
        }
        let arguments = match function.remove("arguments") {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        let mut call = Self::new(id, name, &arguments);
        // What `Serialize` wrapped comes out as it went in.
        if let Some(Value::String(raw)) = call.arguments_object().remove("_invalid_arguments") {
            call.invalid = arguments::normalise(&raw).err().or(Some("invalid arguments".into()));
            call.arguments = raw;
        }
        call.extra = outer;
        Ok(call)
    }
}

fn text_of(value: Option<Value>) -> String {
    match value {
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}
