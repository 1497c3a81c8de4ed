//! Whether a place in the text lies in code: a fenced block, or a code span within a line.

/// Follows the text and knows where it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeTracker {
    /// The fence that is open: its character and its length.
    fence: Option<(u8, usize)>,
    /// The code span that is open in this line: how many backticks began it.
    span: usize,
    /// The run of fence characters that the text ends in so far.
    run: Option<(u8, usize)>,
    /// Nothing but blanks so far in this line.
    in_margin: bool,
    begun: bool,
}

impl CodeTracker {
    /// Moves over `text`.
    pub(crate) fn advance(&mut self, text: &str) {
        let bytes = text.as_bytes();
        if !self.begun && !bytes.is_empty() {
            (self.begun, self.in_margin) = (true, true);
        }
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'\n' => {
                    self.close_run();
                    (self.span, self.in_margin) = (0, true);
                }
                b'`' | b'~' => match &mut self.run {
                    Some((mark, length)) if *mark == byte => *length += 1,
                    _ => {
                        self.close_run();
                        self.run = Some((byte, 1));
                    }
                },
                b' ' | b'\t' if self.run.is_none() => {}
                _ => {
                    self.close_run();
                    self.in_margin = false;
                    // Nothing counts but these three.
                    let rest = bytes.get(at..).unwrap_or_default();
                    match memchr::memchr3(b'\n', b'`', b'~', rest) {
                        Some(next) => at += next,
                        None => return,
                    }
                    continue;
                }
            }
            at += 1;
        }
    }

    /// Whether what follows is code.
    pub(crate) fn in_code(&self) -> bool {
        let mut after = self.clone();
        after.close_run();
        after.fence.is_some() || after.span > 0
    }

    fn close_run(&mut self) {
        let Some((mark, length)) = self.run.take() else { return };
        match self.fence {
            Some((open, least)) if self.in_margin && mark == open && length >= least => self.fence = None,
            Some(_) => {}
            None if self.in_margin && length >= 3 => self.fence = Some((mark, length)),
            None if mark == b'`' && self.span == 0 => self.span = length,
            None if mark == b'`' && self.span == length => self.span = 0,
            None => {}
        }
        self.in_margin = false;
    }
}

/// Whether a text ends within code.
pub(crate) fn ends_in_code(text: &str) -> bool {
    let mut tracker = CodeTracker::default();
    tracker.advance(text);
    tracker.in_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_a_fence_or_a_span() {
        for text in ["a `", "a `` ` ", "```\nx", "x\n  ~~~~rust\n```\n", "```json\n{", "`"] {
            assert!(ends_in_code(text), "{text:?}");
        }
        for text in
            ["", "a", "a `b` ", "a ` b\n", "```\nx\n```\n", "```\nx\n```", "a ```b``` c", "it's ~~~ a"]
        {
            assert!(!ends_in_code(text), "{text:?}");
        }
        let text = "a `b`\n```x\n`\n``` \nc `";
        for at in text.char_indices().map(|(at, _)| at) {
            let mut tracker = CodeTracker::default();
            tracker.advance(&text[..at]);
            tracker.advance(&text[at..]);
            assert!(tracker.in_code(), "{at}");
        }
    }
}
