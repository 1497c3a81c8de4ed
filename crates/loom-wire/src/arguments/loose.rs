//! JSON as models write it, rewritten as JSON: only where there is one reading.
//!
//! Bridged: a trailing comma, single quotes, Python's `True`, `False` and `None`, unquoted keys, raw control characters in
//! strings, `\'`. Everything else is an error: nothing is closed, nothing is guessed, no text becomes a string.
//! What is JSON already comes out as it went in, byte for byte.

/// Why a text is not even loosely JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ends too early: more could make it right.
    Cut,
    /// It cannot become right.
    Wrong,
}

/// A value as JSON text, and where it ends in what was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// JSON.
    pub(crate) json: String,
    /// Bytes read.
    pub(crate) end: usize,
}

const MAX_DEPTH: usize = 100;

/// Reads one value, after blanks.
pub(crate) fn value(text: &str) -> Result<Value, Fault> {
    let mut reader = Reader::new(text);
    reader.blanks();
    let from = reader.at;
    let start = reader.out.len();
    reader.value(0)?;
    debug_assert!(reader.at > from);
    Ok(Value { json: reader.out.split_off(start), end: reader.at })
}

/// Reads one object, after blanks: its fields, each value as JSON text, and where it ends. What came before a fault is
/// given with it.
pub(crate) fn object(text: &str) -> (Vec<(String, String)>, Result<usize, Fault>) {
    let mut reader = Reader::new(text);
    let mut fields = Vec::new();
    reader.blanks();
    let end = reader.object(0, &mut |key, json| fields.push((key, json.to_owned())));
    (fields, end.map(|()| reader.at))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, out: String::new() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes a byte of ASCII over as it is.
    fn copy(&mut self, byte: u8) {
        self.out.push(char::from(byte));
        self.at += 1;
    }

    fn blanks(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            self.copy(byte);
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek().ok_or(Fault::Cut)? {
            b'{' => self.object(depth, &mut |_, _| {}),
            b'[' => self.array(depth),
            b'"' | b'\'' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize, field: &mut dyn FnMut(String, &str)) -> Result<(), Fault> {
        self.open(b'{', depth)?;
        loop {
            self.blanks();
            let before_close = self.out.len();
            match self.peek().ok_or(Fault::Cut)? {
                b'}' => return self.close(b'}'),
                b',' => return Err(Fault::Wrong),
                _ => {}
            }
            let key = self.key()?;
            self.blanks();
            match self.peek().ok_or(Fault::Cut)? {
                b':' => self.copy(b':'),
                _ => return Err(Fault::Wrong),
            }
            self.blanks();
            let from = self.out.len();
            self.value(depth + 1)?;
            field(key, self.out.get(from..).unwrap_or_default());
            debug_assert!(self.out.len() > before_close);
            if !self.separator(b'}')? {
                return self.close(b'}');
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        self.open(b'[', depth)?;
        loop {
            self.blanks();
            if self.peek().ok_or(Fault::Cut)? == b']' {
                return self.close(b']');
            }
            self.value(depth + 1)?;
            if !self.separator(b']')? {
                return self.close(b']');
            }
        }
    }

    fn open(&mut self, byte: u8, depth: usize) -> Result<(), Fault> {
        match self.peek().ok_or(Fault::Cut)? {
            found if found == byte && depth < MAX_DEPTH => {
                self.copy(byte);
                Ok(())
            }
            _ => Err(Fault::Wrong),
        }
    }

    fn close(&mut self, byte: u8) -> Result<(), Fault> {
        self.copy(byte);
        Ok(())
    }

    /// Whether another item follows. A comma before the closing bracket is left out.
    fn separator(&mut self, close: u8) -> Result<bool, Fault> {
        self.blanks();
        match self.peek().ok_or(Fault::Cut)? {
            b',' => {
                let comma = self.out.len();
                self.copy(b',');
                self.blanks();
                if self.peek().ok_or(Fault::Cut)? == close {
                    self.out.remove(comma);
                    return Ok(false);
                }
                Ok(true)
            }
            found if found == close => Ok(false),
            _ => Err(Fault::Wrong),
        }
    }

    fn key(&mut self) -> Result<String, Fault> {
        if let Some(b'"' | b'\'') = self.peek() {
            return self.string();
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = word_length(rest);
        match rest.as_bytes().first() {
            Some(b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'$') if length == rest.len() => Err(Fault::Cut),
            Some(b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'$') => {
                let word = rest.get(..length).unwrap_or_default();
                self.at += length;
                self.out.push('"');
                self.out.push_str(word);
                self.out.push('"');
                Ok(word.to_owned())
            }
            _ => Err(Fault::Wrong),
        }
    }

    fn word(&mut self) -> Result<(), Fault> {
        const WORDS: [(&str, &str); 6] = [
            ("true", "true"),
            ("false", "false"),
            ("null", "null"),
            ("True", "true"),
            ("False", "false"),
            ("None", "null"),
        ];
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = word_length(rest);
        let word = rest.get(..length).unwrap_or_default();
        if let Some((_, json)) = WORDS.iter().find(|(name, _)| *name == word) {
            self.out.push_str(json);
            self.at += length;
            return Ok(());
        }
        let begun = length == rest.len() && WORDS.iter().any(|(name, _)| name.starts_with(word));
        Err(if begun { Fault::Cut } else { Fault::Wrong })
    }

    fn number(&mut self) -> Result<(), Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest
            .bytes()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let number = rest.get(..length).unwrap_or_default();
        if serde_json::from_str::<serde_json::Number>(number).is_err()
            || word_length(rest.get(length..).unwrap_or_default()) > 0
        {
            return Err(if length == rest.len() { Fault::Cut } else { Fault::Wrong });
        }
        self.out.push_str(number);
        self.at += length;
        Ok(())
    }

    /// A string in either quotes; its text is returned.
    fn string(&mut self) -> Result<String, Fault> {
        let quote = self.peek().ok_or(Fault::Cut)?;
        self.at += 1;
        let from = self.out.len();
        self.out.push('"');
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\'' | b'\\' | 0..=0x1f))
                .ok_or(Fault::Cut)?;
            self.out.push_str(self.text.get(self.at..self.at + plain).unwrap_or_default());
            self.at += plain;
            match self.peek().ok_or(Fault::Cut)? {
                byte if byte == quote => {
                    self.at += 1;
                    self.out.push('"');
                    let json = self.out.get(from..).unwrap_or_default();
                    return serde_json::from_str(json).map_err(|_| Fault::Wrong);
                }
                b'"' => {
                    self.out.push_str("\\\"");
                    self.at += 1;
                }
                b'\'' => self.copy(b'\''),
                b'\\' => self.escape()?,
                control => {
                    let escaped = match control {
                        b'\n' => "\\n".to_owned(),
                        b'\r' => "\\r".to_owned(),
                        b'\t' => "\\t".to_owned(),
                        other => format!("\\u{other:04x}"),
                    };
                    self.out.push_str(&escaped);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let rest = self.text.as_bytes().get(self.at + 1..).unwrap_or_default();
        match rest.first().ok_or(Fault::Cut)? {
            b'\'' => {
                self.out.push('\'');
                self.at += 2;
            }
            b'u' => {
                let digits = rest.get(1..5).ok_or(Fault::Cut)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(Fault::Wrong);
                }
                self.out.push_str(self.text.get(self.at..self.at + 6).unwrap_or_default());
                self.at += 6;
            }
            &byte @ (b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.out.push('\\');
                self.out.push(char::from(byte));
                self.at += 2;
            }
            _ => return Err(Fault::Wrong),
        }
        Ok(())
    }
}

/// The length of the name at the start.
pub(crate) fn word_length(text: &str) -> usize {
    text.bytes()
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_one_reading_becomes_json() {
        for (loose, json) in [
            (r#"{"a": 1}"#, r#"{"a": 1}"#),
            (r#"{"a": [1, 2.5e3, -1], "b": {"c": null}}"#, r#"{"a": [1, 2.5e3, -1], "b": {"c": null}}"#),
            (r#"{"a": 1,}"#, r#"{"a": 1}"#),
            (r#"{"a": [1, 2, ],}"#, r#"{"a": [1, 2 ]}"#),
            (r#"{'a': 'it\'s "x"'}"#, r#"{"a": "it's \"x\""}"#),
            ("{\"a\": \"x\ny\tz\"}", r#"{"a": "x\ny\tz"}"#),
            (r#"{"a": True, 'b': None, c: False}"#, r#"{"a": true, "b": null, "c": false}"#),
            (
                r#"{"a": "it's", "big": 123456789012345678901234567890}"#,
                r#"{"a": "it's", "big": 123456789012345678901234567890}"#,
            ),
            (r#"{"a": "\u00e9\n", "漢": '漢'}"#, r#"{"a": "\u00e9\n", "漢": "漢"}"#),
        ] {
            let value = value(loose).unwrap();
            assert_eq!((value.json.as_str(), value.end), (json, loose.len()), "{loose}");
            serde_json::from_str::<serde_json::Value>(json).unwrap();
        }
        assert_eq!(value(" {} x").unwrap(), Value { json: "{}".into(), end: 3 });
    }

    #[test]
    fn what_has_none_is_a_fault() {
        for cut in [
            "",
            "{",
            "{\"a",
            "{\"a\":",
            "{\"a\": 1",
            "{'a': 'x",
            "[1,",
            "{\"a\": Tr",
            "{\"a\": \"\\u00",
            "{\"a\": \"x\\",
        ] {
            assert_eq!(value(cut).unwrap_err(), Fault::Cut, "{cut}");
        }
        for wrong in [
            "x",
            "{,}",
            "{\"a\" 1}",
            "{\"a\": 1 \"b\": 2}",
            "{'a': 'it's'}",
            "{\"a\": \"C:\\dir\"}",
            "{a-b: 1}",
            "{\"a\": undefined}",
            "[1 2]",
            "{\"a\": 01}",
            "{\"a\": 0x10}",
            "{\"a\": NaN}",
            "}",
            "{1: 2}",
            "{\"a\": \"\\ud800\"}",
        ] {
            assert_eq!(value(wrong).unwrap_err(), Fault::Wrong, "{wrong}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(value(&deep).unwrap_err(), Fault::Wrong);
    }
}
