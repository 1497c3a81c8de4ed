//! The driver: does the IO that the run's state machine asks for.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use loom_wire::{Completion, Event, LlmError, Message, Request};
use tokio::time::Instant;

use crate::agent::error::AgentError;
use crate::agent::event::AgentEvent;
use crate::agent::execute::{self, Execution, Happened};
use crate::agent::run::{Input, Offer, Run, RunOptions, Step, ToolResult, Unkept, Used};
use crate::agent::stats::{Outcome, Stats};
use crate::agent::tool::{ToolSource, Tools};
use crate::agent::tool_options::Deps;
use crate::model::{EventStream, Llm, collect, unfinished};
use crate::schema::PartialJson;
use crate::session::{Session, SessionError};

/// An agent. Cheap to clone; runs share nothing, so any number can go on at once.
#[derive(Clone)]
pub struct Agent(Arc<Inner>);

/// Who is told of the events of each run.
pub(crate) type EventHandler = Arc<dyn Fn(&AgentEvent) + Send + Sync>;

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
    pub(crate) event_handler: Option<EventHandler>,
    #[cfg(feature = "otel")]
    pub(crate) otel: Option<crate::agent::otel::Otel>,
    pub(crate) stats: Stats,
}

/// The events of a run. Dropping it ends the run and closes its connection.
pub type AgentStream = Pin<Box<dyn Stream<Item = Result<AgentEvent, AgentError>> + Send>>;

/// What a run starts from: a text, a message, a conversation, or a run that was paused or has failed.
pub struct Conversation {
    start: Start,
    deps: Option<Deps>,
}

enum Start {
    Messages(Vec<Arc<Message>>),
    Resumed(Box<Run>),
}

