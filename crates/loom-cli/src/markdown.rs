//! Markdown that streams: styles are added to the text as it comes, and nothing else.
//!
//! The promise: take the styles away and the text is the one that came in, character for character. Markers stay and
//! are dimmed, so that a wrong guess about them costs a colour and never a character; `2**10` stays `2**10`, and what
//! is copied from the terminal is the Markdown itself. Only what decides about a style is held back, a marker of a few
//! characters; words appear as they arrive.
//!
//! Known: headings, lists, quotes, fenced code, inline code, bold, italics. Inline styles end with their line.

use anstyle::{AnsiColor, Style};

const MARKER: Style = Style::new().dimmed();
const HEADING: Style = AnsiColor::Cyan.on_default().bold();
const BULLET: Style = AnsiColor::Yellow.on_default();
const CODE: Style = AnsiColor::Green.on_default();
const QUOTE: Style = Style::new().italic();

/// Styles a text that comes in pieces.
#[derive(Default)]
pub(crate) struct Markdown {
    place: Place,
    /// What has come and is not decided yet: the start of a line, or a run of one inline marker.
    held: String,
    fence: Option<Fence>,
    /// The style that the block gives to the line.
    base: Style,
    /// The length of the backtick run that opened inline code.
    code: Option<usize>,
    bold: bool,
    italic: bool,
    /// The last character before `held`.
    previous: char,
    /// The style that the terminal is in.
    current: Style,
    out: String,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Nothing of the line is decided.
    #[default]
    LineStart,
    /// In text.
    Inline,
    /// In a line of code.
    Code,
    /// In the line that opens a fence.
    FenceLine,
}

#[derive(Clone, Copy)]
struct Fence {
    mark: char,
    length: usize,
}

/// What the start of a line is.
enum Block {
    /// Too early to say.
    Open,
    Text,
    Heading,
    Quote,
    Item,
    Fence(Fence),
}

impl Markdown {
    /// Takes more text and returns what can be shown of it.
    pub(crate) fn push(&mut self, text: &str) -> String {
        for c in text.chars() {
            self.take(c);
        }
        std::mem::take(&mut self.out)
    }

    /// The text has ended: returns the rest of it, and the code that ends the style.
    pub(crate) fn finish(&mut self) -> String {
        self.end_line();
        self.fence = None;
        std::mem::take(&mut self.out)
    }

    fn take(&mut self, c: char) {
        match (c, self.place) {
            ('\n', _) => {
                self.end_line();
                self.out.push('\n');
            }
            (_, Place::LineStart) => {
                self.held.push(c);
                match self.fence {
                    Some(fence) => self.start_code_line(fence),
                    None => self.start_line(),
                }
            }
            (_, Place::Inline) => self.take_inline(c),
            (_, Place::Code) => self.paint(CODE, c),
            (_, Place::FenceLine) => self.take_fence_line(c),
        }
    }

    /// Decides about what is held, as nothing more of its line will come, and ends all styles of the line.
    fn end_line(&mut self) {
        let held = std::mem::take(&mut self.held);
        match (self.place, self.fence) {
            (Place::LineStart, Some(fence)) if closes(&held, fence) => {
                self.paint_all(MARKER, &held);
                self.fence = None;
            }
            (Place::LineStart, Some(_)) => self.paint_all(CODE, &held),
            (Place::LineStart, None) => self.paint_all(Style::new(), &held),
            (Place::Inline, _) => {
                self.held = held;
                self.settle('\n');
            }
            (Place::Code | Place::FenceLine, _) => {}
        }
        self.switch(Style::new());
        self.place = Place::LineStart;
        self.base = Style::new();
        (self.code, self.bold, self.italic, self.previous) = (None, false, false, '\n');
    }

    fn start_line(&mut self) {
        let block = block(&self.held);
        let (style, next) = match block {
            Block::Open => return,
            Block::Text => {
                self.place = Place::Inline;
                for c in std::mem::take(&mut self.held).chars() {
                    self.take_inline(c);
                }
                return;
            }
            Block::Heading => {
                self.base = HEADING;
                (HEADING, Place::Inline)
            }
            Block::Quote => {
                self.base = QUOTE;
                (MARKER, Place::Inline)
            }
            Block::Item => (BULLET, Place::Inline),
            Block::Fence(fence) => {
                self.fence = Some(fence);
                (MARKER, Place::FenceLine)
            }
        };
        let held = std::mem::take(&mut self.held);
        self.paint_all(style, &held);
        self.place = next;
        self.previous = held.chars().last().unwrap_or(' ');
    }

