//! How many retries a process may send to one origin: a thousand callers must not hammer a server that fails.
//!
//! A bucket of tokens, as in gRPC and the AWS SDKs: a retry takes one, each success gives a tenth back, and one comes back
//! per second, so that a server which has recovered is found. First tries are never held back, nor are those for which the
//! server itself has named the time.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Retries that may follow each other at once.
const CAPACITY: f64 = 100.0;
/// What a success gives back.
const PER_SUCCESS: f64 = 0.1;
/// What a second gives back.
const PER_SECOND: f64 = 1.0;

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn add(&mut self, tokens: f64, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + tokens + seconds * PER_SECOND).min(CAPACITY);
        self.filled = now;
    }
}

/// The buckets that are not full.
static BUCKETS: LazyLock<Mutex<HashMap<String, Bucket>>> = LazyLock::new(Mutex::default);

fn buckets() -> MutexGuard<'static, HashMap<String, Bucket>> {
    BUCKETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a token for a retry; `false` if there is none.
pub(super) fn spend(origin: &str) -> bool {
    let now = Instant::now();
    let mut buckets = buckets();
    let bucket = buckets.entry(origin.to_owned()).or_insert_with(|| Bucket { tokens: CAPACITY, filled: now });
    bucket.add(0.0, now);
    let enough = bucket.tokens >= 1.0;
    if enough {
        bucket.tokens -= 1.0;
    }
    enough
}

/// A call has succeeded.
pub(crate) fn succeeded(origin: &str) {
    let mut buckets = buckets();
    if let Some(bucket) = buckets.get_mut(origin) {
        bucket.add(PER_SUCCESS, Instant::now());
        if bucket.tokens >= CAPACITY {
            buckets.remove(origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_ends_and_successes_refill() {
        let origin = "http://a-burst";
        let granted = (0..1000).filter(|_| spend(origin)).count();
        assert!((100..=102).contains(&granted), "{granted}");
        assert!(spend("http://another"));
        for _ in 0..200 {
            succeeded(origin);
        }
        let again = (0..1000).filter(|_| spend(origin)).count();
        assert!((19..=23).contains(&again), "{again}");
    }
}
