//! Adaptation: a refusal that can be cured leads at once to one corrected request, and what helped is remembered.
//!
//! | module | owns |
//! |---|---|
//! | `refusal` | reading a refusal: which parameter, what complaint |
//! | `cures` | the table: how a refusal reads → what to send instead |
//! | here | trying them: one request per cure, a bound per call, no request twice; the memory |
//!
//! Lessons are kept for (origin, model) as long as the process lives, and only if the corrected request was answered.
//! Features go down a ladder; a parameter that the caller set is left out only with leave to (`drop_params`).

mod cures;
mod names;
mod refusal;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{LazyLock, PoisonError, RwLock};

use loom_wire::profile::{FormatSupport, ToolSupport};
use loom_wire::request::{self, Encoded, Written};
use loom_wire::{ErrorKind, LlmError, Profile, Request};
use serde_json::Value;

use refusal::{Complaint, Refusal};

/// The most cures of one call: an endpoint that wants more cannot be satisfied.
const MAX_CURES: usize = 6;
/// The most rungs of a ladder.
const MOST_RUNGS: usize = 6;
/// The most places (origin, model) that are remembered.
const MAX_PLACES: usize = 4096;

/// What may be changed about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Nothing: the caller wants it sent as it is (`strict`).
    None,
    /// Features may go down their ladders.
    Features,
    /// And parameters may be left out (`drop_params`).
    Parameters,
}

/// How a call's request is spelled, and what its refusals have taught.
pub(crate) struct Adaptation {
    origin: String,
    model: String,
    /// What is known beforehand: server and model family.
    known: Profile,
    /// What was learnt, here or before.
    learnt: Profile,
    /// What holds for this call only: a value that was refused says nothing about other values.
    passing: Profile,
    /// The user's own word; it wins.
    own: Profile,
    leave: Leave,
    /// The bodies that were sent, by their hash.
    sent: Vec<u64>,
    cures: usize,
    /// The state before the last cure, and the refusal that it was to cure.
    before: Option<(Profile, Profile, String)>,
}

/// What a cure would make of the two profiles that it may change.
type Candidate = (Profile, Profile);

impl Adaptation {
    pub(crate) fn new(origin: String, model: String, known: Profile, own: Profile, leave: Leave) -> Self {
        let mut learnt = if leave == Leave::None { Profile::default() } else { learnt(&origin, &model) };
        if leave != Leave::Parameters {
            // Another caller's leave to drop a parameter is not this one's.
            learnt.leave_out.retain(|path| !is_parameter(path));
        }
        Self {
            origin,
            model,
            known,
            learnt,
            passing: Profile::default(),
            own,
            leave,
            sent: Vec::new(),
            cures: 0,
            before: None,
        }
    }

    /// The request as it is sent next. What was `written` before is copied.
    pub(crate) fn encode(&self, request: &Request, written: &Written) -> Result<Encoded, LlmError> {
        self.encode_by(request, &self.learnt, &self.passing, written)
    }

    fn encode_by(
        &self,
        request: &Request,
        learnt: &Profile,
        passing: &Profile,
        written: &Written,
    ) -> Result<Encoded, LlmError> {
        let mut profile = Cow::Borrowed(&self.known);
        for layer in [learnt, passing, &self.own] {
            if !layer.is_empty() {
                profile.to_mut().overlay(layer);
            }
        }
        let mut encoded = request::encode_after(request, &self.model, &profile, written)
            .map_err(|error| LlmError::config(format!("the request cannot be written as JSON: {error}")))?;
        if learnt.is_empty() && passing.is_empty() {
            // How an endpoint is known to spell things is no leniency.
            encoded.notes.0.retain(|note| !note.is_spelling);
        }
        Ok(encoded)
    }

