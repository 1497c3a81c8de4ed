//! The mock server: OpenAI-shaped answers from memory, so that what is measured is the client.
//!
//! Every byte of every answer is made before the first connection. One thread serves all of them; what it does per
//! request is find the length of the body, look for one needle in it, and write. The path names the case:
//! `http://127.0.0.1:PORT/CASE/v1/chat/completions`. A request that is not what the case asks for is answered with 400,
//! so that a client which does less work fails.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use loom_peers::{DELTAS, FEW_DELTAS, HISTORY, PROMPT_BYTES, delta, text};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// An answer: pieces that are written one by one, with a pause before each.
struct Answer {
    pieces: Vec<Vec<u8>>,
    pause: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    raise_file_limit();
    let answers: &'static HashMap<&'static str, Answer> = Box::leak(Box::new(answers()));
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener: TcpListener = socket.listen(8192)?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        tokio::spawn(async move { serve(connection, answers).await });
    }
}

fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read and write the struct.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}

async fn serve(mut connection: TcpStream, answers: &HashMap<&'static str, Answer>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(8 * 1024);
    loop {
        let Some((head, body)) = read_request(&mut connection, &mut buffer).await? else { return Ok(()) };
        let answer = match key(buffer.get(..head).unwrap_or_default(), buffer.get(head..).unwrap_or_default())
        {
            Ok(key) => answers.get(key.as_str()).unwrap_or(&answers["unknown"]),
            Err(_) => &answers["refused"],
        };
        let _ = body;
        buffer.clear();
        let mut due = Instant::now();
        for piece in &answer.pieces {
            if !answer.pause.is_zero() {
                due += answer.pause;
                tokio::time::sleep_until(due).await;
            }
            connection.write_all(piece).await?;
        }
    }
}

/// Reads one request; returns where its body begins and how long it is.
async fn read_request(
    connection: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(usize, usize)>> {
    let head = loop {
        if let Some(at) = memmem::find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if connection.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let length = header(buffer.get(..head).unwrap_or_default(), "content-length").unwrap_or(0);
    buffer.reserve((head + length).saturating_sub(buffer.len()));
    while buffer.len() < head + length {
        if connection.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((head, length)))
}

fn header(head: &[u8], name: &str) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let line = head
        .lines()
        .find(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))?;
    line.split_once(':')?.1.trim().parse().ok()
}

/// Which answer a request gets, if it is what its case asks for.
fn key(head: &[u8], body: &[u8]) -> Result<String, ()> {
    let path = std::str::from_utf8(head).map_err(|_| ())?.split(' ').nth(1).ok_or(())?;
    let case = path.split('/').nth(1).ok_or(())?;
    let streams =
        memmem::find(body, b"\"stream\":true").or(memmem::find(body, b"\"stream\": true")).is_some();
    if streams != matches!(case, "each" | "many" | "paced" | "slow" | "ttft" | "concurrent") {
        return Err(());
    }
    let results = || memmem::find_iter(body, b"\"tool_call_id\"").count();
    match case {
        "agent-1" | "agent-10" => {
            let calls: usize = case.trim_start_matches("agent-").parse().map_err(|_| ())?;
            let offered = memmem::find(body, b"get_weather").is_some();
            let done = results();
            if !offered || done > calls {
                return Err(());
            }
            Ok(if done < calls { format!("call-{done}") } else { "whole".to_owned() })
        }
        "prompt" if body.len() < PROMPT_BYTES => Err(()),
        "history" if memmem::find_iter(body, b"\"role\"").count() < HISTORY => Err(()),
        "prompt" | "history" => Ok("whole".to_owned()),
        other => Ok(other.to_owned()),
    }
}

fn answers() -> HashMap<&'static str, Answer> {
    let plain = |pieces| Answer { pieces, pause: Duration::ZERO };
    let mut answers = HashMap::from([
        ("whole", plain(vec![whole("200 OK", &message(&format!("\"content\":{:?}", text(DELTAS)), "stop"))])),
        ("each", plain(stream(DELTAS, 1))),
        ("many", plain(stream(DELTAS, 64))),
        ("concurrent", plain(stream(FEW_DELTAS, 1))),
        ("paced", Answer { pieces: stream(DELTAS, 1), pause: Duration::from_millis(2) }),
        ("slow", Answer { pieces: stream(FEW_DELTAS, 1), pause: Duration::from_millis(50) }),
        ("ttft", Answer { pieces: stream(FEW_DELTAS, 10), pause: Duration::from_millis(100) }),
        (
            "refused",
            plain(vec![whole(
                "400 Bad Request",
                r#"{"error":{"message":"this is not what the case asks for"}}"#,
            )]),
        ),
        ("unknown", plain(vec![whole("404 Not Found", r#"{"error":{"message":"there is no such case"}}"#)])),
    ]);
    for at in 0..10 {
        let key: &'static str = Box::leak(format!("call-{at}").into_boxed_str());
        let call = format!(
            r#""content":null,"tool_calls":[{{"id":"call_{at}","type":"function","function":{{"name":"get_weather","arguments":"{{\"city\":\"Paris\"}}"}}}}]"#
        );
        answers.insert(key, plain(vec![whole("200 OK", &message(&call, "tool_calls"))]));
    }
    answers
}

const HEAD: &str = r#""id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","created":1741569952,"model":"gpt-4.1-mini","service_tier":"default","system_fingerprint":"fp_44709d6fcb""#;
const USAGE: &str = r#"{"prompt_tokens":19,"completion_tokens":256,"total_tokens":275,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#;

fn message(fields: &str, finish: &str) -> String {
    format!(
        r#"{{{HEAD},"object":"chat.completion","choices":[{{"index":0,"message":{{"role":"assistant",{fields},"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"{finish}"}}],"usage":{USAGE}}}"#
    )
}

fn whole(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A streamed answer in chunked encoding: the head with the first write, then `per_write` events a write. The end
/// (finish reason, usage, `[DONE]`) goes with the last.
fn stream(deltas: usize, per_write: usize) -> Vec<Vec<u8>> {
    let chunk = |delta: &str, finish: &str| {
        format!(
            r#"{{{HEAD},"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}],"usage":null}}"#
        )
    };
    let framed = |data: &str| format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8);
    let mut pieces: Vec<Vec<u8>> = (0..deltas)
        .collect::<Vec<_>>()
        .chunks(per_write)
        .map(|some| {
            some.iter()
                .map(|&at| framed(&chunk(&format!(r#"{{"content":{:?}}}"#, delta(at)), "null")))
                .collect::<String>()
                .into_bytes()
        })
        .collect();
    let mut first = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    first.extend(framed(&chunk(r#"{"role":"assistant","content":"","refusal":null}"#, "null")).bytes());
    if let Some(piece) = pieces.first_mut() {
        first.append(piece);
        *piece = first;
    }
    if let Some(last) = pieces.last_mut() {
        last.extend(framed(&chunk("{}", "\"stop\"")).bytes());
        last.extend(
            framed(&format!(r#"{{{HEAD},"object":"chat.completion.chunk","choices":[],"usage":{USAGE}}}"#))
                .bytes(),
        );
        last.extend(framed("[DONE]").bytes());
        last.extend(b"0\r\n\r\n");
    }
    pieces
}
