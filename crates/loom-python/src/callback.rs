//! Calling a user's Python function from a call that runs on Rust's threads: the API key's, the signer's.
//!
//! A plain function runs on a thread of its own, since it may block. A coroutine runs on the event loop of whoever
//! made the call, with the context variables that it had there.

use std::sync::Arc;

use loom::endpoint::CallbackError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tokio::sync::oneshot;

use crate::runtime;

tokio::task_local! {
    static CALLER: Option<Arc<Caller>>;
}

/// Where a call was made.
pub(crate) struct Caller {
    event_loop: Py<PyAny>,
    context: Py<PyAny>,
}

impl Caller {
    /// The running event loop and the current context; `None` where no loop runs.
    pub(crate) fn current(py: Python<'_>) -> Option<Arc<Self>> {
        let event_loop = py.import("asyncio").ok()?.call_method0("get_running_loop").ok()?;
        let context = py.import("contextvars").ok()?.call_method0("copy_context").ok()?;
        Some(Arc::new(Self { event_loop: event_loop.unbind(), context: context.unbind() }))
    }

    /// The event loop.
    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.event_loop.bind(py)
    }
}

/// Runs `work` so that the functions it calls find their way back to the caller.
pub(crate) fn scope<T>(
    caller: Option<Arc<Caller>>,
    work: impl Future<Output = T>,
) -> impl Future<Output = T> {
    CALLER.scope(caller, work)
}

/// The caller of the call that is under way.
pub(crate) fn caller() -> Option<Arc<Caller>> {
    CALLER.try_with(Clone::clone).unwrap_or_default()
}

/// Calls a function, waits for what it returns, and reads that.
pub(crate) async fn call<T: Send + 'static>(
    function: Py<PyAny>,
    args: impl FnOnce(Python<'_>) -> PyResult<Py<PyTuple>> + Send + 'static,
    read: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
) -> Result<T, CallbackError> {
    let returned = tokio::task::spawn_blocking(move || {
        in_python(|py| Returned::of(function.bind(py).call1(args(py)?)?))
    })
    .await??;
    let value = match returned {
        Returned::Value(value) => value,
        Returned::Awaitable(mut awaitable) => wait_for(awaitable.take()?).await?,
    };
    in_python(move |py| read(value.into_bound(py)))
}

/// What a function returned.
enum Returned {
    Value(Py<PyAny>),
    Awaitable(Unawaited),
}

impl Returned {
    fn of(value: Bound<'_, PyAny>) -> PyResult<Self> {
        let is_awaitable = value.hasattr("__await__")?;
        let value = value.unbind();
        Ok(if is_awaitable { Self::Awaitable(Unawaited(Some(value))) } else { Self::Value(value) })
    }
}

/// A coroutine that nobody waits for yet. The call may be dropped before that; it is closed then, lest Python warn.
struct Unawaited(Option<Py<PyAny>>);

impl Unawaited {
    fn take(&mut self) -> Result<Py<PyAny>, CallbackError> {
        self.0.take().ok_or_else(|| "it was awaited twice".into())
    }
}

impl Drop for Unawaited {
    fn drop(&mut self) {
        if let Some(awaitable) = self.0.take() {
            runtime::attach(|py| {
                // What is no coroutine has no `close`, and needs none.
                let _ = awaitable.call_method0(py, "close");
            });
        }
    }
}

/// Something with the interpreter, unless that is going down.
pub(crate) fn in_python<T>(work: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T, CallbackError> {
    let mut result = None;
    runtime::attach(|py| result = Some(work(py).map_err(|error| described(py, &error))));
    result.unwrap_or_else(|| Err("the interpreter is shutting down".into()))
}

fn described(py: Python<'_>, error: &PyErr) -> CallbackError {
    let kind = error.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    let text = error.value(py).to_string();
    // The traceback is for whoever debugs that function.
    let log = || -> PyResult<()> {
        let logger = py.import("logging")?.call_method1("getLogger", ("loom",))?;
        let exc_info = PyDict::new(py);
        exc_info.set_item("exc_info", error.value(py))?;
        logger.call_method("debug", ("a function given to Loom failed",), Some(&exc_info))?;
        Ok(())
    };
    // A failing log handler must not hide the failure.
    let _ = log();
    if text.is_empty() { kind.into() } else { format!("{kind}: {text}").into() }
}

/// Waits for an awaitable on the caller's event loop; it is cancelled when nobody waits any more.
async fn wait_for(awaitable: Py<PyAny>) -> Result<Py<PyAny>, CallbackError> {
    let (sender, receiver) = oneshot::channel();
    let has_caller = CALLER.try_with(Option::is_some).unwrap_or(false);
    if !has_caller {
        // Nobody's loop runs: the coroutine gets one of its own.
        let run = move || in_python(|py| Ok(helper(py)?.call_method1("run_alone", (awaitable,))?.unbind()));
        return tokio::task::spawn_blocking(run).await?;
    }
    let done = Done(Some(sender));
    let guard = CALLER.with(|caller| {
        let Some(caller) = caller else { return Err("no event loop".into()) };
        in_python(|py| {
            let done = Py::new(py, done)?;
            let (event_loop, context) = (caller.event_loop.clone_ref(py), caller.context.clone_ref(py));
            let cancel = helper(py)?.call_method1("start", (event_loop, context, awaitable, done))?;
            Ok(CancelOnDrop(Some(cancel.unbind())))
        })
    })?;
    let result = receiver.await.unwrap_or_else(|_| Err("it was cancelled".into()));
    guard.disarm();
    result
}

fn helper(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("loom._callbacks")
}

/// Gets the result from the event loop's thread.
#[pyclass(module = "loom._loom")]
struct Done(Option<oneshot::Sender<Result<Py<PyAny>, CallbackError>>>);

#[pymethods]
impl Done {
    #[pyo3(signature = (value, error))]
    fn __call__(&mut self, py: Python<'_>, value: Py<PyAny>, error: Option<Bound<'_, PyAny>>) {
        let result = match error {
            None => Ok(value),
            Some(error) => Err(described(py, &PyErr::from_value(error))),
        };
        if let Some(sender) = self.0.take() {
            // Nobody waits any more when the call was cancelled.
            let _ = sender.send(result);
        }
    }
}

struct CancelOnDrop(Option<Py<PyAny>>);

impl CancelOnDrop {
    fn disarm(mut self) {
        if let Some(cancel) = self.0.take() {
            runtime::attach(|_| drop(cancel));
        }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = self.0.take() {
            runtime::attach(|py| {
                // A loop that is closed has nothing left to cancel.
                let _ = cancel.call0(py);
            });
        }
    }
}
