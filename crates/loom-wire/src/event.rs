//! What a model call delivers while it runs, and the sum of it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::ledger::LedgerEntry;
use crate::tool::ToolCall;

/// Tokens used, as the server counted them. What it did not say is `None`, never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<u64>,
    /// The server's total; it need not be the sum of the two.
    pub total_tokens: Option<u64>,
    /// Tokens of the prompt that came from the server's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Tokens spent on thinking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// Whether the server said anything at all.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another call's usage. A count that either call lacks stays unknown: half a sum is no sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        let add_detail = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, b) => b,
            (a, None) => a,
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
        };
        Self {
            prompt_tokens: add(self.prompt_tokens, other.prompt_tokens),
            completion_tokens: add(self.completion_tokens, other.completion_tokens),
            total_tokens: add(self.total_tokens, other.total_tokens),
            cached_tokens: add_detail(self.cached_tokens, other.cached_tokens),
            reasoning_tokens: add_detail(self.reasoning_tokens, other.reasoning_tokens),
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// The token limit was reached.
    Length,
    /// The model calls tools.
    ToolCalls,
    /// A filter stopped it.
    ContentFilter,
    /// A reason that the format does not know, as the server wrote it.
    Other(String),
}

impl FinishReason {
    /// The reason for a server's word, and whether it had to be renamed.
    ///
    /// Renamed: `eos`, `eos_token`, `stop_sequence`, `end_turn` (Together, TGI, Anthropic), `repetition` (vLLM),
    /// `model_length`, `max_tokens` (Mistral), `function_call`, `sensitive` (Zhipu), what gateways pass on from other APIs
    /// (`SAFETY`, `RECITATION` and the like of Gemini; `refusal`, `model_context_window_exceeded` of Anthropic;
    /// `guardrail_intervened`, `content_filtered` of Bedrock; `COMPLETE`, `TOOL_CALL`, `ERROR_TOXIC` of Cohere;
    /// `max_output_tokens` of OpenAI's Responses), and any of them in other case.
    pub fn from_wire(word: &str) -> (Self, bool) {
        match word {
            "stop" => (Self::Stop, false),
            "length" => (Self::Length, false),
            "tool_calls" => (Self::ToolCalls, false),
            "content_filter" => (Self::ContentFilter, false),
            _ => match word.to_ascii_lowercase().as_str() {
                "stop" | "eos" | "eos_token" | "stop_sequence" | "end_turn" | "repetition" | "complete" => {
                    (Self::Stop, true)
                }
                "length"
                | "model_length"
                | "max_tokens"
                | "max_output_tokens"
                | "model_context_window_exceeded" => (Self::Length, true),
                "tool_calls" | "tool_call" | "function_call" | "tool_use" => (Self::ToolCalls, true),
                "content_filter"
                | "content_filtered"
                | "sensitive"
                | "safety"
                | "recitation"
                | "blocklist"
                | "prohibited_content"
                | "spii"
                | "image_safety"
                | "refusal"
                | "guardrail_intervened"
                | "error_toxic" => (Self::ContentFilter, true),
                _ => (Self::Other(word.to_owned()), false),
            },
        }
    }

    /// The format's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Other(word) => word,
        }
    }
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FinishReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for FinishReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_wire(&String::deserialize(deserializer)?).0)
    }
}

/// What a model call delivers, in this order: deltas as they come, then the calls, the usage, the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// More of the answer's text; never empty.
    ContentDelta {
        /// The text.
        content: String,
    },
    /// More of the model's thinking; never empty.
    ReasoningDelta {
        /// The text.
        content: String,
    },
    /// The calls the model made, complete; at most once.
    ToolCalls {
        /// In the order in which the model made them.
        #[serde(serialize_with = "flat_calls")]
        tool_calls: Vec<ToolCall>,
    },
    /// The tokens used; at most once.
    Usage(Usage),
    /// A try failed and another follows; before the first delta only.
    Retry(Retry),
    /// The end; exactly once, last.
    Finish(Box<Finish>),
}

