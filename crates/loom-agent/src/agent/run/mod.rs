//! The run of an agent as a state machine without IO: [`Run::step`] takes what happened and says what to do next.
//!
//! It can be stored between any two steps, as JSON, and resumed by another process in another language. The drivers do the
//! IO: see `driver`, and `python/loom/_agent.py` for Python's.
//!
//! | module | owns |
//! |---|---|
//! | here | the states and the steps between them |
//! | `limits` | how far a run may go, and what it has used of that |
//! | `offer` | the tools, and whether a call fits them |
//! | `calls` | the calls of a turn: refused, held, executed |
//! | `output` | the answer that must fit a schema |
//! | `answer` | the answer is taken, or asked for again |
//! | `compact` | the conversation is too long for the model |
//! | `kept` | what of the run a session gets |
//! | `stored` | the run as JSON |

mod answer;
mod calls;
mod compact;
mod kept;
mod limits;
mod offer;
mod output;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use loom_wire::{
    Completion, Content, LedgerEntry, LlmError, Message, Request, Role, Rule, ToolCall, ToolChoice, Usage,
    ledger,
};
use serde::{Deserialize, Serialize};

use crate::agent::context::{Context, ContextPolicy, Cut};
use crate::agent::error::AgentError;
use crate::agent::event::AgentEvent;
use crate::schema::Problem;

use calls::Calls;
pub use kept::Unkept;
pub use limits::{Limit, Prices, RunLimits, Used};
pub use offer::Offer;
pub use output::Output;

/// What a run is asked for, beside its messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunOptions {
    /// How far it may go.
    pub limits: RunLimits,
    /// How the model may use the tools until it has called one. Held to even where the server passes over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// What the answer must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// What is done when the conversation becomes longer than the model's context. Default: [`ContextPolicy::Trim`] in a
    /// session, else [`ContextPolicy::Keep`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_policy: Option<ContextPolicy>,
    /// How many tokens the model's context holds. Default: what the server has said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// What had to be bridged ends the run. Nothing is left out of a conversation then unless a policy says so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

impl RunOptions {
    fn policy(&self, in_session: bool) -> ContextPolicy {
        let default = if in_session && !self.strict { ContextPolicy::Trim } else { ContextPolicy::Keep };
        self.context_policy.unwrap_or(default)
    }
}

impl From<RunLimits> for RunOptions {
    fn from(limits: RunLimits) -> Self {
        Self { limits, ..Self::default() }
    }
}

/// A run: its transcript and where it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    version: u32,
    messages: Vec<Arc<Message>>,
    /// How many of the messages were there when it started.
    given: usize,
    options: RunOptions,
    used: Used,
    /// The sum over the turns; `None` before the first and when a turn's is unknown.
    usage: Option<Usage>,
    usage_unknown: bool,
    /// Turns in a row whose calls could not be executed.
    invalid_turns: u32,
    /// How often the answer was asked for again.
    repairs: u32,
    /// The tool choice was told in words.
    choice_told: bool,
    /// The tools are done: only the answer is asked for, in its format.
    answering: bool,
    /// What was bridged in all turns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ledger: Vec<LedgerEntry>,
    /// What of the conversation is sent.
    #[serde(default)]
    context: Context,
    /// How many of the messages a session has already.
    #[serde(default)]
    kept: usize,
    state: State,
    /// What is to be told of the last step.
    #[serde(skip)]
    reports: Vec<AgentEvent>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// The model's turn.
    Model,
    /// Calls under way.
    Tools(Calls),
    /// A summary is being written of what will be left out.
    Summarizing(Cut),
    Done,
}

/// What happened since the last step.
#[derive(Clone, Debug)]
pub enum Input {
    /// Nothing yet; also after a stored run was loaded: the step under way is given again.
    Start,
    /// The model answered.
    Completion(Box<Completion>),
    /// These calls wait for somebody's approval, so they were not executed.
    Held(Vec<String>),
    /// Tools returned, in any order.
    ToolResults(Vec<ToolResult>),
    /// The model could not be asked: the run goes on if leaving out old turns may help, else it ends with this error.
    Failed(LlmError),
    /// The answer fits its schema, but its type takes no such value: the model is told and asked again.
    Refused(Vec<Problem>),
    /// The summary that was asked for, or why there is none.
    Summary(Result<Box<Completion>, LlmError>),
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Ask the model. The request holds the tools, their choice and the format; whether deltas are wanted is the driver's.
    CallModel(Box<Request>),
    /// Ask the model for a summary, which is no part of the conversation. Nothing of it is reported.
    Summarize(Box<Request>),
    /// Run these calls, at once if they can be; for some an approval may have to be asked for first ([`Run::is_approved`]).
    CallTools(Vec<ToolCall>),
    /// Nothing is left but calls that wait for approval: store the run, [`Run::approve`] or [`Run::deny`] them, start again.
    Pause(Vec<ToolCall>),
    /// The answer.
    Done(Box<Message>),
}

