//! Thinking between tags in the text of an answer.
//!
//! Only tags that open the answer count: a text that mentions one later stays text. The blanks around tags belong to
//! the tags. A closing tag without an opening one (the prompt's template wrote that) counts
//!
//! - as the first thing of an answer, or once it is known that answers begin so ([`ThinkFilter::new`]);
//! - in a whole text, by [`split_unopened`](crate::text::unopened::split_unopened).

use std::borrow::Cow;

use crate::text::channels::{self, Channels};
use crate::text::marked::{self, Marked};
use crate::text::meet::{self, Meet, meet};
use crate::text::nested::Owed;
use crate::text::unopened::UNOPENED;

/// A pair of tags.
#[derive(Debug)]
pub(super) struct Tag {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
}

/// The pairs, with the models that write them.
pub(super) const TAGS: &[Tag] = &[
    // DeepSeek-R1, Qwen3, QwQ, GLM-Z1, MiniMax, Magistral 2506 and most others.
    Tag { open: "<think>", close: "</think>" },
    // Models prompted for it; Claude-like distillates.
    Tag { open: "<thinking>", close: "</thinking>" },
    // Gemini's compatible endpoint with include_thoughts; Gemma.
    Tag { open: "<thought>", close: "</thought>" },
    Tag { open: "<thoughts>", close: "</thoughts>" },
    // EXAONE Deep, Reka, models prompted for it.
    Tag { open: "<reasoning>", close: "</reasoning>" },
    Tag { open: "<reason>", close: "</reason>" },
    // Magistral from 2507.
    Tag { open: "[THINK]", close: "[/THINK]" },
    // Seed-OSS.
    Tag { open: "<seed:think>", close: "</seed:think>" },
    // LongCat.
    Tag { open: "<longcat_think>", close: "</longcat_think>" },
    // Kimi-VL.
    Tag { open: "◁think▷", close: "◁/think▷" },
    // Cohere's Command A.
    Tag { open: "<|START_THINKING|>", close: "<|END_THINKING|>" },
    // Kimi K3.
    Tag { open: "<|open|>think<|sep|>", close: "<|close|>think<|sep|>" },
    // K2 Horizon.
    Tag { open: "<ifm|think>", close: "</ifm|think>" },
    Tag { open: "<ifm|think_fast>", close: "</ifm|think_fast>" },
    Tag { open: "<ifm|think_faster>", close: "</ifm|think_faster>" },
    // Sky-T1, OpenThinker.
    Tag { open: "<|begin_of_thought|>", close: "<|end_of_thought|>" },
];