impl From<Start> for Conversation {
    fn from(start: Start) -> Self {
        Self { start, deps: None }
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
        let driver = Driver {
            agent: Arc::clone(&self.0),
            before: *run.used(),
            session: session.cloned(),
            run,
            tools: self.0.tools.clone(),
            offer: Arc::clone(&self.0.offer),
            deps: input.deps,
            deltas,
            doing: Doing::Starting,
            ready: VecDeque::new(),
            clock: None,
            is_counted: false,
        };
        let events: AgentStream = Box::pin(stream::unfold(driver, |mut driver| async move {
            driver.next().await.map(|event| (event, driver))
        }));
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

struct Driver {
    agent: Arc<Inner>,
    run: Run,
    /// What the run had used before this driver took it on.
    before: Used,
    /// The tools on offer now, and what the model was told about them.
    tools: Tools,
    offer: Arc<Offer>,
    deps: Option<Deps>,
    deltas: bool,
    /// Where the conversation is kept.
    session: Option<Session>,
    doing: Doing,
    ready: VecDeque<AgentEvent>,
    /// Since when time is to be added to the run's.
    clock: Option<Instant>,
    is_counted: bool,
}

enum Doing {
    Starting,
    Model(EventStream, Box<Completion>, Option<Box<PartialJson>>),
    Tools(Execution, Vec<ToolResult>),
    Summarizing(Pin<Box<dyn Future<Output = Result<Completion, LlmError>> + Send>>),
    /// The answer, before it is kept.
    Ending(Box<Message>),
    /// The run ends with this once all events are delivered.
    Failing(Box<AgentError>),
    Nothing,
}

impl Driver {
    async fn next(&mut self) -> Option<Result<AgentEvent, AgentError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.tell(&event);
                return Some(Ok(event));
            }
            match std::mem::replace(&mut self.doing, Doing::Nothing) {
                Doing::Nothing => return None,
                Doing::Failing(mut error) => {
                    self.keep_failed(&mut error).await;
                    let paused = matches!(*error, AgentError::ApprovalRequired { .. });
                    self.ended(if paused { Outcome::Paused } else { Outcome::Failed });
                    return Some(Err(*error));
                }
                doing => self.doing = doing,
            }
            let failed = match self.deadline() {
                None => self.advance().await.err(),
                Some(deadline) => match tokio::time::timeout_at(deadline, self.advance()).await {
                    Ok(advanced) => advanced.err(),
                    Err(_) => {
                        self.keep_time();
                        Some(self.run.out_of_time())
                    }
                },
            };
            if let Some(error) = failed {
                self.ready.extend(self.run.take_reports());
                self.doing = Doing::Failing(Box::new(error));
            }
        }
    }

    /// Whoever listens must not harm the run.
    fn tell(&self, event: &AgentEvent) {
        if let Some(handler) = &self.agent.event_handler
            && std::panic::catch_unwind(AssertUnwindSafe(|| handler(event))).is_err()
        {
            tracing::warn!(target: "loom", "the event handler panicked");
        }
    }

    /// When the run's time is up.
    fn deadline(&self) -> Option<Instant> {
        let left = self.run.limits().max_seconds? - self.run.used().seconds;
        let since = self.clock.unwrap_or_else(Instant::now);
        since.checked_add(Duration::try_from_secs_f64(left.max(0.0)).ok()?)
    }

    fn keep_time(&mut self) {
        let now = Instant::now();
        if let Some(since) = self.clock.replace(now) {
            self.run.add_seconds((now - since).as_secs_f64());
        }
    }

    /// Counts the run, once.
    fn ended(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.keep_time();
            self.agent.stats.add(outcome, &self.run.used().since(&self.before));
        }
    }

    /// Starts from what was said in the session.
    async fn open_session(&mut self) -> Result<(), AgentError> {
        let Some(session) = self.session.clone().filter(|_| self.run.turns() == 0) else { return Ok(()) };
        let loaded = beside_the_runtime(move || session.load())
            .await
            .map_err(|error| AgentError::Session { error, run: None })?;
        let offset = usize::from(self.agent.system_prompt.is_some());
        let model = self.agent.llm.model_name();
        self.run.continue_session(offset, loaded.messages, &loaded.context, &model);
        Ok(())
    }

    /// Adds to the session what it lacks of the run.
    async fn keep(&mut self) -> Result<(), AgentError> {
        let Some(session) = self.session.clone() else { return Ok(()) };
        let unkept = Arc::new(self.run.take_unkept(&self.agent.llm.model_name()));
        let adding = Arc::clone(&unkept);
        beside_the_runtime(move || add(&session, &adding)).await.map_err(|error| {
            self.run.not_kept(&unkept);
            AgentError::Session { error, run: Some(self.run.stored()) }
        })
    }

    /// As `keep`, for a run that ends with an error, which is more than what keeping it may add to that.
    async fn keep_failed(&mut self, error: &mut AgentError) {
        if self.session.is_none() || matches!(error, AgentError::Session { .. }) {
            return;
        }
        if let Err(failed) = self.keep().await {
            tracing::warn!(target: "loom", "what a failed run had said was not kept: {failed}");
        }
        if let Some(run) = error.run_mut() {
            run.kept_as(&self.run);
        }
    }

    fn finish(&mut self, message: Box<Message>) -> Result<(), AgentError> {
        self.ended(Outcome::Answered);
        let finish_reason = message.finish_reason.clone();
        self.ready.push_back(AgentEvent::Finish { finish_reason, message });
        self.doing = Doing::Nothing;
        Ok(())
    }

    /// Does one thing: starts a step, takes one event of the model, or takes one result of a tool.
    async fn advance(&mut self) -> Result<(), AgentError> {
        let input = match &mut self.doing {
            Doing::Nothing | Doing::Failing(_) => return Ok(()),
            Doing::Starting => {
                self.clock = Some(Instant::now());
                self.ready.push_back(AgentEvent::RunStart { agent: self.agent.name.clone() });
                self.open_session().await?;
                Input::Start
            }
            Doing::Model(events, completion, partial) => {
                let Some(event) = events.next().await else {
                    return Err(self.run.failed(unfinished(std::mem::take(completion))));
                };
                let event = match event {
                    Ok(event) => event,
                    Err(error) => {
                        self.keep_time();
                        return self.step(Input::Failed(error));
                    }
                };
                completion.absorb(&event);
                let report = match event {
                    Event::Finish(_) => None,
                    Event::ContentDelta { content } => Some(AgentEvent::ContentDelta { content }),
                    Event::ReasoningDelta { content } => Some(AgentEvent::ReasoningDelta { content }),
                    Event::ToolCalls { tool_calls } => Some(AgentEvent::ToolCalls { tool_calls }),
                    Event::Usage(usage) => Some(AgentEvent::Usage(usage)),
                    Event::Retry(retry) => Some(AgentEvent::Retry(retry)),
                };
                match report {
                    None => Input::Completion(std::mem::take(completion)),
                    Some(report) => {
                        let value = match (&report, partial) {
                            (AgentEvent::ContentDelta { content }, Some(partial)) => partial.push(content),
                            _ => None,
                        };
                        self.ready.push_back(report);
                        self.ready.extend(value.map(|value| AgentEvent::Partial { value }));
                        return Ok(());
                    }
                }
            }
            Doing::Summarizing(summary) => Input::Summary(summary.await.map(Box::new)),
            Doing::Ending(_) => {
                let Doing::Ending(message) = std::mem::replace(&mut self.doing, Doing::Nothing) else {
                    return Ok(());
                };
                self.keep().await?;
                return self.finish(message);
            }
            Doing::Tools(running, results) => match running.next().await {
                None => Input::ToolResults(std::mem::take(results)),
                Some(Happened::Started(call)) => {
                    let arguments = call.arguments_object();
                    self.ready.push_back(AgentEvent::ToolStart { id: call.id, name: call.name, arguments });
                    return Ok(());
                }
                Some(Happened::Ended(call, outcome)) => {
                    let (content, is_error) = (outcome.content, outcome.is_error);
                    if outcome.raise {
                        let (tool, message, run) = (call.name, content.text(), self.run.stored());
                        return Err(AgentError::ToolFailed { tool, message, run });
                    }
                    self.ready.push_back(AgentEvent::ToolEnd {
                        id: call.id.clone(),
                        name: call.name,
                        content: content.clone(),
                        is_error,
                    });
                    results.push(ToolResult { id: call.id, content, is_error });
                    return Ok(());
                }
            },
        };
        // What a model called is judged by what it was offered.
        if !matches!(input, Input::Completion(_)) {
            self.look_for_tools().await?;
        }
        self.keep_time();
        self.step(input)
    }

    /// Asks the sources for the tools that they have now.
    async fn look_for_tools(&mut self) -> Result<(), AgentError> {
        if self.agent.sources.is_empty() {
            return Ok(());
        }
        let asked = self.agent.sources.iter().map(|source| source.tools());
        let mut tools = self.agent.tools.own();
        for found in futures_util::future::join_all(asked).await {
            tools.extend(found.map_err(AgentError::Tool)?);
        }
        self.tools = Tools::new(tools).map_err(AgentError::Tool)?;
        let specs = self.tools.specs();
        if specs != self.offer.specs() {
            self.offer = Arc::new(Offer::new(specs));
        }
        Ok(())
    }

    fn ask(&self, request: Request) -> EventStream {
        #[cfg(feature = "otel")]
        return crate::agent::otel::chat(&self.agent.llm, request);
        #[cfg(not(feature = "otel"))]
        self.agent.llm.stream(request)
    }

    /// Takes a step of the run and begins what it asks for.
    fn step(&mut self, input: Input) -> Result<(), AgentError> {
        let mut input = input;
        loop {
            let step = self.run.step(input, &self.offer)?;
            self.ready.extend(self.run.take_reports());
            self.doing = match step {
                Step::CallModel(request) => {
                    self.ready.push_back(AgentEvent::ModelRequest { turn: self.run.turns() });
                    let tools_in_prompt = self.agent.react_mode;
                    let request = Request { stream: self.deltas, tools_in_prompt, ..*request };
                    let partial =
                        self.run.output().filter(|_| self.deltas).map(|output| Box::new(output.partial()));
                    Doing::Model(self.ask(request), Box::default(), partial)
                }
                Step::Summarize(request) => Doing::Summarizing(Box::pin(collect(self.ask(*request)))),
                Step::CallTools(calls) => {
                    let held = execute::to_be_held(&self.tools, &self.run, &calls);
                    if !held.is_empty() {
                        input = Input::Held(held);
                        continue;
                    }
                    let calls = calls.into_iter().map(|call| {
                        let tool = self.tools.get(&call.name).cloned();
                        (call, tool)
                    });
                    let parallel = self.agent.max_parallel_tools;
                    let execution = Execution::new(calls, &self.agent.name, self.deps.clone(), parallel);
                    Doing::Tools(execution, Vec::new())
                }
                Step::Pause(calls) => {
                    self.ready.push_back(AgentEvent::ApprovalRequired { tool_calls: calls.clone() });
                    let run = self.run.stored();
                    Doing::Failing(Box::new(AgentError::ApprovalRequired { calls, run }))
                }
                Step::Done(message) => Doing::Ending(message),
            };
            return Ok(());
        }
    }
}

impl Drop for Driver {
    /// A run that is left early: what it had said is kept. This may block, for a millisecond as a rule; later would be too
    /// late for a program that ends now.
    fn drop(&mut self) {
        let Some(session) = &self.session else { return };
        let unkept = self.run.take_unkept(&self.agent.llm.model_name());
        if let Err(error) = add(session, &unkept) {
            tracing::warn!(target: "loom", "what a run had said was not kept: {error}");
        }
    }
}

fn add(session: &Session, unkept: &Unkept) -> Result<(), SessionError> {
    match unkept.messages.is_empty() {
        true => Ok(()),
        false => session.add(&unkept.messages, Some((&unkept.learnt, unkept.seen))),
    }
}

/// Does work that may block on a file.
async fn beside_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SessionError> + Send + 'static,
) -> Result<T, SessionError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(SessionError::Invalid(format!("the session's work was given up: {error}"))),
    }
}
