//! The stream of a model call as Python's async iterator.
//!
//! The socket is read on Rust's threads. What has arrived together is handed over together: the first `__anext__`
//! takes all of it, the following ones find it there. At most [`MAX_READY`] events wait for a slow consumer; then the
//! socket is not read any further, which slows the server down.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{FutureExt, StreamExt};
use loom::{ErrorKind, Event, EventStream as RustStream, Llm, LlmError};
use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyString};
use tokio::sync::Notify;

use crate::awaitable::{Awaitable, Job, Source};
use crate::callback::{self, Caller};
use crate::completion::Completion;
use crate::wake::Waker;
use crate::{convert, errors, runtime};

/// The most events that wait to be taken.
const MAX_READY: usize = 256;

/// What the next wait says after one was cancelled.
const INTERRUPTED: &str = "the stream has ended, because a wait for its next event was cancelled";
const INTERRUPTED_HINT: &str = "asyncio.wait_for on one event cancels the whole call: use timeout=loom.Timeout(first_token=…, idle=…) instead";

struct Shared {
    state: Mutex<State>,
    /// Whoever awaits gets all events that have arrived, as a list.
    batched: bool,
    /// There is room again, or nobody listens any more.
    room: Notify,
    watched: AtomicBool,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Event>,
    /// The sum of all events, those still waiting included.
    sum: loom::Completion,
    error: Option<LlmError>,
    ended: bool,
    cancelled: bool,
    /// A wait for an event was cancelled: whoever asks for another must not take that for the end.
    interrupted: bool,
    waker: Option<Waker>,
    start: Option<(Arc<dyn Llm>, loom::Request)>,
    task: Option<tokio::task::AbortHandle>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the call to its end, as far ahead as there is room.
    async fn pump(self: Arc<Self>, mut events: RustStream) {
        let mut batch = Vec::new();
        let mut ended = false;
        while !ended {
            match events.next().await {
                Some(event) => batch.push(event),
                None => ended = true,
            }
            // Whatever has arrived with it goes along. The connection's task passes it on piece by piece, so it gets a
            // turn before there is nothing more.
            let mut had_a_turn = false;
            while !ended && batch.len() < MAX_READY {
                match events.next().now_or_never() {
                    Some(Some(event)) => {
                        batch.push(event);
                        had_a_turn = false;
                    }
                    Some(None) => ended = true,
                    None if had_a_turn => break,
                    None => {
                        let_others_run().await;
                        had_a_turn = true;
                    }
                }
            }
            self.hand_over(&mut batch, ended);
            loop {
                let room = self.room.notified();
                {
                    let state = self.lock();
                    if state.cancelled {
                        return;
                    }
                    if state.ready.len() < MAX_READY {
                        break;
                    }
                }
                room.await;
            }
        }
    }

