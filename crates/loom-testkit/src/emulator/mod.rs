//! A server with answers that depend on nothing but the request, and with the manners that its [`ServerSpec`] says.
//!
//! Three questions are kept apart, each in its modules: is the request right ([`rules`], and for OpenAI [`strict`] and
//! [`history`]), what to say ([`request`], [`plan`], [`obey`], [`invent`], [`hints`], [`turn`]), and how to put it on the wire
//! ([`frame`], [`template`]). [`serve`] asks them in turn.

mod frame;
mod hints;
mod history;
mod invent;
mod obey;
mod plan;
mod request;
mod rules;
mod serve;
mod spec;
mod strict;
mod template;
mod turn;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use rules::When;
pub use spec::{
    Calls, FormatOver, Keys, LastText, Models, Page, Part, Refusal, ServerSpec, Stream, UsageChunk, Whole,
    refuse,
};
pub use turn::Turn;

use crate::handler::Handler;
use crate::reply::Reply;
use crate::request::RecordedRequest;
use crate::server::Server;
use crate::servers::OPENAI;

/// A handler that plays a chat server: OpenAI's, or [another](crate::servers).
///
/// It serves `GET /v1/models` and `POST /v1/chat/completions`, whole and streamed, and refuses wrong requests
/// as its server refuses them.
///
/// What it answers follows from the request alone:
///
/// - The last message is the user's and there are tools: the tool that `tool_choice` names is called; with
///   `required` one; with `auto` each one whose name, or a word of more than three letters in its name,
///   occurs in the message. Arguments follow the tool's schema, filled with names and numbers from the
///   message.
/// - `response_format` asks for JSON: a value that follows the schema, filled in the same way.
/// - The last message is the result of a tool: a sentence that quotes the result.
/// - Otherwise: a sentence that quotes the user.
///
/// A prompt that describes tools in Hermes' form, or asks for a JSON object and nothing else, is obeyed where the fields for
/// it are missing or ignored.
///
/// Before that it thinks if the request switches thinking on, or if the name of the model says that it thinks. A
/// [script](Emulator::script) comes before all of this.
///
/// A token is what a stream sends at once: a word, or up to eight characters of JSON. `max_tokens`,
/// `max_completion_tokens` and the usage count these; a prompt has as many tokens as it has words.
#[derive(Debug)]
pub struct Emulator {
    spec: ServerSpec,
    models: Vec<String>,
    api_key: Option<String>,
    token_delay: Duration,
    script: Mutex<VecDeque<Turn>>,
    answers: AtomicU64,
}

impl Emulator {
    /// OpenAI's server without models, which asks for no key and does not wait between tokens.
    pub fn new() -> Self {
        Self::of(ServerSpec { model: "", ..OPENAI })
    }

    /// A server that behaves as `spec` says.
    pub fn of(spec: ServerSpec) -> Self {
        Self {
            spec,
            models: Vec::new(),
            api_key: None,
            token_delay: Duration::ZERO,
            script: Mutex::default(),
            answers: AtomicU64::new(0),
        }
    }

    /// How it behaves.
    pub fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// The models that it serves.
    pub fn models(&self) -> Vec<String> {
        match self.models.as_slice() {
            [] if self.spec.model.is_empty() => Vec::new(),
            [] => vec![self.spec.model.to_owned()],
            models => models.to_vec(),
        }
    }

    /// Adds a model; the first one takes the place of the spec's.
    pub fn model(mut self, id: impl Into<String>) -> Self {
        self.models.push(id.into());
        self
    }

    /// Refuses requests without this key, which stands where the server wants it: mostly in
    /// `Authorization: Bearer {key}`.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Replaces the context of the model, in tokens.
    pub fn context(mut self, tokens: usize) -> Self {
        self.spec.context = tokens;
        self
    }

    /// Waits this long between the events of a stream, and for as long as all its tokens would take before a
    /// whole answer.
    pub fn token_delay(mut self, delay: Duration) -> Self {
        self.token_delay = delay;
        self
    }

    /// Answers the next chat requests that are not refused with these turns; after the last it answers by itself.
    pub fn script(self, turns: impl IntoIterator<Item = Turn>) -> Self {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).extend(turns);
        self
    }

    /// Changes how this server behaves.
    pub fn change(mut self, change: impl FnOnce(&mut ServerSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the system has no port to give.
    pub async fn start(self) -> io::Result<Server> {
        Server::start(self).await
    }
}

impl Default for Emulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Handler for Emulator {
    fn reply(&self, request: &RecordedRequest) -> Reply {
        self.respond(request).unwrap_or_else(|refused| *refused)
    }

    fn base_path(&self) -> &str {
        self.spec.base
    }
}
