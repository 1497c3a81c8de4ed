//! The calls of a turn: which are executed, which wait for approval, which are refused, and their results.

use std::collections::HashMap;
use std::sync::Arc;

use loom_wire::{Completion, Content, FinishReason, Message, ToolCall, ToolChoice};
use serde::{Deserialize, Serialize};

use super::{Limit, Offer, Run, State, Step, ToolResult};
use crate::agent::error::AgentError;
use crate::agent::event::AgentEvent;

/// The calls of one turn, in the order of the model.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Calls(Vec<Pending>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pending {
    /// With the arguments as the tool takes them.
    call: ToolCall,
    state: CallState,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CallState {
    Open,
    /// Waits for approval.
    Held,
    /// Was approved, and is open.
    Approved,
    Ended(ToolResult),
}

/// What is to be done about them.
enum Next {
    Execute(Vec<ToolCall>),
    Wait(Vec<ToolCall>),
    /// All have ended: the messages that tell the model.
    Ended(Vec<Message>),
}

impl Calls {
    fn next(&mut self) -> Next {
        let open = self.those(|state| matches!(state, CallState::Open | CallState::Approved));
        if !open.is_empty() {
            return Next::Execute(open);
        }
        let held = self.held();
        if !held.is_empty() {
            return Next::Wait(held);
        }
        // Results go back in the order of the calls, whatever order they came in.
        let ended = std::mem::take(&mut self.0).into_iter().filter_map(|pending| match pending.state {
            CallState::Ended(result) => Some(Message::tool(pending.call.id, result.content)),
            CallState::Open | CallState::Held | CallState::Approved => None,
        });
        Next::Ended(ended.collect())
    }

    fn those(&self, fits: impl Fn(&CallState) -> bool) -> Vec<ToolCall> {
        self.0.iter().filter(|pending| fits(&pending.state)).map(|pending| pending.call.clone()).collect()
    }

    pub(super) fn held(&self) -> Vec<ToolCall> {
        self.those(|state| matches!(state, CallState::Held))
    }

    /// How many can be executed.
    fn open(&self) -> u32 {
        let open = self.0.iter().filter(|pending| !matches!(pending.state, CallState::Ended(_))).count();
        u32::try_from(open).unwrap_or(u32::MAX)
    }

    pub(super) fn is_approved(&self, id: &str) -> bool {
        self.0.iter().any(|pending| pending.call.id == id && matches!(pending.state, CallState::Approved))
    }

    pub(super) fn hold(&mut self, ids: &[String]) {
        for pending in &mut self.0 {
            if matches!(pending.state, CallState::Open) && ids.contains(&pending.call.id) {
                pending.state = CallState::Held;
            }
        }
    }

    /// Approves or denies what is held; says how many.
    pub(super) fn decide(&mut self, id: Option<&str>, denied: Option<&str>) -> u32 {
        let mut decided = 0;
        for pending in &mut self.0 {
            if matches!(pending.state, CallState::Held) && id.is_none_or(|id| id == pending.call.id) {
                decided += 1;
                pending.state = match denied {
                    None => CallState::Approved,
                    Some(reason) => {
                        let reason = if reason.is_empty() { "no reason was given" } else { reason };
                        CallState::Ended(refusal(
                            &pending.call,
                            &format!("the user denied this call: {reason}"),
                        ))
                    }
                };
            }
        }
        decided
    }

    /// Takes a result.
    pub(super) fn end(&mut self, result: ToolResult) -> Result<(), String> {
        let open = self.0.iter_mut().find(|pending| {
            matches!(pending.state, CallState::Open | CallState::Approved) && pending.call.id == result.id
        });
        match open {
            None => Err(format!("no open call has the id {:?}", result.id)),
            Some(pending) => {
                pending.state = CallState::Ended(result);
                Ok(())
            }
        }
    }
}

impl Run {
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

