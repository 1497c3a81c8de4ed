//! Tool calls written as text, when tools were offered.
//!
//! A call begins with a mark of one of the [dialects](Dialect) and names a tool that was offered; all else stays text,
//! byte for byte. Held back is what may still be a mark, and from a mark on only as long as what follows can be a call to
//! an offered tool: the name decides, and it comes early. In code (a fence or a span) a mark is only mentioned. What has
//! no mark (bare JSON) counts if the answer is nothing else.
//!
//! | module | reads |
//! |---|---|
//! | `dialect` | the marks, as rows |
//! | `candidate` | what follows a mark, until it is known to be a call or text |
//! | `json`, `tagged`, `pairs`, `tokens`, `python` | what stands behind them |
//! | `offer` | the tools on offer: names, and the types of their parameters |

mod candidate;
mod dialect;
mod json;
mod offer;
mod pairs;
mod python;
mod tagged;
mod tokens;

use std::borrow::Cow;
use std::sync::Arc;

use candidate::{Candidate, Outcome};
pub use dialect::Dialect;
use dialect::{BARE, LEFT_BEHIND, MARKS, Row};
use offer::Offer;

use crate::event::Event;
use crate::ledger::{Ledger, Rule};
use crate::request::Request;
use crate::text::code::CodeTracker;
use crate::text::meet::{self, Meet, meet};

/// A call as the text had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenCall {
    /// Empty if the text names none.
    pub(crate) id: String,
    /// The name of a tool that was offered.
    pub(crate) name: String,
    /// The arguments, as JSON wherever they are.
    pub(crate) arguments: String,
    /// The call does not end.
    pub(crate) cut: bool,
    /// The arguments were not quite JSON.
    pub(crate) repaired: bool,
}

impl WrittenCall {
    fn new(name: &str, arguments: String, cut: bool) -> Self {
        Self { id: String::new(), name: name.to_owned(), arguments, cut, repaired: false }
    }
}

/// What the beginning of a text says about whether it is a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    /// It is none.
    Not,
    /// More will tell.
    More,
    /// It is one to a tool on offer, as far as the beginning can say.
    Yes,
}

impl Head {
    /// The better of two.
    fn or(self, other: impl FnOnce() -> Self) -> Self {
        match (self, self == Self::Yes) {
            (_, true) => self,
            (Self::More, _) => {
                if other() == Self::Yes {
                    Self::Yes
                } else {
                    Self::More
                }
            }
            _ => other(),
        }
    }
}

/// Why no call can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    /// It is text.
    Text,
    /// The closing mark stood inside a string: the call goes on.
    Open,
}

/// Text in, events and calls out.
#[derive(Debug)]
pub(crate) struct CallFilter {
    offer: Offer,
    expected: Option<Dialect>,
    /// Text that is held back; starts with the candidate's mark, if there is a candidate.
    held: String,
    candidate: Option<Candidate>,
    /// Blanks whose fate depends on what follows.
    blanks: String,
    place: Place,
    code: CodeTracker,
    found: Vec<WrittenCall>,
    dialect: Option<Dialect>,
    /// What the calls were read from.
    taken: String,
    /// The calls count only if nothing else follows.
    bare: bool,
    failed: u32,
}

/// Where in the answer the text has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing but blanks so far.
    Start,
    /// Directly behind a call of that row, whose form may go on.
    Behind(usize),
    /// In the text.
    Text,
}

/// So often a candidate may turn out to be text after its beginning was a call's; then no more are looked for.
const MAX_FAILED: u32 = 64;

impl CallFilter {
    pub(crate) fn new(request: Arc<Request>, expected: Option<Dialect>) -> Self {
        Self {
            offer: Offer::new(request),
            expected,
            held: String::new(),
            candidate: None,
            blanks: String::new(),
            place: Place::Start,
            code: CodeTracker::default(),
            found: Vec::new(),
            dialect: None,
            taken: String::new(),
            bare: false,
            failed: 0,
        }
    }

    /// How many bytes are held back or kept.
    pub(crate) fn held(&self) -> usize {
        self.held.len() + self.blanks.len() + self.taken.len()
    }

    /// How many calls were found so far.
    pub(crate) fn found(&self) -> usize {
        self.found.len()
    }

    /// Adds text.
    pub(crate) fn push(&mut self, text: Cow<'_, str>, out: &mut Vec<Event>) {
        if self.held.is_empty() {
            let used = self.read(&text, false, out);
            if used == 0 {
                self.held = text.into_owned();
            } else {
                self.held.push_str(text.get(used..).unwrap_or_default());
            }
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.push_str(&text);
            let used = self.read(&held, false, out);
            held.drain(..used);
            self.held = held;
        }
    }

    /// The text has ended: what is held is text after all, or the calls that are returned.
    pub(crate) fn end(&mut self, ledger: &mut Ledger, out: &mut Vec<Event>) -> Vec<WrittenCall> {
        let held = std::mem::take(&mut self.held);
        self.read(&held, true, out);
        if self.found.is_empty() {
            self.say("", out);
        } else if self.dialect != self.expected {
            ledger.note(Rule::ToolCallsInText, self.dialect.map_or("", Dialect::name));
        }
        self.taken = String::new();
        self.blanks = String::new();
        std::mem::take(&mut self.found)
    }

    /// The answer has failed: all that was held back was text.
    pub(crate) fn release(&mut self, out: &mut Vec<Event>) {
        let mut text = std::mem::take(&mut self.taken);
        text.push_str(&std::mem::take(&mut self.blanks));
        text.push_str(&std::mem::take(&mut self.held));
        self.candidate = None;
        self.found.clear();
        if !text.is_empty() {
            out.push(Event::ContentDelta { content: text });
        }
    }

