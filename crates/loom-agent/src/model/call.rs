//! One call: encode, send, read until the first token, repeat or correct if that fails, then deliver.
//!
//! Everything that may be done twice is done before the first event leaves. After that a failure is the caller's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use loom_wire::answer::{AnswerDecoder, Expected};
use loom_wire::request::{Encoded, Notes};
use loom_wire::{ErrorKind, Event, LedgerEntry, LlmError, Request, Rule, api_error, json_answer};

use serde_json::{Map, Value};

use crate::endpoint::{
    Additions, Answer, BaseUrl, Clocks, Pass, Rest, Retries, Tries, read_on, retry_succeeded, soon,
};
use crate::model::adapt::Adaptation;
use crate::model::adapter::{self, Translation};
use crate::model::format_check::FormatCheck;
use crate::model::habits::Habit;
use crate::model::hints::{Asked, explained};
use crate::model::media;
use crate::model::notices::Notices;
use crate::model::path::{is_wrong_path, path_error};
use crate::model::reading::Reading;
use crate::model::record::LastCall;
use crate::model::unified::Inner;

/// A rough measure of a prompt's tokens, until the server has counted them.
const BYTES_PER_TOKEN: usize = 4;

pub(crate) struct Call {
    llm: Arc<Inner>,
    request: Arc<Request>,
    /// The model that this call names, instead of the LLM's.
    model: Option<String>,
    /// Headers and query parameters of this call.
    additions: Additions,
    clocks: Clocks,
    retries: Retries,
    state: State,
    /// What is reported while the call waits.
    pub(crate) notices: Notices,
    /// Events to deliver, the last one first. It is empty when more is read, which then lands here in its order.
    decoded: Vec<Event>,
    /// What a failed attempt has brought was held back until it failed, however its bytes were cut up.
    held_all: bool,
}

enum State {
    Fresh,
    Reading(Box<Reading>),
    /// The answer is complete, its connection not given back. Until then the call keeps its place among the others.
    Ending {
        rest: Rest,
        _pass: Pass,
    },
    /// It has failed; the error follows the events that are still at hand.
    Failed(LlmError),
    Over,
}

/// What was changed before an answer came, for the ledger.
#[derive(Default)]
struct Changes {
    /// About the request that was sent last.
    request: Vec<LedgerEntry>,
    /// The path, the model.
    way: Vec<LedgerEntry>,
}

impl Changes {
    fn request(&mut self, notes: Notes) {
        self.request = notes.0.into_iter().map(|note| LedgerEntry::new(note.rule, note.detail)).collect();
    }

    fn path(&mut self, given: &BaseUrl, used: &BaseUrl) {
        self.way.push(LedgerEntry::new(Rule::PathAdapted, format!("{used} answers, {given} does not")));
    }

    /// Adds them to an error that does not know of them.
    fn noted_on(self, mut error: LlmError) -> LlmError {
        for entry in self.request.into_iter().chain(self.way) {
            if !error.ledger.iter().any(|known| known.says_the_same(&entry)) {
                error.ledger.push(entry);
            }
        }
        error
    }
}

/// A request as it is sent, and how its answer is read.
struct Spelling {
    body: Bytes,
    stream: bool,
    answer_is_call: bool,
    format: Option<FormatCheck>,
}

impl Drop for Call {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::Over) {
            // What was bridged in a stream that nobody reads to its end counts, too.
            State::Reading(reading) => self.llm.record.ended(reading.so_far(&self.llm)),
            State::Ending { rest, .. } => read_on(rest),
            State::Fresh | State::Failed(_) | State::Over => {}
        }
    }
}

impl Call {
    pub(crate) fn new(llm: Arc<Inner>, mut request: Request) -> Self {
        // The LLM's own settings are the defaults of each call.
        let mut params = llm.asked.params.clone();
        params.append(&mut request.params);
        let mut extra_body = llm.asked.extra_body.clone();
        extra_body.append(&mut request.extra_body);
        let mut state = State::Fresh;
        let model = take_out(&mut params, &mut request).unwrap_or_else(|error| {
            state = State::Failed(error);
            None
        });
        let (headers, query) =
            (std::mem::take(&mut request.extra_headers), std::mem::take(&mut request.extra_query));
        let additions = llm.endpoint.additions(&headers, query).unwrap_or_else(|error| {
            state = State::Failed(error);
            Additions::default()
        });
        // A stream is what adapters read.
        request.stream |= llm.adapter.is_some();
        request.params = params;
        request.extra_body = extra_body;
        let clocks = Clocks::start(llm.endpoint.timeout);
        let retries = llm.endpoint.retries;
        Self {
            llm,
            request: Arc::new(request),
            model,
            additions,
            clocks,
            retries,
            state,
            notices: Notices::default(),
            decoded: Vec::new(),
            held_all: false,
        }
    }

