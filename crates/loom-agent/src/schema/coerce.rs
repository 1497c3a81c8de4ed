//! Values that miss their schema in a way that leaves one reading: they are read so. What could mean two things stays.
//!
//! Small models write `"3"` for 3, `null` for what they leave out, an object as text. Asking them again costs a turn and
//! often yields the same.

use serde_json::{Map, Value};

/// How many schemas may be looked at for one value, and how deep they may lead: references may go in circles.
const FUEL: usize = 10_000;
const MAX_DEPTH: usize = 200;

/// Reads `value` by `schema`; `root` is where references point into.
pub(super) fn coerce(value: &mut Value, schema: &Value) {
    Coercion { root: schema, fuel: FUEL, depth: 0 }.value(value, schema);
}

struct Coercion<'a> {
    root: &'a Value,
    fuel: usize,
    depth: usize,
}

impl<'a> Coercion<'a> {
    fn value(&mut self, value: &mut Value, schema: &'a Value) {
        if self.fuel == 0 || self.depth == MAX_DEPTH {
            return;
        }
        self.fuel -= 1;
        self.depth += 1;
        if let Value::Object(keywords) = schema {
            self.by_keywords(value, keywords);
        }
        self.depth -= 1;
    }

    fn by_keywords(&mut self, value: &mut Value, keywords: &'a Map<String, Value>) {
        if let Some(target) = keywords.get("$ref").and_then(Value::as_str).and_then(|path| self.target(path))
        {
            self.value(value, target);
        }
        for part in list(keywords, "allOf") {
            self.value(value, part);
        }
        for name in ["anyOf", "oneOf"] {
            // Of several alternatives none is the certain one, unless all others are null.
            let mut others = list(keywords, name).iter().filter(|part| !is_null_type(part));
            if let (Some(only), None) = (others.next(), others.next())
                && !value.is_null()
            {
                self.value(value, only);
            }
        }
        match keywords.get("type") {
            Some(Value::String(kind)) => plain(value, kind),
            // With null beside it, the other one is meant by what is not null.
            Some(Value::Array(kinds)) if !value.is_null() => {
                let mut others = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
                if let (Some(kind), None) = (others.next(), others.next()) {
                    plain(value, kind);
                }
            }
            _ => {}
        }
        if let Some(Value::Array(allowed)) = keywords.get("enum") {
            member(value, allowed);
        }
        match value {
            Value::Object(fields) => self.fields(fields, keywords),
            Value::Array(items) => {
                let first = list(keywords, "prefixItems");
                for (at, item) in items.iter_mut().enumerate() {
                    if let Some(schema) = first.get(at).or_else(|| keywords.get("items")) {
                        self.value(item, schema);
                    }
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, fields: &mut Map<String, Value>, keywords: &'a Map<String, Value>) {
        let required = list(keywords, "required");
        let known = keywords.get("properties").and_then(Value::as_object);
        let others = keywords.get("additionalProperties");
        let names: Vec<String> = fields.keys().cloned().collect();
        for name in names {
            let schema = known.and_then(|known| known.get(&name)).or(others);
            let (Some(schema), Some(value)) = (schema, fields.get_mut(&name)) else { continue };
            self.value(value, schema);
            // Null for what may be left out means that it is left out.
            if value.is_null()
                && !required.iter().any(|required| required == name.as_str())
                && !self.allows_null(schema)
            {
                fields.shift_remove(&name);
            }
        }
    }

    fn allows_null(&mut self, schema: &'a Value) -> bool {
        if self.fuel == 0 || self.depth == MAX_DEPTH {
            return true;
        }
        self.fuel -= 1;
        self.depth += 1;
        let allows = self.keywords_allow_null(schema);
        self.depth -= 1;
        allows
    }

    fn keywords_allow_null(&mut self, schema: &'a Value) -> bool {
        let Value::Object(keywords) = schema else { return true };
        if let Some(target) = keywords.get("$ref").and_then(Value::as_str) {
            return self.target(target).is_none_or(|target| self.allows_null(target));
        }
        if let Some(allowed) = keywords.get("enum").and_then(Value::as_array) {
            return allowed.iter().any(Value::is_null);
        }
        for name in ["anyOf", "oneOf"] {
            if keywords.contains_key(name) {
                return list(keywords, name).iter().any(|part| self.allows_null(part));
            }
        }
        match keywords.get("type") {
            Some(Value::String(kind)) => kind == "null",
            Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "null"),
            // What says nothing about types may allow it.
            _ => !keywords.contains_key("properties"),
        }
    }

    fn target(&self, reference: &str) -> Option<&'a Value> {
        let path = reference.strip_prefix('#')?;
        if path.is_empty() { Some(self.root) } else { self.root.pointer(path) }
    }
}

fn list<'a>(keywords: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    keywords.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn is_null_type(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "null")
}