    /// Whether a refusal can be cured; if so, `encode` yields the corrected request. If not, the error is told which
    /// parameter it is about and what can be done.
    pub(crate) fn cure(&mut self, error: &mut LlmError, request: &Request, sent: &[u8]) -> bool {
        if !may_be_about_the_request(error) {
            return false;
        }
        self.sent.push(hash(sent));
        if let Some((learnt, passing, cured)) = self.before.take()
            && cured == gist(&error.message)
        {
            // The same again: that was not it.
            (self.learnt, self.passing) = (learnt, passing);
        }
        let Ok(body) = serde_json::from_slice::<Value>(sent) else { return false };
        let refusal = Refusal::read(error, &body, request);
        if self.cures < MAX_CURES
            && let Some((learnt, passing)) = self.first_that_changes(&refusal, &body, request, error.kind)
        {
            if self.leave == Leave::None {
                let changed = self
                    .encode_by(request, &learnt, &passing, &Written::default())
                    .unwrap_or_default()
                    .notes
                    .0;
                let what: Vec<String> = changed.into_iter().map(|note| note.detail).collect();
                error.hint = Some(format!(
                    "strict=True sends the request as it is; without it, Loom asks again: {}",
                    what.join(", ")
                ));
                return false;
            }
            self.cures += 1;
            let before =
                (std::mem::replace(&mut self.learnt, learnt), std::mem::replace(&mut self.passing, passing));
            self.before = Some((before.0, before.1, gist(&error.message)));
            return true;
        }
        if let Some(name) = refused_parameter(&refusal, request) {
            error.param = Some(name.to_owned());
            error.hint.get_or_insert_with(|| match self.leave {
                Leave::Parameters => format!(
                    "the endpoint still refuses the request after {} corrections: leave out {name} and whatever else \
                     it does not need",
                    self.cures
                ),
                Leave::None | Leave::Features => format!(
                    "the endpoint does not take this {name}: change it or leave it out, or set drop_params=True, which \
                     leaves out what an endpoint refuses and says so in the ledger"
                ),
            });
        }
        false
    }

    /// Whether tools are offered in `tools`, and not in the prompt.
    pub(crate) fn offers_tools_natively(&self) -> bool {
        let said = [&self.own, &self.passing, &self.learnt, &self.known];
        said.into_iter().find_map(|profile| profile.tools) != Some(ToolSupport::Prompt)
    }

    /// Whether the prompt says nothing of the format yet, and may.
    pub(crate) fn may_tell_format(&self) -> bool {
        let told = self.learnt.format_in_prompt == Some(true)
            || self.known.response_format == Some(FormatSupport::Prompt);
        self.leave != Leave::None && !told
    }

    /// Whether the format can be told in the prompt as well, since the endpoint has passed over it; if so, `encode` yields
    /// that request.
    pub(crate) fn tell_format(&mut self, request: &Request, sent: &[u8]) -> bool {
        if !self.may_tell_format() || self.cures >= MAX_CURES {
            return false;
        }
        let told = Profile { format_in_prompt: Some(true), ..self.learnt.clone() };
        let changes = self
            .encode_by(request, &told, &self.passing, &Written::default())
            .is_ok_and(|encoded| encoded.body != sent);
        if changes {
            self.cures += 1;
            self.learnt = told;
        }
        changes
    }

    /// Keeps in mind that the endpoint passes over the format.
    pub(crate) fn remember_format(origin: &str, model: &str) {
        remember(origin, model, &Profile { format_in_prompt: Some(true), ..Profile::default() });
    }

    /// The first cure, from the top of the table, that makes another request of it.
    fn first_that_changes(
        &self,
        refusal: &Refusal,
        body: &Value,
        request: &Request,
        kind: ErrorKind,
    ) -> Option<Candidate> {
        let (rows, is_certain) = cures::fitting(refusal);
        let rows = rows
            .into_iter()
            .filter(|row| {
                row.takes.is_none_or(|name| self.leave == Leave::Parameters || !is_set(request, name))
            })
            .flat_map(|row| {
                // The ladder goes down from where the call stands, whoever said so; a rung that this request does not
                // show is passed.
                let mut reached = self.known.clone();
                reached.overlay(&self.learnt);
                std::iter::successors(Some(reached), |profile| {
                    let mut next = profile.clone();
                    (row.cure)(&mut next);
                    (next != *profile).then_some(next)
                })
                .skip(1)
                .take(MOST_RUNGS)
                .map(|reached| (reached.beyond(&self.known), self.passing.clone()))
            });
        let fields = cures::unknown_field(refusal).into_iter().map(|path| self.leaving_out(vec![path], true));
        // A refusal may name several; all of them go at once.
        let parameters: Vec<String> = match self.leave {
            Leave::Parameters => refused_parameters(refusal, request).map(str::to_owned).collect(),
            Leave::None | Leave::Features => Vec::new(),
        };
        let parameter = (!parameters.is_empty())
            .then(|| self.leaving_out(parameters, refusal.complaint == Complaint::Unsupported));
        let ids_only = kind == ErrorKind::ContextLength;
        let generic = fields.chain(parameter).filter(|_| !is_certain);
        rows.chain(generic).find(|(learnt, passing)| {
            (!ids_only || learnt.tool_call_ids != self.learnt.tool_call_ids)
                && self.encode_by(request, learnt, passing, &Written::default()).is_ok_and(|encoded| {
                    !self.sent.contains(&hash(&encoded.body))
                        && serde_json::from_slice::<Value>(&encoded.body).is_ok_and(|other| other != *body)
                })
        })
    }