/// What a tool returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The call's id.
    pub id: String,
    /// What the model gets to read, or see.
    pub content: Content,
    /// The tool failed.
    pub is_error: bool,
}

impl Run {
    /// A run over these messages.
    pub fn new(messages: Vec<Arc<Message>>, options: RunOptions) -> Self {
        let given = messages.len();
        let policy = options.policy(false);
        let context = Context::new(policy, options.context_window, &messages);
        let instructions = messages.iter().take_while(|message| message.role == Role::System).count();
        Self {
            version: stored::VERSION,
            messages,
            given,
            options,
            used: Used::default(),
            usage: None,
            usage_unknown: false,
            invalid_turns: 0,
            repairs: 0,
            choice_told: false,
            answering: false,
            ledger: Vec::new(),
            context,
            kept: instructions,
            state: State::Model,
            reports: Vec::new(),
        }
    }

    /// The whole conversation so far.
    pub fn messages(&self) -> &[Arc<Message>] {
        &self.messages
    }

    /// What the run has added to the conversation.
    pub fn new_messages(&self) -> &[Arc<Message>] {
        self.messages.get(self.given..).unwrap_or_default()
    }

    /// How often the model was asked.
    pub fn turns(&self) -> u32 {
        self.used.turns
    }

    /// What it has used of its limits.
    pub fn used(&self) -> &Used {
        &self.used
    }

    /// The tokens of all turns; `None` if a turn's are not known.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// What was bridged in all turns.
    pub fn ledger(&self) -> &[LedgerEntry] {
        &self.ledger
    }

    /// How far it may go. Who resumes a run may raise a limit that has ended it.
    pub fn limits_mut(&mut self) -> &mut RunLimits {
        &mut self.options.limits
    }

    /// How far it may go.
    pub fn limits(&self) -> &RunLimits {
        &self.options.limits
    }

    /// What its answer must be.
    pub fn output(&self) -> Option<&Output> {
        self.options.output.as_ref()
    }

    /// Whether it has ended with an answer.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes over how many tokens the model's context holds, if nobody has said so yet and it matters.
    pub fn learn_window(&mut self, known: impl FnOnce() -> Option<u64>) {
        if self.context.wants_limit() {
            self.context.set_limit(known());
        }
    }

    /// Counts time that the run has taken; the driver's clock tells.
    pub fn add_seconds(&mut self, seconds: f64) {
        self.used.seconds += seconds.max(0.0);
    }

    /// What is to be told of the steps since the last time: what was bridged, and calls that were not executed.
    pub fn take_reports(&mut self) -> Vec<AgentEvent> {
        std::mem::take(&mut self.reports)
    }

    /// Takes what happened and says what to do next. `offer` holds the tools.
    ///
    /// # Errors
    /// When a limit is reached, when the answer does not become what was asked for, and [`AgentError::Execution`] when
    /// `input` does not fit the state. The run stays as it was, to be looked at, stored, or resumed with other limits.
    pub fn step(&mut self, input: Input, offer: &Offer) -> Result<Step, AgentError> {
        match (input, &mut self.state) {
            (Input::Start, State::Model) => self.ask_model(offer),
            (Input::Start, State::Tools(_)) => self.next_calls(offer),
            (Input::Start, State::Summarizing(cut)) => {
                let cut = cut.clone();
                Ok(self.ask_summary(cut))
            }
            (Input::Failed(error), State::Model) => match self.context.overflow(&self.messages, &error) {
                Some(cut) => {
                    self.used.turns = self.used.turns.saturating_sub(1);
                    self.leave_out(cut, offer)
                }
                None => Err(self.failed(error)),
            },
            (Input::Summary(summary), State::Summarizing(cut)) => {
                let cut = cut.clone();
                self.take_summary(summary, &cut, offer)
            }
            (Input::Refused(problems), State::Done) => self.take_refusal(problems, offer),
            (Input::Completion(completion), State::Model) => self.take_completion(*completion, offer),
            (Input::Held(ids), State::Tools(calls)) => {
                calls.hold(&ids);
                self.next_calls(offer)
            }
            (Input::ToolResults(results), State::Tools(calls)) => {
                for result in results {
                    self.used.tool_errors += u32::from(result.is_error);
                    calls.end(result).map_err(AgentError::Execution)?;
                }
                self.next_calls(offer)
            }
            (Input::Start, State::Done) => {
                Err(AgentError::Execution("this run has ended with an answer; start a new one".to_owned()))
            }
            (_, _) => Err(AgentError::Execution(
                "the run was driven with an input that does not fit its state".to_owned(),
            )),
        }
    }