    /// The call is not repeated; refusals are cured all the same.
    pub(crate) fn once(mut self) -> Self {
        self.retries.max = 0;
        self
    }

    /// Opens the call: afterwards its events are there to be taken. The clocks start now.
    pub(crate) async fn start(&mut self) {
        if !matches!(self.state, State::Fresh) {
            return;
        }
        self.state = State::Over;
        self.clocks = Clocks::start(self.llm.endpoint.timeout);
        let mut changes = Changes::default();
        let opened = match self.open(&mut changes).await {
            Ok(reading) => {
                self.state = State::Reading(reading);
                Ok(())
            }
            Err(error) => Err(changes.noted_on(error)),
        };
        self.take_stock(opened);
    }

    /// The next event of a call that was started.
    pub(crate) async fn next(&mut self) -> Option<Result<Event, LlmError>> {
        loop {
            if self.decoded.len() <= 1 {
                // Whoever has the last event may begin the next call, which then finds the connection, and its turn.
                self.give_back().await;
            }
            if let Some(event) = self.decoded.pop() {
                return Some(Ok(event));
            }
            // An answer under way stays in its place while it is waited for: who drops the call then finds it there.
            let read = if let State::Reading(reading) = &mut self.state {
                reading.advance(&mut self.clocks, &mut self.decoded).await
            } else {
                match std::mem::replace(&mut self.state, State::Over) {
                    State::Failed(error) => return Some(Err(error)),
                    State::Fresh | State::Reading(_) | State::Ending { .. } | State::Over => return None,
                }
            };
            self.take_stock(read);
        }
    }

    /// After something was read: sees whether the call has ended, and puts the new events in order to be delivered.
    fn take_stock(&mut self, read: Result<(), LlmError>) {
        if let Err(error) = read {
            let error = self.llm.endpoint.scrub(error);
            self.llm.record.ended(LastCall {
                attempts: error.attempts,
                request_id: error.request_id.clone(),
                ledger: error.ledger.clone(),
            });
            self.state = State::Failed(error);
        } else if matches!(&self.state, State::Reading(reading) if reading.decoder.is_done())
            && let State::Reading(mut reading) = std::mem::replace(&mut self.state, State::Over)
        {
            reading.settle(&mut self.decoded);
            reading.habit.learn(reading.decoder.begins_thinking());
            self.llm.record.ended(reading.so_far(&self.llm));
            let Reading { answer, pass, .. } = *reading;
            if let Some(rest) = answer.rest() {
                self.state = State::Ending { rest, _pass: pass };
            }
        }
        if let Some(Event::Finish(finish)) = self.decoded.last_mut() {
            self.llm.endpoint.scrub_ledger(&mut finish.ledger);
        }
        self.decoded.reverse();
    }

    /// Gives the connection back if the end of the answer's framing has come, as it usually has. If not, it is read in the
    /// background.
    async fn give_back(&mut self) {
        if let State::Ending { rest, .. } = &mut self.state {
            let has_come = soon(rest).await.is_some();
            let ending = std::mem::replace(&mut self.state, State::Over);
            if let State::Ending { rest, .. } = ending
                && !has_come
            {
                read_on(rest);
            }
        }
    }

