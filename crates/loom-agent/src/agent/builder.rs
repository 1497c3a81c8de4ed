//! Building an agent.

use std::sync::Arc;

use loom_wire::{Limits, LlmError, ToolChoice};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::agent::context::ContextPolicy;
use crate::agent::error::AgentError;
use crate::agent::event::AgentEvent;
use crate::agent::execute::DEFAULT_MAX_PARALLEL_TOOLS;
use crate::agent::listener::EventHandler;
use crate::agent::run::{Offer, Output, RunLimits, RunOptions};
use crate::agent::schema::schema_of_value;
use crate::agent::start::{Agent, Inner, OutputCheck};
use crate::agent::stats::Stats;
use crate::agent::tool::{Tool, ToolSource, Tools};
use crate::endpoint::Timeout;
use crate::model::{Llm, LlmSettings};

/// Starts an agent of that name.
///
/// ```
/// let agent = loom::agent("assistant")
///     .llm("custom")
///     .base_url("http://localhost:8000/v1")
///     .model("Qwen/Qwen2-7B-Instruct")
///     .build()?;
/// # Ok::<(), loom::AgentError>(())
/// ```
pub fn agent(name: impl Into<String>) -> AgentBuilder {
    AgentBuilder {
        name: name.into(),
        llm: None,
        settings: LlmSettings::default(),
        settings_given: None,
        system_prompt: None,
        tools: Vec::new(),
        sources: Vec::new(),
        react_mode: false,
        max_parallel_tools: DEFAULT_MAX_PARALLEL_TOOLS,
        options: RunOptions::default(),
        output: None,
        output_check: None,
        output_retries: None,
        event_handler: None,
        #[cfg(feature = "otel")]
        otel: None,
    }
}

/// What an agent is made of.
#[must_use]
pub struct AgentBuilder {
    name: String,
    llm: Option<Arc<dyn Llm>>,
    settings: LlmSettings,
    /// The first setting that was given for the LLM, to be named if an LLM object is given as well.
    settings_given: Option<&'static str>,
    system_prompt: Option<String>,
    tools: Vec<Arc<dyn Tool>>,
    sources: Vec<Arc<dyn ToolSource>>,
    react_mode: bool,
    max_parallel_tools: usize,
    options: RunOptions,
    /// A name and a JSON schema.
    output: Option<(String, Value)>,
    output_check: Option<OutputCheck>,
    output_retries: Option<u32>,
    event_handler: Option<EventHandler>,
    #[cfg(feature = "otel")]
    otel: Option<crate::agent::otel::Otel>,
}

/// What [`AgentBuilder::llm`] takes: a provider's name or an LLM.
pub enum LlmSource {
    /// The name of a provider, or of an endpoint or pool of `loom.toml`.
    Named(String),
    /// An LLM.
    Object(Arc<dyn Llm>),
}

impl From<&str> for LlmSource {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl From<String> for LlmSource {
    fn from(name: String) -> Self {
        Self::Named(name)
    }
}

impl<L: Llm + 'static> From<L> for LlmSource {
    fn from(llm: L) -> Self {
        Self::Object(Arc::new(llm))
    }
}

impl AgentBuilder {
    /// The LLM: a provider's name (`"custom"`, `"openai"`, …), an endpoint or pool of `loom.toml`, or an LLM object.
    pub fn llm(mut self, llm: impl Into<LlmSource>) -> Self {
        match llm.into() {
            LlmSource::Named(name) => self.settings = self.settings.provider(name),
            LlmSource::Object(llm) => self.llm = Some(llm),
        }
        self
    }

    fn setting(mut self, name: &'static str, change: impl FnOnce(LlmSettings) -> LlmSettings) -> Self {
        self.settings_given.get_or_insert(name);
        self.settings = change(self.settings);
        self
    }

    /// See [`LlmSettings::api_key`].
    pub fn api_key(self, key: impl Into<crate::endpoint::Key>) -> Self {
        self.setting("api_key", |settings| settings.api_key(key))
    }

    /// See [`LlmSettings::base_url`].
    pub fn base_url(self, url: impl Into<String>) -> Self {
        self.setting("base_url", |settings| settings.base_url(url))
    }

    /// See [`LlmSettings::model`].
    pub fn model(self, name: impl Into<String>) -> Self {
        self.setting("model", |settings| settings.model(name))
    }

