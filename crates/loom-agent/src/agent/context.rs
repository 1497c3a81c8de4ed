//! What of a long conversation is sent to a model that holds only so much: decisions without IO.
//!
//! Only whole turns are left out, from the oldest on: a turn is what a user says and all that follows, tool calls with
//! their results. Instructions and the latest turn always stay. The conversation itself is never changed.
//!
//! Sizes are taken in bytes and turned into tokens by what the server counted last; images count as a few kilobytes.

use std::borrow::Cow;
use std::sync::Arc;

use loom_wire::{Content, ErrorKind, LlmError, Message, Role, ToolSpec};
use serde::{Deserialize, Serialize};

/// From this share of the model's context on, turns are left out before the model is asked.
const NEAR: f64 = 0.9;
/// This share of it is kept, so that not every further turn has to leave something out (which also spoils the server's
/// cache of the prompt).
const KEPT: f64 = 0.6;
/// After an overflow at least so much of what was sent goes, whatever the estimate says.
const KEPT_AFTER_OVERFLOW: f64 = 0.75;
/// Where the server says neither how much the model holds nor how much was sent, half is kept.
const KEPT_BLINDLY: f64 = 0.5;
/// How many bytes a token has as long as no server has counted.
const BYTES_PER_TOKEN: f64 = 4.0;
/// What a picture or a file comes to, in bytes of text.
const PART: usize = 4_000;
/// What surrounds each message in the prompt, in bytes.
const FRAME: usize = 16;
/// How much of one message a summary is made from, in characters.
const TOLD: usize = 4_000;

/// What is done when a conversation becomes longer than the model's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextPolicy {
    /// Nothing: a conversation that is too long is an error of kind `context_length`. The default without a session.
    Keep,
    /// Old turns are left out. The default in a session.
    #[default]
    Trim,
    /// Old turns are left out, and a summary that the model writes stands for them. If it cannot be had: `Trim`.
    Summarize,
}

impl ContextPolicy {
    /// The name, as Python and the shell have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Trim => "trim",
            Self::Summarize => "summarize",
        }
    }

    /// The policy of that name.
    ///
    /// # Errors
    /// Which names there are.
    pub fn parse(name: &str) -> Result<Self, String> {
        [Self::Keep, Self::Trim, Self::Summarize]
            .into_iter()
            .find(|policy| policy.as_str() == name)
            .ok_or_else(|| format!("context_policy is \"keep\", \"trim\" or \"summarize\", not {name:?}"))
    }
}

/// Why turns were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CompactReason {
    /// The conversation came near the limit that is known.
    NearLimit,
    /// The server refused it as too long.
    Overflow,
}

/// What was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// What was done: [`ContextPolicy::Trim`] also where a summary was wanted and could not be had.
    pub policy: ContextPolicy,
    /// Why.
    pub reason: CompactReason,
    /// How many turns are no longer sent that were sent before.
    pub removed_turns: usize,
    /// How many messages those are.
    pub removed_messages: usize,
    /// What the model holds, in tokens; none if nobody has said it.
    pub context_limit: Option<u64>,
    /// What the conversation came to before, in tokens, about.
    pub tokens_before: Option<u64>,
    /// What it comes to now.
    pub tokens_after: Option<u64>,
    /// What stands for the turns that were left out.
    pub summary: Option<String>,
    /// Why there is no summary although one was wanted.
    pub error: Option<String>,
}

/// Which part of a conversation is sent. One for each run; what it has learnt is kept with a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Context {
    policy: ContextPolicy,
    /// What the model holds, in tokens: as the caller said, or the server.
    limit: Option<u64>,
    /// How many messages stand before the conversation: the agent's instructions.
    offset: usize,
    /// What the tools come to, in bytes.
    tools: usize,
    /// How many messages of the conversation are not sent.
    removed: usize,
    /// What stands for them.
    summary: Option<String>,
    /// What a request of so many bytes came to, as a server counted it.
    measured: Option<Measured>,
    /// Where the turn begins that always stays: the latest one of what the run started from.
    latest: Option<usize>,
    /// How often in a row the server has refused.
    overflows: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Measured {
    tokens: u64,
    bytes: usize,
}

/// What is kept with a session.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    removed: usize,
    summary: Option<String>,
    measured: Option<Measured>,
    /// The model whose limit a refusal told.
    model: String,
    limit: Option<u64>,
}

/// Turns that are to be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    reason: CompactReason,
    /// How many messages will not be sent then.
    removed: usize,
    turns: usize,
}

impl Context {
    /// For a run over these messages. Its latest turn always stays.
    pub fn new(policy: ContextPolicy, limit: Option<u64>, messages: &[Arc<Message>]) -> Self {
        let mut context = Self { policy, limit, ..Self::default() };
        context.latest = context.starts(messages).last().copied();
        context
    }

