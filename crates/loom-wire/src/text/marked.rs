//! Answers in several messages, each behind a fixed mark: gpt-oss's where a server has left out the special tokens
//! (`analysisUser asks …assistantfinalHi`), and what Kimi K3 writes after its thinking.
//!
//! The special tokens gone, a message begins with words that a text may begin with, too. `analysis` counts as the first thing
//! of an answer with a capital letter directly behind it. If no other mark follows and the model ends by itself, it was the
//! answer, and is given once more as that. A call's header gets its token back, for the call filter to see.

use std::borrow::Cow;

use crate::text::meet::Meet;
use crate::text::think::Piece;

/// A mark, and what follows it.
#[derive(Debug)]
struct Mark {
    text: &'static str,
    thinking: bool,
    /// What is delivered in its place.
    said: &'static str,
    /// It begins a message of its own, a blank line from the one before.
    apart: bool,
    /// No more marks count.
    last: bool,
}

const THINKING: Mark = Mark { text: "assistantanalysis", thinking: true, said: "", apart: true, last: false };
const SKIPPED: Mark = Mark { text: "", thinking: false, said: "", apart: false, last: false };

/// The marks of a format. Of two that begin alike the longer stands first.
static GPT_OSS: [Mark; 4] = [
    THINKING,
    Mark { text: "assistantcommentary to=", said: "<|channel|>commentary to=", ..SKIPPED },
    Mark { text: "assistantcommentary", apart: true, ..SKIPPED },
    Mark { text: "assistantfinal", apart: true, last: true, ..SKIPPED },
];
static KIMI_K3: [Mark; 3] = [
    Mark { text: "<|open|>response<|sep|>", ..SKIPPED },
    Mark { text: "<|close|>response<|sep|>", ..SKIPPED },
    Mark { text: "<|close|>message<|sep|>", ..SKIPPED },
];

/// The first message of gpt-oss has no role before it.
static FIRST: [Mark; 2] = [
    Mark { text: "analysis", ..THINKING },
    Mark { text: "commentary to=functions.", said: "<|channel|>commentary to=functions.", ..SKIPPED },
];

/// Whether an answer's text begins such a message; one of gpt-oss only if the model may be that.
pub(super) fn begins(text: &str, is_gpt_oss: bool) -> Meet {
    let mut part = false;
    let words = GPT_OSS.iter().chain(&FIRST).filter(|_| is_gpt_oss);
    for mark in KIMI_K3.iter().chain(words) {
        match text.strip_prefix(mark.text) {
            Some(rest) if mark.text == "analysis" => match rest.chars().next() {
                Some(next) if next.is_uppercase() => return Meet::Whole,
                Some(_) => {}
                None => part = true,
            },
            Some(_) => return Meet::Whole,
            None => part |= mark.text.starts_with(text),
        }
    }
    if part { Meet::Part } else { Meet::Not }
}

/// Text in, pieces out.
#[derive(Debug, Default)]
pub(super) struct Marked {
    marks: &'static [Mark],
    thinking: bool,
    /// The next text begins a message of its own.
    apart: bool,
    thought: bool,
    said: bool,
    /// What was taken for thinking on the strength of its first word.
    unannounced: String,
    /// No more marks count.
    over: bool,
}

impl Marked {
    /// How many bytes are kept.
    pub(super) fn held(&self) -> usize {
        self.unannounced.len()
    }

    /// Whether all that follows is the answer.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Adds text; returns how much of it is done with. `ended`: no more will come.
    pub(super) fn read<'a>(&mut self, text: &str, ended: bool, give: &mut impl FnMut(Piece<'a>)) -> usize {
        let mut at = 0;
        if self.marks.is_empty() {
            let first = FIRST.iter().find(|mark| text.starts_with(mark.text));
            self.marks = if text.starts_with('<') { &KIMI_K3 } else { &GPT_OSS };
            if let Some(mark) = first {
                at = mark.text.len();
                self.begin(mark, give);
                if mark.thinking {
                    self.unannounced.push_str(mark.text);
                }
            }
        }
        while !self.over {
            let rest = text.get(at..).unwrap_or_default();
            let (end, mark) = find(rest, self.marks, ended).unwrap_or((rest.len(), None));
            self.deliver(rest.get(..end).unwrap_or_default(), give);
            at += end;
            let Some(mark) = mark else { break };
            at += mark.text.len();
            if mark.apart || mark.last {
                give(Piece::Tag(mark.text));
            }
            self.unannounced = String::new();
            self.begin(mark, give);
        }
        at
    }

    /// The text has ended. What no mark has shown to be thinking was the answer, if the model has ended by itself.
    pub(super) fn end<'a>(&mut self, by_length: bool, give: &mut impl FnMut(Piece<'a>)) {
        let unannounced = std::mem::take(&mut self.unannounced);
        if !by_length && !unannounced.is_empty() {
            give(Piece::Answer(Cow::Owned(unannounced)));
        }
    }

    fn begin<'a>(&mut self, mark: &'static Mark, give: &mut impl FnMut(Piece<'a>)) {
        (self.thinking, self.apart, self.over) = (mark.thinking, mark.apart, mark.last);
        if !mark.said.is_empty() {
            give(Piece::Tag(mark.text));
        }
        self.deliver(mark.said, give);
    }

    fn deliver<'a>(&mut self, text: &str, give: &mut impl FnMut(Piece<'a>)) {
        if text.is_empty() {
            return;
        }
        let before = if self.thinking { &mut self.thought } else { &mut self.said };
        let apart = std::mem::replace(before, true) && std::mem::take(&mut self.apart);
        self.apart = false;
        if !self.unannounced.is_empty() {
            self.unannounced.push_str(text);
        }
        let text = format!("{}{text}", if apart { "\n\n" } else { "" });
        give(if self.thinking { Piece::Thinking(text) } else { Piece::Answer(Cow::Owned(text)) });
    }
}

/// The first place where a mark begins, with the mark, or `None` in its place if only more text can tell.
fn find(text: &str, marks: &'static [Mark], ended: bool) -> Option<(usize, Option<&'static Mark>)> {
    let first = *marks.first()?.text.as_bytes().first()?;
    let mut from = 0;
    loop {
        let at = from + memchr::memchr(first, text.as_bytes().get(from..)?)?;
        let rest = text.get(at..)?;
        for mark in marks {
            if rest.starts_with(mark.text) {
                return Some((at, Some(mark)));
            }
            if !ended && mark.text.starts_with(rest) {
                return Some((at, None));
            }
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_a_message() {
        for (text, meet) in [
            ("analysisWe", Meet::Whole),
            ("analysis", Meet::Part),
            ("analysis of it", Meet::Not),
            ("analysiswe", Meet::Not),
            ("ass", Meet::Part),
            ("assistantfinalHi", Meet::Whole),
            ("assistants", Meet::Not),
            ("commentary to=functions.f", Meet::Whole),
            ("<|open|>response<|sep|>", Meet::Whole),
            ("<|open|>", Meet::Part),
        ] {
            assert_eq!(begins(text, true), meet, "{text}");
        }
    }
}