    fn ask_model(&mut self, offer: &Offer) -> Result<Step, AgentError> {
        let limit = self.options.limits.max_turns;
        if self.used.turns >= limit {
            return Err(AgentError::Recursion { limit, run: self.stored() });
        }
        self.keep_to_limits()?;
        self.check_choice(offer)?;
        self.context.weigh(offer.specs());
        match self.context.near(&self.messages) {
            Some(cut) => self.leave_out(cut, offer),
            None => Ok(self.request(offer)),
        }
    }

    fn request(&mut self, offer: &Offer) -> Step {
        self.used.turns += 1;
        let output = self.options.output.as_ref();
        let mut tools = if self.answering { Vec::new() } else { offer.specs().to_vec() };
        let mut tool_choice = self.options.tool_choice.clone().filter(|choice| {
            // Once a tool has been called, the model may answer.
            *choice == ToolChoice::None || self.used.tool_calls == 0
        });
        let mut response_format = output.map(Output::response_format);
        if self.choice_told && self.unheeded_choice(offer).is_some() {
            // Passed over once. Some servers do so with a name, others beside a format: what can be done without is left out.
            response_format = None;
            if let Some(ToolChoice::Named(name)) = &tool_choice
                && tools.iter().any(|tool| tool.name == *name)
            {
                tools.retain(|tool| tool.name == *name);
                tool_choice = Some(ToolChoice::Required);
            }
        }
        Step::CallModel(Box::new(Request {
            messages: self.context.view(&self.messages).into_owned(),
            tool_choice: tool_choice.filter(|_| !tools.is_empty()),
            tools,
            response_format,
            unchecked: output.is_some(),
            ..Request::default()
        }))
    }

    fn keep_to_limits(&self) -> Result<(), AgentError> {
        match self.used.exceeds(&self.options.limits) {
            Some((limit, message)) => Err(self.over(limit, format!("the run has used {message}"))),
            None => Ok(()),
        }
    }

    fn over(&self, limit: Limit, message: String) -> AgentError {
        AgentError::Limit { limit, message, partial: None, run: self.stored() }
    }

    /// The error of a run whose time is up; the driver looks at the clock. `partial`: what had arrived of an answer.
    pub fn out_of_time(&self, partial: Option<Completion>) -> AgentError {
        let most = self.options.limits.max_seconds.unwrap_or_default();
        let message = format!("the run has taken all of max_seconds={most}");
        let partial = partial.filter(|partial| !partial.is_empty()).map(Box::new);
        AgentError::Limit { limit: Limit::Time, message, partial, run: self.stored() }
    }

    /// For an error: the run as it stands.
    pub(crate) fn stored(&self) -> Box<Self> {
        Box::new(self.clone())
    }

    fn take_completion(&mut self, completion: Completion, offer: &Offer) -> Result<Step, AgentError> {
        self.add_usage(completion.usage);
        self.context.answered(&self.messages, completion.usage.and_then(|usage| usage.prompt_tokens));
        let estimated =
            self.used.count(&self.options.limits, &self.context.view(&self.messages), &completion);
        let mut entries = completion.ledger.clone();
        if estimated {
            entries.push(LedgerEntry::new(Rule::UsageEstimated, ""));
        }
        self.note(entries)?;
        if completion.tool_calls.is_empty() {
            self.take_answer(completion, offer)
        } else {
            self.take_calls(completion, offer)
        }
    }

    /// What a turn needed is told at once and kept for the answer. Where nothing may be bridged, it is an error.
    fn note(&mut self, entries: Vec<LedgerEntry>) -> Result<(), AgentError> {
        if let Some(entry) = entries.first().filter(|_| self.options.strict) {
            return Err(self.failed(entry.clone().into_error()));
        }
        if !entries.is_empty() {
            self.reports.push(AgentEvent::Adaptation { ledger: entries.clone() });
            ledger::merge(&mut self.ledger, entries);
        }
        Ok(())
    }

    fn add_usage(&mut self, usage: Option<Usage>) {
        self.usage_unknown |= usage.is_none();
        self.usage = match (self.usage, usage) {
            _ if self.usage_unknown => None,
            (Some(sum), Some(usage)) => Some(sum.plus(usage)),
            (sum, usage) => usage.or(sum),
        };
    }

    /// The error of a model call that failed in the midst of the run.
    pub fn failed(&self, error: LlmError) -> AgentError {
        AgentError::Llm { error, run: Some(self.stored()) }
    }
}
