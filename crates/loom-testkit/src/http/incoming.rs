//! The reading half of a connection: requests, and the news that the client has left.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::reply::Reply;
use crate::request::RecordedRequest;

/// The most bytes that a request line and headers may take.
const MAX_HEAD: usize = 64 * 1024;
/// The most bytes that a body may take: room for a few images, and a bound for a client gone wrong.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// The most headers that a request may have.
const MAX_HEADERS: usize = 128;

/// Why no request could be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The connection ended or failed. Between two requests, this is how a client says goodbye.
    Gone,
    /// The client sent something that is not a request of ours; tell it so and close.
    Refused(Box<Reply>),
}

impl From<io::Error> for Unreadable {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// The reading half, with what was read ahead.
#[derive(Debug)]
pub(crate) struct Incoming<R> {
    reader: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new() }
    }

    /// The reading half and the bytes that came after the last request.
    pub(crate) fn into_parts(self) -> (R, Vec<u8>) {
        (self.reader, self.buffer)
    }

    /// Reads the next request, head and body. `writer` is for `100 Continue`, should the client wait for it.
    pub(crate) async fn request<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        connection: usize,
    ) -> Result<RecordedRequest, Unreadable> {
        let mut request = self.head(connection).await?;
        if request.lists("expect", "100-continue") && self.buffer.is_empty() {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            writer.flush().await?;
        }
        request.body = if request.lists("transfer-encoding", "chunked") {
            self.chunks().await?
        } else {
            let length = match request.header("content-length").map(|value| value.trim().parse()) {
                None => 0,
                Some(Ok(length)) => length,
                Some(Err(_)) => return Err(refused(400, "the content-length is not a number")),
            };
            self.exactly(length).await?
        };
        Ok(request)
    }

    /// Returns when the client has left. Reads ahead meanwhile, since a client may send its next request
    /// early; a client that has closed only its sending half counts as gone, since the two look the same from
    /// here.
    pub(crate) async fn gone(&mut self) {
        while self.buffer.len() <= MAX_BODY {
            if self.fill().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    async fn head(&mut self, connection: usize) -> Result<RecordedRequest, Unreadable> {
        loop {
            if let Some((length, request)) = parse_head(&self.buffer, connection)? {
                self.buffer.drain(..length);
                return Ok(request);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(refused(431, "the headers are too long"));
            }
            self.fill().await?;
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, Unreadable> {
        let mut body = Vec::new();
        loop {
            let size = self.chunk_size().await?;
            if size == 0 {
                // Trailers, if any, end with an empty line, as does the body without them.
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            if body.len() + size > MAX_BODY {
                return Err(refused(413, "the body is too long"));
            }
            body.extend(self.exactly(size).await?);
            if !self.line().await?.is_empty() {
                return Err(refused(400, "a chunk is longer than its size says"));
            }
        }
    }

    async fn chunk_size(&mut self) -> Result<usize, Unreadable> {
        loop {
            match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((length, size))) => {
                    self.buffer.drain(..length);
                    return usize::try_from(size).map_err(|_| refused(413, "the body is too long"));
                }
                Ok(httparse::Status::Partial) if self.buffer.len() <= MAX_HEAD => self.fill().await?,
                _ => return Err(refused(400, "a chunk does not start with its size")),
            }
        }
    }

    /// The bytes up to the next line feed, without the line end.
    async fn line(&mut self) -> Result<Vec<u8>, Unreadable> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(refused(400, "a line between chunks is too long"));
            }
            self.fill().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Unreadable> {
        if length > MAX_BODY {
            return Err(refused(413, "the body is too long"));
        }
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// Reads at least one byte more; the end of the connection is an error.
    async fn fill(&mut self) -> io::Result<()> {
        match self.reader.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The request line and the headers, if they are complete, and how many bytes they took.
fn parse_head(buffer: &[u8], connection: usize) -> Result<Option<(usize, RecordedRequest)>, Unreadable> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(refused(431, "too many headers")),
        Err(error) => return Err(refused(400, &format!("not an HTTP/1.1 request: {error}"))),
    };
    let target = parsed.path.unwrap_or_default().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let request = RecordedRequest {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: parsed
            .headers
            .iter()
            .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
            .collect(),
        body: Vec::new(),
        connection,
        http_1_0: parsed.version == Some(0),
        target,
    };
    Ok(Some((length, request)))
}

fn refused(status: u16, why: &str) -> Unreadable {
    Unreadable::Refused(Box::new(Reply::text(status, why).header("connection", "close")))
}
