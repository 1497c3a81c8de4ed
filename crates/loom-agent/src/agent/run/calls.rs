//! The calls of a turn: which are executed, which wait for approval, which are refused, and their results.

use std::collections::HashMap;

use loom_wire::{Content, FinishReason, Message, ToolCall, ToolChoice};
use serde::{Deserialize, Serialize};

use super::{Offer, Run, ToolResult};
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
pub(super) enum Next {
    Execute(Vec<ToolCall>),
    Wait(Vec<ToolCall>),
    /// All have ended: the messages that tell the model.
    Ended(Vec<Message>),
}

impl Calls {
    pub(super) fn next(&mut self) -> Next {
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
    pub(super) fn open(&self) -> u32 {
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
    /// Which calls of an answer are executed. What is refused has its result already, and is told as an event.
    ///
    /// # Errors
    /// The model insists on a call that was refused for having been repeated: in words.
    pub(super) fn judge(&self, answer: &Message, offer: &Offer) -> Result<(Calls, Vec<AgentEvent>), String> {
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
pub(super) fn make_ids_unique(calls: &mut [ToolCall]) {
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
