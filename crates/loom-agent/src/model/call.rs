//! One call: encode, send, read until the first token, repeat or correct if that fails, then deliver.
//!
//! Everything that may be done twice is done before the first event leaves. After that a failure is the caller's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use loom_wire::answer::{AnswerDecoder, End, Expected};
use loom_wire::request::{self, Spelling};
use loom_wire::{ErrorKind, Event, LedgerEntry, LlmError, Request, Rule, api_error, json_answer};

use serde_json::{Map, Value};

use crate::endpoint::{Answer, BaseUrl, Clocks};
use crate::model::adapt;
use crate::model::habits::Habit;
use crate::model::hints::{Asked, explained};
use crate::model::path::{is_wrong_path, path_error};
use crate::model::record::LastCall;
use crate::model::unified::Inner;

/// How long a stream may stay open once it has said why it ends: usage and `[DONE]` follow at once, or never.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) struct Call {
    llm: Arc<Inner>,
    request: Arc<Request>,
    /// The model that this call names, instead of the LLM's.
    model: Option<String>,
    clocks: Clocks,
    state: State,
    ready: VecDeque<Event>,
    /// Where newly decoded events land; empty between calls, kept for its memory.
    decoded: Vec<Event>,
}

enum State {
    Fresh,
    Reading(Box<Reading>),
    /// It has failed; the error follows the events that are still at hand.
    Failed(LlmError),
    Over,
}

/// An answer under way.
struct Reading {
    answer: Answer,
    decoder: AnswerDecoder,
    attempts: u32,
    has_token: bool,
    /// What answers to such requests are like, as far as earlier ones have shown.
    habit: Habit,
}

/// What was changed about the request on the way, for the ledger.
#[derive(Default)]
struct Changes(Vec<LedgerEntry>);

impl Changes {
    fn lesson(&mut self, lesson: adapt::Lesson) {
        self.0.push(LedgerEntry::new(Rule::RequestAdapted, lesson.describe()));
    }

    fn path(&mut self, given: &BaseUrl, used: &BaseUrl) {
        self.0.push(LedgerEntry::new(Rule::PathAdapted, format!("{used} answers, {given} does not")));
    }

    /// Adds them to an error that does not know of them.
    fn noted_on(self, mut error: LlmError) -> LlmError {
        for entry in self.0 {
            if !error.ledger.iter().any(|known| known.says_the_same(&entry)) {
                error.ledger.push(entry);
            }
        }
        error
    }
}

impl Drop for Call {
    /// What was bridged in a stream that nobody reads to its end counts, too.
    fn drop(&mut self) {
        if let State::Reading(reading) = &self.state {
            self.llm.record.ended(reading.so_far(&self.llm));
        }
    }
}

impl Call {
    pub(crate) fn new(llm: Arc<Inner>, mut request: Request) -> Self {
        // The LLM's own settings are the defaults of each call.
        let mut params = llm.params.clone();
        params.append(&mut request.params);
        let mut extra_body = llm.extra_body.clone();
        extra_body.append(&mut request.extra_body);
        let mut state = State::Fresh;
        let model = take_out(&mut params, &mut request).unwrap_or_else(|error| {
            state = State::Failed(error);
            None
        });
        request.params = params;
        request.extra_body = extra_body;
        let clocks = Clocks::start(llm.endpoint.timeout);
        Self {
            llm,
            request: Arc::new(request),
            model,
            clocks,
            state,
            ready: VecDeque::new(),
            decoded: Vec::new(),
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Event, LlmError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            // An answer under way stays in its place while it is waited for: who drops the call then finds it there.
            let result = if let State::Reading(reading) = &mut self.state {
                reading.advance(&mut self.clocks, &mut self.decoded).await
            } else {
                match std::mem::replace(&mut self.state, State::Over) {
                    State::Over => return None,
                    State::Failed(error) => return Some(Err(error)),
                    State::Fresh | State::Reading(_) => {
                        // The clocks start when the call is first polled.
                        self.clocks = Clocks::start(self.llm.endpoint.timeout);
                        let mut changes = Changes::default();
                        let opened = self.open(&mut changes).await;
                        opened
                            .map(|reading| self.state = State::Reading(reading))
                            .map_err(|error| changes.noted_on(error))
                    }
                }
            };
            if let Err(error) = result {
                let error = self.judged(error);
                self.llm.record.ended(LastCall {
                    attempts: error.attempts,
                    request_id: error.request_id.clone(),
                    ledger: error.ledger.clone(),
                });
                self.state = State::Failed(error);
            } else if matches!(&self.state, State::Reading(reading) if reading.decoder.is_done())
                && let State::Reading(reading) = std::mem::replace(&mut self.state, State::Over)
            {
                reading.habit.learn(reading.decoder.begins_thinking());
                self.llm.record.ended(reading.so_far(&self.llm));
                reading.answer.retire();
            }
            if let Some(Event::Finish(finish)) = self.decoded.last_mut() {
                self.llm.endpoint.scrub_ledger(&mut finish.ledger);
            }
            self.ready.extend(self.decoded.drain(..));
        }
    }

