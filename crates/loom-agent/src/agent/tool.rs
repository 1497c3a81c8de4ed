//! Tools: functions that the model may call.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use loom_wire::{Content, ToolCall, ToolSpec};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema::schema_of;
use super::tool_options::{Approval, ToolContext, ToolOptions};

/// A tool that an agent offers.
pub trait Tool: Send + Sync {
    /// What the model is told about it.
    fn spec(&self) -> &ToolSpec;

    /// How its calls are carried out.
    fn options(&self) -> &ToolOptions {
        &ToolOptions::DEFAULT
    }

    /// Where it comes from, if tools from elsewhere may have its name (the name of an MCP server). Of tools that share a
    /// name, those with an origin get it put before their name.
    fn origin(&self) -> Option<&str> {
        None
    }

    /// Runs a call. The content goes to the model; so does the text of an error, which does not end the run unless
    /// [`ToolOptions::raise_errors`] says so.
    fn call<'a>(
        &'a self,
        call: &'a ToolCall,
        context: &'a ToolContext,
    ) -> BoxFuture<'a, Result<Content, String>>;
}

/// Makes a tool from a function. The schema of its arguments comes from the argument type, the descriptions from that
/// type's doc comments. What it returns goes to the model: a text as it is, a [`Content`] with its parts (images), all
/// else as JSON.
///
/// ```
/// use std::time::Duration;
///
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
/// })
/// .timeout(Duration::from_secs(10))
/// .retries(1);
/// # let _ = weather;
/// ```
pub fn tool<A, F, Fut, R, E>(
    name: impl Into<String>,
    description: impl Into<String>,
    function: F,
) -> FunctionTool
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: Serialize + 'static,
    E: fmt::Display,
{
    tool_with_context(name, description, move |arguments: A, _| function(arguments))
}

/// As [`tool()`], for a function that also takes the [`ToolContext`], of which the model knows nothing.
///
/// ```
/// use loom::agent::ToolContext;
/// use schemars::JsonSchema;
/// use serde::Deserialize;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Nothing {}
///
/// struct Customer {
///     name: String,
/// }
///
/// let who = loom::agent::tool_with_context("who", "Who is asking", |_: Nothing, context: ToolContext| async move {
///     let customer = context.deps::<Customer>().ok_or("nobody is known")?;
///     Ok::<_, &str>(customer.name.clone())
/// });
/// # let _ = who;
/// ```
pub fn tool_with_context<A, F, Fut, R, E>(
    name: impl Into<String>,
    description: impl Into<String>,
    function: F,
) -> FunctionTool
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(A, ToolContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: Serialize + 'static,
    E: fmt::Display,
{
    let mut spec = ToolSpec::new(name, description);
    spec.parameters = schema_of::<A>();
    FunctionTool {
        spec,
        options: ToolOptions::DEFAULT,
        function: Box::new(move |call, context| {
            let running = call.parse::<A>().map(|arguments| function(arguments, context.clone()));
            Box::pin(async move {
                let running = running.map_err(|reason| format!("the arguments do not fit: {reason}"))?;
                let value = running.await.map_err(|error| error.to_string())?;
                content_of(&value)
            })
        }),
    }
}

type Function = dyn Fn(&ToolCall, &ToolContext) -> BoxFuture<'static, Result<Content, String>> + Send + Sync;

/// A tool made from a function, and how its calls are carried out.
#[must_use]
pub struct FunctionTool {
    spec: ToolSpec,
    options: ToolOptions,
    function: Box<Function>,
}

impl FunctionTool {
    /// Whether a call needs somebody's approval before it is carried out. Default no.
    pub fn requires_approval(mut self, needed: bool) -> Self {
        self.options.approval = if needed { Approval::Always } else { Approval::Never };
        self
    }

    /// Which calls need approval, told by their arguments.
    pub fn requires_approval_if(
        mut self,
        needed: impl Fn(&serde_json::Map<String, Value>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.options.approval = Approval::If(Arc::new(needed));
        self
    }

    /// How long a call may take; then it is given up, and the model reads so. Default: as long as it takes.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// How often a call that failed is repeated before the model reads of it. Default 0.
    pub fn retries(mut self, count: u32) -> Self {
        self.options.retries = count;
        self
    }

    /// Whether it runs alone: no other call of the turn runs at the same time. Default no.
    pub fn sequential(mut self, alone: bool) -> Self {
        self.options.sequential = alone;
        self
    }

    /// The most characters of a result; what is longer is cut, and a note says so. Default
    /// [`DEFAULT_MAX_RESULT_CHARS`].
    pub fn max_result_chars(mut self, limit: usize) -> Self {
        self.options.max_result_chars = limit;
        self
    }

    /// Whether a failure ends the run with [`AgentError::ToolFailed`](crate::AgentError::ToolFailed) instead of being told
    /// to the model. Default no.
    pub fn raise_errors(mut self, raise: bool) -> Self {
        self.options.raise_errors = raise;
        self
    }
}

impl Tool for FunctionTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn options(&self) -> &ToolOptions {
        &self.options
    }
    fn call<'a>(
        &'a self,
        call: &'a ToolCall,
        context: &'a ToolContext,
    ) -> BoxFuture<'a, Result<Content, String>> {
        (self.function)(call, context)
    }
}

/// Where tools come from that are not known beforehand, or change. An MCP server is one.
pub trait ToolSource: Send + Sync {
    /// The tools on offer now. Asked before each question to the model.
    ///
    /// # Errors
    /// Why there are none; it ends the run.
    fn tools(&self) -> BoxFuture<'_, Result<Vec<Arc<dyn Tool>>, String>>;
}

/// A result as the model reads it: content and texts as they are, anything else as JSON.
fn content_of<R: Serialize + 'static>(value: &R) -> Result<Content, String> {
    if let Some(content) = (value as &dyn Any).downcast_ref::<Content>() {
        return Ok(content.clone());
    }
    let value = serde_json::to_value(value)
        .map_err(|error| format!("the result cannot be written as JSON: {error}"))?;
    Ok(Content::Text(match value {
        Value::String(text) => text,
        other => other.to_string(),
    }))
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

    /// The tools, without the names they are offered under.
    pub(crate) fn own(&self) -> Vec<Arc<dyn Tool>> {
        self.0.iter().map(|(_, tool)| Arc::clone(tool)).collect()
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
