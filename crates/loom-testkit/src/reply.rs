//! What a server sends: a status, headers and a body cut into pieces, down to the byte.
//!
//! A reply is data. Nothing is added to it but the header that its [`Framing`] needs, so what a test writes
//! is what the client gets.

use std::time::Duration;

use serde_json::Value;

/// One step in sending the body of a [`Reply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Write these bytes and flush them. With [`Framing::Chunked`], one chunk. Empty: nothing is written.
    Bytes(Vec<u8>),
    /// Wait this long.
    Delay(Duration),
    /// Send nothing more until the client leaves.
    Hang,
    /// Reset the connection (TCP `RST`): the client's next read fails. What was written last may be lost with
    /// it; a [`Piece::Delay`] before it lets that arrive.
    Reset,
    /// Close the connection in good order (TCP `FIN`) without finishing the framing.
    Close,
}

/// How the client is told where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Transfer-Encoding: chunked`, one chunk per [`Piece::Bytes`].
    Chunked,
    /// `Content-Length` of all bytes in the body.
    Length,
    /// `Content-Length` with this number of bytes, which need not be true.
    LengthOf(u64),
    /// `Connection: close` and no length: the body ends with the connection.
    UntilClose,
    /// No status line and no headers: the pieces are all that is written. The connection is closed after
    /// them, since the server cannot know where such an answer ends.
    Raw,
}

/// One answer to one request.
///
/// ```
/// use std::time::Duration;
/// use loom_testkit::{Piece, Reply};
///
/// // A stream that stalls for a second after its first event, and is cut off within the second.
/// let reply = Reply::sse([r#"{"choices":[]}"#.to_owned()])
///     .then(Piece::Delay(Duration::from_secs(1)))
///     .then(Piece::Bytes(b"data: {\"cho".to_vec()))
///     .then(Piece::Reset);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    status: u16,
    reason: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<Piece>,
    framing: Framing,
    head_delay: Duration,
    between: Duration,
    split: Option<usize>,
}

