//! Loom under load and faults, on loopback: `cargo bench -p loom-agent --bench load`, shorter with `-- --quick`.
//!
//! Prints what it measured, and fails if a call ends in anything but a right answer or a right error within its clocks,
//! or if something is left behind: tasks, descriptors, connections.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)] // a program of tests

mod count;
mod faults;
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use loom::{Event, Llm, Message, Request, Timeout, UnifiedLlm};
use loom_testkit::Server;

use count::{Counts, memory_kib, threads};
use server::{Child, answers};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(port) = server::port_to_serve(&arguments) {
        return runtime.block_on(server::serve(port));
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let (streams, calls) = if quick { (500, 100) } else { (5000, 500) };
    runtime.block_on(async {
        many_streams(streams).await;
        dropped_streams(if quick { 200 } else { 1000 }).await;
        faults::all(calls).await;
    });
}

pub(crate) fn llm(base_url: &str) -> UnifiedLlm {
    llm_within(base_url, Timeout { total: Some(Duration::from_secs(60)), ..Timeout::default() })
}

pub(crate) fn llm_within(base_url: &str, timeout: Timeout) -> UnifiedLlm {
    UnifiedLlm::builder().base_url(base_url).model("m").timeout(timeout).build().unwrap()
}

pub(crate) fn question() -> Request {
    Request { stream: true, ..Request::new(vec![Message::user("hello")]) }
}

/// Streams of 20 deltas a second, all open at once: complete, correct, and small.
async fn many_streams(count: usize) {
    let child = Child::start().await;
    let llm = llm(&child.base_url());
    llm.generate(question()).await.unwrap();
    let counts = Counts::now();
    let (memory, started) = (memory_kib(), Instant::now());
    let peak = Arc::new(AtomicUsize::new(0));
    let watch = tokio::spawn({
        let peak = Arc::clone(&peak);
        async move {
            loop {
                peak.fetch_max(memory_kib(), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let texts = join_all((0..count).map(|_| {
        let llm = llm.clone();
        tokio::spawn(async move { text_of(&llm).await })
    }))
    .await;
    let seconds = started.elapsed().as_secs_f64();
    let threads = threads();
    watch.abort();
    for text in texts {
        assert_eq!(text.unwrap().unwrap(), server::SLOW_TEXT.concat());
    }
    let each = peak.load(Ordering::Relaxed).saturating_sub(memory) as f64 / count as f64;
    println!(
        "{count} streams at once: all complete and correct in {seconds:.1} s, {each:.1} KiB each, {threads} threads"
    );
    assert!(threads < 16, "no thread per stream");
    // The warm connections go with the server.
    child.kill().await;
    println!("    {}", counts.settle().await);
}

pub(crate) async fn text_of(llm: &UnifiedLlm) -> Result<String, loom::LlmError> {
    let mut text = String::new();
    let mut events = llm.stream(question());
    while let Some(event) = events.next().await {
        if let Event::ContentDelta { content } = event? {
            text.push_str(&content);
        }
    }
    Ok(text)
}

/// Streams dropped half way free their connections at once, and the server sees them close.
async fn dropped_streams(count: usize) {
    let counts = Counts::now();
    let server = Server::start(|_: &_| answers::endless()).await.unwrap();
    let llm = llm(&server.base_url());
    let streams = join_all((0..count).map(|_| async {
        let mut events = llm.stream(question());
        for _ in 0..3 {
            events.next().await.unwrap().unwrap();
        }
        events
    }))
    .await;
    assert_eq!(server.connections().open, count);
    let started = Instant::now();
    drop(streams);
    assert!(server.wait_closed(Duration::from_secs(10)).await, "{:?}", server.connections());
    println!(
        "{count} streams dropped half way: the server saw them all close after {:.0} ms",
        started.elapsed().as_secs_f64() * 1000.0
    );
    drop((server, llm));
    println!("    {}", counts.settle().await);
}
