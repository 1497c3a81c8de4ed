//! The run of an agent as a state machine without IO: [`Run::step`] takes what happened and says what to do next.
//!
//! It can be stored between any two steps and resumed by another process. The driver does the IO: see `driver`, and
//! `python/loom/_agent.py` for Python's.

use std::sync::Arc;

use loom_wire::{Completion, FinishReason, LedgerEntry, Message, Request, ToolCall, ToolSpec, Usage};
use serde::{Deserialize, Serialize};

use crate::agent::error::AgentError;

/// How many turns a run may take unless told otherwise.
pub const DEFAULT_MAX_TURNS: u32 = 20;

/// A run: its transcript and where it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    messages: Vec<Arc<Message>>,
    /// How many of the messages were there when it started.
    given: usize,
    max_turns: u32,
    turns: u32,
    /// The sum over the turns; `None` before the first and when a turn's is unknown.
    usage: Option<Usage>,
    usage_unknown: bool,
    /// What was bridged in all turns.
    #[serde(default)]
    ledger: Vec<LedgerEntry>,
    state: State,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// The model's turn.
    Model,
    /// Calls under way: each with its result once it has one.
    Tools(Vec<(ToolCall, Option<ToolResult>)>),
    Done,
}

/// What happened since the last step.
#[derive(Clone, Debug)]
pub enum Input {
    /// Nothing yet; also after a stored run was loaded: the step under way is given again.
    Start,
    /// The model answered.
    Completion(Box<Completion>),
    /// Tools returned, in any order.
    ToolResults(Vec<ToolResult>),
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Ask the model. The tools, their choice and the format are the driver's to add.
    CallModel(Box<Request>),
    /// Run these calls, at once if they can be.
    CallTools(Vec<ToolCall>),
    /// The answer.
    Done(Box<Message>),
}

/// What a tool returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The call's id.
    pub id: String,
    /// What the model gets to read.
    pub content: String,
    /// The tool failed.
    pub is_error: bool,
}

