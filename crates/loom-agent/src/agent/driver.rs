//! The driver: does the IO that the run's state machine asks for.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use loom_wire::{Completion, Event, LlmError, Message, Request};
use tokio::time::Instant;

use crate::agent::error::AgentError;
use crate::agent::event::AgentEvent;
use crate::agent::execute::{self, Execution, Happened};
use crate::agent::extra::Extra;
use crate::agent::listener::Listener;
use crate::agent::run::{Input, Offer, Run, Step, ToolResult, Used};
use crate::agent::start::{AgentStream, Inner};
use crate::agent::stats::Outcome;
use crate::agent::tool::Tools;
use crate::agent::tool_options::Deps;
use crate::model::{EventStream, collect, unfinished};
use crate::schema::{PartialJson, Problem};
use crate::session::{Session, off_the_runtime};

/// Drives a run: its events, of which `deltas` says whether there are to be any of single tokens.
pub(crate) fn drive(
    agent: Arc<Inner>,
    run: Run,
    session: Option<Session>,
    deps: Option<Deps>,
    extra: Extra,
    deltas: bool,
) -> AgentStream {
    let driver = Driver {
        before: *run.used(),
        session,
        run,
        tools: agent.tools.clone(),
        offer: Arc::clone(&agent.offer),
        deps,
        extra,
        deltas,
        doing: Doing::Starting,
        ready: VecDeque::new(),
        clock: None,
        is_counted: false,
        listener: agent.event_handler.clone().map(Listener::new),
        agent,
    };
    Box::pin(stream::unfold(
        driver,
        |mut driver| async move { driver.next().await.map(|event| (event, driver)) },
    ))
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
    extra: Extra,
    deltas: bool,
    /// Where the conversation is kept.
    session: Option<Session>,
    doing: Doing,
    ready: VecDeque<AgentEvent>,
    /// Since when time is to be added to the run's.
    clock: Option<Instant>,
    is_counted: bool,
    listener: Option<Listener>,
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
                if let Some(listener) = &self.listener {
                    listener.tell(&event).await;
                }
                return Some(Ok(event));
            }
            match std::mem::replace(&mut self.doing, Doing::Nothing) {
                Doing::Nothing => return None,
                Doing::Failing(mut error) => {
                    self.keep_failed(&mut error).await;
                    let paused = matches!(*error, AgentError::ApprovalRequired { .. });
                    self.ended(if paused { Outcome::Paused } else { Outcome::Failed });
                    if let Some(listener) = &self.listener {
                        listener.catch_up().await;
                    }
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
                        let arrived = self.arrived();
                        Some(self.run.out_of_time(arrived))
                    }
                },
            };
            if let Some(error) = failed {
                self.ready.extend(self.run.take_reports());
                self.doing = Doing::Failing(Box::new(error));
            }
        }
    }

    /// What there is of the answer that is being waited for.
    fn arrived(&mut self) -> Option<Completion> {
        match &mut self.doing {
            Doing::Model(_, completion, _) => Some(std::mem::take(&mut **completion)),
            _ => None,
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
        let loaded = off_the_runtime(move || session.load())
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
        off_the_runtime(move || adding.add_to(&session)).await.map_err(|error| {
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
        self.run.learn_window(|| self.agent.llm.context_window());
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
        let request = self.extra.added_to(request);
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
                Step::Done(message) => {
                    let refused = self.agent.output_check.as_ref().zip(message.parsed.as_ref());
                    if let Some(Err(why)) = refused.map(|(check, parsed)| check(parsed)) {
                        input = Input::Refused(vec![Problem { path: String::new(), message: why }]);
                        continue;
                    }
                    Doing::Ending(message)
                }
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
        if let Err(error) = unkept.add_to(session) {
            tracing::warn!(target: "loom", "what a run had said was not kept: {error}");
        }
    }
}
