//! What of a server's sentence is only the caller's own text, quoted back.
//!
//! Servers repeat the model's name, a parameter's value or a message in their refusals. A user who writes about a "maximum
//! context length" must not be told that it was exceeded.

use memchr::memmem;

/// How much of the sentence around a word is compared, in bytes on each side.
const AROUND: usize = 16;

/// What was sent: the request's body, as JSON.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo<'a>(&'a [u8]);

impl<'a> Echo<'a> {
    /// The body that the refusal answers.
    pub fn of(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// Whether `said` has this word (both in lower case) in words of its own.
    ///
    /// An occurrence is an echo if it was sent together with what stands around it, up to the next quotation mark. A
    /// sentence that was sent as a whole is the server's own again: no server answers with nothing but an echo.
    pub(crate) fn says(self, said: &str, word: &str) -> bool {
        said.match_indices(word).any(|(at, _)| {
            let around = surroundings(said, at, at + word.len());
            around.len() == said.trim().len() || !self.sent(around)
        })
    }

    fn sent(self, around: &str) -> bool {
        // No body was sent, or it is not known: then nothing can be an echo.
        if self.0.is_empty() {
            return false;
        }
        // As it stands inside a JSON string.
        let json = serde_json::to_string(around).unwrap_or_default();
        let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
        memmem::find(&self.0.to_ascii_lowercase(), inner.as_bytes()).is_some()
    }
}

/// The part of a text from `start` to `end` with what stands around it, but not beyond a quotation mark.
fn surroundings(text: &str, start: usize, end: usize) -> &str {
    const MARKS: [char; 8] = ['"', '\'', '`', '“', '”', '‘', '’', '\n'];
    let mut from = start.saturating_sub(AROUND);
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    let mut to = (end + AROUND).min(text.len());
    while !text.is_char_boundary(to) {
        to += 1;
    }
    let before = text.get(from..start).unwrap_or_default();
    let before = before
        .char_indices()
        .rfind(|(_, c)| MARKS.contains(c))
        .map_or(from, |(at, c)| from + at + c.len_utf8());
    let after = text.get(end..to).unwrap_or_default();
    let after = after.find(MARKS).map_or(to, |at| end + at);
    text.get(before..after).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_is_an_echo_and_a_sentence_is_not() {
        let body = br#"{"model":"insufficient balance","messages":[{"role":"user","content":"Why \"maximum context length\"?"}]}"#;
        let echo = Echo::of(body);
        assert!(!echo.says("model 'insufficient balance' not found", "insufficient balance"));
        assert!(
            !echo.says("cannot parse: why \"maximum context length\"? (line 1)", "maximum context length")
        );
        assert!(echo.says("insufficient balance", "insufficient balance"));
        assert!(echo.says("this model's maximum context length is 4096 tokens.", "maximum context length"));
        assert!(Echo::default().says("model 'insufficient balance' not found", "insufficient balance"));
        // Both the echo and the server's own words.
        let both = "'insufficient balance' failed: insufficient balance on your account";
        assert!(echo.says(both, "insufficient balance"));
    }
}
