//! How to put an answer on the wire: as one completion, or as a stream of chunks.

use serde_json::Value;

use super::plan::{Answer, Call};
use super::request::ChatRequest;
use super::spec::{Calls, LastText, Part, ServerSpec, UsageChunk};
use super::template::{Values, json, text};
use crate::reply::{Framing, Piece, Reply};

/// When every answer was given, in seconds since 1970: the same request gets the same bytes on any day.
pub(super) const CREATED: u64 = 1_700_000_000;

/// The values that belong to the whole answer.
pub(super) fn values(spec: &ServerSpec, request: &ChatRequest, served: &str, answer: &Answer) -> Values {
    let mut values = Values::new(answer.number);
    values.set("n", answer.number);
    let id = text(spec.id, &values);
    let (prompt, completion) = (answer.prompt_tokens, answer.tokens() * request.n);
    values.set("id", id).set("created", CREATED).set("model", request.model.as_str()).set("served", served);
    values.set("finish", finish_reason(spec, answer.finish_reason));
    values
        .set("prompt_tokens", prompt)
        .set("completion_tokens", completion)
        .set("total_tokens", prompt + completion);
    values.set("reasoning_tokens", answer.reasoning.len());
    let stopped = answer.finish_reason == "stop_sequence";
    values.set("stop", request.stop.first().filter(|_| stopped).cloned());
    if let Some(call) = answer.calls.first() {
        values.set("first_tool", call.name.as_str()).set("first_arguments", call.arguments.concat());
    }
    values
}

/// The answer as one `chat.completion`.
pub(super) fn whole(spec: &ServerSpec, request: &ChatRequest, answer: &Answer, values: &Values) -> Reply {
    let said = answer.content.concat();
    let silent = answer.content.is_empty() && !answer.calls.is_empty();
    let mut values = values.with("content", if silent { Value::Null } else { said.clone().into() });
    values.set("text", said);
    values.set("reasoning", Some(answer.reasoning.concat()).filter(|thoughts| !thoughts.is_empty()));
    values = with_calls(spec, answer, &values);
    let choices: Vec<String> =
        (0..request.n).map(|index| json(spec.whole.choice, &values.with("index", index))).collect();
    let body = json(spec.whole.body, &values.with_json("choices", choices.join(",")));
    Reply::new(200)
        .header("content-type", spec.json)
        .then(Piece::Bytes(format!("{}{body}", spec.whole.before).into_bytes()))
}

/// A chunk to be.
#[derive(Clone)]
struct Step {
    part: Part,
    values: Values,
    /// The last of its choice, or of all.
    ends: bool,
}

impl Step {
    fn new(part: Part, values: Values) -> Self {
        Self { part, values, ends: false }
    }

    fn of(self, choice: usize) -> Self {
        Self { values: self.values.with("index", choice), ..self }
    }
}

/// The answer as a stream.
pub(super) fn stream(spec: &ServerSpec, request: &ChatRequest, answer: &Answer, values: &Values) -> Reply {
    let stream = &spec.stream;
    let values = &with_calls(spec, answer, values);
    let steps = choice(spec, request, answer, values);
    let mut steps: Vec<Step> = if stream.one_by_one {
        (0..request.n).flat_map(|index| steps.iter().map(move |step| step.clone().of(index))).collect()
    } else {
        steps.iter().flat_map(|step| (0..request.n).map(|index| step.clone().of(index))).collect()
    };
    let with_usage = match stream.usage.0 {
        UsageChunk::WhenAsked => request.include_usage,
        UsageChunk::Never => false,
        UsageChunk::Always => true,
    };
    if with_usage {
        steps.iter_mut().for_each(|step| step.ends = false);
        let usage = Step::new(stream.usage.1, values.with("index", 0));
        steps.push(Step { ends: true, ..usage });
    }
    let asked = if request.include_usage { stream.asked } else { "" };
    let framed = steps.into_iter().map(|Step { part: (choice, more), values, ends }| {
        let asked = if ends && with_usage { "" } else { asked };
        let tail = if ends { stream.tail } else { "" };
        let more = json(&format!("{more}{asked}{tail}"), &values);
        let values = values.with_json("choice", json(choice, &values)).with_json("more", more);
        json(stream.chunk, &values)
    });

    let opening = stream.opening.iter().map(|chunk| json(chunk, values));
    let (before, after) = stream.event;
    let mut pieces: Vec<String> = stream.comments.iter().map(|comment| (*comment).to_owned()).collect();
    pieces.extend(opening.chain(framed).map(|data| format!("{before}{data}{after}")));
    pieces.push(stream.done.to_owned());
    let reply = Reply::new(200).header("content-type", spec.sse).framing(Framing::Chunked);
    pieces.into_iter().fold(reply, |reply, piece| reply.then(Piece::Bytes(piece.into_bytes())))
}

