//! What an agent has done so far, summed over its runs.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::agent::run::Used;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Answered,
    /// It waits for approval.
    Paused,
    /// With an error.
    Failed,
}

/// The sums. Runs that were dropped before their end are not among them.
#[derive(Debug, Default)]
pub struct Stats(Mutex<StatsSnapshot>);

/// What an agent has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StatsSnapshot {
    /// Runs that have ended, in whatever way; a resumed run counts each time.
    pub runs: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that ended waiting for approval.
    pub paused: u64,
    /// How often the model was asked.
    pub turns: u64,
    /// How many tool calls were executed.
    pub tool_calls: u64,
    /// How many of them failed, and those that were not executed.
    pub tool_errors: u64,
    /// Tokens of prompts, as far as the servers counted them.
    pub prompt_tokens: u64,
    /// Tokens of answers, as far as the servers counted them.
    pub completion_tokens: u64,
    /// Seconds of all runs.
    pub seconds: f64,
}

impl Stats {
    /// Adds a run.
    pub fn add(&self, outcome: Outcome, used: &Used) {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sum.runs += 1;
        sum.failed += u64::from(outcome == Outcome::Failed);
        sum.paused += u64::from(outcome == Outcome::Paused);
        sum.turns += u64::from(used.turns);
        sum.tool_calls += u64::from(used.tool_calls);
        sum.tool_errors += u64::from(used.tool_errors);
        sum.prompt_tokens += used.prompt_tokens;
        sum.completion_tokens += used.completion_tokens;
        sum.seconds += used.seconds;
    }

    /// The sums so far.
    pub fn snapshot(&self) -> StatsSnapshot {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