impl Run {
    /// A run over these messages.
    pub fn new(messages: Vec<Arc<Message>>, max_turns: u32) -> Self {
        let given = messages.len();
        Self {
            messages,
            given,
            max_turns,
            turns: 0,
            usage: None,
            usage_unknown: false,
            ledger: Vec::new(),
            state: State::Model,
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
        self.turns
    }

    /// Takes what happened and says what to do next. `tools` are those on offer.
    ///
    /// # Errors
    /// [`AgentError::Recursion`] when the model wants another turn beyond the limit, [`AgentError::Execution`] when
    /// `input` does not fit the state.
    pub fn step(&mut self, input: Input, tools: &[ToolSpec]) -> Result<Step, AgentError> {
        match (input, &mut self.state) {
            (Input::Start, State::Model) => self.ask_model(),
            (Input::Start, State::Tools(_)) => self.next_calls(),
            (Input::Completion(completion), State::Model) => self.take_completion(*completion, tools),
            (Input::ToolResults(results), State::Tools(calls)) => {
                for result in results {
                    let open = calls.iter_mut().find(|(call, done)| done.is_none() && call.id == result.id);
                    let Some(slot) = open else {
                        return Err(AgentError::Execution(format!(
                            "no open call has the id {:?}",
                            result.id
                        )));
                    };
                    slot.1 = Some(result);
                }
                self.next_calls()
            }
            (_, _) => Err(AgentError::Execution(
                "the run was driven with an input that does not fit its state".into(),
            )),
        }
    }

    fn ask_model(&mut self) -> Result<Step, AgentError> {
        if self.turns >= self.max_turns {
            return Err(AgentError::Recursion { limit: self.max_turns, transcript: self.messages.clone() });
        }
        self.turns += 1;
        Ok(Step::CallModel(Box::new(Request { messages: self.messages.clone(), ..Request::default() })))
    }

    fn take_completion(&mut self, completion: Completion, tools: &[ToolSpec]) -> Result<Step, AgentError> {
        self.add_usage(completion.usage);
        loom_wire::ledger::merge(&mut self.ledger, completion.ledger.iter().cloned());
        let mut message = Message::from(completion);
        if message.tool_calls.is_empty() {
            self.state = State::Done;
            self.messages.push(Arc::new(message.clone()));
            message.usage = self.usage;
            message.ledger.clone_from(&self.ledger);
            return Ok(Step::Done(Box::new(message)));
        }
        make_ids_unique(&mut message.tool_calls);
        let stopped = message.finish_reason == Some(FinishReason::ContentFilter);
        let refuse = |call: &ToolCall, tools: &[ToolSpec]| match stopped {
            // What the filter stopped may be the very call.
            true => Some(not_executed(call, "the provider's content filter stopped this answer")),
            false => refuse(call, tools),
        };
        let calls = message.tool_calls.iter().map(|call| (call.clone(), refuse(call, tools))).collect();
        self.state = State::Tools(calls);
        message.usage = None;
        self.messages.push(Arc::new(message));
        self.next_calls()
    }

    /// The calls without a result, or the model's turn once all have one.
    fn next_calls(&mut self) -> Result<Step, AgentError> {
        let State::Tools(calls) = &mut self.state else { return self.ask_model() };
        let open: Vec<ToolCall> =
            calls.iter().filter(|(_, result)| result.is_none()).map(|(call, _)| call.clone()).collect();
        if !open.is_empty() {
            return Ok(Step::CallTools(open));
        }
        // Results go back in the order of the calls, whatever order they came in.
        for (call, result) in std::mem::take(calls) {
            let content = result.map(|result| result.content).unwrap_or_default();
            self.messages.push(Arc::new(Message::tool(call.id, content)));
        }
        self.state = State::Model;
        self.ask_model()
    }

    fn add_usage(&mut self, usage: Option<Usage>) {
        self.usage_unknown |= usage.is_none();
        self.usage = match (self.usage, usage) {
            _ if self.usage_unknown => None,
            (Some(sum), Some(usage)) => Some(sum.plus(usage)),
            (sum, usage) => usage.or(sum),
        };
    }
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

fn not_executed(call: &ToolCall, why: &str) -> ToolResult {
    let content = format!("Error: {why}. The tool was not called.");
    ToolResult { id: call.id.clone(), content, is_error: true }
}

/// Why a call is not executed, as a result that the model can act on; `None` if it is.
fn refuse(call: &ToolCall, tools: &[ToolSpec]) -> Option<ToolResult> {
    let known = tools.iter().any(|tool| tool.name == call.name);
    let why = match &call.invalid {
        Some(reason) => {
            format!("Error: {reason}. The tool was not called; call it again with valid JSON arguments.")
        }
        None if known => return None,
        None => {
            let names = tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ");
            let names =
                if names.is_empty() { "there are none".to_owned() } else { format!("there are: {names}") };
            format!("Error: there is no tool called {:?}; {names}.", call.name)
        }
    };
    Some(ToolResult { id: call.id.clone(), content: why, is_error: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(names: &[(&str, &str)]) -> Completion {
        Completion {
            tool_calls: names
                .iter()
                .enumerate()
                .map(|(at, (name, arguments))| ToolCall::new(format!("c{at}"), *name, arguments))
                .collect(),
            finish_reason: Some(FinishReason::ToolCalls),
            ..Completion::default()
        }
    }

    fn result(id: &str, content: &str) -> ToolResult {
        ToolResult { id: id.into(), content: content.into(), is_error: false }
    }

    fn start(max_turns: u32) -> Run {
        Run::new(vec![Arc::new(Message::user("hi"))], max_turns)
    }

    #[test]
    fn what_the_content_filter_stopped_is_not_executed() {
        let tools = [ToolSpec::new("a", "")];
        let mut run = start(5);
        run.step(Input::Start, &tools).unwrap();
        let stopped =
            Completion { finish_reason: Some(FinishReason::ContentFilter), ..calls(&[("a", "{}")]) };
        let step = run.step(Input::Completion(Box::new(stopped)), &tools);
        assert!(matches!(step, Ok(Step::CallModel(_))), "the model is told instead");
    }

    #[test]
    fn a_stored_run_goes_on_where_it_stood_and_results_keep_the_order_of_the_calls() {
        let tools = [ToolSpec::new("a", ""), ToolSpec::new("b", "")];
        let mut run = start(5);
        assert!(matches!(run.step(Input::Start, &tools), Ok(Step::CallModel(_))));
        let answer = calls(&[("a", "{}"), ("nope", "{}"), ("b", "{\"x\":"), ("b", "{}")]);
        let Ok(Step::CallTools(open)) = run.step(Input::Completion(Box::new(answer)), &tools) else {
            panic!()
        };
        assert_eq!(open.iter().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["c0", "c3"]);
        run.step(Input::ToolResults(vec![result("c3", "three")]), &tools).unwrap();

        let stored = serde_json::to_string(&run).unwrap();
        let mut run: Run = serde_json::from_str(&stored).unwrap();
        let Ok(Step::CallTools(open)) = run.step(Input::Start, &tools) else { panic!() };
        assert_eq!(open.len(), 1);
        let Ok(Step::CallModel(request)) = run.step(Input::ToolResults(vec![result("c0", "zero")]), &tools)
        else {
            panic!()
        };
        let said: Vec<String> = request.messages.iter().skip(2).map(|message| message.text()).collect();
        assert_eq!(said[0], "zero");
        assert!(said[1].contains("there are: a, b"));
        assert!(said[2].contains("cut off"));
        assert_eq!(said[3], "three");
        let done = Completion { content: "fine".into(), ..Completion::default() };
        let Ok(Step::Done(message)) = run.step(Input::Completion(Box::new(done)), &tools) else { panic!() };
        assert_eq!(message.text(), "fine");
        assert_eq!(run.new_messages().len(), 6);
    }

    #[test]
    fn the_limit_ends_a_run_and_keeps_the_transcript() {
        let tools = [ToolSpec::new("a", "")];
        let mut run = start(1);
        run.step(Input::Start, &tools).unwrap();
        run.step(Input::Completion(Box::new(calls(&[("a", "{}")]))), &tools).unwrap();
        match run.step(Input::ToolResults(vec![result("c0", "x")]), &tools) {
            Err(AgentError::Recursion { limit: 1, transcript }) => assert_eq!(transcript.len(), 3),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn usage_is_the_sum_of_the_turns_and_unknown_if_one_is() {
        let tools = [ToolSpec::new("a", "")];
        let usage = |n| {
            Some(Usage {
                prompt_tokens: Some(n),
                completion_tokens: Some(1),
                total_tokens: Some(n + 1),
                ..Usage::default()
            })
        };
        for (second, expected) in [(usage(5), Some(8)), (None, None)] {
            let mut run = start(5);
            run.step(Input::Start, &tools).unwrap();
            run.step(
                Input::Completion(Box::new(Completion { usage: usage(3), ..calls(&[("a", "{}")]) })),
                &tools,
            )
            .unwrap();
            run.step(Input::ToolResults(vec![result("c0", "x")]), &tools).unwrap();
            let last = Completion { content: "x".into(), usage: second, ..Completion::default() };
            let Ok(Step::Done(message)) = run.step(Input::Completion(Box::new(last)), &tools) else {
                panic!()
            };
            assert_eq!(message.usage.and_then(|usage| usage.prompt_tokens), expected);
        }
    }
}
