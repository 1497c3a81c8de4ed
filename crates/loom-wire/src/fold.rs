//! The fold: chunks in, [`Event`]s out, and the state that a cut-off answer leaves behind.
//!
//! Rules where servers differ: an error wins over the rest of its chunk; `""`, `null` and missing mean the same for
//! ids, names and finish reasons; two calls are two calls even with one index or none; names never grow by
//! concatenation; the last usage counts, and usages are never summed.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::api_error::ApiError;
use crate::arguments;
use crate::chunk::{CallFragment, Choice, Chunk, Delta, FunctionFragment, WireUsage};
use crate::event::{Event, Finish, FinishReason, Usage};
use crate::ledger::{Ledger, Rule};
use crate::lenient::{Arguments, Reason, Said, Text};
use crate::tool::ToolCall;

/// The state of an answer under way.
#[derive(Debug, Default)]
pub struct Fold {
    model: String,
    id: String,
    calls: Vec<CallUnderWay>,
    function_call: CallUnderWay,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
    empty_finish: bool,
    refusal: String,
    reasoning_details: Vec<Value>,
    /// An answer was seen: at least one chunk with choices.
    begun: bool,
    /// A delta has brought text or calls.
    said_by_deltas: bool,
    /// Bytes taken in that wait for the end: calls, refusal, details.
    held: usize,
}

#[derive(Debug, Default)]
struct CallUnderWay {
    index: Option<i64>,
    id: String,
    name: String,
    arguments: String,
    /// The arguments came as a value and not as text: nothing can follow.
    whole: bool,
    extra: Map<String, Value>,
}

/// The most calls that one answer may hold.
pub const MAX_TOOL_CALLS: usize = 512;

impl Fold {
    /// Adds a chunk or a whole answer. Events go to `out`; an error that the chunk carries is returned, and
    /// everything that came before stays.
    pub fn absorb(
        &mut self,
        chunk: Chunk<'_>,
        ledger: &mut Ledger,
        out: &mut Vec<Event>,
    ) -> Result<(), ApiError> {
        if self.model.is_empty() {
            self.model.push_str(chunk.model.as_str());
        }
        if self.id.is_empty() {
            self.id.push_str(chunk.id.as_str());
        }
        for usage in [chunk.x_groq.usage, chunk.usage].into_iter().flatten() {
            self.set_usage(&usage, ledger);
        }
        if let Some(error) = chunk.error.filter(crate::chunk::is_error) {
            return Err(ApiError::from_error_value(&error));
        }
        for choice in chunk.choices.map(|list| list.0).unwrap_or_default() {
            self.begun = true;
            if choice.index.value.is_some_and(|index| index > 0) {
                ledger.note(Rule::ExtraChoice, "only the first choice is delivered");
                continue;
            }
            self.absorb_choice(choice, ledger, out)?;
        }
        Ok(())
    }

    /// Whether any chunk held a choice.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the server said why the answer ended.
    pub fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether finish reasons were seen, but only ever as `""`.
    pub fn only_empty_finish(&self) -> bool {
        self.finish.is_none() && self.empty_finish
    }

    /// Whether the token limit ended the answer, and no call was begun.
    pub fn ran_out_of_tokens(&self) -> bool {
        self.finish == Some(FinishReason::Length)
            && self.calls.is_empty()
            && self.function_call.name.is_empty()
    }

    /// The usage so far.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// How many bytes wait here for the end of the answer.
    pub fn held(&self) -> usize {
        self.held
    }

    /// What the model said when it refused.
    pub fn refusal(&self) -> Option<&str> {
        (!self.refusal.is_empty()).then_some(&self.refusal)
    }

