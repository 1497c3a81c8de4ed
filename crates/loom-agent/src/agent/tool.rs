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

    /// Where it comes from, if tools from elsewhere may have its name (the name of an MCP server). Of tools that share a
    /// name, those with an origin get it put before their name.
    fn origin(&self) -> Option<&str> {
        None
    }

    /// Whether somebody must approve the call before it is executed. The run then pauses:
    /// [`AgentError::ApprovalRequired`](crate::AgentError::ApprovalRequired).
    fn requires_approval(&self, _call: &ToolCall) -> bool {
        false
    }

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

/// The names under which tools are offered, of each its own name and its origin. A name that tools share stays with the
/// one that has no origin; the others get their origin put before it. The same tools get the same names in any program.
///
/// # Errors
/// Two tools without an origin share a name, or a name cannot be one.
pub fn offered_names(tools: &[(&str, Option<&str>)]) -> Result<Vec<String>, String> {
    let shared = |name: &str| tools.iter().filter(|(other, _)| *other == name).count() > 1;
    let mut names: Vec<Option<String>> = Vec::with_capacity(tools.len());
    for (name, origin) in tools {
        ToolSpec::check_name(name)?;
        let keeps = origin.is_none() || !shared(name);
        if keeps && names.iter().flatten().any(|taken| taken == name) {
            return Err(format!("two tools are called {name:?}"));
        }
        names.push(keeps.then(|| (*name).to_owned()));
    }
    for (at, (name, origin)) in tools.iter().enumerate() {
        if names.get(at).is_some_and(Option::is_none) {
            let wanted = format!("{}_{name}", origin.unwrap_or_default());
            let free = ToolSpec::free_name(&wanted, |name| names.iter().flatten().any(|taken| taken == name));
            names.iter_mut().skip(at).take(1).for_each(|slot| *slot = Some(free.clone()));
        }
    }
    Ok(names.into_iter().flatten().collect())
}

/// The tools of an agent, each with what the model is told about it; names are unique.
#[derive(Clone, Default)]
pub(crate) struct Tools(Vec<(ToolSpec, Arc<dyn Tool>)>);

impl Tools {
    pub(crate) fn new(tools: Vec<Arc<dyn Tool>>) -> Result<Self, String> {
        let own: Vec<_> = tools.iter().map(|tool| (tool.spec().name.as_str(), tool.origin())).collect();
        let names = offered_names(&own)?;
        let offered =
            |(name, tool): (String, Arc<dyn Tool>)| (ToolSpec { name, ..tool.spec().clone() }, tool);
        Ok(Self(names.into_iter().zip(tools).map(offered).collect()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.0.iter().find(|(spec, _)| spec.name == name).map(|(_, tool)| tool)
    }

    pub(crate) fn specs(&self) -> Vec<ToolSpec> {
        self.0.iter().map(|(spec, _)| spec.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_name_gets_its_origin_before_it() {
        let names = |tools: &[(&str, Option<&str>)]| offered_names(tools);
        let (a, b) = (Some("a"), Some("b"));
        assert_eq!(
            names(&[("search", a), ("search", b), ("read", a)]).unwrap(),
            ["a_search", "b_search", "read"]
        );
        assert_eq!(names(&[("search", a), ("search", None)]).unwrap(), ["a_search", "search"]);
        assert_eq!(
            names(&[("search", a), ("search", a), ("a_search", None)]).unwrap(),
            ["a_search_2", "a_search_3", "a_search"]
        );
        assert!(names(&[("search", None), ("search", None)]).unwrap_err().contains("two tools"));
    }
}
