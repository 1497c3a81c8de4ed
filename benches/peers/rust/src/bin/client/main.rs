//! The Rust clients: `client PEER CASE BASE_URL CALLS CONCURRENCY` does that many calls and prints what they took as one
//! line of JSON. One call at a time runs on one thread, so that the figure is the work and not how threads hand it
//! over; several at a time run on tokio's usual threads.

mod async_openai;
mod bare;
mod genai;
mod loom;
mod measure;
mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use loom_peers::{DELTAS, FEW_DELTAS, text};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a call brought.
#[derive(Default)]
struct Answer {
    /// The text, where the peer has one; bare clients have bytes.
    text: String,
    /// When the first of it came.
    first: Option<Instant>,
}

impl Answer {
    fn add(&mut self, delta: &str) {
        if !delta.is_empty() {
            self.first.get_or_insert_with(Instant::now);
            self.text.push_str(delta);
        }
    }
}

/// A library under test: what it takes to make one call of a case.
trait Peer: Send + Sync + 'static {
    /// Whether the peer can do a case at all.
    fn can(_case: &str) -> bool {
        true
    }
    /// Everything that a program does once.
    fn new(case: &str, url: &str) -> Result<Self, Error>
    where
        Self: Sized;
    fn call(&self) -> impl Future<Output = Result<Answer, Error>> + Send;
    /// Whether this is the answer.
    fn check(&self, answer: &Answer, expected: &str) -> bool {
        answer.text == expected
    }
}

fn is_streamed(case: &str) -> bool {
    matches!(case, "each" | "many" | "paced" | "slow" | "ttft" | "concurrent")
}

/// The messages of a case, as role (`true` for the user) and text.
fn messages(case: &str) -> Vec<(bool, String)> {
    match case {
        "prompt" => vec![(true, loom_peers::long_prompt())],
        "history" => {
            (0..=loom_peers::HISTORY).map(|at| (at % 2 == 0, loom_peers::history_text(at))).collect()
        }
        _ => vec![(true, "How is the weather in Paris?".to_owned())],
    }
}

fn deltas(case: &str) -> usize {
    if matches!(case, "slow" | "ttft" | "concurrent") { FEW_DELTAS } else { DELTAS }
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [peer, case, url, calls, concurrency] = args.as_slice() else {
        return Err("client PEER CASE BASE_URL CALLS CONCURRENCY".into());
    };
    let (calls, concurrency) = (calls.parse()?, concurrency.parse()?);
    measure::raise_file_limit();
    let mut runtime = match concurrency {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(async {
        match peer.as_str() {
            "bare" => run::<bare::Bare>(case, url, calls, concurrency).await,
            "loom" => run::<loom::Loom>(case, url, calls, concurrency).await,
            "async-openai" => run::<async_openai::AsyncOpenai>(case, url, calls, concurrency).await,
            "genai" => run::<genai::Genai>(case, url, calls, concurrency).await,
            "rig" => run::<rig::Rig>(case, url, calls, concurrency).await,
            other => Err(format!("there is no peer {other:?}").into()),
        }
    })
}

async fn run<P: Peer>(case: &str, url: &str, calls: usize, concurrency: usize) -> Result<(), Error> {
    if !P::can(case) {
        println!("null");
        return Ok(());
    }
    let peer = Arc::new(P::new(case, &format!("{url}/{case}/v1"))?);
    let expected: Arc<str> = text(deltas(case)).into();
    // Connections, caches, lazily made tables: what a program pays once.
    if case != "slow" {
        work(&peer, &expected, concurrency.max(2), concurrency).await?;
    }
    let resident = measure::resident_kib();
    let (cpu, start) = (measure::cpu(), Instant::now());
    let mut first = work(&peer, &expected, calls, concurrency).await?;
    let (cpu, wall) = (measure::cpu() - cpu, start.elapsed());
    first.sort();
    let peak = measure::peak_kib();
    println!(
        r#"{{"cpu":{:.9},"wall":{:.9},"calls":{calls},"deltas":{},"resident_kib":{resident},"peak_kib":{peak},"first":[{}]}}"#,
        cpu.as_secs_f64(),
        wall.as_secs_f64(),
        if is_streamed(case) { deltas(case) } else { 0 },
        first.iter().map(|first| format!("{:.6}", first.as_secs_f64())).collect::<Vec<_>>().join(",")
    );
    Ok(())
}

/// Does `calls` calls, `concurrency` at a time; returns the times to the first piece of each.
async fn work<P: Peer>(
    peer: &Arc<P>,
    expected: &Arc<str>,
    calls: usize,
    concurrency: usize,
) -> Result<Vec<Duration>, Error> {
    let left = Arc::new(AtomicUsize::new(calls));
    let workers = (0..concurrency).map(|_| {
        let (peer, expected, left) = (Arc::clone(peer), Arc::clone(expected), Arc::clone(&left));
        async move {
            let mut times = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                let start = Instant::now();
                let answer = peer.call().await?;
                if !peer.check(&answer, &expected) {
                    return Err(Error::from(format!("a wrong answer: {:?}", answer.text)));
                }
                times.extend(answer.first.map(|first| first - start));
            }
            Ok(times)
        }
    });
    let tasks: Vec<_> = workers.map(tokio::spawn).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    Ok(times)
}
