//! Ends calls whose event loop was closed while they were awaited: nobody will ever ask for their result, and their
//! connection would stay open until a clock ends them.
//!
//! A closed loop tells nobody, so once a second it is looked at, as long as any call is under way.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pyo3::prelude::*;

use crate::awaitable::Source;
use crate::runtime;

const INTERVAL: Duration = Duration::from_secs(1);

/// A call, and the loop that it is awaited on.
struct Awaited {
    source: Weak<dyn Source>,
    event_loop: Py<PyAny>,
}

#[derive(Default)]
struct Watch {
    awaited: Vec<Awaited>,
    /// The process whose runtime looks after them.
    watcher: Option<u32>,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch { awaited: Vec::new(), watcher: None });

fn lock() -> MutexGuard<'static, Watch> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks after a call from now on.
pub(crate) fn watch(source: Weak<dyn Source>, event_loop: Py<PyAny>) -> PyResult<()> {
    let runtime = runtime::runtime()?;
    let process = std::process::id();
    let mut watch = lock();
    watch.awaited.push(Awaited { source, event_loop });
    if watch.watcher != Some(process) {
        watch.watcher = Some(process);
        runtime.spawn(look_after());
    }
    Ok(())
}

async fn look_after() {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let awaited = std::mem::take(&mut lock().awaited);
        // Without the lock: Python code runs here, and may start calls.
        let mut kept = Vec::new();
        runtime::attach(|py| kept = awaited.into_iter().filter(|call| goes_on(py, call)).collect());
        let mut watch = lock();
        watch.awaited.append(&mut kept);
        if watch.awaited.is_empty() {
            watch.watcher = None;
            return;
        }
    }
}

/// Whether a call is still under way; one whose loop is closed is ended.
fn goes_on(py: Python<'_>, call: &Awaited) -> bool {
    let Some(source) = call.source.upgrade() else { return false };
    let is_closed = call.event_loop.bind(py).call_method0("is_closed").and_then(|closed| closed.is_truthy());
    match is_closed {
        Ok(true) => {
            source.cancel();
            false
        }
        _ => true,
    }
}
