//! One typed, lenient pass over a chunk of a stream or over a whole answer: the two differ only in where the text is.
//!
//! What most chunks lack is boxed, since each struct is moved several times while it is read.
//!
//! Known fields are read, unknown ones skipped unread. A defect inside a known field is an error, with the place.

use std::borrow::Cow;

use serde_json::Value;

use crate::event::Usage;
use crate::ledger::{Ledger, Rule};
use crate::lenient::{Arguments, Aside, Int, Label, Reason, Said, Text, lenient_struct};
use crate::list::List;

lenient_struct! {
    /// A chunk (`choices[].delta`) or a whole answer (`choices[].message`).
    pub struct Chunk<'a> {
        /// The server's id of the completion; may be empty, may change.
        pub id: Label<'a> = "id",
        /// The model that answers.
        pub model: Label<'a> = "model",
        /// The choices; `None` if the key is missing or null, which tells an answer from something else.
        pub choices: Option<List<Choice<'a>>> = "choices",
        /// Tokens used.
        pub usage: Aside<WireUsage> = "usage",
        /// An error beside or instead of the rest; it wins over everything else.
        pub error: Option<Value> = "error",
        /// Groq's extras, which hold a usage too.
        pub x_groq: Aside<Extras> = "x_groq",
    }
}

lenient_struct! {
    /// Groq's extras.
    pub struct Extras {
        /// Tokens used.
        pub usage: Aside<WireUsage> = "usage",
    }
}

lenient_struct! {
    /// One of the alternatives that were asked for (`n`).
    pub struct Choice<'a> {
        /// Which alternative; missing means the first.
        pub index: Int = "index",
        /// What a chunk adds.
        pub delta: Option<Delta<'a>> = "delta",
        /// The whole message.
        pub message: Option<Box<Delta<'a>>> = "message",
        /// The text of the older completions format, which counts where there is no message (Together sends it beside one).
        pub text: Said<'a> = "text",
        /// Why the choice ended.
        pub finish_reason: Reason<'a> = "finish_reason",
        /// An error of this choice (OpenRouter).
        pub error: Option<Value> = "error",
        /// Tokens used (Kimi puts them here).
        pub usage: Aside<WireUsage> = "usage",
    }
}

lenient_struct! {
    /// A message or a piece of one.
    pub struct Delta<'a> {
        /// The answer's text, or parts.
        pub content: Said<'a> = "content",
        /// Thinking (DeepSeek, SGLang, llama.cpp, Qwen, Kimi, Zhipu).
        pub reasoning_content: Said<'a> = "reasoning_content",
        /// Thinking (vLLM from 0.16, Ollama, Groq, OpenRouter).
        pub reasoning: Said<'a> = "reasoning",
        /// OpenRouter's record of the thinking, which it wants back as it is.
        pub reasoning_details: Option<Value> = "reasoning_details",
        /// What the model says when it refuses.
        pub refusal: Text<'a> = "refusal",
        /// Calls, whole or in pieces.
        pub tool_calls: List<CallFragment<'a>> = "tool_calls",
        /// An error, in gateways that put it where the answer would go.
        pub error: Option<Box<Value>> = "error",
        /// The older form of a call; a server that sends both means one.
        pub function_call: Option<Box<FunctionFragment<'a>>> = "function_call",
    }
}

lenient_struct! {
    /// A tool call or a piece of one.
    pub struct CallFragment<'a> {
        /// Which call of the answer.
        pub index: Int = "index",
        /// The call's id.
        pub id: Text<'a> = "id",
        /// Name and arguments.
        pub function: FunctionFragment<'a> = "function",
        /// The name, in servers that leave the nesting out.
        pub name: Text<'a> = "name",
        /// The arguments, in servers that leave the nesting out.
        pub arguments: Arguments<'a> = "arguments",
        /// The arguments, as Anthropic names them.
        pub input: Arguments<'a> = "input",
        /// What Gemini wants back with the call.
        pub extra_content: Option<Value> = "extra_content",
    }
}

lenient_struct! {
    /// Name and arguments of a call, or a piece of them.
    pub struct FunctionFragment<'a> {
        /// The tool's name.
        pub name: Text<'a> = "name",
        /// JSON text, or the object itself.
        pub arguments: Arguments<'a> = "arguments",
        /// The arguments, as Llama and Cohere name them.
        pub parameters: Arguments<'a> = "parameters",
    }
}

lenient_struct! {
    /// Token counts.
    pub struct WireUsage {
        /// Tokens of the prompt.
        pub prompt_tokens: Int = "prompt_tokens",
        /// Tokens of the answer.
        pub completion_tokens: Int = "completion_tokens",
        /// All.
        pub total_tokens: Int = "total_tokens",
        /// OpenAI's details of the prompt.
        pub prompt_details: Aside<UsageDetails> = "prompt_tokens_details",
        /// OpenAI's details of the answer.
        pub completion_details: Aside<UsageDetails> = "completion_tokens_details",
        /// Tokens of the prompt, as Anthropic and OpenAI's Responses name them.
        pub input_tokens: Int = "input_tokens",
        /// Tokens of the answer, as the same name them.
        pub output_tokens: Int = "output_tokens",
        /// Cached tokens, as DeepSeek names them.
        pub cache_hit: Int = "prompt_cache_hit_tokens",
        /// Cached tokens, as Kimi and Together name them.
        pub cached: Int = "cached_tokens",
        /// Thinking, as SGLang names it.
        pub reasoning: Int = "reasoning_tokens",
    }
}