    /// The closing events: calls, usage, finish.
    pub fn close(&mut self, request_id: Option<String>, ledger: &mut Ledger, out: &mut Vec<Event>) {
        let calls = self.take_calls(ledger);
        match (&self.finish, calls.is_empty()) {
            (Some(FinishReason::ToolCalls), true) => {
                ledger.note(Rule::ToolCallsMissing, "taken as stop");
                self.finish = Some(FinishReason::Stop);
            }
            (Some(FinishReason::Stop) | None, false) => {
                ledger.note(Rule::FinishReasonOverCalls, "there are tool calls");
                self.finish = Some(FinishReason::ToolCalls);
            }
            _ => {}
        }
        if !calls.is_empty() {
            out.push(Event::ToolCalls { tool_calls: calls });
        }
        if let Some(usage) = self.usage {
            out.push(Event::Usage(usage));
        }
        let mut extra = Map::new();
        if !self.reasoning_details.is_empty() {
            let details = std::mem::take(&mut self.reasoning_details);
            extra.insert("reasoning_details".to_owned(), Value::Array(details));
        }
        let filled = |text: &mut String| Some(std::mem::take(text)).filter(|text| !text.is_empty());
        out.push(Event::Finish(Box::new(Finish {
            finish_reason: self.finish.take(),
            model: filled(&mut self.model),
            id: filled(&mut self.id),
            request_id,
            refusal: filled(&mut self.refusal),
            content: None,
            queue_seconds: None,
            ledger: ledger.take(),
            extra,
        })));
    }

    fn set_usage(&mut self, usage: &WireUsage, ledger: &mut Ledger) {
        if let Some(usage) = usage.known(ledger) {
            self.usage = Some(usage);
        }
    }

    fn absorb_choice(
        &mut self,
        choice: Choice<'_>,
        ledger: &mut Ledger,
        out: &mut Vec<Event>,
    ) -> Result<(), ApiError> {
        if let Some(usage) = &choice.usage {
            self.set_usage(usage, ledger);
        }
        if let Some(error) = choice.error.filter(crate::chunk::is_error) {
            return Err(ApiError::from_error_value(&error));
        }
        // Perplexity sends a growing `message` beside each `delta`: the delta is the one to add, and a message that
        // comes alone after deltas with text repeats them.
        match (choice.delta, choice.message) {
            (Some(delta), _) => {
                self.said_by_deltas |= delta.says_something();
                self.absorb_delta(delta, false, ledger, out)?;
            }
            (None, Some(message)) if !self.said_by_deltas => self.absorb_delta(message, true, ledger, out)?,
            (None, Some(message)) if self.calls.is_empty() => {
                let calls = Delta { tool_calls: message.tool_calls, ..Delta::default() };
                self.absorb_delta(calls, true, ledger, out)?;
            }
            (None, _) => {}
        }
        match choice.finish_reason {
            Reason::Absent => {}
            Reason::Empty => self.empty_finish = true,
            Reason::Given(word) => {
                if let Some(failure) = ApiError::from_finish_reason(&word) {
                    return Err(failure);
                }
                let (reason, renamed) = FinishReason::from_wire(&word);
                if renamed {
                    ledger.note(Rule::FinishReasonRenamed, word);
                }
                self.finish = Some(reason);
            }
        }
        Ok(())
    }

    fn absorb_delta(
        &mut self,
        delta: Delta<'_>,
        whole: bool,
        ledger: &mut Ledger,
        out: &mut Vec<Event>,
    ) -> Result<(), ApiError> {
        let details = match delta.reasoning_details {
            Some(Value::Array(details)) => details,
            _ => Vec::new(),
        };
        self.add_reasoning(&delta.reasoning_content, &delta.reasoning, &delta.content, &details, out);
        self.held += details.iter().map(json_size).sum::<usize>();
        self.reasoning_details.extend(details);
        push_text(delta.content.text, out, |content| Event::ContentDelta { content });
        if let Some(refusal) = delta.refusal.filled() {
            self.held += refusal.len();
            self.refusal.push_str(refusal);
        }
        if let Some(function) = delta.function_call {
            self.held += function.size();
            add_function(&mut self.function_call, function, ledger);
        }
        let before = self.calls.len();
        let mut touched = None;
        for fragment in delta.tool_calls.0 {
            if self.calls.len() >= MAX_TOOL_CALLS {
                return Err(ApiError::beyond_limit(format!(
                    "the answer holds more than {MAX_TOOL_CALLS} tool calls"
                )));
            }
            touched = Some(self.add_fragment(fragment, (before, touched, whole), ledger));
        }
        Ok(())
    }

