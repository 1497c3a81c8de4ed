//! JSON that is still being written: what of it is there already, as a value that only grows.
//!
//! Numbers, words and keys count once they are complete; a text grows letter by letter.

use serde_json::Value;

/// A JSON text under way.
#[derive(Clone, Debug, Default)]
pub struct PartialJson {
    /// From its first bracket on.
    text: String,
    /// The brackets that will close what is open, outermost first.
    closers: Vec<char>,
    /// Up to here the text is whole but for its closers.
    whole: usize,
    /// Up to here the text that is being written is whole.
    written: usize,
    place: Place,
    /// The next text is a key.
    at_key: bool,
    /// The value under way is the field `value` of an object.
    is_wrapped: bool,
    last: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Place {
    /// Before its first bracket.
    #[default]
    Before,
    /// Between texts.
    Outside,
    Text,
    /// Behind a backslash, and so many letters of the escape are still to come.
    Escape(u8),
    /// Behind its last bracket.
    After,
}

impl PartialJson {
    /// `is_wrapped`: what is asked for is the field `value` of the object that is written.
    pub fn new(is_wrapped: bool) -> Self {
        Self { is_wrapped, ..Self::default() }
    }

    /// Adds text. Yields the value so far, if it has grown.
    pub fn push(&mut self, more: &str) -> Option<Value> {
        let mut more = more;
        if self.place == Place::Before {
            // Objects only are asked for; a list is what models give for a wrapped one, and else a word of the prose.
            let is_first = |letter: char| letter == '{' || (self.is_wrapped && letter == '[');
            more = more.get(more.find(is_first)?..)?;
            self.place = Place::Outside;
        }
        if self.place == Place::After {
            return None;
        }
        let from = self.text.len();
        self.text.push_str(more);
        for (at, byte) in more.bytes().enumerate() {
            self.read(byte, from + at);
            if self.place == Place::After {
                break;
            }
        }
        let value = self.value()?;
        if self.last.as_ref() == Some(&value) {
            return None;
        }
        self.last = Some(value.clone());
        Some(value)
    }

    fn read(&mut self, byte: u8, at: usize) {
        match (self.place, byte) {
            (Place::Before | Place::After, _) => {}
            (Place::Text, b'\\') => self.place = Place::Escape(1),
            (Place::Text, b'"') => {
                self.place = Place::Outside;
                if !self.at_key {
                    self.whole = at + 1;
                }
            }
            (Place::Text, _) => self.written = at + 1,
            (Place::Escape(1), b'u') => self.place = Place::Escape(4),
            (Place::Escape(1), _) => {
                self.place = Place::Text;
                // The first half of a pair says nothing without the second.
                if !self.ends_in_half(at) {
                    self.written = at + 1;
                }
            }
            (Place::Escape(left), _) => self.place = Place::Escape(left - 1),
            (Place::Outside, b'"') => {
                self.place = Place::Text;
                self.written = at + 1;
            }
            (Place::Outside, b'{') => self.open('}', at),
            (Place::Outside, b'[') => self.open(']', at),
            (Place::Outside, b'}' | b']') => {
                self.closers.pop();
                self.whole = at + 1;
                self.at_key = false;
                if self.closers.is_empty() {
                    self.place = Place::After;
                }
            }
            (Place::Outside, b',') => {
                self.whole = at;
                self.at_key = self.closers.last() == Some(&'}');
            }
            (Place::Outside, b':') => self.at_key = false,
            (Place::Outside, _) => {}
        }
    }

    /// Whether the escape that ends here is `\uD8…` to `\uDB…`.
    fn ends_in_half(&self, at: usize) -> bool {
        let escape = at.checked_sub(5).and_then(|from| self.text.as_bytes().get(from..=at));
        matches!(escape, Some([b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..]))
    }

    fn open(&mut self, closer: char, at: usize) {
        self.closers.push(closer);
        self.whole = at + 1;
        self.at_key = closer == '}';
    }

    fn value(&self) -> Option<Value> {
        let is_text = matches!(self.place, Place::Text | Place::Escape(_)) && !self.at_key;
        let end = if is_text { self.written } else { self.whole };
        let mut text = self.text.get(..end)?.to_owned();
        if is_text {
            text.push('"');
        }
        text.extend(self.closers.iter().rev());
        let value: Value = serde_json::from_str(&text).ok()?;
        match value {
            Value::Object(mut fields) if self.is_wrapped => fields.shift_remove("value"),
            value => Some(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "{\"a\": \"x\\n\\\"é\\u00e9\\ud83d\\ude00\", \"b\": [1, 23, {\"c\": true, \"d\": null}], \"e\": -1.5e3, \"f\": {}}";

    /// Whether one value is the other, or what it may become.
    fn grows(from: &Value, to: &Value) -> bool {
        match (from, to) {
            (Value::String(from), Value::String(to)) => to.starts_with(from.as_str()),
            (Value::Array(from), Value::Array(to)) => {
                from.len() <= to.len() && from.iter().zip(to).all(|(from, to)| grows(from, to))
            }
            (Value::Object(from), Value::Object(to)) => {
                from.iter().all(|(key, from)| to.get(key).is_some_and(|to| grows(from, to)))
            }
            (from, to) => from == to,
        }
    }

    #[test]
    fn it_only_grows_and_ends_whole_however_it_is_cut() {
        let whole: Value = serde_json::from_str(TEXT).unwrap();
        for size in 1..TEXT.chars().count() {
            let letters: Vec<char> = TEXT.chars().collect();
            let mut partial = PartialJson::new(false);
            let mut last: Option<Value> = None;
            for piece in letters.chunks(size) {
                if let Some(value) = partial.push(&piece.iter().collect::<String>()) {
                    assert!(last.as_ref().is_none_or(|last| grows(last, &value)), "{last:?} → {value}");
                    assert!(grows(&value, &whole), "{value}");
                    last = Some(value);
                }
            }
            assert_eq!(last.unwrap(), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_around_it_does_not_matter() {
        let mut partial = PartialJson::new(false);
        assert_eq!(partial.push("Sure:\n```json\n{\"a\": 1"), Some(json!({})));
        assert_eq!(partial.push("2"), None, "a number may go on");
        assert_eq!(partial.push("}\n```\n{\"b\": 1}"), Some(json!({"a": 12})));
        assert_eq!(partial.push("more"), None);
    }

    #[test]
    fn a_list_in_the_prose_is_no_value() {
        let mut partial = PartialJson::new(false);
        assert_eq!(partial.push("As [1] says: "), None);
        assert_eq!(partial.push("{\"a\": [1"), Some(json!({"a": []})));
        let mut partial = PartialJson::new(true);
        assert_eq!(partial.push("[1, 2"), Some(json!([1])));
    }

    #[test]
    fn a_wrapped_value_is_taken_out() {
        let mut partial = PartialJson::new(true);
        assert_eq!(partial.push("{\"val"), None);
        assert_eq!(partial.push("ue\": [\"a"), Some(json!(["a"])));
        assert_eq!(partial.push("b\", "), Some(json!(["ab"])));
        assert_eq!(partial.push("\"c\"]}"), Some(json!(["ab", "c"])));
    }
}
