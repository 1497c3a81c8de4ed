//! The driver: does the IO that the run's state machine asks for.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use loom_wire::{Completion, Event, Message, Request};
use tokio::time::Instant;

use crate::agent::error::AgentError;
use crate::agent::event::AgentEvent;
use crate::agent::execute::{self, Running};
use crate::agent::run::{Input, Offer, Run, RunOptions, Step, ToolResult, Used};
use crate::agent::stats::{Outcome, Stats};
use crate::agent::tool::Tools;
use crate::model::{EventStream, Llm, unfinished};

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
    pub(crate) offer: Offer,
    pub(crate) options: RunOptions,
    pub(crate) event_handler: Option<EventHandler>,
    pub(crate) stats: Stats,
}

/// The events of a run. Dropping it ends the run and closes its connection.
pub type AgentStream = Pin<Box<dyn Stream<Item = Result<AgentEvent, AgentError>> + Send>>;

/// What a run starts from: a text, a message, a conversation, or a run that was paused or has failed.
pub struct Conversation(Start);

enum Start {
    Messages(Vec<Arc<Message>>),
    Resumed(Box<Run>),
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
        Self(Start::Messages(vec![Arc::new(message)]))
    }
}

impl From<Vec<Message>> for Conversation {
    fn from(messages: Vec<Message>) -> Self {
        Self(Start::Messages(messages.into_iter().map(Arc::new).collect()))
    }
}

impl From<Run> for Conversation {
    /// The run goes on where it stood, within the limits of the agent that resumes it.
    fn from(run: Run) -> Self {
        Self(Start::Resumed(Box::new(run)))
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
        let mut events = self.events(input.into(), self.0.event_handler.is_some());
        while let Some(event) = events.next().await {
            if let AgentEvent::Finish { message, .. } = event? {
                return Ok(*message);
            }
        }
        Err(AgentError::Execution("the run ended without an answer".into()))
    }

    /// Runs and reports what happens while it does.
    pub fn stream(&self, input: impl Into<Conversation>) -> AgentStream {
        self.events(input.into(), true)
    }

    /// What this agent has done so far, in all runs, those of its clones included.
    pub fn get_stats(&self) -> crate::agent::StatsSnapshot {
        self.0.stats.snapshot()
    }

    fn events(&self, input: Conversation, deltas: bool) -> AgentStream {
        let run = match input.0 {
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
            run,
            deltas,
            doing: Doing::Starting,
            ready: VecDeque::new(),
            clock: None,
            is_counted: false,
        };
        Box::pin(stream::unfold(driver, |mut driver| async move {
            driver.next().await.map(|event| (event, driver))
        }))
    }
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
    deltas: bool,
    doing: Doing,
    ready: VecDeque<AgentEvent>,
    /// Since when time is to be added to the run's.
    clock: Option<Instant>,
    is_counted: bool,
}

enum Doing {
    Starting,
    Model(EventStream, Box<Completion>),
    Tools(Running, Vec<ToolResult>),
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
                Doing::Failing(error) => {
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

    /// Does one thing: starts a step, takes one event of the model, or takes one result of a tool.
    async fn advance(&mut self) -> Result<(), AgentError> {
        let input = match &mut self.doing {
            Doing::Nothing | Doing::Failing(_) => return Ok(()),
            Doing::Starting => {
                self.clock = Some(Instant::now());
                self.ready.push_back(AgentEvent::RunStart { agent: self.agent.name.clone() });
                Input::Start
            }
            Doing::Model(events, completion) => {
                let Some(event) = events.next().await else {
                    return Err(self.run.failed(unfinished(std::mem::take(completion))));
                };
                let event = event.map_err(|error| self.run.failed(error))?;
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
                        self.ready.push_back(report);
                        return Ok(());
                    }
                }
            }
            Doing::Tools(running, results) => match running.next().await {
                None => Input::ToolResults(std::mem::take(results)),
                Some((call, result)) => {
                    self.ready.push_back(AgentEvent::ToolEnd {
                        id: call.id,
                        name: call.name,
                        content: result.content.clone(),
                        is_error: result.is_error,
                    });
                    results.push(result);
                    return Ok(());
                }
            },
        };
        self.keep_time();
        self.step(input)
    }

    /// Takes a step of the run and begins what it asks for.
    fn step(&mut self, input: Input) -> Result<(), AgentError> {
        let mut input = input;
        loop {
            let step = self.run.step(input, &self.agent.offer)?;
            self.ready.extend(self.run.take_reports());
            self.doing = match step {
                Step::CallModel(request) => {
                    self.ready.push_back(AgentEvent::ModelRequest { turn: self.run.turns() });
                    let request = Request { stream: self.deltas, ..*request };
                    Doing::Model(self.agent.llm.stream(request), Box::default())
                }
                Step::CallTools(calls) => {
                    let held = execute::to_be_held(&self.agent.tools, &self.run, &calls);
                    if !held.is_empty() {
                        input = Input::Held(held);
                        continue;
                    }
                    self.ready.extend(calls.iter().map(|call| AgentEvent::ToolStart {
                        id: call.id.clone(),
                        name: call.name.clone(),
                        arguments: call.arguments_object(),
                    }));
                    Doing::Tools(execute::start(&self.agent.tools, calls), Vec::new())
                }
                Step::Pause(calls) => {
                    self.ready.push_back(AgentEvent::ApprovalRequired { tool_calls: calls.clone() });
                    let run = self.run.stored();
                    Doing::Failing(Box::new(AgentError::ApprovalRequired { calls, run }))
                }
                Step::Done(message) => {
                    self.ended(Outcome::Answered);
                    self.ready.push_back(AgentEvent::Finish {
                        finish_reason: message.finish_reason.clone(),
                        message,
                    });
                    Doing::Nothing
                }
            };
            return Ok(());
        }
    }
}
