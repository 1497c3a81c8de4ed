//! How far a run may go: turns, tool calls, tokens, time, cost, and how often a model may err in the same way.

use std::fmt;

use loom_wire::{Completion, Message, Usage};
use serde::{Deserialize, Serialize};

/// Characters of a token, about, where the server does not count.
const BYTES_PER_TOKEN: usize = 4;

/// The limits of a run. Each ends it with an error of its own that holds the run so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunLimits {
    /// How often the model may be asked. Default 20.
    pub max_turns: u32,
    /// How many tool calls may be executed. Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tool_calls: Option<u32>,
    /// How many tokens may be used, prompts and answers of all turns together, before the model is asked again. Where the
    /// server does not count, four bytes are taken for a token, which the ledger says. Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total_tokens: Option<u64>,
    /// Seconds that the run may take, its pauses not counted. Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
    /// What the run may cost by `prices`, in their currency. Default: anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<f64>,
    /// What tokens cost. Loom knows no prices by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// How many turns in a row may hold nothing but calls that cannot be executed (unknown tool, arguments that do not
    /// fit). Default 3.
    pub max_invalid_calls: u32,
    /// How often the same call with the same arguments may yield the same result before it is not executed any more.
    /// Default 3.
    pub max_repeats: u32,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            max_turns: 20,
            max_tool_calls: None,
            max_total_tokens: None,
            max_seconds: None,
            max_cost: None,
            prices: None,
            max_invalid_calls: 3,
            max_repeats: 3,
        }
    }
}

impl RunLimits {
    /// Whether they can be kept.
    ///
    /// # Errors
    /// Which one cannot, and why.
    pub fn check(&self) -> Result<(), String> {
        let amount = |name: &str, value: Option<f64>| match value {
            Some(value) if !value.is_finite() || value <= 0.0 => {
                Err(format!("{name} is a number above 0, not {value}"))
            }
            _ => Ok(()),
        };
        amount("max_seconds", self.max_seconds)?;
        amount("max_cost", self.max_cost)?;
        if self.max_turns == 0 {
            return Err("max_recursion_depth is a number of turns from 1, not 0".to_owned());
        }
        if self.max_cost.is_some() && self.prices.is_none() {
            return Err("max_cost needs prices: what a million tokens cost, as input and output".to_owned());
        }
        match &self.prices {
            Some(prices) => prices.check(),
            None => Ok(()),
        }
    }
}

/// What a million tokens cost, in any currency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// A million tokens of the prompt.
    pub input: f64,
    /// A million tokens of the answer, thinking included.
    pub output: f64,
    /// A million tokens of the prompt that came from the server's cache. Default: as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
}

impl Prices {
    fn check(&self) -> Result<(), String> {
        for (name, price) in
            [("input", Some(self.input)), ("output", Some(self.output)), ("cached_input", self.cached_input)]
        {
            if price.is_some_and(|price| !price.is_finite() || price < 0.0) {
                return Err(format!("the price {name} is a number from 0"));
            }
        }
        Ok(())
    }

    fn of(&self, usage: &Usage) -> f64 {
        let count = |tokens: Option<u64>| tokens.unwrap_or(0) as f64;
        let cached = count(usage.cached_tokens).min(count(usage.prompt_tokens));
        let fresh = count(usage.prompt_tokens) - cached;
        let million = fresh * self.input
            + cached * self.cached_input.unwrap_or(self.input)
            + count(usage.completion_tokens) * self.output;
        million / 1e6
    }
}

/// Which limit ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Limit {
    /// `max_tool_calls`.
    ToolCalls,
    /// `max_total_tokens`.
    Tokens,
    /// `max_seconds`.
    Time,
    /// `max_cost`.
    Cost,
    /// `max_invalid_calls`.
    InvalidCalls,
    /// `max_repeats`.
    RepeatedCalls,
}