    /// Sampling temperature.
    pub fn temperature(self, temperature: f64) -> Self {
        self.setting("temperature", |settings| settings.temperature(temperature))
    }

    /// The most tokens of an answer.
    pub fn max_tokens(self, limit: u64) -> Self {
        self.setting("max_tokens", |settings| settings.max_tokens(limit))
    }

    /// Any request parameter, by its wire name.
    pub fn param(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.setting("param", |settings| settings.param(name, value))
    }

    /// See [`LlmSettings::timeout`].
    pub fn timeout(self, timeout: Timeout) -> Self {
        self.setting("timeout", |settings| settings.timeout(timeout))
    }

    /// See [`LlmSettings::limits`].
    pub fn limits(self, limits: Limits) -> Self {
        self.setting("limits", |settings| settings.limits(limits))
    }

    /// See [`LlmSettings::parse_text`].
    pub fn parse_text(self, parse: bool) -> Self {
        self.setting("parse_text", |settings| settings.parse_text(parse))
    }

    /// See [`LlmSettings::max_retries`].
    pub fn max_retries(self, retries: u32) -> Self {
        self.setting("max_retries", |settings| settings.max_retries(retries))
    }

    /// See [`LlmSettings::header`].
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.setting("header", |settings| settings.header(name, value))
    }

    /// Further settings of the LLM.
    pub fn settings(self, change: impl FnOnce(LlmSettings) -> LlmSettings) -> Self {
        self.setting("settings", change)
    }

    /// Instructions that stand before each conversation.
    pub fn system_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.system_prompt = Some(prompt.into());
        self
    }

    /// Offers a tool.
    pub fn tool(mut self, tool: impl Tool + 'static) -> Self {
        self.tools.push(Arc::new(tool));
        self
    }

    /// Offers tools that are shared: those of an MCP server, or of a list that several agents use.
    pub fn tools(mut self, tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        self.tools.extend(tools);
        self
    }

    /// Offers the tools that a source has at the time: an MCP server. It is asked before each question to the model.
    pub fn tools_from(mut self, source: impl ToolSource + 'static) -> Self {
        self.sources.push(Arc::new(source));
        self
    }

    /// Describes the tools in the prompt and finds the calls in the answer's text, whatever the endpoint can do. Default
    /// no: so it is done where an endpoint has no tool calls.
    pub fn react_mode(mut self, react: bool) -> Self {
        self.react_mode = react;
        self
    }

    /// How many calls of one turn run at the same time. Default [`DEFAULT_MAX_PARALLEL_TOOLS`]; 1: one after another.
    pub fn max_parallel_tools(mut self, calls: usize) -> Self {
        self.max_parallel_tools = calls;
        self
    }

    /// How often the model may be asked in one run. Default 20.
    pub fn max_recursion_depth(mut self, turns: u32) -> Self {
        self.options.limits.max_turns = turns;
        self
    }

    /// How far a run may go. Each limit ends it with an error that holds the run so far.
    ///
    /// ```
    /// use loom::agent::RunLimits;
    ///
    /// let limits = RunLimits { max_tool_calls: Some(10), max_seconds: Some(60.0), ..RunLimits::default() };
    /// let agent = loom::agent("assistant").base_url("http://localhost:8000/v1").run_limits(limits);
    /// # let _ = agent;
    /// ```
    pub fn run_limits(mut self, limits: RunLimits) -> Self {
        self.options.limits = limits;
        self
    }

    /// What is done when a conversation becomes longer than the model's context. Default: old turns are left out in a
    /// session ([`ContextPolicy::Trim`]), else nothing.
    pub fn context_policy(mut self, policy: ContextPolicy) -> Self {
        self.options.context_policy = Some(policy);
        self
    }

    /// How many tokens the model's context holds, so that old turns are left out before the server refuses. Default: what
    /// a refusal says.
    pub fn context_window(mut self, tokens: u64) -> Self {
        self.options.context_window = Some(tokens);
        self
    }

    /// How the model may use the tools until it has called one. `Required` and `Named` are held to even where the server
    /// passes over them: the model is asked once more in words. Default: as it likes.
    pub fn tool_choice(mut self, choice: ToolChoice) -> Self {
        self.options.tool_choice = Some(choice);
        self
    }

    /// What the answer must be: a JSON schema, with a name for it. The value is the answer's `parsed`. An answer that does
    /// not fit is asked for again, [twice](Self::output_retries).
    pub fn output_schema(mut self, name: impl Into<String>, schema: Value) -> Self {
        self.output = Some((name.into(), schema));
        self.output_check = None;
        self
    }

    /// The type of the answer, read with [`parsed_as`](loom_wire::Message::parsed_as). See
    /// [`output_schema`](Self::output_schema). A value that fits the schema and that the type refuses all the same is
    /// asked for again, too.
    ///
    /// ```
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// struct Place {
    ///     city: String,
    ///     country: String,
    /// }
    ///
    /// # async fn doc() -> Result<(), loom::AgentError> {
    /// let agent = loom::agent("assistant").base_url("http://localhost:8000/v1").output_type::<Place>().build()?;
    /// let place: Place = agent.run("Where is the Eiffel Tower?").await?.parsed_as()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn output_type<T: JsonSchema + DeserializeOwned>(self) -> Self {
        let mut builder = self.output_schema(T::schema_name(), schema_of_value::<T>());
        builder.output_check =
            Some(|value| T::deserialize(value).map(drop).map_err(|error| error.to_string()));
        builder
    }

    /// How often the model is told what does not fit in its answer and asked again. Default 2.
    pub fn output_retries(mut self, retries: u32) -> Self {
        self.output_retries = Some(retries);
        self
    }

    /// Called with each event of each run, in order, on a thread for blocking work: a slow or failing one does not hold
    /// the run up. The run waits for it at its end, 5 s at most. With one, [`Agent::run`] asks for a stream, so that there
    /// are deltas to be told of.
    ///
    /// ```
    /// use loom::AgentEvent;
    ///
    /// let agent = loom::agent("assistant").base_url("http://localhost:8000/v1").event_handler(|event| {
    ///     if let AgentEvent::ToolStart { name, .. } = event {
    ///         println!("calls {name}");
    ///     }
    /// });
    /// # let _ = agent;
    /// ```
    pub fn event_handler(mut self, handler: impl Fn(&AgentEvent) + Send + Sync + 'static) -> Self {
        self.event_handler = Some(Arc::new(handler));
        self
    }

    /// Tells OpenTelemetry of each run: see [`Otel`](crate::agent::otel::Otel). Needs the feature `otel`.
    #[cfg(feature = "otel")]
    pub fn otel(mut self, otel: crate::agent::otel::Otel) -> Self {
        self.otel = Some(otel);
        self
    }

    /// Makes the agent. No network is used.
    ///
    /// # Errors
    /// [`AgentError::Llm`] of kind `config` if the settings cannot work, [`AgentError::Tool`] if a tool has a name that
    /// servers refuse or two share one.
    pub fn build(self) -> Result<Agent, AgentError> {
        let llm: Arc<dyn Llm> = match (self.llm, self.settings_given) {
            (Some(llm), None) => llm,
            (Some(_), Some(setting)) => {
                return Err(LlmError::config(format!(
                    "{setting} was given beside an LLM object, which has its own settings"
                ))
                .with_hint("set it where the LLM object is made")
                .into());
            }
            (None, _) => self.settings.open()?,
        };
        if self.max_parallel_tools == 0 {
            return Err(LlmError::config("max_parallel_tools is a number of calls from 1, not 0").into());
        }
        let mut options = self.options;
        options.limits.check().map_err(LlmError::config)?;
        options.strict = llm.is_strict();
        if let Some((name, schema)) = self.output {
            let mut output = Output::new(&name, schema)?;
            output.max_retries = self.output_retries.unwrap_or(output.max_retries);
            options.output = Some(output);
        }
        let tools = Tools::new(self.tools).map_err(AgentError::Tool)?;
        Ok(Agent::new(Inner {
            name: self.name,
            llm,
            system_prompt: self.system_prompt,
            offer: Arc::new(Offer::new(tools.specs())),
            tools,
            sources: self.sources,
            react_mode: self.react_mode,
            max_parallel_tools: self.max_parallel_tools,
            options,
            output_check: self.output_check,
            event_handler: self.event_handler,
            #[cfg(feature = "otel")]
            otel: self.otel,
            stats: Stats::default(),
        }))
    }
}
