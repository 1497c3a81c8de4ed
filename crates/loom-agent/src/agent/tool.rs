//! Tools: functions that the model may call.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use loom_wire::{ToolCall, ToolSpec};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A tool that an agent offers.
pub trait Tool: Send + Sync {
    /// What the model is told about it.
    fn spec(&self) -> &ToolSpec;

    /// Runs a call. The text goes to the model; so does that of an error, which does not end the run.
    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<String, String>>;
}

/// Makes a tool from a function. The schema of its arguments comes from the argument type, the descriptions from that
/// type's doc comments.
///
/// ```
/// use schemars::JsonSchema;
/// use serde::Deserialize;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct City {
///     /// The city's name
///     city: String,
/// }
///
/// let weather = loom::tool("get_weather", "The weather now", |args: City| async move {
///     Ok::<_, std::convert::Infallible>(format!("sunny in {}", args.city))
/// });
/// # let _ = weather;
/// ```
pub fn tool<A, F, Fut, R, E>(
    name: impl Into<String>,
    description: impl Into<String>,
    function: F,
) -> impl Tool
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: Serialize,
    E: fmt::Display,
{
    let mut spec = ToolSpec::new(name, description);
    spec.parameters = schema_of::<A>();
    FunctionTool {
        spec,
        function: move |call: &ToolCall| {
            let running = call.parse::<A>().map(&function);
            Box::pin(async move {
                let running = running.map_err(|reason| format!("the arguments do not fit: {reason}"))?;
                let value = running.await.map_err(|error| error.to_string())?;
                text_of(&value)
            }) as BoxFuture<'static, Result<String, String>>
        },
    }
}

struct FunctionTool<F> {
    spec: ToolSpec,
    function: F,
}

impl<F> Tool for FunctionTool<F>
where
    F: Fn(&ToolCall) -> BoxFuture<'static, Result<String, String>> + Send + Sync,
{
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<String, String>> {
        (self.function)(call)
    }
}

/// The JSON schema of an argument type, as servers take it.
pub fn schema_of<A: JsonSchema>() -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<A>()
        .to_value();
    if let Some(fields) = schema.as_object_mut() {
        // Gemini refuses `$schema`; the title is the Rust type's name and tells the model nothing.
        fields.remove("$schema");
        fields.remove("title");
        fields.entry("type").or_insert("object".into());
        fields.entry("properties").or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    schema
}

/// A result as the model reads it: a text as it is, anything else as JSON.
fn text_of(value: &impl Serialize) -> Result<String, String> {
    match serde_json::to_value(value)
        .map_err(|error| format!("the result cannot be written as JSON: {error}"))?
    {
        Value::String(text) => Ok(text),
        Value::Null => Ok("null".to_owned()),
        other => Ok(other.to_string()),
    }
}

/// The tools of an agent; names are unique.
#[derive(Clone, Default)]
pub(crate) struct Tools(Vec<Arc<dyn Tool>>);

impl Tools {
    pub(crate) fn add(&mut self, tool: Arc<dyn Tool>) -> Result<(), String> {
        let name = &tool.spec().name;
        ToolSpec::check_name(name)?;
        if self.get(name).is_some() {
            return Err(format!("two tools are called {name:?}"));
        }
        self.0.push(tool);
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.0.iter().find(|tool| tool.spec().name == name)
    }

    pub(crate) fn specs(&self) -> Vec<ToolSpec> {
        self.0.iter().map(|tool| tool.spec().clone()).collect()
    }
}