    /// Takes up what [`to_keep`](Self::to_keep) gave for a conversation that has `offset` messages before it here. What the
    /// caller says of the limit stands above it.
    pub fn resume(&mut self, offset: usize, kept: &serde_json::Value, model: &str) {
        self.offset = offset;
        let kept: Kept = serde_json::from_value(kept.clone()).unwrap_or_default();
        (self.removed, self.summary, self.measured) = (kept.removed, kept.summary, kept.measured);
        if self.limit.is_none() && !model.is_empty() && kept.model == model {
            self.limit = kept.limit;
        }
    }

    /// What is worth keeping with the conversation; null if nothing is.
    pub fn to_keep(&self, model: &str) -> serde_json::Value {
        let kept = Kept {
            removed: self.removed,
            summary: self.summary.clone(),
            measured: self.measured,
            model: model.to_owned(),
            limit: self.limit,
        };
        serde_json::to_value(kept).unwrap_or_default()
    }

    /// Whether a limit would be of use.
    pub(crate) fn wants_limit(&self) -> bool {
        self.limit.is_none() && self.policy != ContextPolicy::Keep
    }

    pub(crate) fn set_limit(&mut self, tokens: Option<u64>) {
        self.limit = tokens;
    }

    /// Notes what the tools come to.
    pub fn weigh(&mut self, tools: &[ToolSpec]) {
        if self.tools == 0 && self.policy != ContextPolicy::Keep {
            self.tools = serde_json::to_string(tools).map_or(0, |text| text.len());
        }
    }

    /// How many messages stand before the session's.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// The policy.
    pub fn policy(&self) -> ContextPolicy {
        self.policy
    }

