//! One decoder for `text/event-stream`: LF, CRLF and lone CR, split anywhere; BOM; comments; several data lines;
//! a limit on the size of an event. It copies each byte once and scans it once.

use memchr::memchr2;

use crate::mend;

/// A byte order mark in UTF-8.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// What the stream holds, in order. Borrows from the decoder's buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The data of an event, its lines joined with LF; `is_error` if its name (or the line's field) is `error`.
    Data {
        /// The bytes after `data:`.
        data: &'a [u8],
        /// The server calls the event an error.
        is_error: bool,
        /// What of its framing was off and read all the same.
        mended: Option<&'static str>,
    },
    /// A line that is no field of the format; servers put bare JSON errors there.
    Stray(&'a [u8]),
    /// A comment or an event without data: a sign of life, nothing more.
    KeepAlive,
}

/// An event is larger than the limit.
#[derive(Debug, PartialEq, Eq)]
pub struct EventTooLarge {
    /// The limit in bytes.
    pub limit: usize,
}

/// Bytes in, [`Frame`]s out.
#[derive(Debug)]
pub struct SseDecoder {
    buffer: Vec<u8>,
    /// Where the unconsumed part starts: the first byte of the event under way.
    start: usize,
    /// Up to here no line end was found.
    scanned: usize,
    /// Start of the line under way.
    line: usize,
    /// The data of the event under way, as a range of the buffer, while it is one line.
    data: Option<(usize, usize)>,
    /// The data of the event under way once it is several lines.
    joined: Vec<u8>,
    several: bool,
    name: Name,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    at_start: bool,
    ended: bool,
    limit: usize,
    /// Whether the data of the event under way is an object that is not complete.
    nesting: mend::Nesting,
    /// What was off in the framing of the event under way.
    mended: Option<&'static str>,
}