/// What the filter makes of the text.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    /// A tag was used.
    Tag(&'static str),
    /// Thinking; never empty.
    Thinking(String),
    /// The answer; never empty.
    Answer(Cow<'a, str>),
}

/// Text in, pieces out.
#[derive(Debug, Default)]
pub(crate) struct ThinkFilter {
    state: State,
    /// Blanks whose fate depends on what follows.
    blanks: String,
    /// What may be the start of a tag.
    part: String,
    /// Answers begin in the middle of their thinking, as was learnt.
    begins_thinking: bool,
    /// Words may stand for the tags of gpt-oss.
    is_gpt_oss: bool,
    /// Thinking that no tag has opened, kept until one has closed it.
    unannounced: String,
    /// Closing tags that are still to come.
    owed: Owed,
    channels: Channels,
    marked: Marked,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Nothing but blanks so far: a tag may open the answer.
    #[default]
    Start,
    /// Within thinking, until the tag; until any of them if none opened it.
    Thinking { until: Option<&'static Tag>, blank: bool },
    /// Behind a closing tag: blanks are dropped.
    Behind,
    /// In the answer, where a closing tag may still come.
    Owing,
    /// The text consists of messages in channels.
    Channels,
    /// The text consists of messages behind marks.
    Marked,
    /// The answer is under way.
    Over,
}

impl ThinkFilter {
    /// `begins_thinking`: answers begin in the middle of their thinking. `is_gpt_oss`: words may stand for its tags.
    pub(crate) fn new(begins_thinking: bool, is_gpt_oss: bool) -> Self {
        Self { begins_thinking, is_gpt_oss, ..Self::default() }
    }

    /// Whether all that follows is the answer.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// The answer is whole and tells by itself where its thinking begins.
    pub(crate) fn forget_habit(&mut self) {
        self.begins_thinking = false;
    }

    /// How many bytes are held back.
    pub(crate) fn held(&self) -> usize {
        self.blanks.len()
            + self.part.len()
            + self.unannounced.len()
            + self.channels.held()
            + self.marked.held()
    }

    /// Adds text.
    pub(crate) fn push<'a>(&mut self, text: Cow<'a, str>, mut give: impl FnMut(Piece<'a>)) {
        let mut rest = if self.part.is_empty() {
            text
        } else {
            let mut joined = std::mem::take(&mut self.part);
            joined.push_str(&text);
            Cow::Owned(joined)
        };
        while !rest.is_empty() {
            let used = match self.state {
                State::Over => return give(Piece::Answer(rest)),
                State::Channels => return self.channels.push(&rest, give),
                State::Marked => {
                    let used = self.marked.read(&rest, false, &mut give);
                    if self.marked.is_over() {
                        self.state = State::Over;
                    } else {
                        return self.part.push_str(rest.get(used..).unwrap_or_default());
                    }
                    used
                }
                State::Owing => match self.owed.answer(&rest, false, &mut give) {
                    Some(used) => {
                        self.state = if self.owed.is_some() { State::Owing } else { State::Over };
                        used
                    }
                    None => return self.part.push_str(&rest),
                },
                State::Start => self.start(&rest, &mut give),
                State::Thinking { until, blank } => self.thinking(&rest, until, blank, &mut give),
                State::Behind => {
                    let used = rest.len() - rest.trim_start().len();
                    if used < rest.len() {
                        self.state = State::Start;
                    }
                    used
                }
            };
            match used {
                // The same text once more, in another state.
                0 if !self.blanks.is_empty() && matches!(self.state, State::Over | State::Owing) => {
                    rest = Cow::Owned(std::mem::take(&mut self.blanks) + &rest);
                }
                0 => {}
                used if used >= rest.len() => return,
                used => rest = cut(rest, used),
            }
        }
    }

    /// Looks for an opening tag; returns how much of `text` is done with.
    fn start<'a>(&mut self, text: &str, give: &mut impl FnMut(Piece<'a>)) -> usize {
        let begun = text.trim_start();
        let blanks = text.len() - begun.len();
        let mut part = false;
        for tag in TAGS {
            match (meet(begun, tag.open), meet(begun, tag.close)) {
                (Meet::Whole, _) => {
                    give(Piece::Tag(tag.open));
                    self.blanks.clear();
                    self.state = State::Thinking { until: Some(tag), blank: true };
                    return blanks + tag.open.len();
                }
                // The template opened it and the model thought nothing.
                (_, Meet::Whole) => {
                    give(Piece::Tag(tag.close));
                    self.blanks.clear();
                    self.owed.close();
                    self.begins_thinking = false;
                    self.state = State::Behind;
                    return blanks + tag.close.len();
                }
                (a, b) => part |= a == Meet::Part || b == Meet::Part,
            }
        }
        match channels::begins(begun) {
            Meet::Whole => {
                give(Piece::Tag("<|channel|>"));
                self.blanks.clear();
                self.state = State::Channels;
                return blanks;
            }
            meet => part |= meet == Meet::Part,
        }
        match marked::begins(begun, self.is_gpt_oss) {
            Meet::Whole => {
                self.blanks.clear();
                self.state = State::Marked;
                return blanks;
            }
            meet => part |= meet == Meet::Part,
        }
        if part || begun.is_empty() {
            self.blanks.push_str(text.get(..blanks).unwrap_or_default());
            self.part.push_str(begun);
            return text.len();
        }
        if self.begins_thinking {
            self.state = State::Thinking { until: None, blank: true };
            self.blanks.clear();
            return blanks;
        }
        self.state = if self.owed.is_some() { State::Owing } else { State::Over };
        0
    }

    /// Looks for the closing tag; returns how much of `text` is done with.
    fn thinking<'a>(
        &mut self,
        text: &str,
        until: Option<&'static Tag>,
        blank: bool,
        give: &mut impl FnMut(Piece<'a>),
    ) -> usize {
        let found = match until {
            Some(tag) => meet::find(text, [tag.close, tag.open].into_iter()),
            None => meet::find(text, UNOPENED.iter().copied()),
        };
        let reopened = until.filter(|tag| found.is_some_and(|(_, found)| found == Some(tag.open)));
        let end = match found {
            Some((at, Some(open))) if reopened.is_some() => at + open.len(),
            Some((at, _)) => at,
            None => text.len(),
        };
        let thought = text.get(..end).unwrap_or_default();
        let thought = if blank { thought.trim_start() } else { thought };
        let said = thought.trim_end();
        if !said.is_empty() {
            let mut content = std::mem::take(&mut self.blanks);
            content.push_str(said);
            if until.is_none() {
                self.unannounced.push_str(&content);
            }
            give(Piece::Thinking(content));
            self.state = State::Thinking { until, blank: false };
        }
        if let Some(tag) = reopened {
            self.owed.open(tag);
            return end;
        }
        match found {
            Some((at, Some(close))) => {
                if until.is_none() {
                    give(Piece::Tag("the opening tag is missing"));
                }
                self.blanks.clear();
                self.unannounced = String::new();
                self.begins_thinking = false;
                self.state = State::Behind;
                return at + close.len();
            }
            Some((at, None)) => self.part.push_str(text.get(at..).unwrap_or_default()),
            None => {}
        }
        // A blank at the end may belong to the closing tag.
        self.blanks.push_str(thought.get(said.len()..).unwrap_or_default());
        text.len()
    }

    /// The text has ended. Returns whether thinking that no tag opened was, by the look of it, the answer: a model that
    /// ends by itself has closed its thinking. It is then given once more, as the answer.
    pub(crate) fn end<'a>(&mut self, by_length: bool, mut give: impl FnMut(Piece<'a>)) -> bool {
        let state = std::mem::replace(&mut self.state, State::Over);
        let mut held = std::mem::take(&mut self.blanks);
        let part = std::mem::take(&mut self.part);
        match state {
            State::Over | State::Behind => {}
            State::Channels => self.channels.end(give),
            State::Marked => {
                self.marked.read(&part, true, &mut give);
                self.marked.end(by_length, &mut give);
            }
            State::Owing => {
                let mut rest = part.as_str();
                while let Some(used) = self.owed.answer(rest, true, &mut give).filter(|used| *used > 0) {
                    rest = rest.get(used..).unwrap_or_default();
                }
            }
            State::Start => {
                held.push_str(&part);
                if !held.is_empty() {
                    give(Piece::Answer(Cow::Owned(held)));
                }
            }
            State::Thinking { until, .. } => {
                if !part.is_empty() {
                    held.push_str(&part);
                    if until.is_none() {
                        self.unannounced.push_str(&held);
                    }
                    give(Piece::Thinking(held));
                }
                let unannounced = std::mem::take(&mut self.unannounced);
                if until.is_none() && !by_length && !unannounced.is_empty() {
                    give(Piece::Answer(Cow::Owned(unannounced)));
                    return true;
                }
            }
        }
        false
    }
}

