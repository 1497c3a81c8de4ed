//! A server with answers that depend on nothing but the request, and with the manners that its [`ServerSpec`] says.
//!
//! Three questions are kept apart, each in its modules: is the request right ([`rules`], and for OpenAI [`strict`] and
//! [`history`]), what to say ([`request`], [`plan`], [`invent`], [`hints`], [`turn`]), and how to put it on the wire
//! ([`frame`], [`template`]).

mod frame;
mod hints;
mod history;
mod invent;
mod plan;
mod request;
mod rules;
mod spec;
mod strict;
mod template;
mod turn;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

pub use rules::When;
pub use spec::{
    Calls, Keys, LastText, Models, Page, Part, Refusal, ServerSpec, Stream, UsageChunk, Whole, refuse,
};
pub use turn::Turn;

use crate::api_error::ApiError;
use crate::handler::Handler;
use crate::reply::{Framing, Piece, Reply};
use crate::request::RecordedRequest;
use crate::server::Server;
use crate::servers::OPENAI;
use request::ChatRequest;
use rules::Asked;
use template::Values;
use turn::Kind;

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

    fn respond(&self, request: &RecordedRequest) -> Result<Reply, Reply> {
        let path = request.path.as_str();
        let spec = &self.spec;
        let get = request.method == "GET";
        if !spec.keys.open.contains(&path) {
            self.check_key(request)?;
        }
        if let Some(page) = spec.pages.iter().find(|page| page.path == path && get) {
            let values = self.values(request);
            return Ok(self.body(page.status, page.body, &values));
        }
        let (deployment, rest) =
            self.route(path).ok_or_else(|| self.refuse(request, spec.not_found, None))?;
        match (rest, request.method.as_str()) {
            ("/models", "GET") => Ok(self.list()),
            ("/chat/completions", "POST") => self.chat(request, deployment),
            ("/models" | "/chat/completions", _) => {
                Err(self.refuse(request, spec.wrong_method.unwrap_or(spec.not_found), None))
            }
            _ => match rest.strip_prefix("/models/").filter(|_| spec.models.single && get) {
                Some(id) if self.models().iter().any(|known| known == id) => {
                    Ok(self.framed(self.json(200, &self.entry(id)), &self.values(request)))
                }
                _ => Err(self.refuse(request, spec.not_found, None)),
            },
        }
    }

    /// What a path names: the model, where the path has it, and what comes after the base.
    fn route<'a>(&self, path: &'a str) -> Option<(Option<&'a str>, &'a str)> {
        std::iter::once(&self.spec.base).chain(self.spec.bases).find_map(|base| match base.split_once('*') {
            None => path.strip_prefix(base).filter(|rest| rest.starts_with('/')).map(|rest| (None, rest)),
            Some((before, _)) => {
                let (model, _) = path.strip_prefix(before)?.split_once('/')?;
                Some((Some(model), path.get(before.len() + model.len()..)?))
            }
        })
    }

    fn chat(&self, request: &RecordedRequest, deployment: Option<&str>) -> Result<Reply, Reply> {
        let spec = &self.spec;
        let mut body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if let (Some(model), Some(body)) = (deployment, body.as_object_mut()) {
            body.insert("model".to_owned(), model.into());
        }
        if spec.strict {
            strict::check(request, &body).map_err(|error| self.error(request, &error, None))?;
        }
        let models = self.models();
        let prompt_tokens =
            plan::prompt_tokens(body.get("messages").and_then(Value::as_array).map_or(&[], Vec::as_slice));
        let asked = Asked { request, body: &body, models: &models, context: spec.context, prompt_tokens };
        for (when, refusal) in spec.rules {
            if let Some(cause) = asked.matches(when) {
                return Err(self.refuse(request, *refusal, Some((cause, &body, prompt_tokens))));
            }
        }
        let mut fields = body.as_object().cloned().unwrap_or_default();
        self.forget_ignored(&mut fields);
        let chat = ChatRequest::read(&fields, spec.parallel_calls);
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let turn = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let said = match turn.map(|turn| turn.0) {
            Some(Kind::Reply(reply)) => return Ok(reply),
            Some(Kind::Fails(status, message)) => {
                return Err(self.error(request, &ApiError { status, ..ApiError::invalid(message) }, None));
            }
            Some(Kind::Says(said)) => Some(said),
            None => None,
        };
        let mut answer = plan::answer(&chat, spec, number, said.as_ref());
        if spec.truncates && prompt_tokens >= spec.context {
            answer.overflow(spec.context);
        }
        let served = models.first().map_or(chat.model.as_str(), String::as_str);
        let values = frame::values(spec, &chat, served, &answer);
        Ok(if chat.stream {
            self.framed(frame::stream(spec, &chat, &answer, &values), &values).delay_between(self.token_delay)
        } else {
            let tokens = u32::try_from(answer.tokens()).unwrap_or(u32::MAX);
            self.framed(frame::whole(spec, &chat, &answer, &values), &values)
                .delay_head(self.token_delay.saturating_mul(tokens))
        })
    }

    fn forget_ignored(&self, fields: &mut Map<String, Value>) {
        for ignored in self.spec.ignores {
            let (name, only) = ignored.split_once('=').unwrap_or((ignored, ""));
            let is_meant = |value: &Value| match only {
                "" => true,
                "{}" => value.is_object(),
                text => value == text,
            };
            if fields.get(name).is_some_and(is_meant) {
                fields.remove(name);
            }
        }
    }

    fn list(&self) -> Reply {
        let entries: Vec<String> = self.models().iter().map(|id| self.entry(id)).collect();
        let values = Values::new(0).with_json("entries", entries.join(",")).with("created", frame::CREATED);
        let values = values.with("model", self.models().first().cloned());
        self.framed(self.json(200, &template::json(self.spec.models.list, &values)), &values)
    }

    fn entry(&self, id: &str) -> String {
        let values =
            Values::new(0).with("id", id).with("created", frame::CREATED).with("context", self.spec.context);
        template::json(self.spec.models.entry, &values)
    }

    fn check_key(&self, request: &RecordedRequest) -> Result<(), Reply> {
        let Some(key) = self.api_key.as_ref().filter(|_| !self.spec.keys.headers.is_empty()) else {
            return Ok(());
        };
        let headers = self.spec.keys.headers.iter();
        let mut given =
            headers.filter_map(|(name, before)| request.header(name)?.strip_prefix(before)).peekable();
        match (given.peek().is_some(), given.any(|given| given == key)) {
            (_, true) => Ok(()),
            (true, false) => Err(self.refuse(request, self.spec.keys.wrong, None)),
            (false, false) => Err(self.refuse(request, self.spec.keys.missing, None)),
        }
    }

    /// A refusal in the server's words. `cause`: what it is about, the body, and the tokens of the prompt.
    fn refuse(
        &self,
        request: &RecordedRequest,
        refusal: Refusal,
        cause: Option<(Value, &Value, usize)>,
    ) -> Reply {
        let mut values = self.values(request);
        let mut streamed = false;
        if let Some((value, body, prompt_tokens)) = cause {
            let limit =
                ["max_completion_tokens", "max_tokens"].iter().find_map(|name| body.get(name)?.as_u64());
            streamed = body.get("stream") == Some(&Value::Bool(true));
            values.set("model", body.get("model").cloned().unwrap_or_default()).set("value", value);
            values.set("tool", body.pointer("/tool_choice/function/name").cloned());
            values.set("prompt_tokens", prompt_tokens).set("max_tokens", limit);
            values.set("total_tokens", prompt_tokens as u64 + limit.unwrap_or_default());
            values.set("stream", streamed);
        }
        let error = ApiError {
            status: refusal.status,
            message: template::text(refusal.message, &values),
            kind: refusal.kind,
            param: Some(template::text(refusal.param, &values)).filter(|param| !param.is_empty()),
            code: Some(refusal.code).filter(|code| !code.is_empty()),
        };
        self.error(request, &error, Some((refusal, streamed, values)))
    }

    /// An error in the server's shape.
    fn error(
        &self,
        request: &RecordedRequest,
        error: &ApiError,
        refusal: Option<(Refusal, bool, Values)>,
    ) -> Reply {
        let (refusal, streamed, values) =
            refusal.unwrap_or_else(|| (spec::refuse(error.status, ""), false, self.values(request)));
        let mut values = values.with("message", error.message.as_str());
        values.set("status", error.status).set("type", Some(error.kind).filter(|kind| !kind.is_empty()));
        values.set("param", error.param.clone()).set("code", error.code);
        if let Some(events) = refusal.streamed.filter(|_| streamed) {
            let reply = Reply::new(200).header("content-type", self.spec.sse).framing(Framing::Chunked);
            return self
                .framed(reply.then(Piece::Bytes(template::json(events, &values).into_bytes())), &values);
        }
        let reply = self.body(error.status, refusal.body.unwrap_or(self.spec.error), &values);
        refusal
            .headers
            .iter()
            .fold(reply, |reply, (name, value)| reply.header(*name, template::text(value, &values)))
    }

    /// The values that any answer may name.
    fn values(&self, request: &RecordedRequest) -> Values {
        let models = self.models();
        let mut values = Values::new(self.answers.load(Ordering::Relaxed));
        values.set("method", request.method.as_str()).set("path", request.path.as_str());
        values.set("models", models.join(", ")).set("served", models.first().cloned());
        values.set("context", self.spec.context).set("created", frame::CREATED);
        values
    }

    /// A body whose beginning tells what it is.
    fn body(&self, status: u16, template: &str, values: &Values) -> Reply {
        let body = template::json(template, values);
        let reply = match body.chars().next() {
            Some('{' | '[' | '"') => return self.framed(self.json(status, &body), values),
            Some('<') => Reply::html(status, body),
            Some(_) => Reply::text(status, body),
            None => Reply::new(status),
        };
        self.framed(reply, values)
    }

    fn json(&self, status: u16, body: &str) -> Reply {
        Reply::new(status).header("content-type", self.spec.json).then(Piece::Bytes(body.as_bytes().to_vec()))
    }

    /// The reply with the headers that all answers of the server have.
    fn framed(&self, reply: Reply, values: &Values) -> Reply {
        let ok: &[_] = if reply.status() < 400 { self.spec.ok_headers } else { &[] };
        let headers = self.spec.headers.iter().chain(ok);
        headers.fold(reply, |reply, (name, value)| reply.header(*name, template::text(value, values)))
    }
}

impl Default for Emulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Handler for Emulator {
    fn reply(&self, request: &RecordedRequest) -> Reply {
        self.respond(request).unwrap_or_else(|refused| refused)
    }

    fn base_path(&self) -> &str {
        self.spec.base
    }
}
