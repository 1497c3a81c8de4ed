//! The tools on offer: their names, and the types of their parameters.

use std::sync::Arc;

use serde_json::Value;

use crate::arguments::loose;
use crate::request::Request;
use crate::text::calls::Head;
use crate::text::meet::{Meet, meet};

/// The tools of a request.
#[derive(Debug)]
pub(super) struct Offer(Arc<Request>);

/// Kimi and gpt-oss put this before a name.
const NAMESPACE: &str = "functions.";

impl Offer {
    pub(super) fn new(request: Arc<Request>) -> Self {
        Self(request)
    }

    /// The offered name that a text names.
    pub(super) fn name(&self, text: &str) -> Option<&str> {
        let text = text.trim().trim_matches(['"', '\'']);
        let text = text.strip_prefix(NAMESPACE).unwrap_or(text);
        self.names().find(|name| *name == text)
    }

    /// Whether a text begins with an offered name that one of `ends` follows.
    pub(super) fn head(&self, text: &str, ends: &[char]) -> Head {
        let (text, mut verdict) = match meet(text, NAMESPACE) {
            Meet::Whole => (text.get(NAMESPACE.len()..).unwrap_or_default(), Head::Not),
            Meet::Part => (text, Head::More),
            Meet::Not => (text, Head::Not),
        };
        for name in self.names() {
            match text.strip_prefix(name) {
                Some("") => verdict = Head::More,
                Some(rest) if rest.starts_with(ends) => return Head::Yes,
                None if name.starts_with(text) => verdict = Head::More,
                _ => {}
            }
        }
        verdict
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.tools.iter().map(|tool| tool.name.as_str()).filter(|name| !name.is_empty())
    }

    /// A value that a dialect writes without quotes, as JSON: by the type that the tool's schema gives the parameter.
    /// Where the schema says nothing, what reads as JSON is that, and all else a text.
    pub(super) fn typed(&self, tool: &str, parameter: &str, text: &str) -> String {
        let parameters = self.0.tools.iter().find(|spec| spec.name == tool).map(|spec| &spec.parameters);
        let types = parameters.map_or(Types::UNKNOWN, |schema| {
            match schema.get("properties").and_then(|properties| properties.get(parameter)) {
                Some(property) => Types::of(property, schema, 0),
                None => Types::UNKNOWN,
            }
        });
        let quoted = || Value::from(text).to_string();
        let trimmed = text.trim();
        if types.text && !(types.null && matches!(trimmed, "null" | "None")) {
            return quoted();
        }
        let fits = |json: &str| match json.as_bytes().first() {
            _ if !types.known() => true,
            Some(b'{') => types.object,
            Some(b'[') => types.array,
            Some(b't' | b'f') => types.boolean,
            Some(b'n') => types.null,
            Some(b'"') => false,
            _ => types.number,
        };
        match loose::value(trimmed) {
            Ok(value) if value.end == trimmed.len() && fits(&value.json) => value.json,
            // `TRUE` and `FALSE` are what some models write.
            _ if types.boolean && trimmed.eq_ignore_ascii_case("true") => "true".to_owned(),
            _ if types.boolean && trimmed.eq_ignore_ascii_case("false") => "false".to_owned(),
            _ => quoted(),
        }
    }
}

/// The types that a schema allows.
#[derive(Clone, Copy, Default)]
struct Types {
    text: bool,
    number: bool,
    boolean: bool,
    object: bool,
    array: bool,
    null: bool,
}

impl Types {
    const UNKNOWN: Self =
        Self { text: false, number: false, boolean: false, object: false, array: false, null: false };

    fn known(self) -> bool {
        self.text || self.number || self.boolean || self.object || self.array || self.null
    }

    fn of(schema: &Value, root: &Value, depth: usize) -> Self {
        let mut types = Self::default();
        if depth > 8 {
            return types;
        }
        if let Some(path) = schema.get("$ref").and_then(Value::as_str)
            && let Some(target) = path.strip_prefix('#').and_then(|path| root.pointer(path))
        {
            types.join(Self::of(target, root, depth + 1));
        }
        match schema.get("type") {
            Some(Value::String(name)) => types.add(name),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).for_each(|name| types.add(name))
            }
            _ => {}
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            for option in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
                types.join(Self::of(option, root, depth + 1));
            }
        }
        if !types.known() {
            let values = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
            for value in values.chain(schema.get("const")) {
                types.add(match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(_) => "number",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                });
            }
        }
        types
    }

    fn add(&mut self, name: &str) {
        match name {
            "string" => self.text = true,
            "integer" | "number" => self.number = true,
            "boolean" => self.boolean = true,
            "object" => self.object = true,
            "array" => self.array = true,
            "null" => self.null = true,
            _ => {}
        }
    }

    fn join(&mut self, other: Self) {
        self.text |= other.text;
        self.number |= other.number;
        self.boolean |= other.boolean;
        self.object |= other.object;
        self.array |= other.array;
        self.null |= other.null;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tool::ToolSpec;

    #[test]
    fn values_take_the_type_of_the_schema() {
        let mut tool = ToolSpec::new("f", "");
        tool.parameters = json!({"type": "object", "$defs": {"N": {"type": "integer"}}, "properties": {
            "s": {"type": "string"}, "n": {"$ref": "#/$defs/N"}, "b": {"type": "boolean"}, "o": {"type": "object"},
            "either": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "pick": {"enum": [1, 2]}, "list": {"type": ["array", "null"]},
        }});
        let offer = Offer::new(Arc::new(Request { tools: vec![tool], ..Request::default() }));
        for (parameter, text, json) in [
            ("s", "1", "\"1\""),
            ("s", " a \"b\"\n", "\" a \\\"b\\\"\\n\""),
            ("n", " 1\n", "1"),
            ("n", "one", "\"one\""),
            ("b", "TRUE", "true"),
            ("b", "True", "true"),
            ("o", "{'a': 1,}", "{\"a\": 1}"),
            ("o", "[1]", "\"[1]\""),
            ("either", "null", "null"),
            ("either", "1", "\"1\""),
            ("pick", "2", "2"),
            ("list", "[1, 2]", "[1, 2]"),
            ("unknown", "1", "1"),
            ("unknown", "one two", "\"one two\""),
        ] {
            assert_eq!(offer.typed("f", parameter, text), json, "{parameter}: {text}");
        }
    }

    #[test]
    fn only_offered_names_count() {
        let tools = vec![ToolSpec::new("get", ""), ToolSpec::new("get_all", "")];
        let offer = Offer::new(Arc::new(Request { tools, ..Request::default() }));
        assert_eq!(offer.head("get_a", &['"']), Head::More);
        assert_eq!(offer.head("get\"", &['"']), Head::Yes);
        assert_eq!(offer.head("functions.get_all\"", &['"']), Head::Yes);
        assert_eq!(offer.head("func", &['"']), Head::More);
        assert_eq!(offer.head("got", &['"']), Head::Not);
        assert_eq!((offer.name(" functions.get "), offer.name("g")), (Some("get"), None));
    }
}