/// A value as the named type, where it has one reading as that.
fn plain(value: &mut Value, kind: &str) {
    let read = match (kind, &*value) {
        ("integer", Value::Number(number)) => number
            .as_f64()
            .filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15)
            .map(|float| Value::from(float as i64)),
        ("integer" | "number", Value::String(text)) => {
            let mut read = serde_json::from_str::<Value>(text.trim()).ok().filter(Value::is_number);
            if let (Some(value), "integer") = (&mut read, kind) {
                plain(value, "integer");
            }
            read
        }
        ("boolean", Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Some(true.into()),
            "false" => Some(false.into()),
            _ => None,
        },
        ("string", Value::Number(number)) => Some(number.to_string().into()),
        ("array", Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_array),
        ("object", Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_object),
        _ => None,
    };
    if let Some(read) = read {
        *value = read;
    }
}

/// A word that differs from one allowed word only in case or in blanks around it.
fn member(value: &mut Value, allowed: &[Value]) {
    let Value::String(text) = &*value else { return };
    if allowed.contains(value) {
        return;
    }
    let same = |other: &&Value| {
        other.as_str().is_some_and(|other| other.to_lowercase() == text.trim().to_lowercase())
    };
    let mut matching = allowed.iter().filter(same);
    if let (Some(only), None) = (matching.next(), matching.next()) {
        *value = only.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_has_one_reading_is_read_so_and_the_rest_stays() {
        for (schema, value, read) in [
            (json!({"type": "integer"}), json!("3"), json!(3)),
            (json!({"type": "integer"}), json!(3.0), json!(3)),
            (json!({"type": "integer"}), json!("3.5"), json!(3.5)),
            (json!({"type": "integer"}), json!("three"), json!("three")),
            (json!({"type": "number"}), json!(" 2.5 "), json!(2.5)),
            (json!({"type": "boolean"}), json!("True"), json!(true)),
            (json!({"type": "boolean"}), json!("yes"), json!("yes")),
            (json!({"type": "boolean"}), json!(1), json!(1)),
            (json!({"type": "string"}), json!(5), json!("5")),
            (json!({"type": ["string", "null"]}), json!(5), json!("5")),
            (json!({"type": ["string", "integer"]}), json!("5"), json!("5")),
            (json!({"type": "array", "items": {"type": "integer"}}), json!("[\"1\"]"), json!([1])),
            (json!({"enum": ["celsius", "kelvin"]}), json!("Celsius "), json!("celsius")),
            (json!({"enum": ["a", "A"]}), json!("a "), json!("a ")),
            (json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), json!("7"), json!(7)),
            (json!({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}), json!("7"), json!("7")),
        ] {
            let mut given = value.clone();
            coerce(&mut given, &schema);
            assert_eq!(given, read, "{value} by {schema}");
        }
    }

    #[test]
    fn null_for_what_may_be_left_out_means_left_out() {
        let schema = json!({
            "type": "object",
            "required": ["a"],
            "properties": {
                "a": {"type": "string"},
                "b": {"type": "string"},
                "c": {"type": ["string", "null"]},
                "d": {"$ref": "#/$defs/d"},
                "e": {},
            },
            "$defs": {"d": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        });
        let mut value = json!({"a": null, "b": null, "c": null, "d": {"n": "1"}, "e": null});
        coerce(&mut value, &schema);
        assert_eq!(value, json!({"a": null, "c": null, "d": {"n": 1}, "e": null}));
    }

    #[test]
    fn references_in_circles_end() {
        let schema = json!({"$ref": "#", "allOf": [{"$ref": "#"}, {"$ref": "#"}]});
        coerce(&mut json!("x"), &schema);
        let tree = json!({"type": "object", "properties": {"n": {"type": "integer"}, "next": {"$ref": "#"}}});
        let mut value = json!({"n": "1", "next": {"n": "2", "next": {"n": "3"}}});
        coerce(&mut value, &tree);
        assert_eq!(value, json!({"n": 1, "next": {"n": 2, "next": {"n": 3}}}));
    }
}
