//! One fault after the other under many calls at once. Each call ends in the right answer or in an error that fits the
//! fault, within its clocks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use loom::{ErrorKind, LlmError, Timeout, UnifiedLlm};
use loom_testkit::{Piece, Proxy, ProxyRules, RecordedRequest, Reply, Server, TestCa};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::count::Counts;
use crate::server::{Child, SLOW_TEXT, answers};
use crate::{llm, llm_within, text_of};

const CONNECTION: &[ErrorKind] = &[ErrorKind::Connection];
const INTERRUPTED: &[ErrorKind] = &[ErrorKind::StreamInterrupted];
const TIMEOUT: &[ErrorKind] = &[ErrorKind::Timeout];
const GARBAGE: &[ErrorKind] = &[ErrorKind::BadResponse, ErrorKind::Connection, ErrorKind::StreamInterrupted];
const NONE: &[ErrorKind] = &[];

/// A way for a server to misbehave.
struct Fault {
    name: &'static str,
    /// What it answers to the call of that number.
    reply: fn(usize) -> Reply,
    /// The errors that fit; without one, every call is answered.
    right: &'static [ErrorKind],
}

pub(crate) async fn all(calls: usize) {
    killed_and_restarted(calls).await;
    let shared = |reply: fn(usize) -> Reply| {
        let count = AtomicUsize::new(0);
        move |_: &RecordedRequest| reply(count.fetch_add(1, Ordering::Relaxed))
    };
    let faults = [
        Fault {
            name: "30 % of connections reset before an answer",
            reply: |call| if call % 10 < 3 { reset() } else { answers::right() },
            right: CONNECTION,
        },
        Fault {
            name: "connections reset in the middle of an answer",
            reply: |_| answers::begun(Piece::Reset),
            right: INTERRUPTED,
        },
        Fault { name: "streams that stall", reply: |_| answers::begun(Piece::Hang), right: TIMEOUT },
        Fault { name: "bytes in a slow drip", reply: |_| answers::drip(), right: NONE },
        Fault { name: "garbage", reply: garbage, right: GARBAGE },
        Fault {
            name: "a server whose clock is wrong",
            reply: |call| if call % 2 == 0 { wrong_clock() } else { answers::right() },
            right: &[ErrorKind::Overloaded],
        },
    ];
    for Fault { name, reply, right } in faults {
        let counts = Counts::now();
        let server = Server::start(shared(reply)).await.unwrap();
        let llm = impatient(&server.base_url());
        report(name, at_once(calls, &llm).await, right);
        drop(server);
        forget_connections(&llm).await;
        println!("    {}", counts.settle().await);
    }
    full_accept_queue(calls).await;
    no_such_name(calls).await;
    truncated_tls(calls).await;
    dying_proxy(calls).await;
}

/// Connections that a server has closed are dropped by the next call, or after a minute.
async fn forget_connections(llm: &UnifiedLlm) {
    // A server that was dropped may still answer a call that was on its way.
    for _ in 0..100 {
        if let Err(error) = text_of(llm).await {
            assert_eq!(error.kind, ErrorKind::Connection);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a dropped server goes on answering");
}

fn impatient(base_url: &str) -> UnifiedLlm {
    llm_within(base_url, patience(Duration::from_secs(2)))
}

fn patience(connect: Duration) -> Timeout {
    Timeout {
        connect: Some(connect),
        first_token: Some(Duration::from_secs(20)),
        idle: Some(Duration::from_secs(2)),
        total: Some(Duration::from_secs(30)),
        ..Timeout::default()
    }
}

fn reset() -> Reply {
    Reply::raw("").then(Piece::Reset)
}

fn garbage(number: usize) -> Reply {
    match number % 4 {
        0 => Reply::raw(vec![0xff; 300]),
        1 => Reply::text(200, "\u{0}\u{1}garbage".repeat(50)),
        2 => Reply::sse(["{\"choices\":[{\"delta\":".to_owned(), "}}}}".to_owned()]),
        _ => Reply::html(200, "<html><title>It works!</title></html>"),
    }
}

/// The server thinks that it is 1970, or that it is 2099: the date to come back at is no use.
fn wrong_clock() -> Reply {
    Reply::text(503, "busy").header("retry-after", "Thu, 01 Jan 1970 00:00:30 GMT")
}

type Results = Vec<(Result<String, LlmError>, Duration)>;

async fn at_once(calls: usize, llm: &UnifiedLlm) -> Results {
    let calls = (0..calls).map(|_| {
        let llm = llm.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            (text_of(&llm).await, started.elapsed())
        })
    });
    join_all(calls).await.into_iter().map(Result::unwrap).collect()
}