    /// vLLM 0.11–0.15 sends the same thinking under both names; others use one of them.
    fn add_reasoning(
        &self,
        reasoning_content: &Said<'_>,
        reasoning: &Said<'_>,
        content: &Said<'_>,
        details: &[Value],
        out: &mut Vec<Event>,
    ) {
        let field = |said: &Said<'_>| said.text.filled().or(said.thinking.filled()).map(str::to_owned);
        let in_details = || {
            let text = |detail: &Value| {
                ["text", "summary"].iter().find_map(|key| Some(detail.get(key)?.as_str()?.to_owned()))
            };
            Some(details.iter().filter_map(text).collect::<String>()).filter(|text| !text.is_empty())
        };
        for text in [
            field(reasoning_content).or_else(|| field(reasoning)).or_else(in_details),
            content.thinking.filled().map(str::to_owned),
        ]
        .into_iter()
        .flatten()
        {
            out.push(Event::ReasoningDelta { content: text });
        }
    }

    /// Adds a fragment to the call it belongs to and returns that call's position.
    ///
    /// `before` is the number of calls before this delta, `touched` the call that the delta's last fragment went to,
    /// `whole` says that the fragments are whole calls, which have no index.
    fn add_fragment(
        &mut self,
        fragment: CallFragment<'_>,
        (before, touched, whole): (usize, Option<usize>, bool),
        ledger: &mut Ledger,
    ) -> usize {
        let CallFragment { index, id, mut function, name, arguments, extra_content } = fragment;
        let index = index.value;
        if function.name.filled().is_none() {
            function.name = name;
        }
        if function.arguments == Arguments::Absent {
            function.arguments = arguments;
        }
        let at = self.find_call(index, &id, &function, before, touched).unwrap_or_else(|| {
            if !whole && (index.is_none() || self.calls.iter().any(|call| call.index == index)) {
                ledger.note(Rule::ToolCallIndex, "missing or shared by two calls");
            }
            self.calls.push(CallUnderWay { index, ..CallUnderWay::default() });
            self.calls.len() - 1
        });
        if let Some(call) = self.calls.get_mut(at) {
            if call.id.is_empty() {
                call.id.push_str(id.as_str());
                self.held += id.as_str().len();
            }
            self.held += function.size();
            add_function(call, function, ledger);
            if let Some(extra) = extra_content {
                self.held += json_size(&extra);
                call.extra.insert("extra_content".to_owned(), extra);
            }
        }
        at
    }

    /// The call that a fragment continues, or `None` if it starts one.
    fn find_call(
        &self,
        index: Option<i64>,
        id: &Text<'_>,
        function: &FunctionFragment<'_>,
        before: usize,
        touched: Option<usize>,
    ) -> Option<usize> {
        let with = |test: &dyn Fn(&CallUnderWay) -> bool| self.calls.iter().rposition(test);
        // The same id is the same call, whatever the index says (llama-cpp-python repeats id and name). Several
        // fragments of one delta that share an id are several calls (Kimi and proxies with constant ids).
        if let Some(id) = id.filled() {
            let same = with(&|call| call.id == id && (index.is_none() || call.index == index));
            if let Some(at) = same {
                let repeated_whole = touched.is_some_and(|last| last >= at)
                    && function.name.filled().is_some()
                    && self.calls.get(at).is_some_and(CallUnderWay::is_complete);
                return (!repeated_whole).then_some(at);
            }
        }
        let at = match index {
            Some(_) => with(&|call| call.index == index)?,
            None => self.calls.len().checked_sub(1)?,
        };
        let call = self.calls.get(at)?;
        if id.filled().is_some() {
            // Another id is another call; an id that comes late belongs to the call that has none.
            let names_another = function.name.filled().is_some() && !call.name.is_empty();
            return (call.id.is_empty() && !names_another).then_some(at);
        }
        let starts_anew = function.name.filled().is_some_and(|name| {
            // A second entry of one delta with a name is a second call; so is a name after complete arguments,
            // and, without an index, another name.
            (index.is_none() && at >= before && touched.is_some())
                || call.is_complete()
                || (index.is_none() && !call.name.is_empty() && call.name != name)
        });
        (!starts_anew).then_some(at)
    }

