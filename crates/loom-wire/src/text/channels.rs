//! The messages of gpt-oss ("harmony"), where a server hands them on as the model writes them: a header of special tokens
//! with a channel and perhaps a recipient, then the message. `analysis` is thinking, a message without a recipient is the
//! answer. What goes to a recipient stays as it is: whether it is a call of an offered tool is the call filter's to say.

use std::borrow::Cow;

use crate::text::meet::{self, Meet};
use crate::text::think::Piece;

/// How an answer in such messages begins.
const BEGINNINGS: [&str; 4] =
    ["<|channel|>analysis", "<|channel|>commentary", "<|channel|>final", "<|start|>assistant"];
/// Where a header begins.
const HEADERS: [&str; 2] = ["<|start|>", "<|channel|>"];
/// Where it ends.
const MESSAGE: &str = "<|message|>";
/// What ends a message: a token of its own, or the next header.
const ENDS: [&str; 5] = ["<|end|>", "<|return|>", "<|call|>", "<|start|>", "<|channel|>"];
/// A longer header is none.
const MAX_HEADER: usize = 512;

/// Whether an answer's text begins such a message.
pub(super) fn begins(text: &str) -> Meet {
    meet::any(text, &BEGINNINGS)
}

/// Text in, pieces out.
#[derive(Debug, Default)]
pub(super) struct Channels {
    held: String,
    state: State,
    thought: bool,
    said: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Header,
    /// In a message; `begun` says that a part of it was delivered.
    Message { kind: Kind, begun: bool },
    /// Behind the end of a message.
    Between,
    /// It was no such format after all.
    Plain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Thinking,
    Answer,
    /// It goes to a recipient.
    Sent,
}

impl Channels {
    /// How many bytes are held back.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Adds text.
    pub(super) fn push<'a>(&mut self, text: &str, mut give: impl FnMut(Piece<'a>)) {
        self.held.push_str(text);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_str();
        while let Some(used) = self.step(rest, &mut give) {
            rest = rest.get(used..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
        }
        self.held = rest.to_owned();
    }

    /// The text has ended: what is held was text.
    pub(super) fn end<'a>(&mut self, mut give: impl FnMut(Piece<'a>)) {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Header | State::Plain if !held.is_empty() => give(Piece::Answer(Cow::Owned(held))),
            State::Message { kind, .. } => self.deliver(kind, &held, &mut give),
            _ => {}
        }
    }

    /// Reads on; `None` if only more text can tell.
    fn step<'a>(&mut self, text: &str, give: &mut impl FnMut(Piece<'a>)) -> Option<usize> {
        match self.state {
            State::Plain => {
                give(Piece::Answer(Cow::Owned(text.to_owned())));
                Some(text.len())
            }
            State::Header => {
                let end = text.find(MESSAGE).filter(|at| *at <= MAX_HEADER);
                let Some(header) = end.and_then(|at| text.get(..at)) else {
                    if text.len() <= MAX_HEADER + MESSAGE.len() {
                        return None;
                    }
                    self.state = State::Plain;
                    return Some(0);
                };
                let kind = kind_of(header);
                self.state = State::Message { kind, begun: false };
                let used = header.len() + MESSAGE.len();
                if kind == Kind::Sent {
                    self.deliver(kind, text.get(..used).unwrap_or_default(), give);
                }
                Some(used)
            }
            State::Message { kind, .. } => match meet::find(text, ENDS.into_iter()) {
                None => {
                    self.deliver(kind, text, give);
                    Some(text.len())
                }
                Some((at, None)) => {
                    self.deliver(kind, text.get(..at).unwrap_or_default(), give);
                    (at > 0).then_some(at)
                }
                Some((at, Some(token))) => {
                    self.deliver(kind, text.get(..at).unwrap_or_default(), give);
                    if HEADERS.contains(&token) {
                        self.state = State::Header;
                        return Some(at);
                    }
                    if kind == Kind::Sent {
                        self.deliver(kind, token, give);
                    }
                    self.state = State::Between;
                    Some(at + token.len())
                }
            },
            State::Between => {
                let next = text.trim_start();
                let blanks = text.len() - next.len();
                match meet::any(next, &HEADERS) {
                    _ if next.is_empty() => return Some(blanks).filter(|blanks| *blanks > 0),
                    Meet::Whole => self.state = State::Header,
                    Meet::Part => return (blanks > 0).then_some(blanks),
                    Meet::Not => self.state = State::Message { kind: Kind::Answer, begun: false },
                }
                Some(blanks)
            }
        }
    }

    fn deliver<'a>(&mut self, kind: Kind, text: &str, give: &mut impl FnMut(Piece<'a>)) {
        if text.is_empty() {
            return;
        }
        let first = matches!(self.state, State::Message { begun: false, .. });
        self.state = State::Message { kind, begun: true };
        // Messages of one kind are apart by a blank line.
        let apart = |before: &mut bool| if std::mem::replace(before, true) && first { "\n\n" } else { "" };
        give(match kind {
            Kind::Thinking => Piece::Thinking(format!("{}{text}", apart(&mut self.thought))),
            Kind::Answer => Piece::Answer(Cow::Owned(format!("{}{text}", apart(&mut self.said)))),
            Kind::Sent => Piece::Answer(Cow::Owned(text.to_owned())),
        });
    }
}