    /// Sends the request, again where that may help, until the first payload has arrived.
    async fn open(&mut self, changes: &mut Changes) -> Result<Box<Reading>, LlmError> {
        media::load(&mut Arc::make_mut(&mut self.request).messages).await?;
        let mut model = match &self.model {
            Some(name) => name.clone(),
            None => self.llm.resolve_model(&self.clocks).await?,
        };
        let server = self.llm.endpoint.server();
        let mut adaptation = self.llm.adaptation(&model, &self.request);
        let llm = Arc::clone(&self.llm);
        let given = llm.endpoint.base_url();
        let mut base = llm.endpoint.current_base();
        if *base != *given {
            changes.path(given, &base);
        }
        let mut attempts = 0;
        let origin = given.origin_text();
        let mut tries = Tries::new(self.retries, origin);
        let mut first_path_error: Option<LlmError> = None;
        loop {
            attempts += 1;
            // What a failed attempt brought stays until it is repeated: if it is not, it is delivered.
            self.decoded.clear();
            self.held_all = false;
            let format = {
                let manner = (llm.strict, adaptation.may_tell_format());
                FormatCheck::of(&self.request, manner, origin, &model)?
            };
            let Encoded { body, stream, answer_is_call, notes, conversation } =
                adaptation.encode(&self.request, &llm.written)?;
            let body = Bytes::from(body);
            if let Some(conversation) = conversation {
                llm.written.keep(conversation, &body);
            }
            changes.request(notes);
            let asked = Spelling { body: body.clone(), stream, answer_is_call, format };
            let mut error = match self.attempt(&base, &model, asked, changes, attempts).await {
                Ok(mut reading) => {
                    if llm.endpoint.server() != server
                        && let Some(other) = self.tools_in_prompt(&adaptation, &model)
                    {
                        adaptation = other;
                        changes.way.push(LedgerEntry::new(
                            Rule::RequestAdapted,
                            "asked again with the tools in the prompt: by its answer this is a server that passes over them",
                        ));
                        continue;
                    }
                    reading.retries = tries.history;
                    retry_succeeded(origin);
                    // Only what has helped is remembered.
                    adaptation.keep();
                    if first_path_error.is_some() {
                        self.llm.endpoint.remember(base);
                    }
                    return Ok(reading);
                }
                Err(error) => self.llm.endpoint.scrub(api_error::without_echo(error, &body)),
            };
            error.attempts = attempts;
            if let Some(tokens) = error.context_limit {
                llm.endpoint.learn_window(&model, tokens);
            }
            // What TCP put into one segment must not decide: text of a stream that came with the error is delivered like
            // text that came before it, and after that nothing is repeated.
            if self.request.stream && self.decoded.iter().any(is_delta) && !self.held_all {
                return Err(explained(error, &self.asked(&model)));
            }
            if let Some(original) = first_path_error.take() {
                // The path that was tried has not helped.
                changes.way.pop();
                return Err(path_error(original, &base, &error));
            }
            let passed_over = error.kind == ErrorKind::BadResponse
                && error.param.as_deref() == Some(json_answer::PARAM)
                && adaptation.tell_format(&self.request, &body);
            if passed_over || adaptation.cure(&mut error, &self.request, &body) {
                // Not the refusal itself: servers quote the prompt.
                tracing::info!(target: "loom", "sending a corrected request");
                continue;
            }
            let hides_errors = llm.endpoint.server() == Some("llama-cpp-python");
            if stream && hides_errors && is_empty_stream(&error) && !llm.strict {
                // An error hides behind it, which a whole answer shows.
                Arc::make_mut(&mut self.request).stream = false;
                changes.way.push(LedgerEntry::new(
                    Rule::RequestAdapted,
                    "asked for as a whole: the stream was empty",
                ));
                continue;
            }
            if let Some(other) = self.llm.endpoint.alternative().filter(|_| is_wrong_path(&error)) {
                changes.path(&base, &other);
                base = Arc::new(other);
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
                let served = match Box::pin(self.llm.discover_model(&self.clocks)).await {
                    Ok(served) => served,
                    Err(listing) => {
                        let mut error = explained(error, &self.asked(&model));
                        if listing.kind == ErrorKind::Config {
                            error.hint = Some(listing.message.clone());
                        }
                        return Err(error);
                    }
                };
                changes.way.push(LedgerEntry::new(
                    Rule::RequestAdapted,
                    format!("the model {served:?} instead of {model:?}"),
                ));
                adaptation = self.llm.adaptation(&served, &self.request);
                model = served;
                continue;
            }
            let Some(retry) = tries.after(&mut error, &self.clocks) else {
                return Err(explained(error, &self.asked(&model)));
            };
            tracing::info!(target: "loom", attempt = attempts, wait_s = retry.wait, reason = %retry.reason, "retrying");
            let wait = Duration::from_secs_f64(retry.wait);
            self.notices.push(Event::Retry(retry));
            tokio::time::sleep(wait).await;
        }
    }