/// A try that failed, and when the next one follows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Retry {
    /// Which try failed; counts from 1.
    pub attempt: u32,
    /// Why: the kind of failure, or `"loading"` while the server loads its model.
    pub reason: String,
    /// What failed, in a sentence.
    pub message: String,
    /// The HTTP status, if there was one.
    pub status_code: Option<u16>,
    /// Seconds until the next try.
    pub wait: f64,
}

fn flat_calls<S: Serializer>(calls: &[ToolCall], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(calls.iter().map(ToolCall::to_flat))
}

/// How an answer ended, and the facts about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Finish {
    /// Why; none when the server never said.
    pub finish_reason: Option<FinishReason>,
    /// The model that answered, as the server names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The server's id of the completion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The server's name for the request (a header).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What the model said when it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The whole text, where it is not the sum of the deltas: JSON that was asked for, without the fence around it. A
    /// stream is not held back until that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Seconds that the call waited for its turn, since the caller had set limits on the endpoint; none when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_seconds: Option<f64>,
    /// The leniencies that were used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ledger: Vec<LedgerEntry>,
    /// Fields of the message that the server wants back (`reasoning_details`).
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// A whole answer: the sum of its events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Completion {
    /// The text.
    pub content: String,
    /// What the model thought before it answered.
    pub reasoning: Option<String>,
    /// The calls it made.
    pub tool_calls: Vec<ToolCall>,
    /// Why it ended; none when the server never said.
    pub finish_reason: Option<FinishReason>,
    /// The tokens used; none when the server did not say.
    pub usage: Option<Usage>,
    /// The model that answered, as the server names it.
    pub model: Option<String>,
    /// The server's id of the completion.
    pub id: Option<String>,
    /// The server's name for the request (a header).
    pub request_id: Option<String>,
    /// What the model said when it refused.
    pub refusal: Option<String>,
    /// Seconds that the call waited for its turn, since the caller had set limits on the endpoint; none when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_seconds: Option<f64>,
    /// The leniencies that were used.
    pub ledger: Vec<LedgerEntry>,
    /// Fields of the message that the server wants back.
    pub extra: Map<String, Value>,
}

impl Completion {
    /// Adds an event that nobody else needs: a text that comes in one piece is not copied.
    pub fn take(&mut self, event: Event) {
        match event {
            Event::ContentDelta { content } if self.content.is_empty() => self.content = content,
            Event::ToolCalls { tool_calls } if self.tool_calls.is_empty() => self.tool_calls = tool_calls,
            Event::Finish(finish) => self.end(*finish),
            other => self.absorb(&other),
        }
    }

    /// Adds an event.
    pub fn absorb(&mut self, event: &Event) {
        match event {
            Event::ContentDelta { content } => self.content.push_str(content),
            Event::ReasoningDelta { content } => {
                self.reasoning.get_or_insert_default().push_str(content);
            }
            Event::ToolCalls { tool_calls } => self.tool_calls.extend_from_slice(tool_calls),
            Event::Usage(usage) => self.usage = Some(*usage),
            // The answer begins anew.
            Event::Retry(_) => {}
            Event::Finish(finish) => self.end((**finish).clone()),
        }
    }

    fn end(&mut self, finish: Finish) {
        self.finish_reason = finish.finish_reason;
        self.model = finish.model;
        self.id = finish.id;
        self.request_id = finish.request_id;
        self.refusal = finish.refusal;
        if let Some(content) = finish.content {
            self.content = content;
        }
        self.queue_seconds = finish.queue_seconds;
        self.ledger = finish.ledger;
        self.extra = finish.extra;
    }

    /// Whether the model said, thought or called anything.
    pub fn is_empty(&self) -> bool {
        self.content.is_empty() && self.reasoning.is_none() && self.tool_calls.is_empty()
    }
}
