//! A client on a raw connection: just enough HTTP to see what a server does.

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer with the framing taken off.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The data of the events of a stream.
    pub(crate) fn events(&self) -> Vec<&str> {
        let events = self.text().split_terminator("\n\n");
        events.map(|event| event.strip_prefix("data:").unwrap().trim_start()).collect()
    }

    /// The events of a stream as JSON, without `[DONE]`.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        let events = self.events().into_iter().filter(|event| *event != "[DONE]");
        events.map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

pub(crate) async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

/// Sends these bytes on a connection of their own and returns all that comes back until the server closes.
pub(crate) async fn exchange(port: u16, request: &str) -> String {
    let mut stream = connect(port).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A request with a JSON body.
pub(crate) fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// Asks for a chat completion on a connection of its own.
pub(crate) async fn chat(port: u16, body: &Value) -> Answer {
    let mut stream = connect(port).await;
    stream.write_all(post("/v1/chat/completions", &body.to_string()).as_bytes()).await.unwrap();
    read_answer(&mut stream).await
}

/// Reads one answer and leaves the connection open.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value)
    };
    let mut body = Vec::new();
    if let Some(length) = header("content-length") {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).await.unwrap();
    } else if header("transfer-encoding").is_some() {
        while read_chunk(stream, &mut body).await {}
    } else {
        stream.read_to_end(&mut body).await.unwrap();
    }
    Answer { status, head, body }
}

async fn read_chunk(stream: &mut (impl AsyncRead + Unpin), body: &mut Vec<u8>) -> bool {
    let mut size = Vec::new();
    while !size.ends_with(b"\r\n") {
        size.push(stream.read_u8().await.unwrap());
    }
    let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
    let mut chunk = vec![0; size + 2];
    stream.read_exact(&mut chunk).await.unwrap();
    assert!(chunk.ends_with(b"\r\n"));
    body.extend_from_slice(&chunk[..size]);
    size > 0
}