    fn take_calls(&mut self, ledger: &mut Ledger) -> Vec<ToolCall> {
        let mut under_way = std::mem::take(&mut self.calls);
        if under_way.is_empty() && !self.function_call.name.is_empty() {
            under_way.push(std::mem::take(&mut self.function_call));
        }
        under_way.retain(|call| !call.name.is_empty() || !call.arguments.trim().is_empty());
        // Cut by the token limit, the last call may lack what would have followed, its arguments entirely.
        let cut = self.finish == Some(FinishReason::Length);
        let last = under_way.len().saturating_sub(1);
        let mut seen = HashSet::new();
        let mut calls = Vec::with_capacity(under_way.len());
        for (position, call) in under_way.into_iter().enumerate() {
            let is_cut = cut && position == last && !call.is_complete();
            let (text, invalid) = match arguments::normalise(&call.arguments) {
                _ if is_cut => {
                    let why = "the call was cut off by the token limit (finish_reason \"length\")";
                    (call.arguments, Some(why.to_owned()))
                }
                Ok((text, rule)) => {
                    if let Some(rule) = rule {
                        ledger.note(rule, call.name.as_str());
                    }
                    (text, None)
                }
                Err(reason) => (call.arguments, Some(reason)),
            };
            let id = self.unique_id(call.id, position, &seen, ledger);
            seen.insert(id.clone());
            calls.push(ToolCall { id, name: call.name, arguments: text, invalid, extra: call.extra });
        }
        calls
    }

    /// An id that is unique in the answer: the server's where it is one, else one made from the answer's own id,
    /// so that a replay gives the same.
    fn unique_id(
        &self,
        given: String,
        position: usize,
        seen: &HashSet<String>,
        ledger: &mut Ledger,
    ) -> String {
        if !given.is_empty() && !seen.contains(&given) {
            return given;
        }
        let rule = if given.is_empty() { Rule::ToolCallIdMade } else { Rule::ToolCallIdDuplicate };
        let tail: String = self.id.chars().filter(char::is_ascii_alphanumeric).collect();
        let tail = tail.get(tail.len().saturating_sub(8)..).unwrap_or_default();
        let mut id = format!("call_{tail}{position}");
        while seen.contains(&id) {
            id.push('x');
        }
        ledger.note(rule, id.as_str());
        id
    }
}

/// About how much memory a value takes.
fn json_size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 32,
        Value::Array(items) => items.iter().map(json_size).sum::<usize>() + 32,
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| key.len() + json_size(value)).sum::<usize>() + 32
        }
        _ => 32,
    }
}

impl CallUnderWay {
    fn is_complete(&self) -> bool {
        self.whole || arguments::is_complete(&self.arguments)
    }
}

fn add_function(call: &mut CallUnderWay, function: FunctionFragment<'_>, ledger: &mut Ledger) {
    // The first name stands: servers repeat it on each fragment.
    if call.name.is_empty() {
        call.name.push_str(function.name.as_str().trim());
    }
    match function.arguments {
        Arguments::Absent => {}
        Arguments::Text(text) => call.arguments.push_str(&text),
        Arguments::Json(json) => {
            ledger.note(Rule::ArgumentsObject, call.name.as_str());
            call.arguments = json;
            call.whole = true;
        }
    }
}

fn push_text(text: Text<'_>, out: &mut Vec<Event>, event: impl FnOnce(String) -> Event) {
    if !text.0.is_empty() {
        out.push(event(text.0.into_owned()));
    }
}
