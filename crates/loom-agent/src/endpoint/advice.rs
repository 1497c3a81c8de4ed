//! What the headers of a refusal say about trying again, in every form that servers use (case 122 of the wire notes).

use std::time::{Duration, SystemTime};

use loom_wire::advice::duration;
use loom_wire::{ErrorKind, LlmError};
use reqwest::header::HeaderMap;

/// Rate limits as headers name them: until the limit is full again, and how much of it is left.
const LIMITS: &[(&str, &str)] = &[
    // OpenAI, Groq, Azure: `6m0s`, `7.66s`, `12ms`.
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    // OpenRouter: milliseconds since 1970; Fireworks, GitHub: seconds since 1970; others: seconds from now.
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
    ("ratelimit-reset", "ratelimit-remaining"),
];

/// Adds to a refusal what its headers say. They outrank its body.
pub(super) fn apply(error: &mut LlmError, headers: &HeaderMap, now: SystemTime) {
    let said = retry_after(headers, now);
    match text(headers, "x-should-retry") {
        // The server's word counts, but no waiting refills an account.
        Some("true") if error.kind != ErrorKind::Quota => error.retryable = true,
        Some("false") => error.retryable = false,
        // OpenRouter sends a time with 402 exactly when waiting cures it.
        None if error.status_code == Some(402) && said.is_some() => error.retryable = true,
        _ => {}
    }
    // The headers about limits come with every answer; they are advice only where a limit was the reason.
    let limit =
        || Some(()).filter(|()| error.kind == ErrorKind::RateLimit).and_then(|()| reset(headers, now));
    error.retry_after = said.or(error.retry_after).or_else(limit);
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |name: &str, unit: f64| {
        let number: f64 = text(headers, name)?.parse().ok()?;
        Duration::try_from_secs_f64(number * unit).ok()
    };
    number("retry-after-ms", 0.001).or_else(|| number("retry-after", 1.0)).or_else(|| {
        let date = httpdate::parse_http_date(text(headers, "retry-after")?).ok()?;
        date.duration_since(now).ok()
    })
}

/// The time until the limit that is used up is free again; where no header says which one it is, the longest.
fn reset(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let found: Vec<(Option<bool>, Duration)> = LIMITS
        .iter()
        .filter_map(|(reset, remaining)| {
            let left: Option<f64> = text(headers, remaining).and_then(|text| text.parse().ok());
            Some((left.map(|left| left <= 0.0), until(text(headers, reset)?, now)?))
        })
        .collect();
    let longest = |used_up: Option<bool>| {
        found.iter().filter(|(state, _)| *state == used_up).map(|(_, wait)| *wait).max()
    };
    longest(Some(true)).or_else(|| longest(None)).or_else(|| longest(Some(false)))
}

/// A time from now: a length of time, or seconds or milliseconds since 1970.
fn until(text: &str, now: SystemTime) -> Option<Duration> {
    let wait = duration(text)?;
    let since_1970 = match wait.as_secs() {
        0..1_000_000_000 => return Some(wait),
        1_000_000_000..1_000_000_000_000 => wait,
        _ => wait / 1000,
    };
    (SystemTime::UNIX_EPOCH + since_1970).duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(header).collect()
    }

    fn advised(pairs: &[(&'static str, &str)]) -> Option<Duration> {
        let mut error = LlmError::new(ErrorKind::RateLimit, "x");
        apply(&mut error, &headers(pairs), SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000));
        error.retry_after
    }

    #[test]
    fn every_form_of_advice() {
        let seconds = |pairs: &[(&'static str, &str)]| advised(pairs).map(|wait| wait.as_secs_f64());
        assert_eq!(seconds(&[("retry-after", "7")]), Some(7.0));
        assert_eq!(seconds(&[("retry-after", "1.5")]), Some(1.5));
        assert_eq!(seconds(&[("retry-after-ms", "1200"), ("retry-after", "9")]), Some(1.2));
        assert_eq!(seconds(&[("retry-after", "Wed, 18 May 2033 03:33:50 GMT")]), Some(30.0));
        assert_eq!(seconds(&[("x-ratelimit-reset-tokens", "2m59.56s")]), Some(179.56));
        assert_eq!(seconds(&[("x-ratelimit-reset", "2000000040000")]), Some(40.0));
        assert_eq!(seconds(&[("x-ratelimit-reset", "2000000050")]), Some(50.0));
        assert_eq!(seconds(&[("x-ratelimit-reset", "60")]), Some(60.0));
        for garbage in ["soon", "-3", "NaN", "1e400", "", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(seconds(&[("retry-after", garbage)]), None, "{garbage}");
        }
    }

    #[test]
    fn the_limit_that_is_used_up_is_the_one_to_wait_for() {
        let requests = ("x-ratelimit-reset-requests", "1s");
        let tokens = ("x-ratelimit-reset-tokens", "50ms");
        let none_left = ("x-ratelimit-remaining-tokens", "0");
        assert_eq!(advised(&[requests, tokens]), Some(Duration::from_secs(1)));
        assert_eq!(advised(&[requests, tokens, none_left]), Some(Duration::from_millis(50)));
    }

    #[test]
    fn limits_are_no_advice_where_no_limit_was_reached() {
        let mut error = LlmError::new(ErrorKind::Server, "x");
        apply(&mut error, &headers(&[("x-ratelimit-reset-tokens", "6m0s")]), SystemTime::now());
        assert_eq!(error.retry_after, None);
    }

    #[test]
    fn a_payment_that_waiting_cures_is_asked_for_again() {
        let mut error = LlmError::new(ErrorKind::Quota, "x");
        error.status_code = Some(402);
        apply(&mut error, &headers(&[("x-should-retry", "true")]), SystemTime::now());
        assert!(!error.retryable);
        apply(&mut error, &headers(&[("retry-after", "1")]), SystemTime::now());
        assert!(error.retryable);
    }
}