    fn hand_over(&self, batch: &mut Vec<Result<Event, LlmError>>, ended: bool) {
        let waker = {
            let mut state = self.lock();
            for event in batch.drain(..) {
                match event {
                    Ok(event) => {
                        state.sum.absorb(&event);
                        state.ready.push_back(event);
                    }
                    Err(error) => {
                        state.error = Some(error);
                        state.ended = true;
                    }
                }
            }
            state.ended |= ended;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Source for Shared {
    fn watched(&self) -> &AtomicBool {
        &self.watched
    }

    fn poll(&self, py: Python<'_>, waker: Option<Waker>) -> PyResult<Option<Py<PyAny>>> {
        let mut state = self.lock();
        if self.batched && !state.ready.is_empty() {
            let events = std::mem::take(&mut state.ready);
            self.room.notify_one();
            drop(state);
            let events =
                events.into_iter().map(|event| event_dict(py, event)).collect::<PyResult<Vec<_>>>()?;
            return Ok(Some(PyList::new(py, events)?.into_any().unbind()));
        }
        if let Some(event) = state.ready.pop_front() {
            if state.ready.len() == MAX_READY / 2 {
                self.room.notify_one();
            }
            drop(state);
            return event_dict(py, event).map(|dict| Some(dict.into_any().unbind()));
        }
        if let Some(error) = state.error.take() {
            drop(state);
            return Err(errors::llm_error(py, error));
        }
        if std::mem::take(&mut state.interrupted) {
            let partial = state.sum.clone();
            drop(state);
            let error = LlmError::new(ErrorKind::StreamInterrupted, INTERRUPTED).with_hint(INTERRUPTED_HINT);
            return Err(errors::llm_error(py, error.with_partial(partial)));
        }
        if state.ended || state.cancelled {
            return Err(PyStopAsyncIteration::new_err(()));
        }
        if waker.is_some() && state.waker.is_some() {
            return Err(PyRuntimeError::new_err(
                "this stream is being awaited already: take its events one after the other",
            ));
        }
        state.waker = waker.or(state.waker.take());
        Ok(None)
    }

    fn cancel(&self) {
        self.lock().interrupted = true;
        self.close();
    }
}

impl Shared {
    /// Ends the call: whoever waits for the next event learns that there is none.
    fn close(&self) {
        let waker = {
            let mut state = self.lock();
            state.cancelled = true;
            state.start = None;
            state.ready.clear();
            if let Some(task) = state.task.take() {
                task.abort();
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Goes to the end of the queue of what can run. (tokio's own `yield_now` looks at the sockets first, a system call.)
async fn let_others_run() {
    let mut has_waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[pyclass(module = "loom._loom")]
pub(crate) struct EventStream {
    shared: Arc<Shared>,
    started: bool,
    /// See [`crate::llm::Llm`].
    calls_python: bool,
}

impl EventStream {
    /// A stream that begins when it is first asked for an event. `batched`: its items are lists of the events that have
    /// arrived by then, instead of single events.
    pub(crate) fn new(llm: Arc<dyn Llm>, request: loom::Request, calls_python: bool, batched: bool) -> Self {
        let state = State { start: Some((llm, request)), ..State::default() };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                batched,
                room: Notify::new(),
                watched: AtomicBool::new(false),
            }),
            started: false,
            calls_python,
        }
    }

    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        self.started = true;
        let Some((llm, request)) = self.shared.lock().start.take() else { return Ok(()) };
        let runtime = runtime::runtime()?;
        let shared = Arc::clone(&self.shared);
        let caller = if self.calls_python { Caller::current(py) } else { None };
        let task = runtime.spawn(callback::scope(caller, async move {
            let pump = Arc::clone(&shared).pump(llm.stream(request));
            if let Err(panic) = AssertUnwindSafe(pump).catch_unwind().await {
                let bug = LlmError::bad_response(format!("a bug in Loom: {}", runtime::panic_text(&*panic)));
                shared.hand_over(&mut vec![Err(bug)], true);
            }
        }));
        self.shared.lock().task = Some(task.abort_handle());
        Ok(())
    }
}

#[pymethods]
impl EventStream {
    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(&mut self, py: Python<'_>) -> PyResult<Awaitable> {
        if !self.started {
            self.start(py)?;
        }
        Ok(Awaitable::new(Arc::clone(&self.shared) as Arc<dyn Source>))
    }

    /// The sum of the events that have arrived.
    fn completion(&self) -> Completion {
        Completion(self.shared.lock().sum.clone())
    }

    /// Ends the call and closes its connection.
    fn aclose(&self) -> PyResult<Awaitable> {
        self.shared.lock().interrupted = false;
        self.shared.close();
        Job::start(async {}, |py, ()| Ok(py.None()))
    }

    fn __aenter__(slf: Py<Self>) -> PyResult<Awaitable> {
        let slf = slf.into_any();
        Job::start(async {}, move |_, ()| Ok(slf))
    }

    #[pyo3(signature = (*_args))]
    fn __aexit__(&self, _args: &Bound<'_, PyAny>) -> PyResult<Awaitable> {
        self.aclose()
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// An event as the dict that adapters yield, too.
pub(crate) fn event_dict<'py>(py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyDict>> {
    static CONTENT: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    static REASONING: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    match event {
        Event::ContentDelta { content } => delta(py, &CONTENT, "content_delta", &content),
        Event::ReasoningDelta { content } => delta(py, &REASONING, "reasoning_delta", &content),
        other => convert::to_py(py, &other)?.cast_into::<PyDict>().map_err(Into::into),
    }
}

/// A delta's dict: a copy of one that was made before, whose keys need not be laid out again.
fn delta<'py>(
    py: Python<'py>,
    made: &PyOnceLock<Py<PyDict>>,
    kind: &'static str,
    content: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let made = made.get_or_try_init(py, || {
        let dict = PyDict::new(py);
        dict.set_item(intern!(py, "type"), PyString::intern(py, kind))?;
        dict.set_item(intern!(py, "content"), intern!(py, ""))?;
        PyResult::Ok(dict.unbind())
    })?;
    let dict = made.bind(py).copy()?;
    dict.set_item(intern!(py, "content"), content)?;
    Ok(dict)
}