    fn take_fence_line(&mut self, c: char) {
        match &mut self.fence {
            Some(fence) if c == fence.mark && c == self.previous => fence.length += 1,
            // "```x``` is" is a line with inline code, and opens nothing.
            Some(fence) if c == '`' && fence.mark == '`' => {
                self.code = Some(fence.length);
                self.fence = None;
                self.place = Place::Inline;
                self.held.push(c);
                return;
            }
            _ => {}
        }
        self.paint(MARKER, c);
        self.previous = c;
    }

    /// In fenced code: a line that may close it is held until it is known.
    fn start_code_line(&mut self, fence: Fence) {
        if !may_close(&self.held, fence) {
            let held = std::mem::take(&mut self.held);
            self.paint_all(CODE, &held);
            self.place = Place::Code;
        }
    }

    fn take_inline(&mut self, c: char) {
        if self.held.starts_with(c) {
            self.held.push(c);
            return;
        }
        self.settle(c);
        let is_marker = c == '`' || (c == '*' && self.code.is_none());
        // A backslash takes a marker's meaning away, but not in code.
        if is_marker && (self.code.is_some() || self.previous != '\\') {
            self.held.push(c);
        } else {
            self.paint(self.inline_style(), c);
            self.previous = c;
        }
    }

    /// Decides about a run of markers, now that what follows it is known.
    fn settle(&mut self, next: char) {
        let run = std::mem::take(&mut self.held);
        let Some(mark) = run.chars().next() else { return };
        let opens = !next.is_whitespace() && !self.previous.is_alphanumeric();
        let closes = !self.previous.is_whitespace();
        let is_marker = match (mark, run.len(), self.code) {
            ('`', length, Some(opened)) => {
                if length == opened {
                    self.code = None;
                }
                length == opened
            }
            ('`', length, None) => {
                self.code = Some(length).filter(|_| next != '\n');
                self.code.is_some()
            }
            (_, length @ 1..=3, None) => {
                let flips = |on: bool| if on { closes } else { opens };
                let italic = length != 2 && flips(self.italic);
                let bold = length != 1 && flips(self.bold);
                self.italic ^= italic;
                self.bold ^= bold;
                italic || bold
            }
            _ => false,
        };
        let style = if is_marker { MARKER } else { self.inline_style() };
        self.paint_all(style, &run);
        self.previous = mark;
    }

    fn inline_style(&self) -> Style {
        if self.code.is_some() {
            return CODE;
        }
        let mut style = self.base;
        if self.bold {
            style = style.bold();
        }
        if self.italic {
            style = style.italic();
        }
        style
    }

    fn paint_all(&mut self, style: Style, text: &str) {
        if !text.is_empty() {
            self.switch(style);
            self.out.push_str(text);
        }
    }

    fn paint(&mut self, style: Style, c: char) {
        self.switch(style);
        self.out.push(c);
    }

    fn switch(&mut self, style: Style) {
        if style != self.current {
            let (old, new) = (self.current, style);
            self.out.push_str(&format!("{old:#}{new}"));
            self.current = style;
        }
    }
}

/// What a line is that starts so.
fn block(start: &str) -> Block {
    let rest = start.trim_start_matches([' ', '\t']);
    let Some(first) = rest.chars().next() else { return Block::Open };
    let run = rest.chars().take_while(|c| *c == first).count();
    let after = rest.chars().nth(run);
    match (first, after) {
        ('`' | '~', None) if run < 3 => Block::Open,
        ('`' | '~', None) => Block::Fence(Fence { mark: first, length: run }),
        ('#', None) if run <= 6 => Block::Open,
        ('#', Some(' ')) if run <= 6 => Block::Heading,
        ('-' | '*' | '+', None) if run == 1 => Block::Open,
        ('-' | '*' | '+', Some(' ')) if run == 1 => Block::Item,
        ('>', _) => Block::Quote,
        ('0'..='9', _) => {
            let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            match digits {
                "" | "." | ")" if rest.len() <= 9 => Block::Open,
                ". " | ") " => Block::Item,
                _ => Block::Text,
            }
        }
        _ => Block::Text,
    }
}

fn closes(line: &str, fence: Fence) -> bool {
    may_close(line, fence) && line.trim().len() >= fence.length
}

/// Whether a line that starts so may be the end of the code.
fn may_close(start: &str, fence: Fence) -> bool {
    let rest = start.trim_start_matches(' ');
    let after = rest.trim_start_matches(fence.mark);
    let is_long_enough = rest.len() - after.len() >= fence.length;
    after.chars().all(|c| c == ' ') && (after.is_empty() || is_long_enough)
}

#[cfg(test)]
#[path = "markdown_tests.rs"]
mod tests;