fn cut(text: Cow<'_, str>, at: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(at..).unwrap_or_default()),
        Cow::Owned(mut text) => {
            text.drain(..at);
            Cow::Owned(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thinking, answer and whether a tag was used, over all ways to cut the text in two and into characters.
    fn filtered(text: &str, begins: bool, by_length: bool) -> (String, String, bool) {
        let run = |pieces: &[&str]| {
            let mut filter = ThinkFilter::new(begins, true);
            let (mut thinking, mut answer, mut tagged) = (String::new(), String::new(), false);
            let mut give = |piece: Piece<'_>| match piece {
                Piece::Tag(_) => tagged = true,
                Piece::Thinking(text) => thinking.push_str(&text),
                Piece::Answer(text) => answer.push_str(&text),
            };
            for piece in pieces {
                filter.push(Cow::Borrowed(piece), &mut give);
            }
            filter.end(by_length, &mut give);
            (thinking, answer, tagged)
        };
        let whole = run(&[text]);
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        for &at in &ends {
            assert_eq!(run(&[&text[..at], &text[at..]]), whole, "{text:?} split at {at}");
        }
        let singles: Vec<&str> = ends.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        assert_eq!(run(&singles), whole, "{text:?} in characters");
        whole
    }

    #[test]
    fn thinking_is_kept_apart_however_it_is_cut_up() {
        for (text, thinking, answer) in [
            ("<think>\nhm\n</think>\n\nHi", "hm", "Hi"),
            ("\n <Think>a\n\nb</Think>Hi", "a\n\nb", "Hi"),
            ("[THINK]hm[/THINK]Hi", "hm", "Hi"),
            ("◁think▷“hm”◁/think▷Hi", "“hm”", "Hi"),
            ("<think></think>Hi", "", "Hi"),
            ("<think>a</think>\n<think>b</think>Hi <think>", "ab", "Hi <think>"),
            ("<think>a < b </thin> c </think>Hi", "a < b </thin> c", "Hi"),
            ("</think>\n\nHi", "", "Hi"),
            ("<think>hm  \n", "hm", ""),
            ("<think>hm </thi", "hm </thi", ""),
            (
                "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hi",
                "hm",
                "Hi",
            ),
            // Tags within tags.
            ("<think>a<think>b</think>c</think>Hi", "a<think>b", "cHi"),
            ("<think><think>a</think>\n</think>\nHi </think>", "<think>a", "Hi </think>"),
            (
                "<think>a <think> b</think>Close `</think>`. The </think> tag",
                "a <think> b",
                "Close `</think>`. The </think> tag",
            ),
            ("<think>a<think>b</think>c </think>  ", "a<think>b", "c   "),
        ] {
            assert_eq!(
                filtered(text, false, false),
                (thinking.to_owned(), answer.to_owned(), true),
                "{text}"
            );
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in
            ["Hi <think>x</think>", "<thinker>x</thinker>", "  \n", " <", "<th", "a </think> b", "<b>"]
        {
            assert_eq!(filtered(text, false, false), (String::new(), text.to_owned(), false), "{text}");
        }
    }

    #[test]
    fn an_answer_that_begins_in_its_thinking() {
        let text = |thinking: &str, answer: &str, tag| (thinking.to_owned(), answer.to_owned(), tag);
        assert_eq!(filtered("hm\n</think>\n\nHi", true, false), text("hm", "Hi", true));
        assert_eq!(filtered("<think>hm</think>Hi", true, false), text("hm", "Hi", true));
        assert_eq!(filtered("hm hm", true, true), text("hm hm", "", false));
        // It ended by itself and closed nothing: the lesson was wrong for it.
        assert_eq!(filtered("Hi there </th", true, false), text("Hi there </th", "Hi there </th", false));
    }
}
