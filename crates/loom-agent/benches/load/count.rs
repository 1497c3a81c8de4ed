//! What a process holds: tasks, descriptors, memory, threads. Linux tells most of it under `/proc`; bytes on the heap are
//! counted exactly, by an allocator.

#![allow(unsafe_code)] // an allocator is unsafe by nature

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

static HELD: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, which counts the bytes that are held.
struct Counting;

// SAFETY: everything is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Clone, Copy)]
pub(crate) struct Counts {
    tasks: usize,
    descriptors: usize,
    heap: usize,
}

/// Tables that grew do not shrink.
const NOTHING: Counts = Counts { tasks: 0, descriptors: 0, heap: 64 << 10 };

/// Warm connections may stay: a few, not one per call, and what they hold.
const WARM: Counts = Counts { tasks: 40, descriptors: 40, heap: 1 << 20 };

impl Counts {
    pub(crate) fn now() -> Self {
        Self {
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            heap: HELD.load(Ordering::Relaxed),
        }
    }

    /// Waits until no more is held than then, or for a while only a little more, and says how much more.
    pub(crate) async fn settle(self) -> LeftBehind {
        const LITTLE: Duration = Duration::from_secs(5);
        let started = Instant::now();
        let mut little_since = None;
        loop {
            let now = Self::now();
            let left = Self {
                tasks: now.tasks.saturating_sub(self.tasks),
                descriptors: now.descriptors.saturating_sub(self.descriptors),
                heap: now.heap.saturating_sub(self.heap),
            };
            let is_within = |most: &Self| {
                left.tasks <= most.tasks && left.descriptors <= most.descriptors && left.heap <= most.heap
            };
            match is_within(&WARM) {
                true if is_within(&NOTHING) => return LeftBehind(left),
                true if little_since.get_or_insert_with(Instant::now).elapsed() > LITTLE => {
                    return LeftBehind(left);
                }
                true => {}
                false => little_since = None,
            }
            assert!(started.elapsed() < Duration::from_secs(120), "{}", LeftBehind(left));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

pub(crate) struct LeftBehind(Counts);

impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { tasks, descriptors, heap } = self.0;
        write!(f, "left behind: {tasks} tasks, {descriptors} descriptors, {} KiB", heap / 1024)
    }
}

/// Resident memory of this process.
pub(crate) fn memory_kib() -> usize {
    number_in_status("VmRSS:")
}

/// Threads of this process.
pub(crate) fn threads() -> usize {
    number_in_status("Threads:")
}

fn number_in_status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