    /// An error of an answer under way, as it is told: by the server's own words, and without the key.
    fn judged(&self, error: LlmError) -> LlmError {
        let model = self.model.clone().or_else(|| self.llm.known_model()).unwrap_or_default();
        let sent = self.encode(&model, &self.llm.spelling()).unwrap_or_default();
        self.llm.endpoint.scrub(api_error::without_echo(error, &sent))
    }

    /// Sends the request, again where that may help, until the first payload has arrived.
    async fn open(&mut self, changes: &mut Changes) -> Result<Box<Reading>, LlmError> {
        let mut model = match &self.model {
            Some(name) => name.clone(),
            None => self.llm.resolve_model(&self.clocks).await?,
        };
        let origin = self.llm.endpoint.base_url().origin();
        let mut spelling = self.llm.spelling();
        for lesson in adapt::learnt(&origin, &model).into_iter().filter(|_| !self.llm.strict) {
            if lesson.apply(&mut spelling) {
                changes.lesson(lesson);
            }
        }
        let mut new_lessons = Vec::new();
        let given = self.llm.endpoint.base_url();
        let mut base = self.llm.endpoint.current_base();
        if base != *given {
            changes.path(given, &base);
        }
        let (mut attempts, mut failures, mut bad_responses) = (0, 0, 0);
        let mut first_path_error: Option<LlmError> = None;
        loop {
            attempts += 1;
            // What a failed attempt brought stays until it is repeated: if it is not, it is delivered.
            self.decoded.clear();
            let body = self.encode(&model, &spelling)?;
            let mut error = match self.attempt(&base, &model, body.clone(), changes, attempts).await {
                Ok(reading) => {
                    // Only what has helped is remembered.
                    for lesson in new_lessons {
                        adapt::keep(&origin, &model, lesson);
                    }
                    if first_path_error.is_some() {
                        self.llm.endpoint.remember(base);
                    }
                    return Ok(reading);
                }
                Err(error) => self.llm.endpoint.scrub(api_error::without_echo(error, &body)),
            };
            error.attempts = attempts;
            // What TCP put into one segment must not decide: text of a stream that came with the error is delivered like
            // text that came before it, and after that nothing is repeated.
            if self.request.stream && self.decoded.iter().any(is_delta) {
                return Err(explained(error, &self.asked(&model)));
            }
            if let Some(original) = first_path_error.take() {
                // The path that was tried has not helped.
                changes.0.pop();
                return Err(path_error(original, &base, &error));
            }
            if let Some(lesson) = adapt::lesson(&error).filter(|_| self.llm.strict) {
                error.hint = Some(format!(
                    "strict=True sends the request as it is; without it, Loom asks again: {}",
                    lesson.describe()
                ));
                return Err(error);
            }
            if let Some(lesson) = adapt::lesson(&error)
                && new_lessons.len() < adapt::MAX_LESSONS
                && lesson.apply(&mut spelling)
            {
                tracing::info!(target: "loom", refusal = %error.message, "{}", lesson.describe());
                changes.lesson(lesson);
                new_lessons.push(lesson);
                continue;
            }
            if let Some(other) = self.llm.endpoint.alternative().filter(|_| is_wrong_path(&error)) {
                changes.path(&base, &other);
                base = other;
                first_path_error = Some(error);
                continue;
            }
            if error.kind == ErrorKind::NotFound
                && self.model.is_none()
                && !self.llm.strict
                && self.llm.model_is_default()
                && !is_wrong_path(&error)
            {
                // The default is the provider's; whatever stands at another address may serve something else.
                let served = match self.llm.discover_model(&self.clocks).await {
                    Ok(served) => served,
                    Err(listing) => {
                        let mut error = explained(error, &self.asked(&model));
                        if listing.kind == ErrorKind::Config {
                            error.hint = Some(listing.message.clone());
                        }
                        return Err(error);
                    }
                };
                changes.0.push(LedgerEntry::new(
                    Rule::RequestAdapted,
                    format!("the model {served:?} instead of {model:?}"),
                ));
                model = served;
                continue;
            }
            failures += 1;
            // What a server answers wrongly twice (an empty answer, mostly) it will a third time.
            bad_responses += u32::from(error.kind == ErrorKind::BadResponse);
            if bad_responses > 1 {
                return Err(explained(error, &self.asked(&model)));
            }
            let Some(wait) = self.llm.endpoint.retries.wait(&error, failures) else {
                return Err(explained(error, &self.asked(&model)));
            };
            if self.clocks.left().is_some_and(|left| left <= wait) {
                return Err(explained(error, &self.asked(&model)));
            }
            tracing::info!(target: "loom", attempt = attempts, wait_s = wait.as_secs_f64(), kind = %error.kind, "retrying");
            tokio::time::sleep(wait).await;
        }
    }

