//! The tokio runtime that reads the sockets: started by the first call, one for the process.
//!
//! Threads do not survive a fork, so a forked child makes its own. At exit no thread may ask for the interpreter any
//! more: [`attach`] is the only way from a Rust thread into Python, and it closes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: Mutex<Option<(u32, &'static Runtime)>> = Mutex::new(None);
static CLOSING: AtomicBool = AtomicBool::new(false);
static ATTACHED: AtomicUsize = AtomicUsize::new(0);

/// The runtime of this process.
pub(crate) fn runtime() -> PyResult<&'static Runtime> {
    if CLOSING.load(Ordering::SeqCst) {
        return Err(PyRuntimeError::new_err(
            "the interpreter is shutting down: Loom cannot be used any more",
        ));
    }
    let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((owner, runtime)) = *slot
        && owner == process
    {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread()
        // One: what is read there goes to one interpreter, which takes several times as long with it, and threads that
        // hand work to each other take longer than the work.
        .worker_threads(1)
        .thread_name("loom")
        .enable_all()
        .build()
        .map_err(|error| PyRuntimeError::new_err(format!("Loom's threads cannot be started: {error}")))?;
    // Never dropped: a parent's runtime must not be torn down in a forked child, whose threads are gone.
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    *slot = Some((process, runtime));
    Ok(runtime)
}

/// Closes the way into Python at exit. Registered at import, so that it runs after whatever users register later.
pub(crate) fn close_at_exit(py: Python<'_>) -> PyResult<()> {
    let close = pyo3::wrap_pyfunction!(close, py)?;
    py.import("atexit")?.call_method1("register", (close,))?;
    Ok(())
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// Whether the runtime has been started in this process.
#[pyfunction]
pub(crate) fn is_running() -> bool {
    let slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    slot.is_some_and(|(owner, _)| owner == std::process::id())
}

/// Runs `work` with the interpreter, from a thread of the runtime; nothing once the interpreter is going down.
pub(crate) fn attach(work: impl FnOnce(Python<'_>)) {
    ATTACHED.fetch_add(1, Ordering::SeqCst);
    if !CLOSING.load(Ordering::SeqCst) {
        Python::try_attach(work);
    }
    ATTACHED.fetch_sub(1, Ordering::SeqCst);
}

#[pyfunction]
fn close(py: Python<'_>) {
    CLOSING.store(true, Ordering::SeqCst);
    // Those that are inside get the interpreter while this thread lets go of it.
    py.detach(|| {
        for _ in 0..1000 {
            if ATTACHED.load(Ordering::SeqCst) == 0 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
}
