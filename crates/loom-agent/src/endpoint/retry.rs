//! When a failed call is repeated, and after what wait. The rules are openai-python's, so that users find what they know.

use std::time::Duration;

use loom_wire::{ErrorKind, LlmError, Retry};
use tokio::time::Instant;

use super::clocks::Clocks;
use super::retry_budget;

/// The longest wait that a server may ask for; one that asks for more is not asked again.
const LONGEST_ADVICE: Duration = Duration::from_secs(120);

/// A wait that spares the server without counting the retries.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);

/// How often a failed call is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Repetitions after the first try; 0 also means that a loading model is not waited for. Default 2.
    pub max: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { max: 2 }
    }
}

impl Retries {
    /// The wait before the next try, or `None` if there shall be none. `failures` counts from 1.
    pub(crate) fn wait(self, error: &LlmError, failures: u32) -> Option<Duration> {
        if failures > self.max || !error.retryable {
            return None;
        }
        match error.retry_after {
            Some(advice) if advice > LONGEST_ADVICE => None,
            Some(advice) if !advice.is_zero() => Some(spread(advice)),
            _ => Some(backoff(failures)),
        }
    }
}

/// The tries of one call.
pub(crate) struct Tries<'a> {
    retries: Retries,
    origin: &'a str,
    failures: u32,
    bad_responses: u32,
    /// Since when the server has been saying that it loads the model, and how often.
    loading: Option<(Instant, u32)>,
    /// The tries that have failed.
    pub(crate) history: Vec<Retry>,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(retries: Retries, origin: &'a str) -> Self {
        Self { retries, origin, failures: 0, bad_responses: 0, loading: None, history: Vec::new() }
    }

    /// The try that follows a failed one, or `None` if there shall be none. The error gets the history.
    pub(crate) fn after(&mut self, error: &mut LlmError, clocks: &Clocks) -> Option<Retry> {
        let next = self.next(error, clocks).filter(|(wait, _)| clocks.left().is_none_or(|left| *wait < left));
        let Some((wait, reason)) = next else {
            error.retries.clone_from(&self.history);
            return None;
        };
        let retry = Retry {
            attempt: error.attempts,
            reason,
            message: error.message.clone(),
            status_code: error.status_code,
            wait: wait.as_secs_f64(),
        };
        self.history.push(retry.clone());
        Some(retry)
    }

    fn next(&mut self, error: &mut LlmError, clocks: &Clocks) -> Option<(Duration, String)> {
        if error.is_loading() && self.retries.max > 0 {
            return Some((self.loading(error, clocks)?, "loading".to_owned()));
        }
        self.failures += 1;
        // What a server answers wrongly twice (an empty answer, mostly) it will a third time.
        self.bad_responses += u32::from(error.kind == ErrorKind::BadResponse);
        if self.bad_responses > 1 {
            return None;
        }
        let wait = self.retries.wait(error, self.failures)?;
        // To come when one is asked to is no burden; to come at once is one all the same.
        let is_asked_to = error.retry_after.is_some_and(|advice| advice >= SHORTEST_WAIT);
        if !is_asked_to && !retry_budget::spend(self.origin) {
            error.hint.get_or_insert_with(|| {
                format!(
                    "too many calls to {} fail at once: this process repeats them less often now",
                    self.origin
                )
            });
            return None;
        }
        Some((wait, error.kind.as_str().to_owned()))
    }

    /// A second, growing to five, until the clock for loading has run out.
    fn loading(&mut self, error: &LlmError, clocks: &Clocks) -> Option<Duration> {
        let (since, count) = self.loading.get_or_insert_with(|| (Instant::now(), 0));
        *count += 1;
        let usual = Duration::from_secs_f64(1.5f64.powi(count.saturating_sub(1).min(8) as i32).min(5.0));
        let wait = spread(error.retry_after.filter(|advice| !advice.is_zero()).unwrap_or(usual));
        let limit = clocks.loading_limit();
        limit.is_none_or(|limit| since.elapsed() + wait <= limit).then_some(wait)
    }
}

/// 0.5 s, doubled each time up to 8 s, less up to a quarter so that callers do not march in step.
fn backoff(failures: u32) -> Duration {
    let base = 0.5 * f64::from(2u32.saturating_pow(failures.saturating_sub(1))).min(16.0);
    Duration::from_secs_f64(base * (1.0 - 0.25 * fastrand::f64()))
}

/// Not before the time that the server said, and a little later each time.
fn spread(advice: Duration) -> Duration {
    advice.mul_f64(1.0 + 0.1 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Timeout;

    fn clocks() -> Clocks {
        Clocks::start(Timeout::default())
    }

    #[test]
    fn waits_grow_and_end() {
        let mut tries = Tries::new(Retries { max: 5 }, "http://waits-grow");
        let mut error = LlmError::new(ErrorKind::Server, "x");
        let mut previous = 0.0;
        for attempt in 1..=5 {
            error.attempts = attempt;
            let retry = tries.after(&mut error, &clocks()).unwrap();
            assert!(
                retry.wait > previous,
                "the smallest of a wait is more than the largest of the one before"
            );
            assert!(retry.wait <= 8.0);
            previous = retry.wait;
        }
        assert!(tries.after(&mut error, &clocks()).is_none());
        assert_eq!(error.retries.iter().map(|retry| retry.attempt).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_cannot_pass_or_is_too_far_away_is_not_tried() {
        let next = |mut error: LlmError| {
            Tries::new(Retries::default(), "http://too-far")
                .after(&mut error, &clocks())
                .map(|retry| retry.wait)
        };
        assert_eq!(next(LlmError::new(ErrorKind::Auth, "x")), None);
        let mut error = LlmError::new(ErrorKind::RateLimit, "x");
        error.retry_after = Some(Duration::from_secs(121));
        assert_eq!(next(error.clone()), None);
        error.retry_after = Some(Duration::from_secs(100));
        assert!((100.0..=110.0).contains(&next(error).unwrap()));
    }

    #[test]
    fn loading_is_no_failure() {
        let mut tries = Tries::new(Retries { max: 1 }, "http://loading");
        let mut error = LlmError::new(ErrorKind::Overloaded, "Loading model");
        for _ in 0..20 {
            assert_eq!(tries.after(&mut error, &clocks()).unwrap().reason, "loading");
        }
        let short =
            Clocks::start(Timeout { loading: Some(Duration::from_millis(500)), ..Timeout::default() });
        assert!(tries.after(&mut error, &short).is_none());
        assert!(Tries::new(Retries { max: 0 }, "http://loading").after(&mut error, &clocks()).is_none());
    }
}
