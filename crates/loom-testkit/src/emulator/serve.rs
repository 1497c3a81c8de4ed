//! From a request to a reply: the key, the path, what is refused, what is said, and the server's own shape for all of it.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value};

use super::request::ChatRequest;
use super::rules::Asked;
use super::spec::{Refusal, refuse};
use super::template::{self, Values};
use super::turn::Kind;
use super::{Emulator, frame, plan, strict};
use crate::api_error::ApiError;
use crate::reply::{Framing, Piece, Reply};
use crate::request::RecordedRequest;

/// An answer, or a refusal.
type Served = Result<Reply, Box<Reply>>;

impl Emulator {
    /// The answer to a request.
    pub(super) fn respond(&self, request: &RecordedRequest) -> Served {
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

    fn chat(&self, request: &RecordedRequest, deployment: Option<&str>) -> Served {
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
        let chat = ChatRequest::read(&fields, spec);
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let turn = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let said = match turn.map(|turn| turn.0) {
            Some(Kind::Reply(reply)) => return Ok(reply),
            Some(Kind::Fails(status, message)) => {
                return Err(self.error(request, &ApiError::of_status(status, message), None));
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

    fn check_key(&self, request: &RecordedRequest) -> Result<(), Box<Reply>> {
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
    ) -> Box<Reply> {
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
    ) -> Box<Reply> {
        let (refusal, streamed, values) =
            refusal.unwrap_or_else(|| (refuse(error.status, ""), false, self.values(request)));
        let mut values = values.with("message", error.message.as_str());
        values.set("status", error.status).set("type", Some(error.kind).filter(|kind| !kind.is_empty()));
        values.set("param", error.param.clone()).set("code", error.code);
        let number = error.code.and_then(|code| code.parse::<u32>().ok());
        values.set("number", number.unwrap_or(error.status.into()));
        if let Some(events) = refusal.streamed.filter(|_| streamed) {
            let reply = Reply::new(200).header("content-type", self.spec.sse).framing(Framing::Chunked);
            let reply = reply.then(Piece::Bytes(template::json(events, &values).into_bytes()));
            return Box::new(self.framed(reply, &values));
        }
        let reply = self.bare_body(error.status, refusal.body.unwrap_or(self.spec.error), &values);
        let reply = match refusal.is_crash {
            true => self.with_headers(reply, &values, |name| name == "server"),
            false => self.framed(reply, &values),
        };
        let headers = refusal.headers.iter();
        Box::new(
            headers.fold(reply, |reply, (name, value)| reply.header(*name, template::text(value, &values))),
        )
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

    /// A body whose beginning tells what it is, with the headers of all answers.
    fn body(&self, status: u16, template: &str, values: &Values) -> Reply {
        self.framed(self.bare_body(status, template, values), values)
    }

    fn bare_body(&self, status: u16, template: &str, values: &Values) -> Reply {
        let body = template::json(template, values);
        match body.chars().next() {
            Some('{' | '[' | '"') => self.json(status, &body),
            Some('<') => Reply::html(status, body),
            Some(_) => Reply::text(status, body),
            None => Reply::new(status),
        }
    }

    fn json(&self, status: u16, body: &str) -> Reply {
        Reply::new(status).header("content-type", self.spec.json).then(Piece::Bytes(body.as_bytes().to_vec()))
    }

    /// The reply with the headers that all answers of the server have.
    fn framed(&self, reply: Reply, values: &Values) -> Reply {
        self.with_headers(reply, values, |_| true)
    }

    fn with_headers(&self, reply: Reply, values: &Values, wanted: fn(&str) -> bool) -> Reply {
        let ok: &[_] = if reply.status() < 400 { self.spec.ok_headers } else { &[] };
        let headers = self.spec.headers.iter().chain(ok).filter(|(name, _)| wanted(name));
        headers.fold(reply, |reply, (name, value)| reply.header(*name, template::text(value, values)))
    }
}