    /// Reads as far as can be told, and returns how far that is. `ended`: no more will come.
    fn read(&mut self, text: &str, ended: bool, out: &mut Vec<Event>) -> usize {
        let mut at = 0;
        while at < text.len() {
            let rest = text.get(at..).unwrap_or_default();
            let Some(candidate) = &mut self.candidate else {
                match self.look(rest, ended, out) {
                    Some(used) => at += used,
                    None => break,
                }
                continue;
            };
            match candidate.advance(rest, ended, &self.offer) {
                Outcome::Wait => break,
                Outcome::Text => {
                    if candidate.named {
                        self.failed += 1;
                    }
                    let first = rest.chars().next().map_or(0, char::len_utf8);
                    let used = candidate.mark.max(first);
                    self.candidate = None;
                    self.say(rest.get(..used).unwrap_or_default(), out);
                    at += used;
                }
                Outcome::Calls(calls, used) => {
                    let row = candidate.row;
                    self.candidate = None;
                    self.bare = row.bare;
                    let index = MARKS.iter().chain(BARE).position(|other| std::ptr::eq(other, row));
                    self.place = Place::Behind(index.unwrap_or_default());
                    self.dialect.get_or_insert(dialect_of(row, rest));
                    self.found.extend(calls);
                    self.taken.push_str(&std::mem::take(&mut self.blanks));
                    self.taken.push_str(rest.get(..used).unwrap_or_default());
                    at += used;
                }
            }
        }
        at
    }

    /// Looks for the next mark; returns how much of `text` is done with, or `None` if only more text can tell.
    fn look(&mut self, text: &str, ended: bool, out: &mut Vec<Event>) -> Option<usize> {
        if self.place != Place::Text {
            let blanks = text.len() - text.trim_start().len();
            if blanks > 0 {
                self.blanks.push_str(text.get(..blanks).unwrap_or_default());
                return Some(blanks);
            }
        }
        if self.failed >= MAX_FAILED {
            self.say(text, out);
            return Some(text.len());
        }
        let marks = MARKS.iter().map(|row| row.open);
        match self.place {
            Place::Start => {
                let here: Vec<Meet> = marks.clone().map(|mark| meet(text, mark)).collect();
                if !here.contains(&Meet::Whole) {
                    let bare: Vec<Meet> = BARE.iter().map(|row| meet(text, row.open)).collect();
                    if !ended && (here.contains(&Meet::Part) || bare.contains(&Meet::Part)) {
                        return None;
                    }
                    if let Some(row) =
                        bare.iter().position(|meet| *meet == Meet::Whole).and_then(|at| BARE.get(at))
                    {
                        self.candidate = Some(Candidate::new(row, row.open.len()));
                        return Some(0);
                    }
                }
            }
            Place::Behind(row) => {
                match meet::any(text, LEFT_BEHIND) {
                    Meet::Whole => {
                        let used = LEFT_BEHIND.iter().find(|left| meet(text, left) == Meet::Whole)?.len();
                        self.taken.push_str(&std::mem::take(&mut self.blanks));
                        self.taken.push_str(text.get(..used).unwrap_or_default());
                        return Some(used);
                    }
                    Meet::Part if !ended => return None,
                    _ => {}
                }
                let row = MARKS.iter().chain(BARE).nth(row).filter(|row| row.close.is_empty());
                if let Some(row) = row {
                    if text.starts_with([';', ',']) {
                        self.blanks.push_str(text.get(..1).unwrap_or_default());
                        return Some(1);
                    }
                    if text.starts_with('{') {
                        self.candidate = Some(Candidate::new(row, 0));
                        return Some(0);
                    }
                }
            }
            Place::Text => {}
        }
        let mut from = 0;
        loop {
            let rest = text.get(from..).unwrap_or_default();
            match meet::find(rest, marks.clone()) {
                None => {
                    self.say(text, out);
                    return Some(text.len());
                }
                Some((at, None)) => {
                    let at = from + at;
                    if ended {
                        self.say(text, out);
                        return Some(text.len());
                    }
                    self.say(text.get(..at).unwrap_or_default(), out);
                    return (at > 0).then_some(at);
                }
                Some((at, Some(mark))) => {
                    let at = from + at;
                    let mut code = self.code.clone();
                    code.advance(&self.blanks);
                    code.advance(text.get(..at).unwrap_or_default());
                    if code.in_code() {
                        from = at + mark.len();
                        continue;
                    }
                    self.say(text.get(..at).unwrap_or_default(), out);
                    let row = MARKS.iter().find(|row| row.open == mark)?;
                    self.candidate = Some(Candidate::new(row, mark.len()));
                    return Some(at);
                }
            }
        }
    }

    /// Delivers text.
    fn say(&mut self, text: &str, out: &mut Vec<Event>) {
        let mut content = String::new();
        if !text.is_empty() && self.bare {
            // There is more than the call: it was text.
            self.bare = false;
            self.found.clear();
            self.dialect = None;
            content = std::mem::take(&mut self.taken);
        }
        if !text.is_empty() || self.found.is_empty() {
            content.push_str(&std::mem::take(&mut self.blanks));
        }
        content.push_str(text);
        if !text.is_empty() {
            self.place = Place::Text;
        }
        if !content.is_empty() {
            self.code.advance(&content);
            out.push(Event::ContentDelta { content });
        }
    }
}

/// `<tool_call>` is the mark of several dialects.
fn dialect_of(row: &Row, text: &str) -> Dialect {
    let inner = text.get(row.open.len()..).unwrap_or_default().trim_start();
    match row.dialect {
        Dialect::Hermes if inner.starts_with('<') => Dialect::QwenCoder,
        Dialect::Hermes if !inner.starts_with(['{', '[']) => Dialect::Glm,
        dialect => dialect,
    }
}

#[cfg(test)]
mod tests;