    /// Another spelling for tools that an answer without calls has not seen: its beginning has shown a server that passes
    /// over them, and that was not known when it was asked.
    fn tools_in_prompt(&self, asked: &Adaptation, model: &str) -> Option<Adaptation> {
        let may_have_been_passed_over =
            !self.request.tools.is_empty() && !self.request.tools_in_prompt && asked.offers_tools_natively();
        let has_call = self.decoded.iter().any(|event| matches!(event, Event::ToolCalls { .. }));
        if !may_have_been_passed_over || has_call || self.llm.strict {
            return None;
        }
        let known = self.llm.adaptation(model, &self.request);
        (!known.offers_tools_natively()).then_some(known)
    }

    fn asked<'a>(&'a self, model: &'a str) -> Asked<'a> {
        Asked { llm: &self.llm, model, request: Some(&self.request) }
    }

    async fn attempt(
        &mut self,
        base: &BaseUrl,
        model: &str,
        asked: Spelling,
        changes: &Changes,
        attempts: u32,
    ) -> Result<Box<Reading>, LlmError> {
        let Spelling { body, stream, answer_is_call, format } = asked;
        let (path, body) = match &self.llm.adapter {
            None => ("chat/completions", body),
            Some(adapter) => (adapter.path(), adapter::translated(&**adapter, &body)?),
        };
        let pass = self.llm.endpoint.throttle.enter(body.len() / BYTES_PER_TOKEN, &self.clocks).await?;
        self.clocks.request_sent();
        let sent = body.clone();
        let url = base.join(path);
        let answer = self.llm.endpoint.post(url, body, stream, &self.additions, &self.clocks).await?;
        let asked = Spelling { body: sent, stream, answer_is_call, format };
        let mut reading = self.reading(answer, pass, model, asked, changes, attempts);
        // Until something is there to deliver, a failure can still be repeated.
        while self.decoded.is_empty() && !reading.decoder.is_done() {
            let advanced = reading.advance(&mut self.clocks, &mut self.decoded).await;
            self.held_all = reading.decoder.holds_all();
            advanced?;
        }
        Ok(reading)
    }

    /// An answer that has begun, and how it is read.
    fn reading(
        &self,
        answer: Answer,
        pass: Pass,
        model: &str,
        asked: Spelling,
        changes: &Changes,
        attempts: u32,
    ) -> Box<Reading> {
        let Spelling { body: sent, stream, answer_is_call, format } = asked;
        let habit = Habit::of(self.llm.endpoint.base_url().origin_text(), model, &self.request);
        let expected = Expected {
            request: Some(Arc::clone(&self.request)),
            dialect: None,
            begins_thinking: habit.begins_thinking(),
            is_gpt_oss: ["gpt-oss", "gpt_oss", "GPT-OSS"].iter().any(|name| model.contains(name)),
            verbatim: !self.llm.reading.parse_text,
            answer_is_call,
        };
        let mut decoder = AnswerDecoder::new(self.llm.reading.limits, stream, answer.request_id.clone())
            .expecting(expected);
        for entry in changes.request.iter().chain(&changes.way).chain(&answer.changes) {
            decoder.note(entry.clone());
        }
        if self.llm.strict {
            decoder.be_strict();
        }
        if format.as_ref().is_some_and(FormatCheck::is_checked) {
            decoder.expect_json();
        }
        // With tools on offer, prose may come before a call.
        if stream && self.request.tools.is_empty() && format.as_ref().is_some_and(FormatCheck::may_ask_again)
        {
            decoder.hold_prose();
        }
        Box::new(Reading {
            sent,
            answer,
            translation: (self.llm.adapter.clone())
                .map(|adapter| Translation::new(adapter, &self.llm.reading.limits)),
            decoder,
            attempts,
            retries: Vec::new(),
            pass,
            has_token: false,
            habit,
            format,
        })
    }
}

/// Success and not one event, in a stream that ended in good order.
fn is_empty_stream(error: &LlmError) -> bool {
    error.kind == ErrorKind::BadResponse && error.retryable && error.partial.is_none()
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
