//! An agent, and what its runs start from.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use loom_wire::Message;

use crate::agent::driver;
use crate::agent::error::AgentError;
use crate::agent::event::AgentEvent;
use crate::agent::extra::Extra;
use crate::agent::listener::EventHandler;
use crate::agent::run::{Offer, Run, RunOptions};
use crate::agent::stats::Stats;
use crate::agent::tool::{ToolSource, Tools};
use crate::agent::tool_options::Deps;
use crate::model::Llm;
use crate::session::Session;

/// An agent. Cheap to clone; runs share nothing, so any number can go on at once.
#[derive(Clone)]
pub struct Agent(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) llm: Arc<dyn Llm>,
    pub(crate) system_prompt: Option<String>,
    pub(crate) tools: Tools,
    pub(crate) offer: Arc<Offer>,
    pub(crate) sources: Vec<Arc<dyn ToolSource>>,
    pub(crate) react_mode: bool,
    pub(crate) max_parallel_tools: usize,
    pub(crate) options: RunOptions,
    /// Whether the answer's type takes a value that fits the schema.
    pub(crate) output_check: Option<OutputCheck>,
    pub(crate) event_handler: Option<EventHandler>,
    #[cfg(feature = "otel")]
    pub(crate) otel: Option<crate::agent::otel::Otel>,
    pub(crate) stats: Stats,
}

pub(crate) type OutputCheck = fn(&serde_json::Value) -> Result<(), String>;

/// The events of a run. Dropping it ends the run and closes its connection.
pub type AgentStream = Pin<Box<dyn Stream<Item = Result<AgentEvent, AgentError>> + Send>>;

/// What a run starts from: a text, a message, a conversation, or a run that was paused or has failed.
pub struct Conversation {
    start: Start,
    deps: Option<Deps>,
    extra: Extra,
}

enum Start {
    Messages(Vec<Arc<Message>>),
    Resumed(Box<Run>),
}

impl From<Start> for Conversation {
    fn from(start: Start) -> Self {
        Self { start, deps: None, extra: Extra::default() }
    }
}

impl Conversation {
    /// Gives the run something that its tools may use: see [`ToolContext::deps`](super::ToolContext::deps).
    ///
    /// ```no_run
    /// use loom::agent::Conversation;
    ///
    /// # async fn ask(agent: loom::Agent, customer: String) -> Result<(), loom::AgentError> {
    /// agent.run(Conversation::from("Where are my orders?").deps(customer)).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn deps<T: Send + Sync + 'static>(self, deps: T) -> Self {
        self.shared_deps(Some(Arc::new(deps)))
    }

    /// The same, of what is shared already.
    #[must_use]
    pub fn shared_deps(self, deps: Option<Deps>) -> Self {
        Self { deps, ..self }
    }

    /// Adds headers, query parameters and fields of the body to each model call of this run. A run that is resumed later
    /// is given them anew.
    #[must_use]
    pub fn extra(self, extra: Extra) -> Self {
        Self { extra, ..self }
    }
}

impl From<&str> for Conversation {
    fn from(text: &str) -> Self {
        Message::user(text).into()
    }
}

impl From<String> for Conversation {
    fn from(text: String) -> Self {
        Message::user(text).into()
    }
}

impl From<Message> for Conversation {
    fn from(message: Message) -> Self {
        Start::Messages(vec![Arc::new(message)]).into()
    }
}

impl From<Vec<Message>> for Conversation {
    fn from(messages: Vec<Message>) -> Self {
        Start::Messages(messages.into_iter().map(Arc::new).collect()).into()
    }
}

impl From<Run> for Conversation {
    /// The run goes on where it stood, within the limits of the agent that resumes it.
    fn from(run: Run) -> Self {
        Start::Resumed(Box::new(run)).into()
    }
}

impl Agent {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The agent's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The LLM it asks.
    pub fn llm(&self) -> &Arc<dyn Llm> {
        &self.0.llm
    }

    /// Runs to the answer.
    ///
    /// # Errors
    /// [`AgentError`]; a model call that broke off carries what had arrived as `partial`.
    pub async fn run(&self, input: impl Into<Conversation>) -> Result<Message, AgentError> {
        answer(self.events(input.into(), None, self.0.event_handler.is_some())).await
    }

    /// Runs to the answer in a session: starts from what was said there, and adds what is said now.
    ///
    /// What is added comes in one piece when the run ends, also when it fails: what is complete of it, never a call without
    /// its results, and nothing if the model has said nothing. A run that was paused or has failed goes on in its session
    /// when it is given as `input`.
    ///
    /// ```no_run
    /// use loom::Session;
    ///
    /// # async fn talk() -> Result<(), loom::AgentError> {
    /// let agent = loom::agent("assistant").base_url("http://localhost:8000/v1").build()?;
    /// let session = Session::new();
    /// agent.run_in(&session, "My name is Ada.").await?;
    /// println!("{}", agent.run_in(&session, "What is my name?").await?.text());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run); [`AgentError::Session`] if the session cannot be read or kept.
    pub async fn run_in(
        &self,
        session: &Session,
        input: impl Into<Conversation>,
    ) -> Result<Message, AgentError> {
        answer(self.events(input.into(), Some(session), self.0.event_handler.is_some())).await
    }

    /// Runs in a session, as [`run_in`](Self::run_in), and reports what happens while it does.
    pub fn stream_in(&self, session: &Session, input: impl Into<Conversation>) -> AgentStream {
        self.events(input.into(), Some(session), true)
    }

    /// Runs and reports what happens while it does.
    pub fn stream(&self, input: impl Into<Conversation>) -> AgentStream {
        self.events(input.into(), None, true)
    }

    /// What this agent has done so far, in all runs, those of its clones included.
    pub fn get_stats(&self) -> crate::agent::StatsSnapshot {
        self.0.stats.snapshot()
    }

    fn events(&self, input: Conversation, session: Option<&Session>, deltas: bool) -> AgentStream {
        let run = match input.start {
            Start::Messages(mut messages) => {
                if let Some(prompt) = &self.0.system_prompt {
                    messages.insert(0, Arc::new(Message::system(prompt.as_str())));
                }
                Run::new(messages, self.0.options.clone())
            }
            Start::Resumed(mut run) => {
                run.limits_mut().clone_from(&self.0.options.limits);
                *run
            }
        };
        let events =
            driver::drive(Arc::clone(&self.0), run, session.cloned(), input.deps, input.extra, deltas);
        #[cfg(feature = "otel")]
        let events = crate::agent::otel::run(self.0.otel.as_ref(), &self.0.name, events);
        events
    }
}

/// The answer of a run.
async fn answer(mut events: AgentStream) -> Result<Message, AgentError> {
    while let Some(event) = events.next().await {
        if let AgentEvent::Finish { message, .. } = event? {
            return Ok(*message);
        }
    }
    Err(AgentError::Execution("the run ended without an answer".into()))
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tools: Vec<&str> = self.0.offer.specs().iter().map(|spec| spec.name.as_str()).collect();
        f.debug_struct("Agent")
            .field("name", &self.0.name)
            .field("model", &self.0.llm.model_name())
            .field("tools", &tools)
            .finish_non_exhaustive()
    }
}