impl Reply {
    /// An answer without headers and with an empty body of length 0.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            reason: None,
            headers: Vec::new(),
            body: Vec::new(),
            framing: Framing::Length,
            head_delay: Duration::ZERO,
            between: Duration::ZERO,
            split: None,
        }
    }

    /// A whole body of compact JSON, as `application/json`.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::whole(status, "application/json", body.to_string())
    }

    /// A whole body of text, as `text/plain; charset=utf-8`.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::whole(status, "text/plain; charset=utf-8", body.into())
    }

    /// A whole page, as `text/html; charset=utf-8`: what a web server answers in the place of an API.
    pub fn html(status: u16, body: impl Into<String>) -> Self {
        Self::whole(status, "text/html; charset=utf-8", body.into())
    }

    /// A stream of server-sent events, each written as `data: {event}\n\n` in a chunk of its own.
    ///
    /// Nothing is added at the end: give `[DONE]` as the last event to end the stream as OpenAI does. An
    /// event is written as it is, so one that contains line breaks must bring its own `data: ` prefixes.
    pub fn sse(events: impl IntoIterator<Item = String>) -> Self {
        let mut reply = Self::new(200).header("content-type", "text/event-stream").framing(Framing::Chunked);
        reply.body =
            events.into_iter().map(|event| Piece::Bytes(format!("data: {event}\n\n").into_bytes())).collect();
        reply
    }

    /// These bytes and no others, status line included; then the connection is closed.
    /// `Reply::raw("").then(Piece::Hang)` is a server that takes the request and never answers.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(0).framing(Framing::Raw).then(Piece::Bytes(bytes.into()))
    }

    /// The status; 0 for a [raw](Reply::raw) reply.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Replaces the reason phrase; the default is the standard one for the status.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds a header, after those already there. Names and values are written as given.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Replaces the way in which the end of the body is told.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Adds a piece to the end of the body.
    pub fn then(mut self, piece: Piece) -> Self {
        self.body.push(piece);
        self
    }

    /// Cuts the bytes of the body into writes of at most `n` bytes each, 0 counting as 1. The status line and
    /// the headers stay whole, except in a [raw](Reply::raw) reply, where everything is body.
    pub fn split_every(mut self, n: usize) -> Self {
        self.split = Some(n.max(1));
        self
    }

    /// Waits this long between one write of the body and the next.
    pub fn delay_between(mut self, delay: Duration) -> Self {
        self.between = delay;
        self
    }

    /// Waits this long after the headers, before the first piece of the body: a slow first token.
    pub fn delay_first(mut self, delay: Duration) -> Self {
        self.body.insert(0, Piece::Delay(delay));
        self
    }

    /// Waits this long before the status line: a server that thinks before it says anything.
    pub fn delay_head(mut self, delay: Duration) -> Self {
        self.head_delay = delay;
        self
    }

    fn whole(status: u16, content_type: &str, body: String) -> Self {
        Self::new(status).header("content-type", content_type).then(Piece::Bytes(body.into_bytes()))
    }

    /// The bytes of the body, whatever comes between them.
    pub(crate) fn body_bytes(&self) -> Vec<u8> {
        let bytes = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes.clone(),
            _ => Vec::new(),
        };
        self.body.iter().flat_map(bytes).collect()
    }

    /// The same head with another body.
    pub(crate) fn with_body(mut self, body: Vec<u8>) -> Self {
        self.body = vec![Piece::Bytes(body)];
        self
    }

    /// The same body without any headers but those of the framing.
    pub(crate) fn without_headers(mut self) -> Self {
        self.headers.clear();
        self
    }

    pub(crate) fn head_delay(&self) -> Duration {
        self.head_delay
    }

    /// How to frame the answer to a client that may be too old for chunks.
    pub(crate) fn framing_for(&self, http_1_0: bool) -> Framing {
        match self.framing {
            Framing::Chunked if http_1_0 => Framing::UntilClose,
            framing => framing,
        }
    }

    /// Whether a body may follow the head, as far as the status decides it (RFC 9110, section 6.4.1).
    pub(crate) fn may_have_body(&self) -> bool {
        !matches!(self.status, 100..=199 | 204 | 304)
    }

    /// Whether the reply itself says that the connection ends with it.
    pub(crate) fn says_close(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close")
        })
    }

    /// The status line and the headers, up to and including the empty line.
    pub(crate) fn head(&self, framing: Framing) -> Vec<u8> {
        let reason = self.reason.as_deref().unwrap_or_else(|| reason_phrase(self.status));
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match framing {
            Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
            Framing::Length if !self.may_have_body() => {}
            Framing::Length => head.push_str(&format!("content-length: {}\r\n", self.body_len())),
            Framing::LengthOf(length) => head.push_str(&format!("content-length: {length}\r\n")),
            Framing::UntilClose => head.push_str("connection: close\r\n"),
            Framing::Raw => return Vec::new(),
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The body with the splitting and the delays between writes worked in.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(self.body.len());
        let mut written = false;
        for piece in &self.body {
            let Piece::Bytes(bytes) = piece else {
                pieces.push(piece.clone());
                continue;
            };
            let size = self.split.unwrap_or(bytes.len()).max(1);
            for part in bytes.chunks(size) {
                if written && !self.between.is_zero() {
                    pieces.push(Piece::Delay(self.between));
                }
                pieces.push(Piece::Bytes(part.to_vec()));
                written = true;
            }
        }
        pieces
    }

    /// Head and body in one, for an answer that is sent without ado.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head(Framing::Length);
        for piece in &self.body {
            if let Piece::Bytes(part) = piece {
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }

    fn body_len(&self) -> usize {
        self.body
            .iter()
            .map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.len(),
                _ => 0,
            })
            .sum()
    }
}

/// The reason phrases of the statuses that LLM servers and the gateways before them are known to send.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Entity",
        424 => "Failed Dependency",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        529 => "Site is overloaded",
        _ => "",
    }
}
