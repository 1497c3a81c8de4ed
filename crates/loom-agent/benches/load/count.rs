//! What a process holds: tasks, descriptors, memory, threads. Linux tells it under `/proc`.

use std::time::{Duration, Instant};

pub(crate) struct Counts {
    tasks: usize,
    descriptors: usize,
}

impl Counts {
    pub(crate) fn now() -> Self {
        Self {
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
        }
    }

    /// Waits until no more is held than then. Warm connections may stay: a few, not one per call.
    pub(crate) async fn settle(&self) {
        const WARM: usize = 40;
        let started = Instant::now();
        loop {
            let now = Self::now();
            if now.tasks <= self.tasks + WARM && now.descriptors <= self.descriptors + WARM {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "left behind: {} tasks, {} descriptors",
                now.tasks - self.tasks,
                now.descriptors - self.descriptors
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
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
