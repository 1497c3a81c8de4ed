//! Waking an event loop of Python from Rust's threads.

#[cfg(unix)]
use std::io::{Read, Write};
#[cfg(unix)]
use std::os::{fd::AsRawFd, unix::net::UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use crate::runtime;

/// Wakes a future of an event loop, from any thread.
pub(crate) struct Waker {
    mailbox: Arc<Mailbox>,
    future: Py<PyAny>,
    event_loop: Py<PyAny>,
}

/// The futures of one loop that are to be woken. The first one rings; the loop takes all that have come by then.
struct Mailbox {
    due: Mutex<Vec<Py<PyAny>>>,
    bell: Bell,
}

/// How a loop is told that there is something in its mailbox.
enum Bell {
    /// By a byte in a socket that the loop reads. That needs no interpreter, so the loop does not wake to find it held by
    /// whoever has woken it.
    #[cfg(unix)]
    Socket { ring: UnixStream, hear: UnixStream },
    /// By what each loop has, for those that read no sockets, such as that of Windows.
    Call(Py<PyAny>),
}

/// The mailboxes of the loops that are there. A loop that reads its mailbox's socket holds it until it is closed.
static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// A loop and its mailbox. A mailbox may outlive its loop, and another loop come to lie at the same address: so a loop is
/// known by a weak reference, and the address only saves asking the others.
struct Known {
    address: usize,
    event_loop: Py<PyWeakrefReference>,
    mailbox: Weak<Mailbox>,
}

impl Known {
    fn mailbox_of(&self, event_loop: &Bound<'_, PyAny>) -> Option<Arc<Mailbox>> {
        let is_it = self.address == event_loop.as_ptr() as usize
            && self.event_loop.bind(event_loop.py()).upgrade().is_some_and(|known| known.is(event_loop));
        if is_it { self.mailbox.upgrade() } else { None }
    }
}

impl Waker {
    /// A new future of the running loop, and what wakes it.
    pub(crate) fn new(py: Python<'_>) -> PyResult<(Bound<'_, PyAny>, Self)> {
        static GET_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let get_loop = GET_LOOP
            .get_or_try_init(py, || py.import("asyncio")?.getattr("get_running_loop").map(Bound::unbind))?;
        let event_loop = get_loop.bind(py).call0()?;
        let future = event_loop.call_method0(intern!(py, "create_future"))?;
        let mailbox = Mailbox::of(&event_loop);
        let waker = Self { mailbox, future: future.clone().unbind(), event_loop: event_loop.unbind() };
        Ok((future, waker))
    }

    pub(crate) fn wake(self) {
        let is_first = {
            let mut due = self.mailbox.lock();
            due.push(self.future);
            due.len() == 1
        };
        if is_first {
            self.mailbox.ring();
        }
    }

    pub(crate) fn event_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.clone_ref(py)
    }
}

impl Mailbox {
    fn of(event_loop: &Bound<'_, PyAny>) -> Arc<Self> {
        if let Some(mailbox) = known().iter().find_map(|known| known.mailbox_of(event_loop)) {
            return mailbox;
        }
        let called = || Self { due: Mutex::default(), bell: Bell::Call(event_loop.clone().unbind()) };
        // Without the lock: Python code runs here.
        let Ok(reference) = PyWeakrefReference::new(event_loop) else { return Arc::new(called()) };
        let mailbox = Self::heard_by(event_loop).unwrap_or_else(|| Arc::new(called()));
        let mut known = known();
        known.retain(|known| known.mailbox.strong_count() > 0);
        known.push(Known {
            address: event_loop.as_ptr() as usize,
            event_loop: reference.unbind(),
            mailbox: Arc::downgrade(&mailbox),
        });
        mailbox
    }

    /// A mailbox whose socket the loop reads, if it can.
    #[cfg(unix)]
    fn heard_by(event_loop: &Bound<'_, PyAny>) -> Option<Arc<Self>> {
        let (ring, hear) = UnixStream::pair().ok()?;
        ring.set_nonblocking(true).ok()?;
        hear.set_nonblocking(true).ok()?;
        let descriptor = hear.as_raw_fd();
        let mailbox = Arc::new(Self { due: Mutex::default(), bell: Bell::Socket { ring, hear } });
        event_loop.call_method1("add_reader", (descriptor, Deliver(Arc::clone(&mailbox)))).ok()?;
        Some(mailbox)
    }

    #[cfg(not(unix))]
    fn heard_by(_: &Bound<'_, PyAny>) -> Option<Arc<Self>> {
        None
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Py<PyAny>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(self: &Arc<Self>) {
        match &self.bell {
            // It holds at most the bytes of a few rings: it cannot be full.
            #[cfg(unix)]
            Bell::Socket { ring, .. } => drop((&*ring).write(&[0])),
            Bell::Call(event_loop) => runtime::attach(|py| {
                let deliver = Deliver(Arc::clone(self));
                if event_loop.call_method1(py, intern!(py, "call_soon_threadsafe"), (deliver,)).is_err() {
                    // The loop is closed: nobody waits any more.
                    drop(self.take());
                }
            }),
        }
    }

    fn take(&self) -> Vec<Py<PyAny>> {
        #[cfg(unix)]
        if let Bell::Socket { hear, .. } = &self.bell {
            drop((&*hear).read(&mut [0; 16]));
        }
        std::mem::take(&mut *self.lock())
    }
}

fn known() -> MutexGuard<'static, Vec<Known>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the loop calls: resolves the futures that are due, unless they were cancelled meanwhile.
#[pyclass(frozen, module = "loom._loom")]
struct Deliver(Arc<Mailbox>);

#[pymethods]
impl Deliver {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let due = self.0.take();
        let resolve = |future: &Bound<'_, PyAny>| {
            if !future.call_method0(intern!(py, "done"))?.is_truthy()? {
                future.call_method1(intern!(py, "set_result"), (py.None(),))?;
            }
            Ok(())
        };
        // One that cannot be resolved must not keep the others waiting.
        due.iter().map(|future| resolve(future.bind(py))).fold(Ok(()), Result::and)
    }
}
