//! Whoever listens to a run: told of each event in order, beside the run, without holding it up or harming it.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::agent::event::AgentEvent;

/// Who is told of the events of each run.
pub(crate) type EventHandler = Arc<dyn Fn(&AgentEvent) + Send + Sync>;

/// How long a run waits at its end for a slow handler.
const GRACE: Duration = Duration::from_secs(5);
/// How many events a handler may be behind before the run waits for it.
const MAX_BEHIND: usize = 10_000;

/// The listener of one run.
pub(crate) struct Listener(Arc<Shared>);

struct Shared {
    handler: EventHandler,
    queue: Mutex<Queue>,
    /// The handler has been told all there is.
    idle: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<AgentEvent>,
    /// A thread is telling the handler.
    is_working: bool,
}

impl Listener {
    pub(crate) fn new(handler: EventHandler) -> Self {
        Self(Arc::new(Shared { handler, queue: Mutex::default(), idle: Notify::new() }))
    }

    /// The handler may block, so it is told on a thread of the runtime that is there for such work.
    pub(crate) async fn tell(&self, event: &AgentEvent) {
        let behind = {
            let mut queue = self.0.queue();
            queue.waiting.push_back(event.clone());
            if !std::mem::replace(&mut queue.is_working, true) {
                let shared = Arc::clone(&self.0);
                tokio::task::spawn_blocking(move || shared.work());
            }
            queue.waiting.len()
        };
        // Whoever has the last event has all: the handler does, too.
        let is_last = matches!(event, AgentEvent::Finish { .. });
        if is_last {
            self.catch_up().await;
        } else if behind > MAX_BEHIND {
            self.0.until_idle().await;
        }
    }

    /// Waits until the handler has been told all; what it is too slow for is left out, which is logged.
    pub(crate) async fn catch_up(&self) {
        if tokio::time::timeout(GRACE, self.0.until_idle()).await.is_err() {
            let left = std::mem::take(&mut self.0.queue().waiting).len();
            tracing::warn!(target: "loom", "the event handler was too slow: it was not told of the last {left} events");
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<AgentEvent> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        queue.is_working = next.is_some();
        next
    }

    fn work(&self) {
        while let Some(event) = self.next() {
            if std::panic::catch_unwind(AssertUnwindSafe(|| (self.handler)(&event))).is_err() {
                tracing::warn!(target: "loom", "the event handler panicked");
            }
        }
        self.idle.notify_waiters();
    }

    async fn until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // Registered before it is looked at, so that no notice is missed.
            idle.as_mut().enable();
            if !self.queue().is_working {
                return;
            }
            idle.await;
        }
    }
}
