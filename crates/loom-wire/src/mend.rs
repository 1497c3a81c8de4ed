//! JSON that breaks its own rules, and means one thing all the same. Looked at only where the parser has failed.

use serde::de::IgnoredAny;
use serde_json::Value;

/// JSON text in which each escaped half of a surrogate pair that stands alone is U+FFFD, or `None` if there is none.
///
/// JSON allows such halves and no text can hold them; they come from servers that cut a character between two tokens.
pub fn surrogates(text: &str) -> Option<String> {
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let length = match (half(escape), escape.get(6..).and_then(half)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                found = true;
                mended.push('\u{fffd}');
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            _ => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (kept, after) = escape.split_at(length);
        mended.push_str(kept);
        rest = after;
    }
    mended.push_str(rest);
    found.then_some(mended)
}

/// The code unit of a `\uXXXX` at the start.
fn half(escape: &str) -> Option<u16> {
    u16::from_str_radix(escape.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

/// Whether a text in the JSON ends in the first half of a surrogate pair, which the next chunk may complete.
pub fn ends_in_half(text: &str) -> bool {
    last_half(text).is_some()
}

/// Where a text ends in the first half of a pair, and the half.
fn last_half(text: &str) -> Option<(usize, u16)> {
    text.match_indices("\\u").find_map(|(at, _)| {
        let (before, escape) = text.split_at(at);
        let backslashes = before.bytes().rev().take_while(|byte| *byte == b'\\').count();
        if backslashes % 2 == 1 {
            return None; // an escaped backslash, and a `u`
        }
        let first = half(escape).filter(|half| (0xD800..=0xDBFF).contains(half))?;
        (escape.get(6..7) == Some("\"")).then_some((at, first))
    })
}

/// Two chunks with the character whole that was cut between them: it stands in the first. `None` if the second does not
/// begin a text with the other half.
pub fn joined(first: &str, second: &str) -> Option<(String, String)> {
    let (at, high) = last_half(first)?;
    let (begin, low) = second.match_indices("\"\\u").find_map(|(at, _)| {
        let low = half(second.get(at + 1..)?).filter(|half| (0xDC00..=0xDFFF).contains(half))?;
        Some((at + 1, low))
    })?;
    let character = char::decode_utf16([high, low]).next()?.ok()?;
    let first = format!("{}{character}{}", first.get(..at)?, first.get(at + 6..)?);
    let second = format!("{}{}", second.get(..begin)?, second.get(begin + 6..)?);
    Some((first, second))
}

/// JSON text in which control characters within its strings are escaped, or `None` if there are none.
pub fn control_characters(text: &str) -> Option<String> {
    let mut mended = String::with_capacity(text.len() + 16);
    let (mut in_string, mut escaped, mut found) = (false, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '\0'..='\x1f' if in_string => {
                found = true;
                mended.push_str(&format!("\\u{:04x}", u32::from(c)));
                continue;
            }
            _ => {}
        }
        mended.push(c);
    }
    found.then_some(mended)
}

/// JSON text in which what Python writes for numbers that JSON has not (`NaN`, `-Infinity`), and numbers beyond all bounds
/// are null, or `None` if there are none.
pub fn numbers(text: &str) -> Option<String> {
    let mut mended = String::with_capacity(text.len());
    let (mut rest, mut found) = (text, false);
    while let Some(at) = rest.find(['"', '-', 'N', 'I', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        let (before, token) = rest.split_at(at);
        mended.push_str(before);
        let end = if token.starts_with('"') {
            let mut escaped = false;
            let close = token.bytes().enumerate().skip(1).find(|(_, byte)| {
                let closes = *byte == b'"' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                closes
            });
            close.map_or(token.len(), |(at, _)| at + 1)
        } else {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
            token.find(|c| !is_part(c)).unwrap_or(token.len())
        };
        let (token, after) = token.split_at(end);
        let is_none = matches!(token, "NaN" | "Infinity" | "-Infinity")
            || !token.starts_with('"') && token.parse::<f64>().is_ok_and(f64::is_infinite);
        found |= is_none;
        mended.push_str(if is_none { "null" } else { token });
        rest = after;
    }
    mended.push_str(rest);
    found.then_some(mended)
}

/// The objects of a text that holds several, one after the other, perhaps with the mark of the end behind them; `None` if
/// it holds anything else.
pub fn several(text: &str) -> Option<Vec<&str>> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let (mut objects, mut from) = (Vec::new(), 0);
    while let Some(Ok(IgnoredAny)) = values.next() {
        let object = text.get(from..values.byte_offset())?.trim();
        if !object.starts_with('{') {
            return None;
        }
        objects.push(object);
        from = values.byte_offset();
    }
    let rest = text.get(from..)?.trim();
    let is_end = rest.eq_ignore_ascii_case("[DONE]");
    (rest.is_empty() && objects.len() > 1 || is_end && !objects.is_empty()).then_some(objects)
}

/// The answer within an envelope that a gateway has put around it, and the envelope's key.
pub fn unwrapped(envelope: &Value) -> Option<(&'static str, String)> {
    ["result", "data", "response", "output", "completion", "body"].into_iter().find_map(|key| {
        let read: Value;
        let held = match envelope.get(key)? {
            Value::String(text) => {
                read = serde_json::from_str(text).ok()?;
                &read
            }
            other => other,
        };
        // Without one the envelope may say what is wrong.
        if held.get("choices")?.as_array()?.is_empty() {
            return None;
        }
        let mut answer = held.as_object()?.clone();
        if let Some(usage) = envelope.get("usage") {
            answer.entry("usage").or_insert_with(|| usage.clone());
        }
        Some((key, Value::Object(answer).to_string()))
    })
}

/// Whether a JSON object that comes in pieces is still open. Each byte is looked at once.
#[derive(Debug, Default)]
pub struct Nesting {
    looked_at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Whether an object is open at the end of `text`, which begins with what was given the last time.
    pub fn is_open(&mut self, text: &[u8]) -> bool {
        for byte in text.get(self.looked_at..).unwrap_or_default() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.looked_at = text.len();
        text.starts_with(b"{") && self.depth > 0
    }
}

/// Whether this is the whole of a JSON object.
pub fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// Whether a line by itself is a chunk of an answer.
pub fn is_chunk(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"\"choices\"").is_some() && is_object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_was_cut_between_two_chunks() {
        let (first, second) = (r#"{"c":"a\ud83d"}"#, r#"{"c":"\ude00b"}"#);
        assert!(ends_in_half(first) && !ends_in_half(second) && !ends_in_half(r#"{"c":"\ud83d\ude00"}"#));
        assert_eq!(joined(first, second), Some((r#"{"c":"a😀"}"#.into(), r#"{"c":"b"}"#.into())));
        assert_eq!(joined(first, r#"{"c":"b\ude00"}"#), None);
        assert_eq!(surrogates(first).as_deref(), Some("{\"c\":\"a\u{fffd}\"}"));
    }

    #[test]
    fn an_escaped_backslash_before_a_u_is_no_half() {
        assert!(!ends_in_half(r#"{"c":"\\ud83d"}"#));
        assert!(ends_in_half(r#"{"c":"\\\ud83d"}"#));
    }

    #[test]
    fn an_object_in_pieces() {
        let mut nesting = Nesting::default();
        assert!(nesting.is_open(b"{\"a\": \"}"));
        assert!(nesting.is_open(b"{\"a\": \"}\n\\\"}"));
        assert!(!nesting.is_open(b"{\"a\": \"}\n\\\"}\"}"));
    }

    #[test]
    fn an_envelope_without_choices_is_left_to_be_read() {
        let envelope = serde_json::json!({"code": 1, "msg": "quota", "data": {"choices": []}});
        assert_eq!(unwrapped(&envelope), None);
    }

    #[test]
    fn objects_in_a_row() {
        assert_eq!(several(r#"{"a":1}{"b":"}{"}"#), Some(vec![r#"{"a":1}"#, r#"{"b":"}{"}"#]));
        assert_eq!(several("{}\n[DONE]"), Some(vec!["{}"]));
        for text in ["{}", "{} x", "1 2", "{}[]", "", "[DONE]"] {
            assert_eq!(several(text), None, "{text}");
        }
    }

    #[test]
    fn control_characters_are_escaped_in_strings_alone() {
        assert_eq!(control_characters("{\n\"a\\\"\n\": 1}").as_deref(), Some("{\n\"a\\\"\\u000a\": 1}"));
        assert_eq!(control_characters("{\n}"), None);
    }
}
