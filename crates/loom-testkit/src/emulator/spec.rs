//! A server as data: where it listens, what it refuses in which words, and how it frames its answers.
//!
//! The texts of a [`ServerSpec`] are templates, written as what they stand for is seen on the wire; see
//! [`template`](super::template) for the gaps. A server is a file of [`servers`](crate::servers) with one spec,
//! made from that of a relative: `ServerSpec { name: "mine", …, ..OPENAI }`.
//!
//! | gap | is |
//! |---|---|
//! | `id`, `created`, `model`, `served` | of the answer: its id, when, the model asked for, the model served |
//! | `prompt_tokens`, `completion_tokens`, `total_tokens` | the usage |
//! | `index`, `finish` | of a choice: its number, its finish reason |
//! | `content`, `text` | the whole text, `null` or `""` beside calls; in a stream both are the piece |
//! | `reasoning` | the thoughts or a piece of them; null if there are none |
//! | `calls` | the whole calls, null if there are none |
//! | `stop` | the stop sequence that was found, or null |
//! | `first_tool`, `first_arguments` | of the first call, for the legacy `function_call` |
//! | `call_index`, `call_id`, `tool`, `arguments` | of a call; the arguments are whole, or a piece of them |
//! | `message`, `type`, `param`, `code`, `status` | of an error; empty ones are null |
//! | `number` | the code if it is a number, else the status |
//! | `models`, `tool`, `value`, `context`, `max_tokens`, `method`, `path` | in the message of an error |

use super::rules::When;

/// How one server behaves.
#[derive(Debug, Clone, Copy)]
pub struct ServerSpec {
    /// What `loom emulate` calls it.
    pub name: &'static str,
    /// What people call it, with the version that is emulated if that matters.
    pub title: &'static str,
    /// Where what the spec says was seen or read.
    pub sources: &'static [&'static str],
    /// What stands before `/chat/completions` and `/models`.
    pub base: &'static str,
    /// What else may stand there; `*` is one part of the path, the name of the model.
    pub bases: &'static [&'static str],
    /// The model that is served unless others are named; `""`: none.
    pub model: &'static str,
    /// The most tokens of prompt and answer together.
    pub context: usize,
    /// Headers of all answers; templates of plain text.
    pub headers: &'static [(&'static str, &'static str)],
    /// Headers of the answers that are no errors, besides.
    pub ok_headers: &'static [(&'static str, &'static str)],
    /// The content type of JSON.
    pub json: &'static str,
    /// The content type of streams.
    pub sse: &'static str,
    /// Who is let in, once a key is set.
    pub keys: Keys,
    /// Other pages.
    pub pages: &'static [Page],
    /// `GET …/models`.
    pub models: Models,
    /// The body of an error: a template of JSON.
    pub error: &'static str,
    /// The answer to a path that is not served.
    pub not_found: Refusal,
    /// The answer to a method that the path has not; `None`: as if the path were not served.
    pub wrong_method: Option<Refusal>,
    /// Whether requests must be right by OpenAI's rules, which are looked at before those below.
    pub strict: bool,
    /// What is refused, first match first.
    pub rules: &'static [(When, Refusal)],
    /// Parameters that are taken and not heeded. `"tool_choice={}"`: only if it is an object;
    /// `"tool_choice=required"`: only if it is this text.
    pub ignores: &'static [&'static str],
    /// A prompt that is too long is cut instead of refused.
    pub truncates: bool,
    /// Where the body may hold a schema for the answer, beside `response_format`: JSON pointers.
    pub grammars: &'static [&'static str],
    /// Which calls a format leaves no room for.
    pub format_over: FormatOver,
    /// Calls stay in the text, as the model wrote them in Hermes' form.
    pub calls_in_text: bool,
    /// Whether several tools may be called at once unless the request says so.
    pub parallel_calls: bool,
    /// The finish reasons that are not OpenAI's: `("tool_calls", "stop")`. Ours are `stop`, `stop_sequence`, `length`,
    /// `tool_calls`, `tool_calls_named`; without a row they are `stop`, `stop`, `length`, `tool_calls`, `tool_calls`.
    pub finish: &'static [(&'static str, &'static str)],
    /// The id of an answer: a template of plain text; `{n}` is the number of the answer.
    pub id: &'static str,
    /// The id of a call; `{i}` is the number of the call in the answer.
    pub call_id: &'static str,
    /// The arguments of a call that needs none.
    pub no_arguments: &'static str,
    /// A whole answer.
    pub whole: Whole,
    /// A streamed answer.
    pub stream: Stream,
}

/// Who is let in, once a key is set.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// The headers that may carry the key, and what stands before it there; none: a key is never asked for.
    pub headers: &'static [(&'static str, &'static str)],
    /// Paths that need none.
    pub open: &'static [&'static str],
    /// The answer without a key.
    pub missing: Refusal,
    /// The answer to a wrong one.
    pub wrong: Refusal,
}

