//! When a failed call is repeated, and after what wait. The rules are openai-python's, so that users find what they know.

use std::time::{Duration, SystemTime};

use loom_wire::LlmError;
use reqwest::header::HeaderMap;

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

/// What the headers of a refusal say about trying again.
pub(crate) fn advice(headers: &HeaderMap, now: SystemTime) -> (Option<bool>, Option<Duration>) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let should = match text("x-should-retry") {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    let from_number = |text: &str, unit: f64| {
        let number: f64 = text.parse().ok()?;
        Duration::try_from_secs_f64(number * unit).ok()
    };
    let after = text("retry-after-ms")
        .and_then(|text| from_number(text, 0.001))
        .or_else(|| text("retry-after").and_then(|text| from_number(text, 1.0)))
        .or_else(|| {
            let date = httpdate::parse_http_date(text("retry-after")?).ok()?;
            date.duration_since(now).ok()
        });
    (should, after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom_wire::ErrorKind;
    use reqwest::header::HeaderValue;

    fn after(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        advice(&headers, SystemTime::UNIX_EPOCH).1
    }

    #[test]
    fn every_form_of_advice() {
        assert_eq!(after("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(after("retry-after", "1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(after("retry-after-ms", "1200"), Some(Duration::from_millis(1200)));
        assert_eq!(after("retry-after", "Thu, 01 Jan 1970 00:00:30 GMT"), Some(Duration::from_secs(30)));
        for garbage in ["soon", "-3", "NaN", "1e400", ""] {
            assert_eq!(after("retry-after", garbage), None, "{garbage}");
        }
    }

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