impl Limit {
    /// The name, as Python and the shell have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToolCalls => "tool_calls",
            Self::Tokens => "tokens",
            Self::Time => "time",
            Self::Cost => "cost",
            Self::InvalidCalls => "invalid_calls",
            Self::RepeatedCalls => "repeated_calls",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a run has used of its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Used {
    /// How often the model was asked.
    pub turns: u32,
    /// How many tool calls were executed.
    pub tool_calls: u32,
    /// How many of them failed, and those that were not executed.
    pub tool_errors: u32,
    /// Tokens of prompts, as the servers counted them.
    pub prompt_tokens: u64,
    /// Tokens of answers, as the servers counted them.
    pub completion_tokens: u64,
    /// All tokens, where the limits need them also those that had to be estimated.
    pub tokens: u64,
    /// What they cost by the run's prices.
    pub cost: f64,
    /// Seconds.
    pub seconds: f64,
}

impl Used {
    /// Adds a turn's tokens; says whether they had to be estimated.
    pub(super) fn count(
        &mut self,
        limits: &RunLimits,
        asked: &[std::sync::Arc<Message>],
        answer: &Completion,
    ) -> bool {
        let counted = answer.usage.filter(|usage| {
            usage.total_tokens.is_some()
                || (usage.prompt_tokens.is_some() && usage.completion_tokens.is_some())
        });
        if let Some(usage) = &answer.usage {
            self.prompt_tokens += usage.prompt_tokens.unwrap_or(0);
            self.completion_tokens += usage.completion_tokens.unwrap_or(0);
        }
        let usage = counted.unwrap_or_else(|| estimate(asked, answer));
        let total = usage
            .total_tokens
            .unwrap_or_else(|| usage.prompt_tokens.unwrap_or(0) + usage.completion_tokens.unwrap_or(0));
        let is_needed = limits.max_total_tokens.is_some() || limits.prices.is_some();
        if counted.is_some() || is_needed {
            self.tokens = self.tokens.saturating_add(total);
            self.cost += limits.prices.map_or(0.0, |prices| prices.of(&usage));
        }
        counted.is_none() && is_needed
    }

    /// The first of the limits on tokens, cost and time that is used up, in words.
    pub(super) fn exceeds(&self, limits: &RunLimits) -> Option<(Limit, String)> {
        if let Some(most) = limits.max_total_tokens.filter(|most| self.tokens >= *most) {
            return Some((Limit::Tokens, format!("{} tokens of max_total_tokens={most}", self.tokens)));
        }
        if let Some(most) = limits.max_cost.filter(|most| self.cost >= *most) {
            return Some((Limit::Cost, format!("{:.6} of max_cost={most}", self.cost)));
        }
        if let Some(most) = limits.max_seconds.filter(|most| self.seconds >= *most) {
            return Some((Limit::Time, format!("{:.1} s of max_seconds={most}", self.seconds)));
        }
        None
    }

    /// What has come since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            turns: self.turns.saturating_sub(before.turns),
            tool_calls: self.tool_calls.saturating_sub(before.tool_calls),
            tool_errors: self.tool_errors.saturating_sub(before.tool_errors),
            prompt_tokens: self.prompt_tokens.saturating_sub(before.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_sub(before.completion_tokens),
            tokens: self.tokens.saturating_sub(before.tokens),
            cost: (self.cost - before.cost).max(0.0),
            seconds: (self.seconds - before.seconds).max(0.0),
        }
    }
}

/// What the server did not count: four bytes a token.
fn estimate(asked: &[std::sync::Arc<Message>], answer: &Completion) -> Usage {
    let tokens = |bytes: usize| Some((bytes / BYTES_PER_TOKEN) as u64);
    let calls = |calls: &[loom_wire::ToolCall]| calls.iter().map(|call| call.arguments.len()).sum::<usize>();
    let prompt: usize = asked.iter().map(|message| message.text().len() + calls(&message.tool_calls)).sum();
    let said =
        answer.content.len() + answer.reasoning.as_ref().map_or(0, String::len) + calls(&answer.tool_calls);
    Usage { prompt_tokens: tokens(prompt), completion_tokens: tokens(said), ..Usage::default() }
}
