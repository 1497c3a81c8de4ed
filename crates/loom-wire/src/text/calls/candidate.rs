//! What follows a mark, until it is known to be a call or text.

use crate::text::calls::dialect::Row;
use crate::text::calls::{Head, Offer, Unread, WrittenCall};

#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) row: &'static Row,
    /// How many bytes of text its mark is: none where a call follows another under the same mark.
    pub(super) mark: usize,
    /// The beginning was judged to be a call's.
    pub(super) named: bool,
    /// Up to here nothing was found that ends it.
    looked: usize,
    /// Brackets open, and the string that is open, for rows that end with their JSON.
    depth: u32,
    string: Option<u8>,
    escaped: bool,
    begun: bool,
    /// Brackets before the first brace do not count.
    object_only: bool,
    /// Closing marks that stood inside a string.
    passed: u32,
}

/// What a candidate comes to.
pub(super) enum Outcome {
    Wait,
    Text,
    Calls(Vec<WrittenCall>, usize),
}

/// A beginning that is not decided by then is none.
const MAX_HEAD: usize = 4096;
/// So many closing marks may stand inside the strings of a call.
const MAX_PASSED: u32 = 64;

/// The last place up to `most` where a character begins or the text ends.
fn boundary(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

impl Candidate {
    pub(super) fn new(row: &'static Row, mark: usize) -> Self {
        Self {
            row,
            mark,
            named: false,
            looked: 0,
            depth: 0,
            string: None,
            escaped: false,
            begun: false,
            object_only: false,
            passed: 0,
        }
    }

    /// What `text`, which starts with the mark, comes to.
    pub(super) fn advance(&mut self, text: &str, ended: bool, offer: &Offer) -> Outcome {
        // A call that follows another has no mark of its own.
        let marked;
        let (whole, mark) = if self.mark == 0 && !self.row.bare {
            marked = format!("{}{text}", self.row.open);
            (marked.as_str(), self.row.open.len())
        } else {
            (text, 0)
        };
        if !self.named {
            let most = boundary(whole, MAX_HEAD);
            match self.row.head(whole.get(..most).unwrap_or_default(), offer) {
                Head::Yes => {
                    self.named = true;
                    self.looked = self.row.value_start().saturating_sub(mark);
                    self.object_only = self.row.ends_with_object(whole);
                }
                Head::More if !ended && whole.len() < MAX_HEAD => return Outcome::Wait,
                _ => return Outcome::Text,
            }
        }
        loop {
            let end = if self.row.close.is_empty() { self.value_end(text) } else { self.closing_mark(text) };
            let Some((body, used)) = end else {
                if !ended {
                    return Outcome::Wait;
                }
                return match self.row.read(whole, false, offer) {
                    Ok(calls) => {
                        let used = self.unclosed_end(text, &calls);
                        Outcome::Calls(calls, used)
                    }
                    Err(_) => Outcome::Text,
                };
            };
            match self.row.read(whole.get(..mark + body).unwrap_or_default(), true, offer) {
                Ok(calls) => return Outcome::Calls(calls, used),
                Err(Unread::Open) if self.passed < MAX_PASSED => {
                    self.passed += 1;
                    self.looked = used;
                }
                Err(_) => return Outcome::Text,
            }
        }
    }

    /// Where calls end that no closing mark ends. Words behind a whole object are the answer's.
    fn unclosed_end(&self, text: &str, calls: &[WrittenCall]) -> usize {
        let is_json = text.get(self.mark..).is_some_and(|body| body.trim_start().starts_with('{'));
        let end = text.rfind('}').map_or(text.len(), |at| at + 1);
        let words = text.get(end..).unwrap_or_default().trim_start();
        let are_whole = is_json && calls.iter().all(|call| !call.cut);
        if are_whole && words.starts_with(char::is_alphanumeric) { end } else { text.len() }
    }

    /// The next closing mark: where it begins and where it ends.
    fn closing_mark(&mut self, text: &str) -> Option<(usize, usize)> {
        let longest = self.row.close.iter().map(|close| close.len()).max().unwrap_or_default();
        let from = self.looked.max(self.mark);
        let rest = text.as_bytes().get(from..)?;
        let found = self
            .row
            .close
            .iter()
            .filter_map(|close| Some((memchr::memmem::find(rest, close.as_bytes())?, close.len())))
            .min();
        match found {
            Some((at, length)) => Some((from + at, from + at + length)),
            None => {
                self.looked = boundary(text, text.len().saturating_sub(longest)).max(self.looked);
                None
            }
        }
    }

    /// Where the JSON ends, brackets and strings counted.
    fn value_end(&mut self, text: &str) -> Option<(usize, usize)> {
        let rest = text.as_bytes().get(self.looked..)?;
        for (at, &byte) in rest.iter().enumerate() {
            match self.string {
                Some(_) if self.escaped => self.escaped = false,
                Some(_) if byte == b'\\' => self.escaped = true,
                Some(quote) if byte == quote => self.string = None,
                Some(_) => {}
                None => match byte {
                    b'"' | b'\'' if self.depth > 0 => self.string = Some(byte),
                    b'[' | b'(' if self.object_only && !self.begun => {}
                    b'{' | b'[' | b'(' => {
                        self.begun = true;
                        self.depth += 1;
                    }
                    b'}' | b']' | b')' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                },
            }
            if self.begun && self.depth == 0 {
                let end = self.looked + at + 1;
                return Some((end, end));
            }
        }
        self.looked = text.len();
        None
    }
}