impl SseDecoder {
    /// A decoder that refuses events of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            line: 0,
            data: None,
            joined: Vec::new(),
            several: false,
            name: Name::Other,
            after_cr: false,
            at_start: true,
            ended: false,
            limit,
            nesting: mend::Nesting::default(),
            mended: None,
        }
    }

    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        // The consumed part is dropped here, where no frame borrows from it.
        if self.start > 0 {
            self.buffer.drain(..self.start);
            let start = self.start;
            self.scanned -= start;
            self.line -= start;
            self.data = self.data.map(|(from, to)| (from - start, to - start));
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// No more bytes will come: what lacks its line end or its blank line is taken as complete.
    pub fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            self.buffer.extend_from_slice(if self.after_cr && self.line == self.buffer.len() {
                b"\n\n"
            } else {
                b"\n\n\n"
            });
        }
    }

    /// The next frame, or `None` until more bytes are pushed.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, EventTooLarge> {
        if self.at_start && !self.skip_bom() {
            return Ok(None);
        }
        loop {
            let Some(found) = self.buffer.get(self.scanned..).and_then(|rest| memchr2(b'\n', b'\r', rest))
            else {
                self.scanned = self.buffer.len();
                return self.check_size().map(|()| None);
            };
            let end = self.scanned + found;
            let begin = self.line;
            let is_lf = self.buffer.get(end) == Some(&b'\n');
            self.scanned = end + 1;
            self.line = end + 1;
            if is_lf && std::mem::take(&mut self.after_cr) && begin == end {
                if self.data.is_none() && !self.several {
                    self.start = self.line;
                }
                continue; // the LF of a CRLF
            }
            self.after_cr = !is_lf;
            self.check_size()?;
            if begin == end {
                let (data, several) = (self.data.take(), std::mem::take(&mut self.several));
                let name = std::mem::take(&mut self.name);
                let is_error = name == Name::Error;
                let mended = self.mended.take();
                self.nesting = mend::Nesting::default();
                self.start = self.line;
                return Ok(Some(match data {
                    _ if several => Frame::Data { data: &self.joined, is_error, mended },
                    // `event: ping` with the time of day as its data.
                    Some((from, to))
                        if name == Name::SignOfLife && !mend::is_object(slice(&self.buffer, from, to)) =>
                    {
                        Frame::KeepAlive
                    }
                    Some((from, to)) => Frame::Data { data: slice(&self.buffer, from, to), is_error, mended },
                    None => Frame::KeepAlive,
                }));
            }
            match self.field(begin, end) {
                Field::Data(from) => {
                    if let Some((from, to)) = self.add_data(from, end) {
                        return Ok(Some(self.unseparated(from, to)));
                    }
                }
                Field::Skip => {}
                Field::Event(name) => self.name = name,
                Field::Comment => {
                    if self.data.is_none() && !self.several {
                        self.start = self.line;
                    }
                    return Ok(Some(Frame::KeepAlive));
                }
                Field::Error(from) => {
                    let data = slice(&self.buffer, from, end);
                    return Ok(Some(Frame::Data { data, is_error: true, mended: None }));
                }
                Field::Stray => {
                    let Some(from) = self.odd_data(begin, end) else {
                        return Ok(Some(Frame::Stray(slice(&self.buffer, begin, end))));
                    };
                    if let Some((from, to)) = self.add_data(from, end) {
                        return Ok(Some(self.unseparated(from, to)));
                    }
                }
            }
        }
    }

    fn check_size(&self) -> Result<(), EventTooLarge> {
        if self.scanned - self.start + self.joined_len() > self.limit {
            return Err(EventTooLarge { limit: self.limit });
        }
        Ok(())
    }

    fn joined_len(&self) -> usize {
        if self.several { self.joined.len() } else { 0 }
    }

    /// Whether enough bytes are there to know that a BOM is skipped or absent.
    fn skip_bom(&mut self) -> bool {
        if self.buffer.len() < BOM.len() && BOM.starts_with(&self.buffer) {
            return false;
        }
        self.at_start = false;
        if self.buffer.starts_with(BOM) {
            (self.start, self.line, self.scanned) = (BOM.len(), BOM.len(), BOM.len());
        }
        true
    }

    fn field(&self, begin: usize, end: usize) -> Field {
        let line = slice(&self.buffer, begin, end);
        let after = |name: usize| {
            // At most one space after the colon belongs to the format.
            begin + name + usize::from(line.get(name) == Some(&b' '))
        };
        match line {
            [b'd', b'a', b't', b'a', b':', ..] => Field::Data(after(5)),
            b"data" => Field::Data(end),
            [b':', ..] => Field::Comment,
            [b'e', b'v', b'e', b'n', b't', b':', ..] => {
                Field::Event(match slice(&self.buffer, after(6), end).trim_ascii() {
                    b"error" => Name::Error,
                    b"ping" | b"heartbeat" | b"keepalive" | b"keep-alive" => Name::SignOfLife,
                    _ => Name::Other,
                })
            }
            [b'e', b'r', b'r', b'o', b'r', b':', ..] => Field::Error(after(6)),
            [b'i', b'd', b':', ..] | [b'r', b'e', b't', b'r', b'y', b':', ..] => Field::Skip,
            _ => Field::Stray,
        }
    }

    /// Where the data of a line begins that is no field as the format writes it: a name in capitals or indented, or the
    /// rest of a JSON text with a bare line end in it.
    fn odd_data(&mut self, begin: usize, end: usize) -> Option<usize> {
        let line = slice(&self.buffer, begin, end);
        let unmarked = line.strip_prefix(BOM).unwrap_or(line);
        let indent = line.len() - unmarked.trim_ascii_start().len();
        if line.get(indent..indent + 5).is_some_and(|name| name.eq_ignore_ascii_case(b"data:")) {
            self.mended = Some("a field's name in capitals, indented or behind a byte order mark");
            return Some(begin + indent + 5 + usize::from(line.get(indent + 5) == Some(&b' ')));
        }
        let pending = match self.data {
            _ if self.several => self.joined.as_slice(),
            Some((from, to)) => slice(&self.buffer, from, to),
            None => return None,
        };
        if self.nesting.is_open(pending) {
            self.mended = Some("a line end within a line of data");
            return Some(begin);
        }
        None
    }

    fn unseparated(&self, from: usize, to: usize) -> Frame<'_> {
        let mended = Some("no blank line between events");
        Frame::Data { data: slice(&self.buffer, from, to), is_error: self.name == Name::Error, mended }
    }

    /// Adds a line of data. Where the one before is an object by itself, no blank line came between two events: that is
    /// the range of the first, which is complete.
    fn add_data(&mut self, from: usize, to: usize) -> Option<(usize, usize)> {
        if let Some(first) = self.data.filter(|(from, to)| mend::is_object(slice(&self.buffer, *from, *to))) {
            self.data = Some((from, to));
            self.nesting = mend::Nesting::default();
            self.start = first.1;
            return Some(first);
        }
        if let Some((first_from, first_to)) = self.data.take() {
            self.joined.clear();
            self.joined.extend_from_slice(slice(&self.buffer, first_from, first_to));
            self.several = true;
        }
        if self.several {
            self.joined.push(b'\n');
            self.joined.extend_from_slice(slice(&self.buffer, from, to));
            self.start = self.line;
        } else {
            self.data = Some((from, to));
        }
        None
    }
}