    fn asked<'a>(&'a self, model: &'a str) -> Asked<'a> {
        Asked { llm: &self.llm, model, request: Some(&self.request) }
    }

    fn encode(&self, model: &str, spelling: &Spelling) -> Result<Bytes, LlmError> {
        request::encode(&self.request, model, spelling)
            .map(Bytes::from)
            .map_err(|error| LlmError::config(format!("the request cannot be written as JSON: {error}")))
    }

    async fn attempt(
        &mut self,
        base: &BaseUrl,
        model: &str,
        body: Bytes,
        changes: &Changes,
        attempts: u32,
    ) -> Result<Box<Reading>, LlmError> {
        self.clocks.request_sent();
        let stream = self.request.stream;
        let answer = self.llm.endpoint.post(base, "chat/completions", body, stream, &self.clocks).await?;
        let habit = Habit::of(self.llm.endpoint.base_url().origin(), model, &self.request);
        let mut decoder = AnswerDecoder::new(self.llm.reading.limits, stream, answer.request_id.clone())
            .expecting(Expected {
                request: Some(Arc::clone(&self.request)),
                dialect: None,
                begins_thinking: habit.begins_thinking(),
                verbatim: !self.llm.reading.parse_text,
            });
        for entry in changes.0.iter().chain(&answer.changes) {
            decoder.note(entry.clone());
        }
        if self.llm.strict {
            decoder.be_strict();
        }
        if self.request.response_format.as_ref().is_some_and(json_answer::is_asked_for) {
            decoder.expect_json();
        }
        let mut reading = Box::new(Reading { answer, decoder, attempts, has_token: false, habit });
        // Until something is there to deliver, a failure can still be repeated.
        while self.decoded.is_empty() && !reading.decoder.is_done() {
            reading.advance(&mut self.clocks, &mut self.decoded).await?;
        }
        Ok(reading)
    }
}

fn is_delta(event: &Event) -> bool {
    matches!(event, Event::ContentDelta { .. } | Event::ReasoningDelta { .. } | Event::ToolCalls { .. })
}

/// Parameters that have a place of their own in the request go there; the call's model is returned.
fn take_out(params: &mut Map<String, Value>, request: &mut Request) -> Result<Option<String>, LlmError> {
    for name in ["messages", "tools", "stream"] {
        if params.contains_key(name) {
            return Err(LlmError::config(format!("{name:?} cannot be given as a request parameter"))
                .with_hint("messages and tools are arguments of the call; to stream, call stream()"));
        }
    }
    if let Some(format) = params.shift_remove("response_format") {
        request.response_format.get_or_insert(format);
    }
    if let Some(choice) = params.shift_remove("tool_choice") {
        let choice = serde_json::from_value(choice).map_err(|error| LlmError::config(error.to_string()))?;
        request.tool_choice.get_or_insert(choice);
    }
    match params.shift_remove("model") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => Ok(Some(name)),
        Some(other) => Err(LlmError::config(format!("model is a name, not {other}"))),
    }
}

impl Reading {
    /// The call as it stands, for the record.
    fn so_far(&self, llm: &Inner) -> LastCall {
        let mut ledger = self.decoder.ledger().to_vec();
        llm.endpoint.scrub_ledger(&mut ledger);
        LastCall { attempts: self.attempts, request_id: self.answer.request_id.clone(), ledger }
    }

    /// Reads once and decodes what came.
    async fn advance(&mut self, clocks: &mut Clocks, out: &mut Vec<Event>) -> Result<(), LlmError> {
        let payloads = self.decoder.payloads();
        let read = match self.decoder.is_finished() {
            false => self.answer.chunk(clocks).await,
            true => tokio::time::timeout(GRACE, self.answer.chunk(clocks)).await.unwrap_or_else(|_| {
                Err(LlmError::new(ErrorKind::StreamInterrupted, "the server did not end its stream"))
            }),
        };
        let result = match read {
            Ok(Some(bytes)) => {
                let result = self.decoder.push(&bytes, out);
                // A role alone is no token: some servers send it before they read the prompt.
                self.has_token |= !out.is_empty();
                if self.has_token && self.decoder.payloads() > payloads {
                    clocks.payload_arrived();
                }
                result
            }
            Ok(None) => self.decoder.end(End::Clean, out),
            Err(error) => self.decoder.end(End::Broken(error), out),
        };
        result.map_err(|mut error| {
            error.url.get_or_insert_with(|| self.answer.url.clone());
            error.attempts = self.attempts;
            error
        })
    }
}
