//! How often a call asks for memory, and how much an open stream holds. The counts repeat exactly; one that grows by more
//! than a twentieth fails.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unsafe_code)] // an allocator is unsafe by nature

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use loom::{Llm, Message, Request, UnifiedLlm};
use loom_testkit::{RecordedRequest, Reply, Server};

/// The system's allocator, which counts what the thread asks for and has.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

/// Counts what the thread has from now on, more or less.
fn has(more: usize, less: usize) {
    BYTES.with(|bytes| bytes.set(bytes.get() + more as isize - less as isize));
}

// SAFETY: everything is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        has(layout.size(), 0);
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        has(0, layout.size());
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        has(size, layout.size());
        // SAFETY: the caller keeps to the contract of `realloc`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A server on a thread of its own, whose memory is not counted. The path says how many deltas a stream has.
fn serve() -> String {
    let answer = |request: &RecordedRequest| {
        let case = request.path.split('/').nth(1).unwrap();
        let deltas: usize = if case == "slow" { 40 } else { case.parse().unwrap() };
        if deltas == 0 {
            return Reply::text(
                200,
                r#"{"id":"a","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#,
            );
        }
        let chunk = |delta: &str, finish: &str| {
            format!(
                r#"{{"id":"a","model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
            )
        };
        let mut events: Vec<String> = (0..deltas).map(|_| chunk(r#"{"content":" word"}"#, "null")).collect();
        events.push(chunk("{}", "\"stop\""));
        events.push("[DONE]".to_owned());
        let pause = if case == "slow" { Duration::from_secs(600) } else { Duration::ZERO };
        Reply::sse(events).delay_between(pause)
    };
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::start(answer).await.unwrap();
            sender.send(server.origin()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

/// The allocations of one call, once everything is warm: the least of several, since how the bytes of a stream are cut
/// up depends on the machine.
fn allocations(deltas: usize) -> u64 {
    let url = serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("{url}/{deltas}/v1");
        let llm =
            UnifiedLlm::builder().provider("custom").base_url(url).api_key("k").model("m").build().unwrap();
        let messages = vec![Arc::new(Message::user("hi"))];
        let mut counts = Vec::new();
        for _ in 0..20 {
            let before = COUNT.get();
            let request = Request { messages: messages.clone(), stream: deltas > 0, ..Request::default() };
            let mut events = llm.stream(request);
            let mut seen = 0;
            while let Some(event) = events.next().await {
                event.unwrap();
                seen += 1;
            }
            drop(events);
            counts.push(COUNT.get() - before);
            assert!(seen >= deltas);
        }
        counts.into_iter().min().unwrap()
    })
}

fn at_most(count: f64, kept: f64, what: &str) {
    assert!(count <= kept * 1.05, "{what}: {count}, and {kept} is written down here");
}

#[test]
fn a_call_asks_for_memory_as_often_as_is_written_down() {
    at_most(allocations(0) as f64, 53.0, "allocations of a whole answer");
}

#[test]
fn a_chunk_asks_for_memory_as_often_as_is_written_down() {
    let per_chunk = (allocations(1256) as f64 - allocations(256) as f64) / 1000.0;
    at_most(per_chunk, 1.0, "allocations of a chunk");
}

#[test]
fn an_open_stream_holds_no_more_memory_than_is_written_down() {
    const STREAMS: usize = 64;
    let url = serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let held = runtime.block_on(async {
        let url = format!("{url}/slow/v1");
        let llm =
            UnifiedLlm::builder().provider("custom").base_url(url).api_key("k").model("m").build().unwrap();
        let messages = vec![Arc::new(Message::user("hi"))];
        let mut open = Vec::with_capacity(2 * STREAMS);
        let mut before = 0;
        for at in 0..2 * STREAMS {
            // The first ones build what all share.
            if at == STREAMS {
                before = BYTES.get();
            }
            let mut events =
                llm.stream(Request { messages: messages.clone(), stream: true, ..Request::default() });
            events.next().await.unwrap().unwrap();
            open.push(events);
        }
        (BYTES.get() - before) as f64 / STREAMS as f64
    });
    at_most(held, 34_230.0, "bytes of an open stream");
}
