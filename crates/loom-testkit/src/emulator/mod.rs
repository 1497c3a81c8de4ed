//! A server that behaves as OpenAI's does, with answers that depend on nothing but the request.
//!
//! Three questions are kept apart, each in its module: is the request right ([`validate`], [`history`]), what
//! to say ([`plan`], [`invent`], [`hints`]), and how to put it on the wire ([`frame`]). Where other servers
//! differ from OpenAI, the difference is a field of [`Quirks`].

mod frame;
mod hints;
mod history;
mod invent;
mod plan;
mod quirks;
mod validate;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use quirks::{Quirks, UsageChunk};

use crate::api_error::ApiError;
use crate::handler::Handler;
use crate::reply::Reply;
use crate::request::RecordedRequest;
use crate::script::model_list;

/// A handler that plays a good OpenAI-compatible chat server.
///
/// It serves `GET /v1/models` and `POST /v1/chat/completions`, whole and streamed, and refuses wrong requests
/// as OpenAI refuses them. Parameters that it does not know are ignored, as most servers do.
///
/// What it answers follows from the request alone:
///
/// - The last message is the user's and there are tools: the tool that `tool_choice` names is called; with
///   `required` the first; with `auto` each one whose name, or a word of more than three letters in its name,
///   occurs in the message. Arguments follow the tool's schema, filled with names and numbers from the
///   message.
/// - `response_format` asks for JSON: a value that follows the schema, filled in the same way.
/// - The last message is the result of a tool: a sentence that quotes the result.
/// - Otherwise: a sentence that quotes the user.
///
/// A token is what a stream sends at once: a word, or up to eight characters of JSON. `max_tokens`,
/// `max_completion_tokens` and the usage count these; a prompt has as many tokens as it has words.
#[derive(Debug)]
pub struct Emulator {
    models: Vec<String>,
    api_key: Option<String>,
    token_delay: Duration,
    quirks: Quirks,
    answers: AtomicU64,
}

impl Emulator {
    /// A server without models, which asks for no key and does not wait between tokens.
    pub fn new() -> Self {
        Self {
            models: Vec::new(),
            api_key: None,
            token_delay: Duration::ZERO,
            quirks: Quirks::default(),
            answers: AtomicU64::new(0),
        }
    }

    /// Adds a model. A request for any other is answered with 404, `model_not_found`.
    pub fn model(mut self, id: impl Into<String>) -> Self {
        self.models.push(id.into());
        self
    }

    /// Refuses requests without the header `Authorization: Bearer {key}`.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Waits this long between the events of a stream, and for as long as all its tokens would take before a
    /// whole answer.
    pub fn token_delay(mut self, delay: Duration) -> Self {
        self.token_delay = delay;
        self
    }

    /// Replaces the ways in which this server differs from OpenAI's.
    pub fn quirks(mut self, quirks: Quirks) -> Self {
        self.quirks = quirks;
        self
    }

    fn try_reply(&self, request: &RecordedRequest) -> Result<Reply, ApiError> {
        self.check_key(request)?;
        let path = request.path.strip_prefix(self.quirks.base_path.as_str());
        match (path, request.method.as_str()) {
            (Some("/models"), "GET") => Ok(Reply::json(200, &model_list(&self.models))),
            (Some("/chat/completions"), "POST") => self.chat(request),
            (Some("/models" | "/chat/completions"), _) => Err(ApiError::wrong_method(request)),
            _ => Err(ApiError::no_such_path(request)),
        }
    }

    fn chat(&self, request: &RecordedRequest) -> Result<Reply, ApiError> {
        let chat = validate::parse(request, &self.quirks)?;
        if !self.quirks.any_model && !self.models.contains(&chat.model) {
            return Err(ApiError::no_such_model(&chat.model));
        }
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let answer = plan::answer(&chat, number);
        Ok(if chat.stream {
            frame::stream(&chat, &answer, &self.quirks).delay_between(self.token_delay)
        } else {
            let tokens = u32::try_from(answer.tokens()).unwrap_or(u32::MAX);
            frame::whole(&chat, &answer).delay_head(self.token_delay.saturating_mul(tokens))
        })
    }

    fn check_key(&self, request: &RecordedRequest) -> Result<(), ApiError> {
        let Some(key) = &self.api_key else {
            return Ok(());
        };
        let given = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if given == Some(key) { Ok(()) } else { Err(ApiError::wrong_key(given.is_some())) }
    }
}

impl Default for Emulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Handler for Emulator {
    fn reply(&self, request: &RecordedRequest) -> Reply {
        self.try_reply(request).unwrap_or_else(ApiError::into_reply)
    }
}