lenient_struct! {
    /// Parts of a token count.
    pub struct UsageDetails {
        /// From the cache.
        pub cached: Int = "cached_tokens",
        /// Thinking.
        pub reasoning: Int = "reasoning_tokens",
    }
}

impl CallFragment<'_> {
    /// Brings name and arguments to their usual place, from wherever the server put them.
    pub fn bring_in(&mut self) {
        if self.function.name.filled().is_none() {
            self.function.name = std::mem::take(&mut self.name);
        }
        for other in [&mut self.arguments, &mut self.function.parameters, &mut self.input] {
            if self.function.arguments == Arguments::Absent {
                self.function.arguments = std::mem::take(other);
            }
        }
    }

    /// Whether it says nothing of a call, once its parts are brought in.
    pub fn says_nothing(&self) -> bool {
        let Self { id, function, extra_content, .. } = self;
        id.filled().is_none()
            && function.name.filled().is_none()
            && matches!(&function.arguments, Arguments::Absent)
            && extra_content.is_none()
    }
}

impl FunctionFragment<'_> {
    /// Bytes of name and arguments.
    pub fn size(&self) -> usize {
        let arguments = match &self.arguments {
            Arguments::Absent => 0,
            Arguments::Text(text) => text.len(),
            Arguments::Json(text) => text.len(),
        };
        self.name.as_str().len() + arguments
    }
}

impl Chunk<'_> {
    /// Whether it can be only a piece of an answer, or an error under its usual key. Without choices it may be an error in
    /// another shape.
    pub fn is_answer(&self) -> bool {
        self.error.as_ref().is_some_and(is_error)
            || self.choices.as_ref().is_some_and(|list| !list.0.is_empty() || self.usage.value.is_some())
    }
}

impl Choice<'_> {
    /// Whether nothing is in it that belongs to an answer, as in `{"index": 0}` or in Azure's results of its filter.
    pub fn says_nothing(&self) -> bool {
        self.delta.is_none()
            && self.message.is_none()
            && self.text.text.filled().is_none()
            && self.finish_reason == Reason::Absent
            && self.error.is_none()
            && self.usage.value.is_none()
    }
}

impl Delta<'_> {
    /// Whether there is text, thinking, a refusal or a call in it.
    pub fn says_something(&self) -> bool {
        let said = |said: &Said<'_>| {
            said.text.filled().or(said.thinking.filled()).is_some() || !said.refusal.is_empty()
        };
        said(&self.content)
            || said(&self.reasoning_content)
            || said(&self.reasoning)
            || self.refusal.filled().is_some()
            || !self.tool_calls.0.is_empty()
            || self.function_call.as_ref().is_some_and(|function| function.size() > 0)
    }
}

impl WireUsage {
    /// The counts that can be true. Negative and odd ones are unknown and go into the ledger.
    pub fn known(&self, ledger: &mut Ledger) -> Option<Usage> {
        for (name, int) in [
            ("prompt_tokens", self.prompt_tokens),
            ("completion_tokens", self.completion_tokens),
            ("total_tokens", self.total_tokens),
        ] {
            if int.is_no_count() {
                ledger.note(Rule::UsageInvalid, name);
            }
        }
        let cached =
            |details: &Aside<UsageDetails>| details.value.as_ref().and_then(|details| details.cached.count());
        let reasoning = |details: &Aside<UsageDetails>| {
            details.value.as_ref().and_then(|details| details.reasoning.count())
        };
        let usage = Usage {
            prompt_tokens: self.prompt_tokens.count().or_else(|| self.input_tokens.count()),
            completion_tokens: self.completion_tokens.count().or_else(|| self.output_tokens.count()),
            total_tokens: self.total_tokens.count(),
            cached_tokens: cached(&self.prompt_details)
                .or_else(|| self.cache_hit.count())
                .or_else(|| self.cached.count()),
            reasoning_tokens: reasoning(&self.completion_details).or_else(|| self.reasoning.count()),
        };
        (!usage.is_unknown()).then_some(usage)
    }
}

/// Whether an `error` value says that something failed: `null`, `false`, `0`, `""`, the same as words, and what holds nothing
/// else do not.
pub fn is_error(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => {
            !["", "null", "none", "false"].iter().any(|no| text.trim().eq_ignore_ascii_case(no))
        }
        Value::Object(fields) => fields.values().any(is_error),
        Value::Array(items) => items.iter().any(is_error),
    }
}

/// Bytes as text; what is not UTF-8 becomes U+FFFD and is noted.
pub fn text<'a>(bytes: &'a [u8], ledger: &mut Ledger) -> Cow<'a, str> {
    // Checked first: the lossy conversion looks at every byte by itself.
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    ledger.note(Rule::InvalidUtf8, "in the answer");
    String::from_utf8_lossy(bytes)
}
