//! The terminal, or what stands in its place: which of stdout and stderr is one, whether to colour, and how to show
//! text that comes from elsewhere.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use anstyle::Style;

/// Stdout and stderr. Nothing is written but through this.
pub(crate) struct Screen {
    /// Stdout is a terminal.
    pub(crate) out_is_terminal: bool,
    /// Stderr is a terminal.
    pub(crate) err_is_terminal: bool,
    /// Stdin is a terminal.
    pub(crate) in_is_terminal: bool,
    styled: bool,
}

impl Screen {
    /// Looks at the process's streams and at `NO_COLOR` and `TERM`.
    pub(crate) fn new() -> Self {
        let (out_is_terminal, err_is_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let mut styled = !anstyle_query::no_color() && anstyle_query::term_supports_ansi_color();
        // Windows consoles understand escape codes only once they are told to.
        styled &= (!out_is_terminal && !err_is_terminal)
            || anstyle_query::windows::enable_ansi_colors().unwrap_or(true);
        Self { out_is_terminal, err_is_terminal, in_is_terminal: io::stdin().is_terminal(), styled }
    }

    /// Whether stdout takes styles.
    pub(crate) fn out_is_styled(&self) -> bool {
        self.styled && self.out_is_terminal
    }

    /// Writes to stdout, at once.
    pub(crate) fn out(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Writes a line to stdout, in a style if stdout takes one.
    pub(crate) fn line(&self, style: Style, text: &str) -> io::Result<()> {
        self.out(&format!("{}\n", styled(self.out_is_styled(), style, text)))
    }

    /// Writes to stderr, in a style if it takes one. That nobody can be told is no reason to stop.
    pub(crate) fn err(&self, style: Style, text: &str) {
        let text = styled(self.styled && self.err_is_terminal, style, text);
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// A remark on stderr.
    pub(crate) fn note(&self, text: &str) {
        self.err(DIM, &format!("{text}\n"));
    }

    /// Text from elsewhere as stdout may get it: as it is in a pipe, made harmless on a terminal.
    pub(crate) fn foreign<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.out_is_terminal { harmless(text) } else { Cow::Borrowed(text) }
    }
}

/// Faint.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Strong.
pub(crate) const BOLD: Style = Style::new().bold();

fn styled(enabled: bool, style: Style, text: &str) -> Cow<'_, str> {
    if enabled && !style.is_plain() && !text.is_empty() {
        // The line end stays outside, lest the style run on to the next line of some terminals.
        let body = text.trim_end_matches('\n');
        Cow::Owned(format!("{style}{body}{style:#}{}", text.get(body.len()..).unwrap_or_default()))
    } else {
        Cow::Borrowed(text)
    }
}

/// Text with its control characters shown instead of obeyed: an answer must not be able to move the cursor, set the
/// window's title or fill the clipboard. Line ends and tabs stay; a carriage return is left out, since it would let a
/// line overwrite itself.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| match c {
        '\r' => None,
        '\u{7f}' => Some('␡'),
        c if is_control(c) => {
            Some(char::from_u32(0x2400 + c as u32).filter(|_| c < ' ').unwrap_or('\u{fffd}'))
        }
        c => Some(c),
    };
    Cow::Owned(text.chars().filter_map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(harmless("a\tb\nc ✓"), "a\tb\nc ✓");
        assert_eq!(harmless("\x1b]0;title\x07\r\n\x7f\u{9b}x"), "␛]0;title␇\n␡\u{fffd}x");
    }

    #[test]
    fn a_style_ends_before_the_line_does() {
        assert_eq!(styled(true, BOLD, "x\n"), "\u{1b}[1mx\u{1b}[0m\n");
        assert_eq!(styled(false, BOLD, "x\n"), "x\n");
    }
}
