//! Limits on an endpoint of the user's own: calls at once, requests per minute, tokens per minute. Who comes first is
//! served first. What the server says about its own limits corrects the count.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loom_wire::{ErrorKind, LlmError};
use reqwest::header::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::endpoint::Clocks;

/// Limits on the calls to an endpoint. `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct RateLimits {
    /// Calls under way at once.
    pub max_concurrency: Option<u32>,
    /// Requests per minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute, of prompts and answers together. A prompt's tokens are estimated until the server has
    /// counted them.
    pub tokens_per_minute: Option<u32>,
}

impl RateLimits {
    /// Refuses limits under which no call could ever be sent.
    pub(crate) fn check(self) -> Result<Self, LlmError> {
        for (name, limit) in [
            ("max_concurrency", self.max_concurrency),
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
        ] {
            if limit == Some(0) {
                return Err(LlmError::config(format!(
                    "{name} is a number from 1; leave it out for no limit"
                )));
            }
        }
        Ok(self)
    }

    /// These limits, and where one is not set, those.
    pub(crate) fn or(self, others: Self) -> Self {
        Self {
            max_concurrency: self.max_concurrency.or(others.max_concurrency),
            requests_per_minute: self.requests_per_minute.or(others.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.or(others.tokens_per_minute),
        }
    }
}

/// The part of a minute's worth that may be used at once: more would be two minutes' worth for a server that counts by
/// the minute.
const BURST: f64 = 1.0 / 6.0;

#[derive(Debug)]
pub(crate) struct Throttle {
    slots: Option<Arc<Semaphore>>,
    requests: Option<Arc<Mutex<Bucket>>>,
    tokens: Option<Arc<Mutex<Bucket>>>,
}

/// The right to send a request; its slot is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    _slot: Option<OwnedSemaphorePermit>,
    tokens: Option<Arc<Mutex<Bucket>>>,
    estimate: f64,
    /// How long it was waited for; less than 10 ms is nothing.
    pub(crate) waited: Duration,
}

/// Fills steadily; what is taken beyond what is there is a debt that later calls wait for.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    capacity: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn per_minute(limit: u32, now: Instant) -> Self {
        let limit = f64::from(limit);
        let capacity = (limit * BURST).max(1.0);
        Self { per_second: limit / 60.0, capacity, level: capacity, at: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.per_second).min(self.capacity);
        self.at = self.at.max(now);
    }

    /// Takes an amount and returns how long to wait until it is there. No amount is larger than the bucket: a prompt
    /// that is worth more than a minute's tokens is sent all the same.
    fn take(&mut self, amount: f64, now: Instant) -> Duration {
        let wait = self.wait(amount, now);
        self.level -= amount;
        wait
    }

    fn wait(&mut self, amount: f64, now: Instant) -> Duration {
        self.fill(now);
        let missing = amount.min(self.capacity) - self.level;
        Duration::try_from_secs_f64((missing / self.per_second).max(0.0)).unwrap_or(Duration::MAX)
    }

    fn put_back(&mut self, amount: f64) {
        self.level = (self.level + amount).min(self.capacity);
    }

    /// The server says how much is left: others may use the same account.
    fn correct(&mut self, left: f64, now: Instant) {
        self.fill(now);
        self.level = self.level.min(left);
    }
}

/// Gives back what was taken if the caller goes away before it has used it.
struct Reservation<'a> {
    bucket: &'a Mutex<Bucket>,
    amount: f64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        lock(self.bucket).put_back(self.amount);
    }
}

/// Counts of tokens are far below what a float can hold.
#[allow(clippy::cast_precision_loss)]
fn as_amount(tokens: u64) -> f64 {
    tokens as f64
}

fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Throttle {
    pub(crate) fn new(limits: RateLimits) -> Self {
        let now = Instant::now();
        let bucket =
            |limit: Option<u32>| limit.map(|limit| Arc::new(Mutex::new(Bucket::per_minute(limit, now))));
        Self {
            slots: limits
                .max_concurrency
                .map(|limit| Arc::new(Semaphore::new((limit as usize).min(Semaphore::MAX_PERMITS)))),
            requests: bucket(limits.requests_per_minute),
            tokens: bucket(limits.tokens_per_minute),
        }
    }

    /// Waits until a request of about so many tokens may be sent.
    ///
    /// # Errors
    /// `timeout` if the call's total clock runs out first.
    pub(crate) async fn enter(&self, tokens: usize, clocks: &Clocks) -> Result<Pass, LlmError> {
        let tokens = as_amount(tokens as u64);
        if self.slots.is_none() && self.requests.is_none() && self.tokens.is_none() {
            return Ok(Pass { _slot: None, tokens: None, estimate: tokens, waited: Duration::ZERO });
        }
        let started = Instant::now();
        // A turn that comes at once takes no time, however busy the machine is.
        let mut had_to_wait = false;
        let work = async {
            let slot = match &self.slots {
                None => None,
                Some(slots) => match Arc::clone(slots).try_acquire_owned() {
                    Ok(slot) => Some(slot),
                    Err(_) => {
                        had_to_wait = true;
                        // Never closed, so an error cannot be.
                        Arc::clone(slots).acquire_owned().await.ok()
                    }
                },
            };
            for (bucket, amount) in [(&self.requests, 1.0), (&self.tokens, tokens)] {
                let Some(bucket) = bucket else { continue };
                let wait = lock(bucket).take(amount, Instant::now());
                let reservation = Reservation { bucket, amount };
                had_to_wait |= !wait.is_zero();
                tokio::time::sleep(wait).await;
                std::mem::forget(reservation);
            }
            slot
        };
        let result = match clocks.left() {
            Some(left) => tokio::time::timeout(left, work).await,
            None => Ok(work.await),
        };
        let mut waited = started.elapsed();
        if !had_to_wait || waited < Duration::from_millis(10) {
            waited = Duration::ZERO;
        } else {
            tracing::info!(target: "loom", waited_s = waited.as_secs_f64(), "the call waited for its turn");
        }
        match result {
            Ok(slot) => Ok(Pass { _slot: slot, tokens: self.tokens.clone(), estimate: tokens, waited }),
            Err(_) => Err(LlmError::new(
                ErrorKind::Timeout,
                format!("the call waited {:.1} s for its turn and was not sent", waited.as_secs_f64()),
            )
            .with_retryable(false)
            .with_hint(
                "max_concurrency, requests_per_minute or tokens_per_minute of this endpoint holds it back: raise it, or raise `timeout`",
            )),
        }
    }

    /// How long a call that comes now would wait, as far as that is known: for a free slot it is guessed.
    pub(crate) fn expected_wait(&self) -> Duration {
        let now = Instant::now();
        let full = self.slots.as_ref().is_some_and(|slots| slots.available_permits() == 0);
        let slot = if full { Duration::from_secs(1) } else { Duration::ZERO };
        [&self.requests, &self.tokens]
            .into_iter()
            .flatten()
            .map(|bucket| lock(bucket).wait(1.0, now))
            .fold(slot, Duration::max)
    }

    /// Learns from the headers of an answer how much the server would still take.
    pub(crate) fn observe(&self, headers: &HeaderMap) {
        for (bucket, names) in [
            (&self.requests, ["x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining"]),
            (&self.tokens, ["x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining"]),
        ] {
            let Some(bucket) = bucket else { continue };
            let left =
                names.iter().find_map(|name| headers.get(*name)?.to_str().ok()?.trim().parse::<f64>().ok());
            if let Some(left) = left.filter(|left| *left >= 0.0) {
                lock(bucket).correct(left, Instant::now());
            }
        }
    }
}

