//! What to say: words, JSON or tool calls, as the request alone decides.

use serde_json::{Value, json};

use super::history::{is_from, text};
use super::invent;
use super::obey;
use super::request::{ChatRequest, Format, Tool, ToolChoice};
use super::spec::{FormatOver, ServerSpec};
use super::template::{self, Values};
use super::turn::Said;

/// How many characters of JSON make a token.
const JSON_TOKEN: usize = 8;

/// One answer, in the tokens in which a stream sends it.
#[derive(Debug)]
pub(super) struct Answer {
    /// The number of the answer, for ids.
    pub(super) number: u64,
    pub(super) reasoning: Vec<String>,
    pub(super) content: Vec<String>,
    pub(super) calls: Vec<Call>,
    /// Why it ends, in our own words: see [`ServerSpec::finish`].
    pub(super) finish_reason: &'static str,
    pub(super) prompt_tokens: usize,
}

/// A call of a tool.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
}

impl Answer {
    /// The tokens of one choice: those of the content, one for the name of each call, and those of its
    /// arguments.
    pub(super) fn tokens(&self) -> usize {
        self.content.len() + self.calls.iter().map(|call| 1 + call.arguments.len()).sum::<usize>()
    }

    /// What a script says.
    fn say(&mut self, said: &Said, request: &ChatRequest, spec: &ServerSpec) {
        self.reasoning = words(&said.reasoning);
        self.content = words(&said.content);
        let calls = said.tool_calls.iter().enumerate();
        self.calls =
            calls.map(|(index, (name, arguments))| call(spec, name, arguments, self.number, index)).collect();
        self.finish_reason =
            said.finish_reason.unwrap_or(match (self.calls.is_empty(), &request.tool_choice) {
                (true, _) => "stop",
                (false, ToolChoice::Named(_)) => "tool_calls_named",
                (false, _) => "tool_calls",
            });
    }

    /// What follows from the request.
    fn invent(&mut self, request: &ChatRequest, spec: &ServerSpec, user: &str) {
        if request.thinks {
            self.reasoning = words(&format!("The user says \"{user}\". I answer."));
        }
        let must_call = matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
        let no_room = match spec.format_over {
            FormatOver::Nothing => false,
            FormatOver::FreeCalls => !must_call,
            FormatOver::AllCalls => true,
        } && !matches!(request.format, Format::Text);
        let called = if no_room { Vec::new() } else { called_tools(request, user) };
        if spec.calls_in_text && !called.is_empty() {
            let calls =
                called.iter().map(|tool| (tool.name.as_str(), invent::object(&tool.parameters, user)));
            self.content = words(&obey::calls(calls));
            return;
        }
        if !called.is_empty() {
            let named = matches!(request.tool_choice, ToolChoice::Named(_));
            self.finish_reason = if named { "tool_calls_named" } else { "tool_calls" };
            let arguments = |tool: &Tool| invent::object(&tool.parameters, user).to_string();
            let calls = called.into_iter().enumerate();
            self.calls = calls
                .map(|(index, tool)| call(spec, &tool.name, &arguments(tool), self.number, index))
                .collect();
            return;
        }
        if let Some(written) = prompted_calls(request, user) {
            self.content = words(&written);
            return;
        }
        let prompted = obey::format(request);
        // A prompt may say more than `json_object` does: by which schema.
        let format = match &request.format {
            Format::Text | Format::JsonObject => prompted.as_ref().unwrap_or(&request.format),
            format => format,
        };
        let whole = match format {
            Format::Text => sentence(request, user),
            Format::JsonObject => json!({"answer": echo(user)}).to_string(),
            Format::JsonSchema(schema) => invent::value(schema, user).to_string(),
        };
        let said = before_stop(&whole, &request.stop);
        if said.len() < whole.len() {
            self.finish_reason = "stop_sequence";
        }
        self.content = if matches!(format, Format::Text) { words(said) } else { json_tokens(said) };
    }

    /// What a server says that cut a prompt which fills the context: nothing, for there is no room.
    pub(super) fn overflow(&mut self, context: usize) {
        self.prompt_tokens = context.saturating_sub(1);
        self.reasoning.clear();
        self.content.clear();
        self.calls.clear();
        self.finish_reason = "length";
    }

    /// Cuts the answer where its tokens run out, even in the middle of the arguments of a call.
    fn limit(&mut self, max_tokens: usize) {
        if self.tokens() <= max_tokens {
            return;
        }
        self.finish_reason = "length";
        self.content.truncate(max_tokens);
        let mut left = max_tokens - self.content.len();
        self.calls.retain_mut(|call| {
            if left == 0 {
                return false;
            }
            left -= 1;
            call.arguments.truncate(left);
            left -= call.arguments.len();
            true
        });
    }
}

/// The answer to a request; `number` makes its ids unique. A turn of a script comes before what the request asks for.
pub(super) fn answer(request: &ChatRequest, spec: &ServerSpec, number: u64, turn: Option<&Said>) -> Answer {
    let user =
        request.messages.iter().rfind(|message| is_from(message, "user")).map(text).unwrap_or_default();
    let mut answer = Answer {
        number,
        reasoning: Vec::new(),
        content: Vec::new(),
        calls: Vec::new(),
        finish_reason: "stop",
        prompt_tokens: prompt_tokens(&request.messages),
    };
    match turn {
        Some(said) => answer.say(said, request, spec),
        None => answer.invent(request, spec, &user),
    }
    if let Some(max_tokens) = request.max_tokens {
        answer.limit(max_tokens);
    }
    answer
}

/// The tokens of a prompt: its words.
pub(super) fn prompt_tokens(messages: &[Value]) -> usize {
    messages.iter().map(|message| text(message).split_whitespace().count()).sum()
}