/// The steps of one choice: what it begins with, the thoughts, the text, the calls, the end.
fn choice(spec: &ServerSpec, request: &ChatRequest, answer: &Answer, values: &Values) -> Vec<Step> {
    let stream = &spec.stream;
    let piece = |part: Part, name: &'static str, piece: &str| Step::new(part, values.with(name, piece));
    let mut steps = Vec::new();
    if !stream.first.0.is_empty() {
        let silent = answer.content.is_empty() && !answer.calls.is_empty();
        let content = if silent { Value::Null } else { "".into() };
        steps.push(Step::new(stream.first, values.with("content", content)));
    }
    steps.extend(answer.reasoning.iter().map(|thought| piece(stream.reasoning, "reasoning", thought)));

    let held_back =
        request.tools.is_empty() && (answer.finish_reason == "length" || !request.stop.is_empty());
    let joins = |when: LastText| answer.calls.is_empty() && (held_back || when == LastText::Always);
    let joined = stream.last_text.filter(|(when, _)| joins(*when)).map(|(_, part)| part);
    let (texts, last) = match answer.content.split_last() {
        Some((last, texts)) if joined.is_some() => (texts, last.as_str()),
        _ => (answer.content.as_slice(), ""),
    };
    steps.extend(texts.iter().map(|token| piece(stream.text, "text", token)));
    for (index, call) in answer.calls.iter().enumerate() {
        steps.extend(fragments(stream.calls, index, call, answer, values));
    }
    let end = match (joined, stream.calls) {
        (Some(part), _) => piece(part, "text", last),
        (None, Calls::InFinish(part)) if !answer.calls.is_empty() => Step::new(part, values.clone()),
        _ => Step::new(stream.finish, values.clone()),
    };
    steps.push(Step { ends: true, ..end });
    steps
}

fn fragments(calls: Calls, index: usize, call: &Call, answer: &Answer, values: &Values) -> Vec<Step> {
    let values = call_values(index, call, answer, values);
    let piece = |part: Part, arguments: String| Step::new(part, values.with("arguments", arguments));
    match calls {
        Calls::Fragments { first, more, begun } => {
            let begun = usize::from(begun).min(call.arguments.len());
            let (start, rest) = call.arguments.split_at_checked(begun).unwrap_or_default();
            let rest = rest.iter().map(|arguments| piece(more, arguments.clone()));
            std::iter::once(piece(first, start.concat())).chain(rest).collect()
        }
        Calls::Whole(part) => vec![piece(part, call.arguments.concat())],
        Calls::InFinish(_) => Vec::new(),
    }
}

fn call_values(index: usize, call: &Call, answer: &Answer, values: &Values) -> Values {
    let mut values = values.reseeded(answer.number.wrapping_mul(1000).wrapping_add(index as u64 + 1));
    values.set("call_index", index).set("call_id", call.id.as_str()).set("tool", call.name.as_str());
    values.set("arguments", call.arguments.concat());
    values
}

fn with_calls(spec: &ServerSpec, answer: &Answer, values: &Values) -> Values {
    if answer.calls.is_empty() {
        return values.with("calls", Value::Null);
    }
    let calls = answer.calls.iter().enumerate();
    let calls: Vec<String> =
        calls.map(|(index, call)| json(spec.whole.call, &call_values(index, call, answer, values))).collect();
    values.with_json("calls", format!("[{}]", calls.join(",")))
}

fn finish_reason(spec: &ServerSpec, ours: &'static str) -> &'static str {
    let row = spec.finish.iter().find(|(known, _)| *known == ours);
    row.map_or_else(
        || match ours {
            "stop_sequence" => "stop",
            "tool_calls_named" => "tool_calls",
            other => other,
        },
        |(_, theirs)| *theirs,
    )
}