impl Pass {
    pub(crate) fn counts_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// The server has counted: the difference to the estimate is settled.
    pub(crate) fn settle(&mut self, tokens: u64) {
        if let Some(bucket) = &self.tokens {
            let counted = as_amount(tokens);
            lock(bucket).put_back(self.estimate - counted);
            self.estimate = counted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Timeout;
    use reqwest::header::HeaderValue;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_gives_at_once_what_is_there_and_then_steadily() {
        let start = Instant::now();
        let mut bucket = Bucket::per_minute(60, start);
        for _ in 0..10 {
            assert_eq!(bucket.take(1.0, start), Duration::ZERO, "ten seconds' worth");
        }
        assert_eq!(bucket.take(1.0, start), SECOND);
        assert_eq!(
            bucket.take(1.0, start),
            2 * SECOND,
            "each later one waits longer: first come, first served"
        );
        bucket.put_back(1.0);
        assert_eq!(bucket.take(1.0, start), 2 * SECOND);
        assert_eq!(bucket.wait(1.0, start + 100 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_request_larger_than_the_limit_is_sent_once_the_bucket_is_full() {
        let start = Instant::now();
        let mut bucket = Bucket::per_minute(600, start);
        assert_eq!(bucket.take(5000.0, start), Duration::ZERO);
        assert!(bucket.take(1.0, start) > 400 * SECOND, "its debt is paid by the next");
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_given_in_order_and_freed_with_the_pass() {
        let throttle =
            Arc::new(Throttle::new(RateLimits { max_concurrency: Some(1), ..RateLimits::default() }));
        let clocks = Clocks::start(Timeout { total: Some(60 * SECOND), ..Timeout::default() });
        let first = throttle.enter(1, &clocks).await.unwrap();
        assert_eq!(throttle.expected_wait(), SECOND);
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = (0..3)
            .map(|number| {
                let (throttle, order) = (Arc::clone(&throttle), Arc::clone(&order));
                tokio::spawn(async move {
                    let pass = throttle.enter(1, &clocks).await.unwrap();
                    order.lock().unwrap().push(number);
                    tokio::time::sleep(SECOND).await;
                    pass.waited.as_secs()
                })
            })
            .collect();
        tokio::time::sleep(5 * SECOND).await;
        drop(first);
        let mut waited = Vec::new();
        for task in waiting {
            waited.push(task.await.unwrap());
        }
        assert_eq!((order.lock().unwrap().clone(), waited), (vec![0, 1, 2], vec![5, 6, 7]));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_gets_an_error_and_gives_back_what_it_took() {
        let throttle = Throttle::new(RateLimits { requests_per_minute: Some(6), ..RateLimits::default() });
        let clocks = |seconds| Clocks::start(Timeout { total: Some(seconds * SECOND), ..Timeout::default() });
        throttle.enter(1, &clocks(60)).await.unwrap();
        let error = throttle.enter(1, &clocks(5)).await.unwrap_err();
        assert!(error.kind == ErrorKind::Timeout && error.message.contains("5.0 s for its turn"), "{error}");
        let pass = throttle.enter(1, &clocks(60)).await.unwrap();
        assert_eq!(pass.waited.as_secs(), 5, "10 s after the first, not 20");
    }

    #[tokio::test(start_paused = true)]
    async fn counted_tokens_replace_the_estimate_and_headers_correct_the_level() {
        let throttle = Throttle::new(RateLimits { tokens_per_minute: Some(6000), ..RateLimits::default() });
        let clocks = Clocks::start(Timeout::default());
        throttle.enter(1000, &clocks).await.unwrap().settle(100);
        assert_eq!(throttle.enter(900, &clocks).await.unwrap().waited, Duration::ZERO);
        tokio::time::sleep(60 * SECOND).await;
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from_static("0"));
        throttle.observe(&headers);
        assert_eq!(throttle.enter(500, &clocks).await.unwrap().waited.as_secs(), 5);
    }
}