    pub(super) fn take_calls(&mut self, completion: Completion, offer: &Offer) -> Result<Step, AgentError> {
        let mut message = Message::from(completion);
        make_ids_unique(&mut message.tool_calls);
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
    pub(super) fn next_calls(&mut self, offer: &Offer) -> Result<Step, AgentError> {
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

    /// Which calls of an answer are executed. What is refused has its result already, and is told as an event.
    ///
    /// # Errors
    /// The model insists on a call that was refused for having been repeated: in words.
    fn judge(&self, answer: &Message, offer: &Offer) -> Result<(Calls, Vec<AgentEvent>), String> {
        let mut refused = Vec::new();
        let mut calls = Vec::with_capacity(answer.tool_calls.len());
        let filtered = answer.finish_reason == Some(FinishReason::ContentFilter);
        for call in &answer.tool_calls {
            let fitting = match self.forbidden(call, filtered) {
                Some(why) => Err(why),
                None => offer.fit(call),
            };
            let fitting = match fitting {
                Ok(fitting) => match self.repeated(call)? {
                    Some(why) => Err(why),
                    None => Ok(fitting),
                },
                Err(why) => Err(why),
            };
            calls.push(match fitting {
                Ok(call) => Pending { call, state: CallState::Open },
                Err(why) => {
                    let result = refusal(call, &why);
                    refused.push(AgentEvent::ToolEnd {
                        id: call.id.clone(),
                        name: call.name.clone(),
                        content: result.content.clone(),
                        is_error: true,
                    });
                    Pending { call: call.clone(), state: CallState::Ended(result) }
                }
            });
        }
        Ok((Calls(calls), refused))
    }

    /// Why no call, or not this one, may be made now.
    fn forbidden(&self, call: &ToolCall, filtered: bool) -> Option<String> {
        let choice = self.options.tool_choice.as_ref();
        if filtered {
            // What the filter stopped may be the very call.
            return Some(
                "the provider's content filter stopped this answer. The tool was not called.".to_owned(),
            );
        }
        match choice {
            Some(ToolChoice::None) => Some("no tool may be called now; answer directly.".to_owned()),
            _ if self.answering => Some("the tools are done; give the answer now.".to_owned()),
            Some(ToolChoice::Named(name)) if self.used.tool_calls == 0 && call.name != *name => {
                Some(format!("the tool {name:?} must be called first. This one was not called."))
            }
            _ => None,
        }
    }

    /// Why a call is not executed again: it was made before, with the same arguments, and the last results were all the same.
    /// Polling something that changes is no repetition.
    ///
    /// # Errors
    /// It was told so already.
    fn repeated(&self, call: &ToolCall) -> Result<Option<String>, String> {
        let most = self.options.limits.max_repeats as usize;
        let arguments = call.arguments_object();
        let mut same = Vec::new();
        let mut results: HashMap<&str, &Option<Content>> = HashMap::new();
        for message in self.new_messages().iter().rev() {
            if let Some(id) = &message.tool_call_id {
                results.insert(id, &message.content);
            }
            for made in message.tool_calls.iter().rev() {
                if made.name == call.name && made.arguments_object() == arguments {
                    same.push(results.get(made.id.as_str()).copied());
                }
            }
        }
        let told = |result: &Option<&Option<Content>>| {
            result.and_then(|content| content.as_ref()).is_some_and(|content| content.text().contains(AGAIN))
        };
        if same.first().is_some_and(told) {
            return Err(format!(
                "the model repeats the call {}({}) although it has the result",
                call.name, call.arguments
            ));
        }
        let alike = same.iter().take_while(|result| Some(*result) == same.first()).count();
        let repeats = most > 0 && alike >= most;
        Ok(repeats.then(|| {
            format!("{AGAIN} {alike} times with the same result. Use that result, or do something else.")
        }))
    }
}

/// What a refused repetition says; it is known by that when it comes again.
const AGAIN: &str = "this call was not executed, since it was made before";

/// A result that says why a call was not executed.
fn refusal(call: &ToolCall, why: &str) -> ToolResult {
    ToolResult { id: call.id.clone(), content: format!("Error: {why}").into(), is_error: true }
}

/// A result is tied to its call by the id, so no two calls of a turn may share one. [`loom_wire`] sees to that; an LLM
/// that users wrote may not.
fn make_ids_unique(calls: &mut [ToolCall]) {
    let mut seen = std::collections::HashSet::new();
    for (at, call) in calls.iter_mut().enumerate() {
        if call.id.is_empty() {
            call.id = format!("call_{at}");
        }
        while !seen.insert(call.id.clone()) {
            call.id.push_str("_again");
        }
    }
}