    fn leaving_out(&self, paths: Vec<String>, for_good: bool) -> Candidate {
        let (mut learnt, mut passing) = (self.learnt.clone(), self.passing.clone());
        let profile = if for_good { &mut learnt } else { &mut passing };
        for path in paths {
            if !profile.leave_out.contains(&path) {
                profile.leave_out.push(path);
            }
        }
        (learnt, passing)
    }

    /// The request was answered: what this call has learnt is remembered.
    pub(crate) fn keep(&self) {
        if self.cures > 0 && !self.learnt.is_empty() {
            remember(&self.origin, &self.model, &self.learnt);
        }
    }
}

/// Other failures are not about what the request says. A server that describes its own failure may still blame the
/// request: some answer 500 (llama.cpp, new-api), 404 (OpenRouter), or an error inside a 200 (LM Studio, TGI).
fn may_be_about_the_request(error: &LlmError) -> bool {
    match error.kind {
        ErrorKind::BadRequest | ErrorKind::NotFound | ErrorKind::ContextLength => true,
        ErrorKind::Server => matches!(error.status_code, None | Some(500 | 501)),
        _ => false,
    }
}

/// Parameters of which Loom has a ladder, or which a request cannot do without: they are not left out like a knob.
const NOT_KNOBS: &[&str] = &[
    "model",
    "messages",
    "tools",
    "tool_choice",
    "response_format",
    "stream",
    "stream_options",
    "parallel_tool_calls",
];

/// Whether a path is a parameter that the caller set, and not a field within a part of the request.
fn is_parameter(path: &str) -> bool {
    !path.contains('.') && !NOT_KNOBS.contains(&path)
}

fn given(request: &Request) -> impl Iterator<Item = (&String, &Value)> {
    request.params.iter().chain(&request.extra_body).filter(|(_, value)| !value.is_null())
}

/// The parameters of the caller's that a refusal names, by the names that the caller gave them.
fn refused_parameters<'a>(refusal: &Refusal, request: &'a Request) -> impl Iterator<Item = &'a str> {
    refusal.paths.iter().filter_map(|path| {
        let [name, ..] = path.as_slice() else { return None };
        let (name, _) = given(request)
            .find(|(given, _)| *given == name || (is_token_limit(given) && is_token_limit(name)))?;
        (!NOT_KNOBS.contains(&name.as_str())).then_some(name.as_str())
    })
}

/// The parameter of the caller's that a refusal is about.
fn refused_parameter<'a>(refusal: &Refusal, request: &'a Request) -> Option<&'a str> {
    refused_parameters(refusal, request)
        .next()
        // "Function tools with reasoning_effort are not supported".
        .or_else(|| {
            let takes = cures::fitting(refusal).0.first()?.takes;
            given(request).map(|(name, _)| name.as_str()).find(|name| Some(*name) == takes)
        })
}

fn is_token_limit(name: &str) -> bool {
    matches!(name, "max_tokens" | "max_completion_tokens")
}

/// Whether the caller set a parameter to something that a cure would take away.
fn is_set(request: &Request, name: &str) -> bool {
    let value = request.params.get(name).or_else(|| request.extra_body.get(name));
    value.is_some_and(|value| !value.is_null() && value != "none")
}

/// A refusal without what differs from one to the next: numbers, and the id of the request at its end.
fn gist(message: &str) -> String {
    let lower = message.to_lowercase();
    let end = ["request id", "request_id", "requestid", "(tid", "trace"]
        .iter()
        .filter_map(|mark| lower.find(mark))
        .min();
    lower
        .get(..end.unwrap_or(lower.len()))
        .unwrap_or(&lower)
        .chars()
        .filter(|c| !c.is_ascii_digit())
        .collect()
}

fn hash(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

type Place = (String, String);

static LEARNT: LazyLock<RwLock<HashMap<Place, Profile>>> = LazyLock::new(RwLock::default);

/// What the endpoint has taught about a model.
fn learnt(origin: &str, model: &str) -> Profile {
    let learnt = LEARNT.read().unwrap_or_else(PoisonError::into_inner);
    if learnt.is_empty() {
        return Profile::default();
    }
    learnt.get(&(origin.to_owned(), model.to_owned())).cloned().unwrap_or_default()
}

fn remember(origin: &str, model: &str, profile: &Profile) {
    let mut learnt = LEARNT.write().unwrap_or_else(PoisonError::into_inner);
    let place = (origin.to_owned(), model.to_owned());
    if learnt.len() < MAX_PLACES || learnt.contains_key(&place) {
        learnt.entry(place).or_default().overlay(profile);
    }
}