/// `GET …/models`.
#[derive(Debug, Clone, Copy)]
pub struct Models {
    /// The list, with the gap `entries`.
    pub list: &'static str,
    /// One model, with the gap `id`.
    pub entry: &'static str,
    /// Whether `GET …/models/NAME` is served, too.
    pub single: bool,
}

/// Another page: `GET /version`.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The path.
    pub path: &'static str,
    /// The status.
    pub status: u16,
    /// The body, a template; its beginning tells what it is.
    pub body: &'static str,
}

/// An answer that is no completion.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) param: &'static str,
    pub(crate) code: &'static str,
    pub(crate) body: Option<&'static str>,
    pub(crate) streamed: Option<&'static str>,
    pub(crate) is_crash: bool,
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

/// A refusal with this status and this message, a template of plain text.
pub const fn refuse(status: u16, message: &'static str) -> Refusal {
    Refusal {
        status,
        message,
        kind: "",
        param: "",
        code: "",
        body: None,
        streamed: None,
        is_crash: false,
        headers: &[],
    }
}

impl Refusal {
    /// The error's type.
    pub const fn kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    /// The error's parameter; a template of plain text.
    pub const fn param(self, param: &'static str) -> Self {
        Self { param, ..self }
    }

    /// The error's code.
    pub const fn code(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    /// Another body than that of the server's errors: a template of JSON, or a text or a page, as its beginning tells.
    pub const fn body(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    /// What is sent with status 200 in the place of a stream: the exact events, a template of JSON.
    pub const fn streamed(self, events: &'static str) -> Self {
        Self { streamed: Some(events), ..self }
    }

    /// The code broke: of the headers of all answers only `server` is left, which the HTTP server adds.
    pub const fn crash(self) -> Self {
        Self { is_crash: true, ..self }
    }

    /// Headers of this answer; templates of plain text.
    pub const fn headers(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }
}

/// A whole answer; templates of JSON.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// The body, with the gap `choices`.
    pub body: &'static str,
    /// A choice.
    pub choice: &'static str,
    /// A call in the gap `calls`.
    pub call: &'static str,
    /// What is sent before the body, to keep the connection alive.
    pub before: &'static str,
}

/// A part of a stream: the choice, and what comes after the choices in its chunk.
pub type Part = (&'static str, &'static str);

/// A streamed answer; templates of JSON.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// What stands before the data of an event, and after it.
    pub event: (&'static str, &'static str),
    /// Sent before all else, as it is: comments.
    pub comments: &'static [&'static str],
    /// Chunks before the first that has choices.
    pub opening: &'static [&'static str],
    /// A chunk, with the gaps `choice` and `more`.
    pub chunk: &'static str,
    /// Each choice begins with it; an empty choice: with nothing.
    pub first: Part,
    /// A piece of the thoughts.
    pub reasoning: Part,
    /// A piece of the text.
    pub text: Part,
    /// How calls are cut up.
    pub calls: Calls,
    /// The end of a choice.
    pub finish: Part,
    /// The last piece of the text is sent in the finish chunk, which is then this.
    pub last_text: Option<(LastText, Part)>,
    /// The chunk of the usage: when, and what; an empty choice: no choices.
    pub usage: (UsageChunk, Part),
    /// Added to all other chunks when the usage was asked for.
    pub asked: &'static str,
    /// Added to the last chunk: that of the usage, or else the last of each choice.
    pub tail: &'static str,
    /// The end of the stream.
    pub done: &'static str,
    /// Several choices come one after the other.
    pub one_by_one: bool,
}

/// Where a format is a grammar for the whole answer, it leaves no room for calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatOver {
    /// Both go together.
    Nothing,
    /// No tool is called unless it must be.
    FreeCalls,
    /// No tool is called, whatever `tool_choice` says.
    AllCalls,
}

/// How calls are cut up in a stream.
#[derive(Debug, Clone, Copy)]
pub enum Calls {
    /// The beginning of a call, then the pieces of its arguments; the first of those may be in the beginning.
    Fragments {
        /// The beginning.
        first: Part,
        /// A piece of the arguments.
        more: Part,
        /// Whether the beginning has the first piece, in the gap `arguments`.
        begun: bool,
    },
    /// A chunk for each call.
    Whole(Part),
    /// All calls, in the gap `calls`, in the finish chunk, which is then this.
    InFinish(Part),
}

/// When the last piece of a text comes in the finish chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastText {
    /// When the answer was cut off by its length, or was held back because a stop sequence might begin in it; but not
    /// when tools were offered.
    IfHeldBack,
    /// Always.
    Always,
}

/// When a stream carries a chunk of usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageChunk {
    /// With `"stream_options": {"include_usage": true}`.
    WhenAsked,
    /// Never.
    Never,
    /// Always.
    Always,
}