/// `right`: the errors that fit; without one, every call is answered.
fn report(name: &str, results: Results, right: &[ErrorKind]) {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for (result, took) in results {
        longest = longest.max(took);
        let outcome = match result {
            Ok(text) => {
                assert!(
                    text == answers::TEXT || text == SLOW_TEXT.concat(),
                    "{name}: a wrong answer: {text:?}"
                );
                "answered".to_owned()
            }
            Err(error) => {
                assert!(right.contains(&error.kind), "{name}: {error:?}");
                error.kind.to_string()
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    assert!(longest < Duration::from_secs(40), "{name}: a call took {longest:?}");
    let outcomes: Vec<String> =
        outcomes.into_iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    println!("{name}: {}; the longest call took {:.1} s", outcomes.join(", "), longest.as_secs_f64());
}

/// `kill -9` in the middle of all streams, and a new server at the same port: those under way are cut off and say so,
/// the next ones are answered.
async fn killed_and_restarted(calls: usize) {
    let counts = Counts::now();
    let child = Child::start().await;
    let (port, llm) = (child.port(), llm(&child.base_url()));
    let under_way = tokio::spawn({
        let llm = llm.clone();
        async move { at_once(calls, &llm).await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    child.kill().await;
    let child = Child::start_at(port).await;
    report("server killed", under_way.await.unwrap(), &[ErrorKind::StreamInterrupted, ErrorKind::Connection]);
    report("server restarted", at_once(calls, &llm).await, &[]);
    child.kill().await;
    forget_connections(&llm).await;
    println!("    {}", counts.settle().await);
}

/// Nobody accepts.
async fn full_accept_queue(calls: usize) {
    let counts = Counts::now();
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let waiting = join_all(
        (0..4).map(|_| tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address))),
    )
    .await;
    let results = at_once(calls, &impatient(&format!("http://{address}/v1"))).await;
    report("a full accept queue", results, &[ErrorKind::Timeout, ErrorKind::Connection]);
    drop((waiting, full));
    println!("    {}", counts.settle().await);
}

async fn no_such_name(calls: usize) {
    let counts = Counts::now();
    // A label of more than 63 letters is no name, so that no resolver is asked.
    let results = at_once(calls, &impatient(&format!("http://{}.test/v1", "a".repeat(64)))).await;
    report("a name that leads nowhere", results, CONNECTION);
    println!("    {}", counts.settle().await);
}

/// TLS that breaks off in the handshake, and in the answer.
async fn truncated_tls(calls: usize) {
    let counts = Counts::now();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut hello = [0; 512];
                let _ = stream.read(&mut hello).await;
                // The head of a ServerHello that never comes.
                let _ = stream.write_all(&[0x16, 0x03, 0x03, 0x00, 0x7a, 0x02, 0x00]).await;
            });
        }
    });
    let results = at_once(calls, &impatient(&format!("https://{address}/v1"))).await;
    report("TLS that breaks off in the handshake", results, CONNECTION);
    accepting.abort();
    println!("    {}", counts.settle().await);

    let counts = Counts::now();
    let authority = TestCa::new().unwrap();
    let bundle = std::env::temp_dir().join(format!("loom-load-{}.pem", std::process::id()));
    std::fs::write(&bundle, authority.pem()).unwrap();
    let identity = authority.issue(&["127.0.0.1"]).unwrap();
    let server = Server::start_tls(|_: &_| answers::begun(Piece::Reset), identity).await.unwrap();
    let llm = UnifiedLlm::builder()
        .base_url(server.base_url())
        .model("m")
        .verify(&bundle)
        .timeout(patience(Duration::from_secs(10)))
        .build()
        .unwrap();
    report("TLS that breaks off in the answer", at_once(calls, &llm).await, INTERRUPTED);
    drop((server, llm, authority));
    std::fs::remove_file(bundle).unwrap();
    println!("    {}", counts.settle().await);
}

/// The proxy goes away in the middle of the streams that it forwards, and then is not there.
async fn dying_proxy(calls: usize) {
    let counts = Counts::now();
    let server = Server::start(|_: &_| answers::slow()).await.unwrap();
    let proxy = Proxy::start(ProxyRules::new()).await.unwrap();
    let llm = UnifiedLlm::builder()
        .base_url(server.base_url())
        .model("m")
        .proxy(loom::endpoint::Proxy::parse(&format!("http://127.0.0.1:{}", proxy.port())).unwrap())
        .build()
        .unwrap();
    let under_way = tokio::spawn({
        let llm = llm.clone();
        async move { at_once(calls, &llm).await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(proxy);
    let cut = [ErrorKind::StreamInterrupted, ErrorKind::Connection];
    report("a proxy that dies", under_way.await.unwrap(), &cut);
    report("a proxy that is dead", at_once(calls, &llm).await, CONNECTION);
    drop((server, llm));
    println!("    {}", counts.settle().await);
}
