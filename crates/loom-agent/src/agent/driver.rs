//! The driver: does the IO that the run's state machine asks for.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt, stream};
use loom_wire::{Completion, Event, Message, Request, ToolCall, ToolSpec};

use crate::agent::error::AgentError;
use crate::agent::event::AgentEvent;
use crate::agent::run::{Input, Run, Step, ToolResult};
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
    pub(crate) specs: Vec<ToolSpec>,
    pub(crate) max_turns: u32,
    pub(crate) event_handler: Option<EventHandler>,
}

/// The events of a run. Dropping it ends the run and closes its connection.
pub type AgentStream = Pin<Box<dyn Stream<Item = Result<AgentEvent, AgentError>> + Send>>;

/// What a run starts from: a text, a message, or a conversation.
pub struct Conversation(Vec<Arc<Message>>);

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
        Self(vec![Arc::new(message)])
    }
}

impl From<Vec<Message>> for Conversation {
    fn from(messages: Vec<Message>) -> Self {
        Self(messages.into_iter().map(Arc::new).collect())
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

    fn events(&self, input: Conversation, deltas: bool) -> AgentStream {
        let mut messages = input.0;
        if let Some(prompt) = &self.0.system_prompt {
            messages.insert(0, Arc::new(Message::system(prompt.as_str())));
        }
        let driver = Driver {
            agent: Arc::clone(&self.0),
            run: Run::new(messages, self.0.max_turns),
            deltas,
            doing: Doing::Starting,
            ready: VecDeque::new(),
        };
        Box::pin(stream::unfold(driver, |mut driver| async move {
            driver.next().await.map(|event| (event, driver))
        }))
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tools: Vec<&str> = self.0.specs.iter().map(|spec| spec.name.as_str()).collect();
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
    deltas: bool,
    doing: Doing,
    ready: VecDeque<AgentEvent>,
}

type RunningTools = FuturesUnordered<Pin<Box<dyn Future<Output = (ToolCall, ToolResult)> + Send>>>;

enum Doing {
    Starting,
    Model(EventStream, Box<Completion>),
    Tools(RunningTools, Vec<ToolResult>),
    Nothing,
}

impl Driver {
    async fn next(&mut self) -> Option<Result<AgentEvent, AgentError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if let Some(handler) = &self.agent.event_handler {
                    handler(&event);
                }
                return Some(Ok(event));
            }
            if let Err(error) = self.advance().await {
                self.doing = Doing::Nothing;
                return Some(Err(error));
            }
            if self.ready.is_empty() && matches!(self.doing, Doing::Nothing) {
                return None;
            }
        }
    }

    /// Does one thing: starts a step, takes one event of the model, or takes one result of a tool.
    async fn advance(&mut self) -> Result<(), AgentError> {
        let input = match &mut self.doing {
            Doing::Nothing => return Ok(()),
            Doing::Starting => {
                self.ready.push_back(AgentEvent::RunStart { agent: self.agent.name.clone() });
                Input::Start
            }
            Doing::Model(events, completion) => {
                let Some(event) = events.next().await else {
                    return Err(unfinished(std::mem::take(completion)).into());
                };
                let event = event?;
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
        self.doing = match self.run.step(input, &self.agent.specs)? {
            Step::CallModel(request) => {
                self.ready.push_back(AgentEvent::ModelRequest { turn: self.run.turns() });
                let request = Request { tools: self.agent.specs.clone(), stream: self.deltas, ..*request };
                Doing::Model(self.agent.llm.stream(request), Box::default())
            }
            Step::CallTools(calls) => Doing::Tools(self.start_tools(calls), Vec::new()),
            Step::Done(message) => {
                self.ready
                    .push_back(AgentEvent::Finish { finish_reason: message.finish_reason.clone(), message });
                Doing::Nothing
            }
        };
        Ok(())
    }

    fn start_tools(&mut self, calls: Vec<ToolCall>) -> RunningTools {
        let running = RunningTools::new();
        for call in calls {
            self.ready.push_back(AgentEvent::ToolStart {
                id: call.id.clone(),
                name: call.name.clone(),
                arguments: call.arguments_object(),
            });
            let tool = self.agent.tools.get(&call.name).cloned();
            running.push(Box::pin(async move {
                let returned = match &tool {
                    Some(tool) => tool.call(&call).await,
                    None => Err(format!("there is no tool called {:?}", call.name)),
                };
                let (content, is_error) = match returned {
                    Ok(content) => (content, false),
                    Err(error) => (format!("Error: {error}"), true),
                };
                let result = ToolResult { id: call.id.clone(), content, is_error };
                (call, result)
            }));
        }
        running
    }
}