/// What a message is, by its header.
fn kind_of(header: &str) -> Kind {
    let channel = header.split_once("<|channel|>").map_or("", |(_, channel)| channel.trim_start());
    if header.split(char::is_whitespace).any(|word| word.starts_with("to=")) {
        Kind::Sent
    } else if channel.starts_with("analysis") {
        Kind::Thinking
    } else {
        Kind::Answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thinking and answer, the same for all ways to cut the text up.
    fn read(text: &str) -> (String, String) {
        let run = |pieces: &[&str]| {
            let (mut channels, mut thinking, mut answer) =
                (Channels::default(), String::new(), String::new());
            let mut give = |piece: Piece<'_>| match piece {
                Piece::Thinking(text) => thinking.push_str(&text),
                Piece::Answer(text) => answer.push_str(&text),
                Piece::Tag(tag) => panic!("{tag}"),
            };
            for piece in pieces {
                channels.push(piece, &mut give);
            }
            channels.end(&mut give);
            (thinking, answer)
        };
        let whole = run(&[text]);
        for (at, _) in text.char_indices() {
            assert_eq!(run(&[&text[..at], &text[at..]]), whole, "{text:?} split at {at}");
        }
        let singles: Vec<&str> = text.split_inclusive(|_: char| true).collect();
        assert_eq!(run(&singles), whole, "{text:?} in characters");
        whole
    }

    #[test]
    fn channels_are_thinking_answer_or_sent() {
        let call = "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\": 1}<|call|>";
        for (text, thinking, answer) in [
            ("<|channel|>final<|message|>Hi<|return|>".to_owned(), "", "Hi"),
            ("<|channel|>final <|constrain|>json<|message|>{}".to_owned(), "", "{}"),
            ("<|start|>assistant<|message|>Hi <|x".to_owned(), "", "Hi <|x"),
            (
                "<|channel|>analysis<|message|>a<|end|>\n<|start|>assistant<|channel|>analysis<|message|>b<|end|><|start|>assistant<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant<|channel|>final<|message|>Hi".to_owned(),
                "a\n\nb",
                "Wait.\n\nHi",
            ),
            (format!("<|channel|>analysis<|message|>hm<|end|>{call}"), "hm", call),
            ("<|channel|>analysis<|message|>hm".to_owned(), "hm", ""),
            ("<|channel|>analysis<|mess".to_owned(), "", "<|channel|>analysis<|mess"),
        ] {
            assert_eq!(read(&text), (thinking.to_owned(), answer.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_has_no_message_stays_text() {
        let text = format!("<|channel|>final {}", "x".repeat(MAX_HEADER));
        assert_eq!(read(&text), (String::new(), text.clone()));
        assert_eq!(begins("<|channel|>x"), Meet::Not);
    }
}
