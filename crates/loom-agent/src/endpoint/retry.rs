//! When a failed call is repeated, and after what wait. The rules are openai-python's, so that users find what they know.

use std::time::Duration;

use loom_wire::LlmError;

/// The longest wait that a server may ask for; one that asks for more is not asked again.
const LONGEST_ADVICE: Duration = Duration::from_secs(120);

/// How often a failed call is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Repetitions after the first try. Default 2.
    pub max: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { max: 2 }
    }
}

impl Retries {
    /// The wait before the next try, or `None` if there shall be none. `attempt` counts from 1.
    pub(crate) fn wait(self, error: &LlmError, attempt: u32) -> Option<Duration> {
        if attempt > self.max || !error.retryable {
            return None;
        }
        match error.retry_after {
            Some(advice) if advice > LONGEST_ADVICE => None,
            Some(advice) if !advice.is_zero() => Some(advice),
            // 0.5 s, doubled each time up to 8 s, less up to a quarter so that callers do not march in step.
            _ => {
                let base = 0.5 * f64::from(2u32.saturating_pow(attempt.saturating_sub(1))).min(16.0);
                Some(Duration::from_secs_f64(base * (1.0 - 0.25 * fastrand::f64())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom_wire::ErrorKind;

    #[test]
    fn waits_grow_and_end() {
        let error = LlmError::new(ErrorKind::Server, "x");
        let retries = Retries { max: 6 };
        let mut previous = Duration::ZERO;
        for attempt in 1..=5 {
            let wait = retries.wait(&error, attempt).unwrap();
            assert!(wait > previous, "the smallest of a wait is more than the largest of the one before");
            assert!(wait <= Duration::from_secs(8));
            previous = wait;
        }
        assert_eq!(retries.wait(&error, 7), None);
        assert_eq!(retries.wait(&LlmError::new(ErrorKind::Auth, "x"), 1), None);
        let mut far = error.clone();
        far.retry_after = Some(Duration::from_secs(121));
        assert_eq!(retries.wait(&far, 1), None);
    }
}
