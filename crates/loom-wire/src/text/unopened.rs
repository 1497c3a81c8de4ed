//! Thinking that a whole text closes but never opened: the prompt's template wrote the opening tag.

use crate::text::code;
use crate::text::think::TAGS;

/// The closing tags of templates that write the opening one themselves.
pub(super) const UNOPENED: &[&str] = &[
    "</think>",
    "</thinking>",
    "</thought>",
    "</reasoning>",
    "[/THINK]",
    "</seed:think>",
    "◁/think▷",
    "<|close|>think<|sep|>",
];

/// Thinking and answer of a whole text whose thinking is closed but was never opened.
///
/// The closing tag counts if it is the first of its kind, no tag opens before it, and it is no mention: not in code or
/// quotes, and not inside a line as a word among others.
pub(crate) fn split_unopened(text: &str) -> Option<(&str, &str)> {
    // This runs over every answer, and each of the tags has a slash or a bar.
    memchr::memchr2(b'/', b'|', text.as_bytes())?;
    for close in UNOPENED {
        let Some(at) = memchr::memmem::find(text.as_bytes(), close.as_bytes()) else { continue };
        let (before, rest) = (text.get(..at)?, text.get(at..)?);
        let after = rest.get(close.len()..)?;
        let opened = TAGS.iter().any(|tag| tag.close == *close && before.contains(tag.open));
        if !opened && !is_mention(before, after) && !code::ends_in_code(before) {
            return Some((before.trim(), after.trim_start()));
        }
    }
    None
}

/// Whether a tag between these two stands in a sentence that speaks of it.
pub(super) fn is_mention(before: &str, after: &str) -> bool {
    let quoted = |c: char| matches!(c, '"' | '\'' | '`' | '(' | '“' | '‘' | '「' | '《' | '«');
    if before.ends_with(quoted) && !after.starts_with('\n') {
        return true;
    }
    let begins_line = before.is_empty() || before.ends_with('\n');
    let ends_line = after.is_empty() || after.starts_with('\n') || after.starts_with("\r\n");
    if begins_line || ends_line || !before.ends_with(' ') {
        return false;
    }
    let next = after.trim_start_matches(' ').chars().next();
    next.is_some_and(|c| c.is_lowercase() || c.is_ascii_punctuation())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tag_has_a_slash_or_a_bar() {
        assert!(UNOPENED.iter().all(|close| close.contains(['/', '|'])));
    }

    #[test]
    fn a_closing_tag_alone() {
        for text in
            ["hm\n</think>\n\nHi", "hm</think>Hi", "hm.</think>\nHi", "hm </think>\nHi", "hm </think> Hi"]
        {
            assert_eq!(
                split_unopened(text),
                Some((if text.starts_with("hm.") { "hm." } else { "hm" }, "Hi")),
                "{text}"
            );
        }
        for text in [
            "Close it with </think> at the end.",
            "The tag `</think>` closes it.",
            "Write \"</think>\" there",
            "<think> opens and </think> closes",
            "```\nhm\n</think>\n```\n",
            "no tag",
        ] {
            assert_eq!(split_unopened(text), None, "{text}");
        }
    }
}