/// The tools to call now. Only what the user says leads to a call: the result of one leads to words, lest the
/// agent at the other end go on for ever. Where only one call may be made at a time, the next follows the result of the last.
fn called_tools<'a>(request: &'a ChatRequest, user: &str) -> Vec<&'a Tool> {
    if !request.messages.last().is_some_and(|message| is_from(message, "user")) {
        return if request.parallel_tool_calls { Vec::new() } else { next_tool(request, user) };
    }
    let tools = request.tools.iter();
    let mut called: Vec<&Tool> = match &request.tool_choice {
        ToolChoice::None => Vec::new(),
        ToolChoice::Named(name) => tools.filter(|tool| tool.name == *name).take(1).collect(),
        ToolChoice::Required => {
            let meant = request.tools.iter().find(|tool| is_mentioned(&tool.name, user));
            meant.into_iter().chain(tools).take(1).collect()
        }
        ToolChoice::Auto => {
            let told = obey::must_call(request, &request.tools);
            let mut called: Vec<&Tool> = tools.filter(|tool| is_mentioned(&tool.name, user)).collect();
            if called.is_empty() {
                called.extend(told);
            }
            called
        }
    };
    if !request.parallel_tool_calls {
        called.truncate(1);
    }
    called
}

/// The first tool that the user has mentioned and that was not called since. Without a choice: a required one was made.
fn next_tool<'a>(request: &'a ChatRequest, user: &str) -> Vec<&'a Tool> {
    if !matches!(request.tool_choice, ToolChoice::Auto) {
        return Vec::new();
    }
    let since = request.messages.iter().rev().take_while(|message| !is_from(message, "user"));
    let calls = since.filter_map(|message| message.get("tool_calls").and_then(Value::as_array)).flatten();
    let called: Vec<&str> =
        calls.filter_map(|call| call.pointer("/function/name").and_then(Value::as_str)).collect();
    let open = |tool: &&Tool| is_mentioned(&tool.name, user) && !called.contains(&tool.name.as_str());
    request.tools.iter().filter(open).take(1).collect()
}

/// The calls of tools that the prompt describes, as text.
fn prompted_calls(request: &ChatRequest, user: &str) -> Option<String> {
    let asks = request.messages.last().is_some_and(|message| is_from(message, "user"));
    if !asks || !obey::results(request).is_empty() {
        return None;
    }
    let tools = obey::tools(request);
    let mut called: Vec<&Tool> = tools.iter().filter(|tool| is_mentioned(&tool.name, user)).collect();
    if called.is_empty() {
        called.extend(obey::must_call(request, &tools));
    }
    let calls = called.iter().map(|tool| (tool.name.as_str(), invent::object(&tool.parameters, user)));
    (!called.is_empty()).then(|| obey::calls(calls))
}

/// Whether the text contains the name of the tool, or a word of more than three letters in it: `get_weather`
/// is meant by "weather", but not by "get".
fn is_mentioned(name: &str, text: &str) -> bool {
    let (name, text) = (name.to_lowercase(), text.to_lowercase());
    text.contains(&name) || name.split(['_', '-']).any(|word| word.chars().count() > 3 && text.contains(word))
}

fn call(spec: &ServerSpec, name: &str, arguments: &str, number: u64, index: usize) -> Call {
    let mut values = Values::new(number.wrapping_mul(1000).wrapping_add(index as u64 + 1));
    values.set("n", number).set("i", index).set("tool", name);
    let arguments = if arguments == "{}" { spec.no_arguments } else { arguments };
    Call {
        id: template::text(spec.call_id, &values),
        name: name.to_owned(),
        arguments: json_tokens(arguments),
    }
}

fn sentence(request: &ChatRequest, user: &str) -> String {
    let results = request.messages.iter().rev().take_while(|message| is_from(message, "tool"));
    let mut results: Vec<String> =
        results.map(|result| format!("{} says: {}", tool_name(request, result), text(result))).collect();
    results.reverse();
    results.extend(obey::results(request));
    if results.is_empty() { echo(user) } else { results.join("\n") }
}

fn echo(user: &str) -> String {
    format!("You said: \"{user}\". This answer comes from Loom's emulated endpoint.")
}

/// The name of the tool whose result this is: the result has the id of the call only, the call has the name.
fn tool_name<'a>(request: &'a ChatRequest, result: &Value) -> &'a str {
    let id = result.get("tool_call_id");
    request
        .messages
        .iter()
        .rev()
        .filter_map(|message| message.get("tool_calls").and_then(Value::as_array))
        .flatten()
        .find(|call| call.get("id") == id)
        .and_then(|call| call.pointer("/function/name").and_then(Value::as_str))
        .unwrap_or("The tool")
}

/// The text up to the first of the stop sequences, which is not part of the answer.
fn before_stop<'a>(text: &'a str, stop: &[String]) -> &'a str {
    stop.iter()
        .filter(|sequence| !sequence.is_empty())
        .filter_map(|sequence| text.split_once(sequence.as_str()).map(|(before, _)| before))
        .min_by_key(|before| before.len())
        .unwrap_or(text)
}

/// The words of a text, each with the white space before it, so that together they are the text.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut in_word = true;
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if !(in_word && c.is_whitespace()) => word.push(c),
            _ => words.push(c.to_string()),
        }
        in_word = !c.is_whitespace();
    }
    words
}

fn json_tokens(json: &str) -> Vec<String> {
    let characters: Vec<char> = json.chars().collect();
    characters.chunks(JSON_TOKEN).map(|token| token.iter().collect()).collect()
}
