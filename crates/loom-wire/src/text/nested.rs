//! Thinking whose tags are nested: `<think>a<think>b</think>c</think>answer`.
//!
//! A thought that opens another tag may mean it, or only mention it. A whole text shows which: its tags match, or they do
//! not. A stream goes on with the answer behind the first closing tag, and leaves the tags that are still to come out.

use std::borrow::Cow;

use crate::text::code::CodeTracker;
use crate::text::meet;
use crate::text::think::{Piece, TAGS, Tag};
use crate::text::unopened::is_mention;

/// Thinking and answer of a whole text that begins with nested tags which match.
pub(super) fn split_nested(text: &str) -> Option<(&str, &str)> {
    let begun = text.trim_start();
    if !begun.starts_with(['<', '[', '◁']) {
        return None;
    }
    let tag = TAGS.iter().find(|tag| meet::meet(begun, tag.open) == meet::Meet::Whole)?;
    let inner = begun.get(tag.open.len()..)?;
    let (mut depth, mut nested, mut at) = (1u32, false, 0);
    loop {
        let (from, found) = meet::find(inner.get(at..)?, [tag.open, tag.close].into_iter())?;
        let found = found?;
        let end = at + from + found.len();
        if found == tag.open {
            (depth, nested) = (depth + 1, true);
        } else {
            depth -= 1;
        }
        if depth == 0 {
            let thinking = inner.get(..at + from)?.trim();
            return nested.then_some((thinking, inner.get(end..)?.trim_start()));
        }
        at = end;
    }
}

/// The closing tags that a stream's thinking left owing.
#[derive(Debug, Default)]
pub(super) struct Owed {
    tag: Option<&'static Tag>,
    count: u32,
    code: CodeTracker,
    /// The end of what was delivered.
    last: String,
}

impl Owed {
    /// The thinking has opened the tag once more.
    pub(super) fn open(&mut self, tag: &'static Tag) {
        self.tag = Some(tag);
        self.count = self.count.saturating_add(1);
    }

    /// A closing tag was used up.
    pub(super) fn close(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// Whether closing tags are still to come.
    pub(super) fn is_some(&self) -> bool {
        self.count > 0
    }

    /// Reads on in the answer; returns how much of `text` is done with, or `None` if only more text can tell. `ended`: no
    /// more will come.
    pub(super) fn answer<'a>(
        &mut self,
        text: &str,
        ended: bool,
        give: &mut impl FnMut(Piece<'a>),
    ) -> Option<usize> {
        let close = self.tag.filter(|_| self.count > 0).map(|tag| tag.close);
        let (at, found) = meet::find(text, close.into_iter()).unwrap_or((text.len(), None));
        if at > 0 {
            self.say(text.get(..at).unwrap_or_default(), give);
            return Some(at);
        }
        let Some(close) = found else {
            if ended {
                self.say(text, give);
            }
            return ended.then_some(text.len());
        };
        let behind = text.get(close.len()..).unwrap_or_default();
        if !ended && behind.trim_start_matches(' ').is_empty() {
            return None;
        }
        if self.code.in_code() || is_mention(&self.last, behind) {
            self.say(close, give);
        } else {
            self.close();
            give(Piece::Tag("a closing tag too many"));
        }
        Some(close.len())
    }

    fn say<'a>(&mut self, text: &str, give: &mut impl FnMut(Piece<'a>)) {
        if let Some(last) = text.chars().last() {
            self.code.advance(text);
            self.last = last.to_string();
            give(Piece::Answer(Cow::Owned(text.to_owned())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_tags_of_a_whole_text_match() {
        for (text, split) in [
            ("<think>a<think>b</think>c</think>\nHi", Some(("a<think>b</think>c", "Hi"))),
            ("<think>a <think> b</think>Hi", None),
            ("<think>a</think>Hi <think>x</think></think>", None),
            ("[THINK]a[THINK]b[/THINK][/THINK]Hi", Some(("a[THINK]b[/THINK]", "Hi"))),
            ("Hi", None),
        ] {
            assert_eq!(split_nested(text), split, "{text}");
        }
    }
}
