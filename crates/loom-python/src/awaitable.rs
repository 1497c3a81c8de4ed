//! Waiting from Python for what Rust's threads do, in the caller's own task.
//!
//! An awaitable that has its value does not visit the event loop. One that has to wait makes a future of the running
//! loop and is woken once, however much has arrived.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;

use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::wake::Waker;
use crate::{abandoned, runtime};

/// Something that can be waited for: has its value, fails, or says that there is more to wait for.
pub(crate) trait Source: Send + Sync {
    /// The value if it is there, else `None`; in that case `waker` is kept and used once there is more to see.
    ///
    /// The waker is made before, since making it runs Python code, which must not happen with a lock held.
    fn poll(&self, py: Python<'_>, waker: Option<Waker>) -> PyResult<Option<Py<PyAny>>>;

    /// Nobody waits any more: what is under way ends.
    fn cancel(&self);

    /// Set once it is looked after in case its event loop is closed.
    fn watched(&self) -> &AtomicBool;
}

/// The awaitable. Awaits in the caller's task, any number of times until the value is there.
#[pyclass(module = "loom._loom")]
pub(crate) struct Awaitable {
    source: Arc<dyn Source>,
    /// The iterator of the loop's future while waiting.
    waiting: Option<Py<PyAny>>,
}

impl Awaitable {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        Self { source, waiting: None }
    }

    /// Hands the loop's future to the loop, until the value is there.
    fn advance<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        loop {
            if let Some(waiting) = &self.waiting {
                match waiting.bind(py).call_method0(intern!(py, "__next__")) {
                    Ok(future) => return Ok(future),
                    Err(stop) if stop.is_instance_of::<PyStopIteration>(py) => self.waiting = None,
                    Err(error) => {
                        self.cancel();
                        return Err(error);
                    }
                }
            }
            if let Some(value) = self.source.poll(py, None)? {
                return Err(stop_iteration(py, value));
            }
            let (future, waker) = Waker::new(py)?;
            if !self.source.watched().swap(true, Ordering::Relaxed) {
                abandoned::watch(Arc::downgrade(&self.source), waker.event_loop(py))?;
            }
            if let Some(value) = self.source.poll(py, Some(waker))? {
                return Err(stop_iteration(py, value));
            }
            self.waiting = Some(future.call_method0(intern!(py, "__await__"))?.unbind());
        }
    }

    fn cancel(&mut self) {
        self.waiting = None;
        self.source.cancel();
    }
}

/// What hands a value over. A tuple would be unpacked and an exception taken for the `StopIteration` itself, so these are
/// wrapped in a tuple; up to Python 3.11 no exception object is made for any other value.
fn stop_iteration(py: Python<'_>, value: Py<PyAny>) -> PyErr {
    let bound = value.bind(py);
    if !bound.is_instance_of::<PyTuple>() && !bound.is_instance_of::<PyBaseException>() {
        return PyStopIteration::new_err(value);
    }
    match PyTuple::new(py, [value]) {
        Ok(args) => PyStopIteration::new_err(args.unbind()),
        Err(error) => error,
    }
}

#[pymethods]
impl Awaitable {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.advance(py)
    }

    /// As a generator's: awaiting tasks resume with `send(None)`.
    fn send<'py>(&mut self, py: Python<'py>, _value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.advance(py)
    }

    /// A cancelled task ends what it waits for.
    #[pyo3(signature = (kind, value = None, traceback = None))]
    fn throw<'py>(
        &mut self,
        py: Python<'py>,
        kind: Bound<'py, PyAny>,
        value: Option<Bound<'py, PyAny>>,
        traceback: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = traceback;
        self.cancel();
        let exception = match value.filter(|value| !value.is_none()) {
            Some(value) => value,
            None if kind.is_instance_of::<pyo3::types::PyType>() => kind.call0()?,
            None => kind,
        };
        let _ = py;
        Err(PyErr::from_value(exception))
    }

    fn close(&mut self) {
        self.cancel();
    }
}

/// Turns what a call brought into what Python gets, with the interpreter held.
type IntoPython<T> = Box<dyn FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send>;

/// One result of work on Rust's threads.
pub(crate) struct Job<T> {
    state: Mutex<JobState<T>>,
    task: Mutex<Option<tokio::task::AbortHandle>>,
    watched: AtomicBool,
}

struct JobState<T> {
    /// The result, or what a panic said: a bug must not leave whoever awaits waiting.
    result: Option<Result<T, String>>,
    convert: Option<IntoPython<T>>,
    waker: Option<Waker>,
}

impl<T: Send + 'static> Job<T> {
    /// Starts `work` and returns what waits for it.
    pub(crate) fn start(
        work: impl Future<Output = T> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Awaitable> {
        let state = JobState { result: None, convert: Some(Box::new(convert)), waker: None };
        let job = Arc::new(Self {
            state: Mutex::new(state),
            task: Mutex::new(None),
            watched: AtomicBool::new(false),
        });
        let shared = Arc::clone(&job);
        let task = runtime::runtime()?.spawn(async move {
            let result =
                AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| runtime::panic_text(&*panic));
            let waker = {
                let mut state = shared.lock();
                state.result = Some(result);
                state.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        *job.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        Ok(Awaitable::new(job))
    }

    fn lock(&self) -> MutexGuard<'_, JobState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Source for Job<T> {
    fn poll(&self, py: Python<'_>, waker: Option<Waker>) -> PyResult<Option<Py<PyAny>>> {
        let mut state = self.lock();
        let Some(result) = state.result.take() else {
            state.waker = waker;
            return Ok(None);
        };
        let convert = state.convert.take();
        drop(state);
        match (convert, result) {
            (Some(convert), Ok(result)) => convert(py, result).map(Some),
            (_, Err(panic)) => Err(PyRuntimeError::new_err(format!("a bug in Loom: {panic}"))),
            (None, _) => Err(PyRuntimeError::new_err("this was awaited already")),
        }
    }

    fn cancel(&self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }

    fn watched(&self) -> &AtomicBool {
        &self.watched
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}
