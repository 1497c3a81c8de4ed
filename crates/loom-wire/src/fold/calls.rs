//! The calls of an answer under way: which fragment belongs to which call, and what the calls are at the end.

use std::collections::HashSet;

use serde_json::Map;
use serde_json::Value;

use crate::arguments;
use crate::chunk::{CallFragment, FunctionFragment};
use crate::fold::json_size;
use crate::fold::message::Place;
use crate::ledger::{Ledger, Rule};
use crate::lenient::{Arguments, Text};
use crate::text::calls::WrittenCall;
use crate::tool::ToolCall;

/// The calls under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<CallUnderWay>,
    /// The older form, which servers send beside the calls or instead of them.
    function_call: CallUnderWay,
    /// Bytes taken in.
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
    /// It stood in the text and did not end.
    cut: bool,
    /// It stood in the text, and its arguments were not quite JSON.
    repaired: bool,
}

impl Calls {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether none was begun, in the older form neither.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.function_call.name.is_empty()
    }

    /// The arguments of the first, as far as they have come.
    pub(super) fn first_arguments(&self) -> &str {
        self.calls.first().map(|call| call.arguments.as_str()).unwrap_or_default()
    }

    /// How many bytes they hold.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Adds the fragments of one delta, or the calls of one message.
    pub(super) fn add(&mut self, fragments: Vec<CallFragment<'_>>, place: Place, ledger: &mut Ledger) {
        let before = self.calls.len();
        let mut touched = None;
        for (position, mut fragment) in fragments.into_iter().enumerate() {
            fragment.bring_in();
            if fragment.says_nothing() {
                continue;
            }
            if place == Place::Message && self.has_grown(position, &mut fragment, before) {
                continue;
            }
            touched = Some(self.add_fragment(fragment, (before, touched, place), ledger));
        }
    }

    /// Whether a call of a message is one that an earlier message held, too, by its id, its index or else its place: what
    /// is new in it is then added. `before` is the number of calls before this message.
    fn has_grown(&mut self, position: usize, fragment: &mut CallFragment<'_>, before: usize) -> bool {
        let known = self.calls.get_mut(..before).unwrap_or_default();
        let with = |test: &dyn Fn(&CallUnderWay) -> bool| known.iter().rposition(test);
        let in_place = |id: &str| known.get(position).is_some_and(|call| call.id == id).then_some(position);
        let at = match (fragment.id.filled(), fragment.index.value) {
            // An id may come late.
            (Some(id), _) => in_place(id).or_else(|| with(&|call| call.id == id)).or_else(|| in_place("")),
            (None, Some(index)) => with(&|call| call.index == Some(index)),
            (None, None) => Some(position),
        };
        let name = fragment.function.name.filled().unwrap_or_default().trim();
        let may_be = |call: &CallUnderWay| call.name == name || call.name.is_empty() || name.is_empty();
        let Some(call) = at.and_then(|at| known.get_mut(at)).filter(|call| may_be(call)) else {
            return false;
        };
        let (now, is_text) = match &fragment.function.arguments {
            Arguments::Text(text) => (text.as_ref(), true),
            Arguments::Json(json) => (json.as_str(), false),
            Arguments::Absent => ("", true),
        };
        let value = |text: &str| serde_json::from_str::<Value>(text).ok();
        let more = match now.strip_prefix(call.arguments.as_str()).filter(|_| is_text) {
            Some(more) => more,
            None if now.is_empty() && name.is_empty() => "",
            None if value(now).is_some_and(|now| value(&call.arguments) == Some(now)) => "",
            // The same call as a whole once more: the last one counts.
            None if is_text
                && fragment.id.filled() == Some(&call.id)
                && call.is_complete()
                && arguments::is_complete(now) =>
            {
                call.arguments.clear();
                now
            }
            None => return false,
        };
        call.arguments.push_str(more);
        self.held += more.len();
        for (kept, new) in [(&mut call.name, name), (&mut call.id, fragment.id.as_str())] {
            if kept.is_empty() {
                kept.push_str(new);
                self.held += new.len();
            }
        }
        if let Some(extra) = fragment.extra_content.take() {
            self.held += json_size(&extra);
            call.extra.insert("extra_content".to_owned(), extra);
        }
        true
    }

    /// Adds to the call in the older form.
    pub(super) fn add_function(&mut self, function: FunctionFragment<'_>, ledger: &mut Ledger) {
        self.held += function.size();
        add_function(&mut self.function_call, function, ledger);
    }

    /// Adds the calls that stood in the text; those that the server has sent as calls, too, are not added again.
    pub(super) fn add_written(&mut self, written: Vec<WrittenCall>) {
        let same = |arguments: &str| serde_json::from_str::<Value>(arguments).ok();
        let sent = self.calls.len();
        for call in written {
            let known = self.calls.iter().take(sent).any(|other| {
                other.name == call.name
                    && same(&other.arguments).is_some_and(|value| Some(value) == same(&call.arguments))
            });
            if !known {
                let WrittenCall { id, name, arguments, cut, repaired } = call;
                let call = CallUnderWay { id, name, arguments, cut, repaired, ..CallUnderWay::default() };
                self.calls.push(call);
            }
        }
    }

    /// Adds a fragment to the call it belongs to and returns that call's position.
    ///
    /// `before` is the number of calls before this delta, `touched` the call that the delta's last fragment went to. The
    /// calls of messages have no index.
    fn add_fragment(
        &mut self,
        fragment: CallFragment<'_>,
        (before, touched, place): (usize, Option<usize>, Place),
        ledger: &mut Ledger,
    ) -> usize {
        let CallFragment { index, id, function, extra_content, .. } = fragment;
        let index = index.value;
        let at = self.find_call(index, &id, &function, before, touched).unwrap_or_else(|| {
            if place == Place::Delta && (index.is_none() || self.calls.iter().any(|call| call.index == index))
            {
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
            // Another id is another call; an id that comes late belongs to the call that has none. Without a name, under
            // the same index and where arguments are still to come, it is one more id of the same call (vLLM has sent a
            // new one with each piece).
            let names_one = function.name.filled().is_some();
            let goes_on = index.is_some() && !names_one && !call.is_complete();
            return (goes_on || (call.id.is_empty() && (call.name.is_empty() || !names_one))).then_some(at);
        }
        // A name may come behind its arguments, where they came without one.
        let starts_anew = function.name.filled().filter(|_| !call.name.is_empty()).is_some_and(|name| {
            // A second entry of one delta with a name is a second call; so is a name after complete arguments,
            // and, without an index, another name.
            (index.is_none() && at >= before && touched.is_some())
                || call.is_complete()
                || (index.is_none() && !call.name.is_empty() && call.name != name)
        });
        (!starts_anew).then_some(at)
    }

    /// The calls, complete. `cut` is why the answer was cut off, if it was; `answer_id` is the answer's.
    pub(super) fn take(
        &mut self,
        cut: Option<&'static str>,
        answer_id: &str,
        ledger: &mut Ledger,
    ) -> Vec<ToolCall> {
        let mut under_way = std::mem::take(&mut self.calls);
        if under_way.is_empty() && !self.function_call.name.is_empty() {
            under_way.push(std::mem::take(&mut self.function_call));
        }
        under_way.retain(|call| !call.name.is_empty() || !call.arguments.trim().is_empty());
        // Of an answer that was cut off, the last call may lack what would have followed, its arguments entirely.
        let last = under_way.len().saturating_sub(1);
        let mut seen = HashSet::new();
        let mut calls = Vec::with_capacity(under_way.len());
        for (position, call) in under_way.into_iter().enumerate() {
            let cut = cut.filter(|_| call.cut || position == last && !call.is_complete());
            let (text, invalid) = match (arguments::normalise(&call.arguments), cut) {
                (_, Some(why)) => (call.arguments, Some(why.to_owned())),
                (Ok((text, rule)), None) => {
                    if let Some(rule) = rule.or(call.repaired.then_some(Rule::ArgumentsRepaired)) {
                        ledger.note(rule, call.name.as_str());
                    }
                    (text, None)
                }
                (Err(reason), None) => (call.arguments, Some(reason)),
            };
            let id = unique_id(call.id, answer_id, position, &seen, ledger);
            seen.insert(id.clone());
            calls.push(ToolCall { id, name: call.name, arguments: text, invalid, extra: call.extra });
        }
        calls
    }
}

/// An id that is unique in the answer: the server's where it is one, else one made from the answer's own id,
/// so that a replay gives the same.
fn unique_id(
    given: String,
    answer_id: &str,
    position: usize,
    seen: &HashSet<String>,
    ledger: &mut Ledger,
) -> String {
    if !given.is_empty() && !seen.contains(&given) {
        return given;
    }
    let rule = if given.is_empty() { Rule::ToolCallIdMade } else { Rule::ToolCallIdDuplicate };
    let tail: String = answer_id.chars().filter(char::is_ascii_alphanumeric).collect();
    let tail = tail.get(tail.len().saturating_sub(8)..).unwrap_or_default();
    let mut id = format!("call_{tail}{position}");
    while seen.contains(&id) {
        id.push('x');
    }
    ledger.note(rule, id.as_str());
    id
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
        Arguments::Text(text) => {
            // An empty object before the pieces of the arguments, as gateways make it of Anthropic's `"input": {}`.
            if call.arguments.trim() == "{}" && text.trim_start().starts_with('{') {
                ledger.note(Rule::ArgumentsRepaired, "an empty object before the arguments");
                call.arguments.clear();
                call.whole = false;
            }
            call.arguments.push_str(&text);
        }
        Arguments::Json(json) => {
            ledger.note(Rule::ArgumentsObject, call.name.as_str());
            call.arguments = json;
            call.whole = true;
        }
    }
}
