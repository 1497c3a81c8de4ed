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
//! | `output` | the answer that must fit a schema |
//! | `calls` | the calls of a turn: refused, held, executed |

mod calls;
mod limits;
mod offer;
mod output;
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
use crate::session::complete_part;

use calls::{Calls, Next};
pub use limits::{Limit, Prices, RunLimits, Used};
pub use offer::Offer;
pub use output::Output;

/// The form in which runs are stored; a program refuses newer ones.
const VERSION: u32 = 1;

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
    /// How many tokens the model's context holds. Default: what a refusal says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
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

/// What a session lacks of a run.
#[derive(Clone, Debug)]
pub struct Unkept {
    /// The messages, to be added as one block.
    pub messages: Vec<Arc<Message>>,
    /// What was learnt about sending the conversation.
    pub learnt: serde_json::Value,
    /// How many messages of the session that speaks of.
    pub seen: usize,
}

impl Run {
    /// A run over these messages.
    pub fn new(messages: Vec<Arc<Message>>, options: RunOptions) -> Self {
        let given = messages.len();
        let policy = options.context_policy.unwrap_or(ContextPolicy::Keep);
        let context = Context::new(policy, options.context_window, &messages);
        let instructions = messages.iter().take_while(|message| message.role == Role::System).count();
        Self {
            version: VERSION,
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

    /// Lets the run continue a session. `offset`: how many of its messages are the agent's own instructions, which the
    /// session does not keep. `history`: what was said in the session before. `learnt`: what
    /// [`take_unkept`](Self::take_unkept) gave the last time.
    pub fn continue_session(
        &mut self,
        offset: usize,
        history: Vec<Arc<Message>>,
        learnt: &serde_json::Value,
        model: &str,
    ) {
        let (offset, count) = (offset.min(self.messages.len()), history.len());
        self.messages.splice(offset..offset, history);
        self.given += count;
        self.kept = offset + count;
        let policy = self.options.context_policy.unwrap_or_default();
        self.context = Context::new(policy, self.options.context_window, &self.messages);
        self.context.resume(offset, learnt, model);
    }

    /// What a session lacks of the run, as far as it is complete: never a call without its results, and nothing before the
    /// model has said something. It counts as kept from now on.
    pub fn take_unkept(&mut self, model: &str) -> Unkept {
        let seen = self.kept.saturating_sub(self.context.offset());
        let messages = complete_part(self.messages.get(self.kept..).unwrap_or_default()).to_vec();
        self.kept += messages.len();
        Unkept { messages, learnt: self.context.to_keep(model), seen }
    }

    /// It could not be kept: it is lacking again.
    pub fn not_kept(&mut self, unkept: &Unkept) {
        self.kept = self.kept.saturating_sub(unkept.messages.len());
    }

    /// Whether leaving out old turns may help against this refusal.
    pub fn may_compact(&self, refusal: &LlmError) -> bool {
        matches!(self.state, State::Model) && self.context.clone().overflow(&self.messages, refusal).is_some()
    }

    /// Takes over what was kept since this copy was made.
    pub(crate) fn kept_as(&mut self, other: &Self) {
        self.kept = other.kept;
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

    /// The calls that wait for approval, in the order of the model.
    pub fn held(&self) -> Vec<ToolCall> {
        match &self.state {
            State::Tools(calls) => calls.held(),
            _ => Vec::new(),
        }
    }

    /// Whether a call was approved, so that it is executed without being asked about.
    pub fn is_approved(&self, id: &str) -> bool {
        matches!(&self.state, State::Tools(calls) if calls.is_approved(id))
    }

    /// Approves the call with that id, or with `None` all that wait.
    ///
    /// # Errors
    /// [`AgentError::Execution`] if none waits under that id.
    pub fn approve(&mut self, id: Option<&str>) -> Result<(), AgentError> {
        self.decide(id, None)
    }

    /// Denies the call with that id, or with `None` all that wait. The model is told the reason and goes on.
    ///
    /// # Errors
    /// [`AgentError::Execution`] if none waits under that id.
    pub fn deny(&mut self, id: Option<&str>, reason: &str) -> Result<(), AgentError> {
        self.decide(id, Some(reason))
    }

    fn decide(&mut self, id: Option<&str>, denied: Option<&str>) -> Result<(), AgentError> {
        let decided = match &mut self.state {
            State::Tools(calls) => calls.decide(id, denied),
            _ => 0,
        };
        match (decided, id) {
            (0, Some(id)) => {
                Err(AgentError::Execution(format!("no call with the id {id:?} waits for approval")))
            }
            (0, None) => Err(AgentError::Execution("no call waits for approval".to_owned())),
            _ => {
                self.used.tool_errors += if denied.is_some() { decided } else { 0 };
                Ok(())
            }
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

    /// The run as JSON. It holds the conversation, and no keys.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A run that was stored.
    ///
    /// # Errors
    /// [`AgentError::Execution`] if it is none, or one of a later version of Loom.
    pub fn from_json(text: &str) -> Result<Self, AgentError> {
        #[derive(Deserialize)]
        struct Head {
            version: Option<u32>,
        }
        let wrong = |error: String| AgentError::Execution(format!("this is no stored run: {error}"));
        let head: Head = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        match head.version {
            None => Err(wrong("it has no version".to_owned())),
            Some(version) if version > VERSION => Err(wrong(format!(
                "it has version {version}, and this Loom knows {VERSION}: use the Loom that stored it, or a newer one"
            ))),
            Some(_) => serde_json::from_str(text).map_err(|error| wrong(error.to_string())),
        }
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
        self.context.weigh(offer.specs());
        match self.context.near(&self.messages) {
            Some(cut) => self.leave_out(cut, offer),
            None => Ok(self.request(offer)),
        }
    }

    fn request(&mut self, offer: &Offer) -> Step {
        self.used.turns += 1;
        let output = self.options.output.as_ref();
        let tools = if self.answering { Vec::new() } else { offer.specs().to_vec() };
        let tool_choice = self.options.tool_choice.clone().filter(|choice| {
            // Once a tool has been called, the model may answer.
            *choice == ToolChoice::None || self.used.tool_calls == 0
        });
        Step::CallModel(Box::new(Request {
            messages: self.context.view(&self.messages).into_owned(),
            tool_choice: tool_choice.filter(|_| !tools.is_empty()),
            tools,
            response_format: output.map(Output::response_format),
            unchecked: output.is_some(),
            ..Request::default()
        }))
    }

    /// Sends less of the conversation from now on, with a summary of what goes if that is wanted.
    fn leave_out(&mut self, cut: Cut, offer: &Offer) -> Result<Step, AgentError> {
        if self.context.policy() == ContextPolicy::Summarize {
            return Ok(self.ask_summary(cut));
        }
        self.compact(&cut, None);
        Ok(self.request(offer))
    }

    fn ask_summary(&mut self, cut: Cut) -> Step {
        let messages = self.context.summary_request(&self.messages, &cut);
        self.state = State::Summarizing(cut);
        Step::Summarize(Box::new(Request { messages, ..Request::default() }))
    }

    fn take_summary(
        &mut self,
        summary: Result<Box<Completion>, LlmError>,
        cut: &Cut,
        offer: &Offer,
    ) -> Result<Step, AgentError> {
        let summary = match summary {
            Ok(completion) => {
                self.add_usage(completion.usage);
                self.used.count(&self.options.limits, &[], &completion);
                Some(completion.content.trim().to_owned())
                    .filter(|text| !text.is_empty())
                    .ok_or_else(|| "the model wrote no summary".to_owned())
            }
            Err(error) => Err(error.message.clone()),
        };
        self.compact(cut, Some(summary));
        self.state = State::Model;
        self.keep_to_limits()?;
        Ok(self.request(offer))
    }

    fn compact(&mut self, cut: &Cut, summary: Option<Result<String, String>>) {
        let compacted = self.context.compact(&self.messages, cut, summary);
        let detail = format!("{} turns, {} messages", compacted.removed_turns, compacted.removed_messages);
        ledger::merge(&mut self.ledger, [LedgerEntry::new(Rule::ContextCompacted, detail)]);
        self.reports.push(AgentEvent::ContextCompacted(compacted));
    }

    fn keep_to_limits(&self) -> Result<(), AgentError> {
        match self.used.exceeds(&self.options.limits) {
            Some((limit, message)) => Err(self.over(limit, format!("the run has used {message}"))),
            None => Ok(()),
        }
    }

    fn over(&self, limit: Limit, message: String) -> AgentError {
        AgentError::Limit { limit, message, run: self.stored() }
    }

    /// The error of a run whose time is up; the driver looks at the clock.
    pub fn out_of_time(&self) -> AgentError {
        let most = self.options.limits.max_seconds.unwrap_or_default();
        self.over(Limit::Time, format!("the run has taken all of max_seconds={most}"))
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
        self.note(entries);
        if completion.tool_calls.is_empty() {
            self.take_answer(completion, offer)
        } else {
            self.take_calls(completion, offer)
        }
    }

    /// What a turn needed is told at once and kept for the answer.
    fn note(&mut self, entries: Vec<LedgerEntry>) {
        if !entries.is_empty() {
            self.reports.push(AgentEvent::Adaptation { ledger: entries.clone() });
            ledger::merge(&mut self.ledger, entries);
        }
    }

    fn take_answer(&mut self, completion: Completion, offer: &Offer) -> Result<Step, AgentError> {
        if let Some(wanted) = self.unheeded_choice(offer) {
            return self.tell_choice(completion, &wanted, offer);
        }
        let mut parsed = None;
        let mut text = None;
        if let Some(output) = &self.options.output {
            match output.read(&completion) {
                Ok((value, extracted)) => (parsed, text) = (Some(value), extracted),
                Err(problems) => {
                    // The format could not be asked for beside the tools, so this turn owes nothing.
                    let is_due = !completion.ledger.iter().any(|entry| entry.rule == Rule::FormatAfterTools);
                    if is_due && self.repairs >= output.max_retries {
                        let text = completion.content.clone();
                        self.messages.push(Arc::new(completion.into()));
                        return Err(AgentError::Output { problems, text, run: self.stored() });
                    }
                    let told = if is_due { output.repair(&problems) } else { output.request() };
                    if is_due {
                        self.repairs += 1;
                        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                        self.note(vec![LedgerEntry::new(Rule::OutputRepaired, problems.join("; "))]);
                    }
                    self.answering = true;
                    return self.ask_again(completion, told, offer);
                }
            }
        }
        let mut message = Message::from(completion);
        if let Some(json) = text {
            self.note(vec![LedgerEntry::new(Rule::JsonExtracted, "")]);
            message.content = Some(Content::Text(json));
        }
        message.parsed = parsed;
        self.state = State::Done;
        self.messages.push(Arc::new(message.clone()));
        message.usage = self.usage;
        message.ledger.clone_from(&self.ledger);
        Ok(Step::Done(Box::new(message)))
    }

    /// Puts an answer that will not do into the conversation, and what is wrong with it.
    fn ask_again(&mut self, completion: Completion, told: String, offer: &Offer) -> Result<Step, AgentError> {
        if !completion.is_empty() {
            self.messages.push(Arc::new(completion.into()));
        }
        self.messages.push(Arc::new(Message::user(told)));
        self.ask_model(offer)
    }

    /// The tool choice that this turn has not kept to.
    fn unheeded_choice(&self, offer: &Offer) -> Option<ToolChoice> {
        let is_open = self.used.tool_calls == 0 && !self.answering && !offer.specs().is_empty();
        self.options
            .tool_choice
            .clone()
            .filter(|choice| is_open && matches!(choice, ToolChoice::Required | ToolChoice::Named(_)))
    }

    fn tell_choice(
        &mut self,
        completion: Completion,
        wanted: &ToolChoice,
        offer: &Offer,
    ) -> Result<Step, AgentError> {
        let what = match wanted {
            ToolChoice::Named(name) => format!("the tool {name:?}"),
            _ => "a tool".to_owned(),
        };
        if self.choice_told {
            self.messages.push(Arc::new(completion.into()));
            return Err(AgentError::ToolChoice {
                message: format!("the model was to call {what} and has not, though it was asked twice"),
                run: self.stored(),
            });
        }
        self.choice_told = true;
        self.note(vec![LedgerEntry::new(Rule::ToolChoiceIgnored, what.clone())]);
        self.ask_again(completion, format!("You must call {what} now. Do not answer yet."), offer)
    }

    fn take_calls(&mut self, completion: Completion, offer: &Offer) -> Result<Step, AgentError> {
        let mut message = Message::from(completion);
        calls::make_ids_unique(&mut message.tool_calls);
        let judged = self.judge(&message, offer);
        message.usage = None;
        self.messages.push(Arc::new(message));
        let (calls, refused) = match judged {
            Ok(calls) => calls,
            Err(over) => return Err(self.over(Limit::RepeatedCalls, over)),
        };
        for result in &refused {
            self.reports.push(result.clone());
        }
        self.used.tool_errors += u32::try_from(refused.len()).unwrap_or(u32::MAX);
        let executable = calls.open();
        self.invalid_turns = if executable == 0 { self.invalid_turns + 1 } else { 0 };
        self.state = State::Tools(calls);
        let limits = &self.options.limits;
        if self.invalid_turns > limits.max_invalid_calls {
            let most = limits.max_invalid_calls;
            return Err(self.over(
                Limit::InvalidCalls,
                format!("the model made nothing but calls that cannot be executed, more than max_invalid_calls={most} turns in a row"),
            ));
        }
        if let Some(most) = limits.max_tool_calls.filter(|most| self.used.tool_calls + executable > *most) {
            return Err(self.over(
                Limit::ToolCalls,
                format!("the model wants {executable} more tool calls beyond max_tool_calls={most}"),
            ));
        }
        self.used.tool_calls += executable;
        self.next_calls(offer)
    }

    /// The calls without a result, or the model's turn once all have one.
    fn next_calls(&mut self, offer: &Offer) -> Result<Step, AgentError> {
        let State::Tools(calls) = &mut self.state else { return self.ask_model(offer) };
        match calls.next() {
            Next::Execute(open) => {
                self.keep_to_limits()?;
                Ok(Step::CallTools(open))
            }
            Next::Wait(held) => Ok(Step::Pause(held)),
            Next::Ended(results) => {
                self.messages.extend(results.into_iter().map(Arc::new));
                self.state = State::Model;
                self.ask_model(offer)
            }
        }
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
