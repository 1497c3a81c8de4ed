//! A member of a pool: its LLM, how much it has to do, and how it has fared.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loom_wire::{ErrorKind, LlmError};
use serde::Serialize;
use tokio::time::Instant;

use crate::model::llm::Llm;
use crate::model::pool::breaker::{Breaker, Circuit, Rule};

pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) llm: Arc<dyn Llm>,
    pub(crate) weight: f64,
    /// 0 for a replica, then each fallback in its order.
    pub(crate) tier: usize,
    pub(crate) context_window: Option<u64>,
    breaker: Mutex<Breaker>,
    in_flight: AtomicUsize,
    calls: AtomicU64,
}

/// How a member of a pool is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Whether it is asked.
    pub state: MemberState,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls so far.
    pub calls: u64,
    /// Failures since its last success.
    pub failures: u32,
}

/// Whether a member of a pool is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MemberState {
    /// It is.
    Available,
    /// It is left alone after failures, or since its server asked to wait.
    LeftAlone,
    /// One call tries whether it works again.
    OnTrial,
}

impl Member {
    pub(crate) fn new(
        name: String,
        llm: Arc<dyn Llm>,
        weight: f64,
        tier: usize,
        context_window: Option<u64>,
        rule: Rule,
    ) -> Self {
        Self {
            name,
            llm,
            weight,
            tier,
            context_window,
            breaker: Mutex::new(Breaker::new(rule)),
            in_flight: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn circuit(&self, now: Instant) -> Circuit {
        self.breaker().state(now)
    }

    /// What it would have to do with one call more, for its weight.
    pub(crate) fn load(&self) -> f64 {
        // Calls under way are far fewer than a float can count.
        #[allow(clippy::cast_precision_loss)]
        let calls = self.in_flight.load(Ordering::Relaxed).saturating_add(1) as f64;
        calls / self.weight
    }

    pub(crate) fn status(&self) -> MemberStatus {
        let breaker = self.breaker();
        MemberStatus {
            name: self.name.clone(),
            state: match breaker.state(Instant::now()) {
                Circuit::Closed => MemberState::Available,
                Circuit::Open(_) => MemberState::LeftAlone,
                Circuit::HalfOpen | Circuit::Trying => MemberState::OnTrial,
            },
            in_flight: self.in_flight.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
            failures: breaker.failures(),
        }
    }
}

/// A call that a member has under way. Dropped without a result (the caller went away), it says nothing about it.
pub(crate) struct Turn {
    pub(crate) member: Arc<Member>,
    is_trial: bool,
}

impl Turn {
    pub(crate) fn start(member: Arc<Member>) -> Self {
        let is_trial = member.breaker().start(Instant::now());
        member.in_flight.fetch_add(1, Ordering::Relaxed);
        member.calls.fetch_add(1, Ordering::Relaxed);
        Self { member, is_trial }
    }

    pub(crate) fn succeeded(&mut self) {
        self.is_trial = false;
        self.member.breaker().succeed();
    }

    /// Judges the member by a failure: some are the request's own fault, and some are a wish to be left alone.
    pub(crate) fn failed(&mut self, error: &LlmError) {
        let now = Instant::now();
        let mut breaker = self.member.breaker();
        match error.kind {
            ErrorKind::Config
            | ErrorKind::BadRequest
            | ErrorKind::ContextLength
            | ErrorKind::ContentFilter => breaker.succeed(),
            // It will be there soon; each call looks anew.
            ErrorKind::Overloaded if error.is_loading() => breaker.succeed(),
            ErrorKind::RateLimit => {
                if self.is_trial {
                    breaker.succeed();
                }
                breaker.block(now, error.retry_after.unwrap_or(Duration::from_secs(1)));
            }
            _ => {
                breaker.fail(now);
                if let Some(wait) = error.retry_after {
                    breaker.block(now, wait);
                }
            }
        }
        self.is_trial = false;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.member.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.is_trial {
            self.member.breaker().abandon_trial();
        }
    }
}
