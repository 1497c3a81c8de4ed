//! The four clocks of a call: connect, first token, idle, total. Each has its own error.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use loom_wire::{ErrorKind, LlmError};
use serde::Deserialize;
use tokio::time::{Instant, Sleep};

/// Limits on waiting. `None` means no limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeout {
    /// Until the connection stands, TLS included. Default 5 s.
    #[serde(with = "seconds")]
    pub connect: Option<Duration>,
    /// From the request to the first token. Default none: a local model may read a long prompt for minutes.
    #[serde(with = "seconds")]
    pub first_token: Option<Duration>,
    /// Between two payloads; keep-alives do not count. Default none.
    #[serde(with = "seconds")]
    pub idle: Option<Duration>,
    /// For a model that the server is still loading; the tries meanwhile are no retries. Default 300 s.
    #[serde(with = "seconds")]
    pub loading: Option<Duration>,
    /// The whole call, retries and their waits included. Default 600 s.
    #[serde(with = "seconds")]
    pub total: Option<Duration>,
}

impl Default for Timeout {
    fn default() -> Self {
        Self {
            connect: Some(Duration::from_secs(5)),
            first_token: None,
            idle: None,
            loading: Some(Duration::from_secs(300)),
            total: Some(Duration::from_secs(600)),
        }
    }
}

impl Timeout {
    /// A limit on the whole call; the connection may take its usual 5 s of it.
    pub fn total(limit: Duration) -> Self {
        Self { total: Some(limit), ..Self::default() }
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let seconds: Option<f64> = Option::deserialize(from)?;
        seconds
            .map(|seconds| {
                Duration::try_from_secs_f64(seconds)
                    .map_err(|_| D::Error::custom(format!("{seconds} is not a number of seconds")))
            })
            .transpose()
    }
}

/// The clocks of one call, running.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    timeout: Timeout,
    started: Instant,
    /// When the request under way was sent.
    sent: Instant,
    last_payload: Option<Instant>,
}

impl Clocks {
    pub(crate) fn start(timeout: Timeout) -> Self {
        let now = Instant::now();
        Self { timeout, started: now, sent: now, last_payload: None }
    }

    pub(crate) fn request_sent(&mut self) {
        self.sent = Instant::now();
        self.last_payload = None;
    }

    pub(crate) fn payload_arrived(&mut self) {
        // Only the idle clock asks when.
        self.last_payload = Some(if self.timeout.idle.is_some() { Instant::now() } else { self.sent });
    }

    /// How long a model that is being loaded is waited for.
    pub(crate) fn loading_limit(&self) -> Option<Duration> {
        self.timeout.loading
    }

    /// The clocks for reading something that should not pause.
    pub(crate) fn flowing(mut self) -> Self {
        self.payload_arrived();
        self
    }

    /// How much of the total is left; `None` when it has no limit.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.timeout.total.map(|total| total.saturating_sub(self.started.elapsed()))
    }

    /// Waits for `future`, but not beyond the clock that runs out first.
    pub(crate) async fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, LlmError> {
        let (limit, clock) = match self.next() {
            None => return Ok(future.await),
            Some(next) => next,
        };
        tokio::time::timeout_at(limit, future).await.map_err(|_| self.error(clock))
    }

    /// As [`wait`](Self::wait), for what is waited for again and again: the timer is set once and kept. The limit moves
    /// with each payload, so the timer may go off early; then it is set again.
    pub(crate) async fn wait_again<T>(
        &self,
        timer: &mut Option<Pin<Box<Sleep>>>,
        future: impl Future<Output = T>,
    ) -> Result<T, LlmError> {
        let Some((limit, clock)) = self.next() else { return Ok(future.await) };
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(limit)));
        if limit < timer.deadline() {
            timer.as_mut().reset(limit);
        }
        let mut future = pin!(future);
        poll_fn(|context| {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(value));
            }
            while timer.as_mut().poll(context).is_ready() {
                if timer.deadline() >= limit {
                    return Poll::Ready(Err(self.error(clock)));
                }
                timer.as_mut().reset(limit);
            }
            Poll::Pending
        })
        .await
    }

    fn next(&self) -> Option<(Instant, Clock)> {
        // A limit beyond what the clock can show is no limit.
        let end = |start: Instant, limit: Option<Duration>, clock| Some((start.checked_add(limit?)?, clock));
        let total = end(self.started, self.timeout.total, Clock::Total);
        let step = match self.last_payload {
            None => end(self.sent, self.timeout.first_token, Clock::FirstToken),
            Some(last) => end(last, self.timeout.idle, Clock::Idle),
        };
        [total, step].into_iter().flatten().min_by_key(|(limit, _)| *limit)
    }

    fn error(&self, clock: Clock) -> LlmError {
        let seconds = |limit: Option<Duration>| limit.unwrap_or_default().as_secs_f64();
        let (message, hint) = match clock {
            Clock::Total => (
                format!("the call was not finished after {} s (total)", seconds(self.timeout.total)),
                "raise `timeout`, or stream with a limit on `idle` instead of `total`",
            ),
            Clock::FirstToken => (
                format!("no token came within {} s (first_token)", seconds(self.timeout.first_token)),
                "a local model may still be loading or reading a long prompt: raise `first_token`",
            ),
            Clock::Idle => (
                format!("the stream stood still for {} s (idle)", seconds(self.timeout.idle)),
                "the server or a proxy has stalled; raise `idle` if it needs longer between tokens",
            ),
        };
        // A total that has run out leaves no time to try again.
        LlmError::new(ErrorKind::Timeout, message)
            .with_hint(hint)
            .with_retryable(!matches!(clock, Clock::Total))
    }
}

/// What `future` brings if it is ready, or is once the other tasks on this thread have had their turn: a connection's task
/// reads on only when it is asked to. Spares a timer, for tokio wakes a parked thread to register one that is due before
/// all others. On a thread of `block_on` beside several workers there are no other tasks, and the turn is none.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    // Among futures of its own: however often this is polled meanwhile, only the yield's own waking ends the turn.
    let mut turn = FuturesUnordered::from_iter([tokio::task::yield_now()]);
    tokio::select! {
        biased;
        value = future => Some(value),
        _ = turn.next() => None,
    }
}

#[derive(Clone, Copy, Debug)]
enum Clock {
    Total,
    FirstToken,
    Idle,
}