/// What an event's name says about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Name {
    #[default]
    Other,
    Error,
    SignOfLife,
}

enum Field {
    Data(usize),
    Event(Name),
    Error(usize),
    Comment,
    Skip,
    Stray,
}

/// A range that the decoder's own bookkeeping made; empty if it were ever wrong.
fn slice(buffer: &[u8], from: usize, to: usize) -> &[u8] {
    buffer.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = SseDecoder::new(1000);
        let mut found = Vec::new();
        let drain = |decoder: &mut SseDecoder, found: &mut Vec<String>| {
            while let Some(frame) = decoder.next_frame().unwrap() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                match frame {
                    Frame::Data { data, is_error: false, .. } => found.push(text(data)),
                    Frame::Data { data, is_error: true, .. } => found.push(format!("E {}", text(data))),
                    Frame::Stray(line) => found.push(format!("S {}", text(line))),
                    Frame::KeepAlive => {}
                }
            }
        };
        for piece in pieces {
            decoder.push(piece);
            drain(&mut decoder, &mut found);
        }
        decoder.end();
        drain(&mut decoder, &mut found);
        found
    }

    const STREAMS: &[(&str, &[&str])] = &[
        ("data: a\n\ndata:b\n\ndata:  c\n\n", &["a", "b", " c"]),
        ("data: a\r\n\r\n: ping\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
        ("data: a\r\rdata: b\r\r", &["a", "b"]),
        ("data: {\ndata: 1}\n\n", &["{\n1}"]),
        ("data: a\r\ndata: b\r\ndata: c\r\n\r\n", &["a\nb\nc"]),
        ("\u{feff}data: a\n\n", &["a"]),
        ("event: error\ndata: x\n\ndata: y\n\n", &["E x", "y"]),
        ("error: {\"a\":1}\n\ndata: [DONE]\n\n", &["E {\"a\":1}", "[DONE]"]),
        ("{\"error\":1}\ndata: a\n\n", &["S {\"error\":1}", "a"]),
        ("id: 1\nretry: 3\nevent: message\ndata: a\n\n", &["a"]),
        ("data: a\n\ndata: b", &["a", "b"]),
        ("data: a\n\ndata: b\r", &["a", "b"]),
        ("data: a\ndata: b", &["a\nb"]),
        ("data: a\n: comment inside\ndata: b\n\n", &["a\nb"]),
        ("data\n\n", &[""]),
        ("\n\n\r\n\rdata: 漢\n\n", &["漢"]),
    ];

    #[test]
    fn the_same_frames_however_the_bytes_are_split() {
        for (stream, expected) in STREAMS {
            let bytes = stream.as_bytes();
            assert_eq!(frames(&[bytes]), *expected, "whole: {stream:?}");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(frames(&single), *expected, "byte by byte: {stream:?}");
            for at in 0..bytes.len() {
                let (a, b) = bytes.split_at(at);
                assert_eq!(frames(&[a, b]), *expected, "split at {at}: {stream:?}");
            }
        }
    }

    #[test]
    fn an_event_over_the_limit_is_an_error_and_not_memory() {
        for line in ["data: xxxxxxxx", "data: xx\n"] {
            let mut decoder = SseDecoder::new(100);
            let mut result = Ok(());
            for _ in 0..1000 {
                decoder.push(line.as_bytes());
                loop {
                    match decoder.next_frame() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(error) => {
                            result = Err(error);
                            break;
                        }
                    }
                }
                if result.is_err() {
                    break;
                }
            }
            assert_eq!(result, Err(EventTooLarge { limit: 100 }));
            assert!(decoder.buffer.len() < 300);
        }
    }
}