    /// What is sent of the conversation.
    pub fn view<'m>(&self, messages: &'m [Arc<Message>]) -> Cow<'m, [Arc<Message>]> {
        self.view_without(self.removed, self.summary.as_deref(), messages)
    }

    fn view_without<'m>(
        &self,
        removed: usize,
        summary: Option<&str>,
        messages: &'m [Arc<Message>],
    ) -> Cow<'m, [Arc<Message>]> {
        // A conversation that was emptied or shortened meanwhile: its latest turn stays in any case.
        let last = self.starts(messages).last().copied().unwrap_or(self.offset);
        let from = (self.offset + removed).min(last.max(self.offset));
        if from == self.offset {
            return Cow::Borrowed(messages);
        }
        let gone = messages.iter().take(from).enumerate();
        let stays = |(at, message): &(usize, &Arc<Message>)| *at < self.offset || is_instruction(message);
        let mut view: Vec<_> = gone.filter(stays).map(|(_, message)| Arc::clone(message)).collect();
        view.extend(summary.map(|summary| Arc::new(standing_for_what_is_gone(summary))));
        view.extend(messages.iter().skip(from).cloned());
        Cow::Owned(view)
    }

    /// Where turns begin.
    fn starts(&self, messages: &[Arc<Message>]) -> Vec<usize> {
        let mut before = None;
        let mut starts = Vec::new();
        for (at, message) in messages.iter().enumerate().skip(self.offset) {
            if is_instruction(message) {
                continue;
            }
            if self.latest.is_some_and(|latest| at > latest) {
                break;
            }
            if message.role == Role::User && before != Some(Role::User) {
                starts.push(at);
            }
            before = Some(message.role);
        }
        starts
    }

    /// What is to be left out before the model is asked, since the limit is known and near.
    pub fn near(&self, messages: &[Arc<Message>]) -> Option<Cut> {
        let limit = self.limit.filter(|_| self.policy != ContextPolicy::Keep)? as f64;
        let bytes = self.bytes(&self.view(messages));
        if bytes as f64 * self.tokens_per_byte() <= limit * NEAR {
            return None;
        }
        self.cut(messages, CompactReason::NearLimit, limit * KEPT / self.tokens_per_byte())
    }

    /// What is to be left out, since the server refused what was sent as too long; `None` if nothing can be, or if this
    /// was tried twice.
    pub fn overflow(&mut self, messages: &[Arc<Message>], refusal: &LlmError) -> Option<Cut> {
        let is_one = refusal.kind == ErrorKind::ContextLength && refusal.partial.is_none();
        if !is_one || self.policy == ContextPolicy::Keep || self.overflows >= 2 {
            return None;
        }
        self.overflows += 1;
        let bytes = self.bytes(&self.view(messages));
        if let Some(tokens) = refusal.requested_tokens {
            self.measured = Some(Measured { tokens, bytes });
        }
        self.limit = refusal.context_limit.or(self.limit);
        let kept = match (self.overflows, self.limit) {
            // It has not helped: all that may go goes.
            (2.., _) => 0.0,
            (_, None) => bytes as f64 * KEPT_BLINDLY,
            (_, Some(limit)) => {
                let fits = limit as f64 * KEPT / self.tokens_per_byte();
                fits.min(bytes as f64 * KEPT_AFTER_OVERFLOW)
            }
        };
        self.cut(messages, CompactReason::Overflow, kept)
    }

    /// The fewest turns whose going leaves so many bytes; all but the latest if that does not suffice.
    fn cut(&self, messages: &[Arc<Message>], reason: CompactReason, kept: f64) -> Option<Cut> {
        let starts = self.starts(messages);
        let sent: Vec<usize> =
            starts.into_iter().filter(|start| *start >= self.offset + self.removed).collect();
        let candidates = sent.iter().enumerate().skip(1);
        let fits = |start: usize| {
            self.bytes(&self.view_without(start - self.offset, self.summary.as_deref(), messages)) as f64
                <= kept
        };
        let (turns, start) =
            candidates.clone().find(|(_, start)| fits(**start)).or_else(|| candidates.last())?;
        Some(Cut { reason, removed: start - self.offset, turns })
    }

    /// What the model is to be asked for a summary of what goes, the summary before included.
    pub fn summary_request(&self, messages: &[Arc<Message>], cut: &Cut) -> Vec<Arc<Message>> {
        let going = messages.get(self.offset..self.offset + cut.removed).unwrap_or_default();
        let mut told = String::new();
        if let Some(summary) = &self.summary {
            told.push_str(&format!("Summary of what came before: {summary}\n\n"));
        }
        for message in going.iter().skip(self.removed).filter(|message| !is_instruction(message)) {
            told.push_str(&told_of(message));
        }
        vec![
            Arc::new(Message::system(
                "You write summaries of conversations. Keep what later turns may need: facts, names, numbers, decisions, \
                 what the user wants and what is still open. At most 300 words, in the language of the conversation. \
                 Write the summary alone.",
            )),
            Arc::new(Message::user(format!("Summarize this conversation:\n\n{told}"))),
        ]
    }

    /// Leaves turns out from now on. `summary`: what stands for them, or why there is none although it was wanted.
    pub fn compact(
        &mut self,
        messages: &[Arc<Message>],
        cut: &Cut,
        summary: Option<Result<String, String>>,
    ) -> Compacted {
        let tokens = |context: &Self| {
            let bytes = context.bytes(&context.view(messages)) as f64;
            context.measured.map(|_| (bytes * context.tokens_per_byte()).round() as u64)
        };
        let before = tokens(self);
        let gone = messages.get(self.offset + self.removed..self.offset + cut.removed).unwrap_or_default();
        let removed_messages = gone.iter().filter(|message| !is_instruction(message)).count();
        let (summary, error) = match summary {
            Some(Ok(summary)) => (Some(summary), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        self.removed = cut.removed;
        // An older summary is part of a newer one, and better than none.
        if summary.is_some() {
            self.summary.clone_from(&summary);
        }
        let policy = if summary.is_some() { ContextPolicy::Summarize } else { ContextPolicy::Trim };
        Compacted {
            policy,
            reason: cut.reason,
            removed_turns: cut.turns,
            removed_messages,
            context_limit: self.limit,
            tokens_before: before,
            tokens_after: tokens(self),
            summary,
            error,
        }
    }

    /// Notes what the server counted for the conversation as it was sent.
    pub fn answered(&mut self, messages: &[Arc<Message>], prompt_tokens: Option<u64>) {
        self.overflows = 0;
        let tokens = prompt_tokens.filter(|tokens| *tokens > 0 && self.policy != ContextPolicy::Keep);
        if let Some(tokens) = tokens {
            self.measured = Some(Measured { tokens, bytes: self.bytes(&self.view(messages)) });
        }
    }

    fn tokens_per_byte(&self) -> f64 {
        match self.measured {
            Some(measured) if measured.bytes > 0 => measured.tokens as f64 / measured.bytes as f64,
            _ => 1.0 / BYTES_PER_TOKEN,
        }
    }

    fn bytes(&self, messages: &[Arc<Message>]) -> usize {
        self.tools + messages.iter().map(|message| bytes_of(message)).sum::<usize>()
    }
}

fn is_instruction(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// By the user: what a conversation held must not become an instruction.
fn standing_for_what_is_gone(summary: &str) -> Message {
    Message::user(format!("[The earlier part of this conversation is left out. Its summary:]\n{summary}"))
}

fn bytes_of(message: &Message) -> usize {
    let said = match &message.content {
        None => 0,
        Some(Content::Text(text)) => text.len(),
        Some(Content::Parts(parts)) => parts
            .iter()
            .map(|part| {
                let text = part.as_str().or_else(|| part.get("text")?.as_str());
                text.map_or(PART, str::len)
            })
            .sum(),
    };
    let calls: usize =
        message.tool_calls.iter().map(|call| call.name.len() + call.arguments.len() + FRAME).sum();
    said + calls + FRAME
}

/// A message as a summary is made from it.
fn told_of(message: &Message) -> String {
    let calls =
        message.tool_calls.iter().map(|call| format!(" [calls {} with {}]", call.name, call.arguments));
    let said = message.text() + &calls.collect::<String>();
    let end = said.char_indices().nth(TOLD).map(|(end, _)| end);
    let shown = end.and_then(|end| said.get(..end)).map_or_else(|| said.clone(), |cut| format!("{cut} …"));
    format!("{}: {}\n", message.role.as_str(), shown.trim())
}

#[cfg(test)]
mod tests;
