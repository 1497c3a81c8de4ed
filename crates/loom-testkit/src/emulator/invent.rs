//! JSON by a schema, filled with what the user's text has to offer.

use std::collections::VecDeque;

use serde_json::{Map, Number, Value, json};

use super::hints;

/// Below this depth only what is required is invented, so that a schema that contains itself comes to an end.
const DEEP: usize = 6;
/// At this depth even a schema that requires itself ends, though no value could follow it.
const TOO_DEEP: usize = 32;

/// Texts for the formats that a validator checks.
const FORMATS: &[(&str, &str)] = &[
    ("date", "2026-01-31"),
    ("time", "12:00:00Z"),
    ("date-time", "2026-01-31T12:00:00Z"),
    ("email", "user@example.com"),
    ("uri", "https://example.com/"),
    ("uuid", "00000000-0000-4000-8000-000000000000"),
];

/// A value that follows `schema`. Each name and each number of `text` is used once, in order: "from Paris to
/// London" fills two arguments with two cities.
pub(super) fn value(schema: &Value, text: &str) -> Value {
    Inventor::new(schema, text).value(schema, 0)
}

/// An object that follows `schema`, whether or not the schema says that it is one.
pub(super) fn object(schema: &Value, text: &str) -> Value {
    match value(schema, text) {
        object @ Value::Object(_) => object,
        _ => json!({}),
    }
}

struct Inventor<'a> {
    root: &'a Value,
    text: String,
    names: VecDeque<String>,
    numbers: VecDeque<Number>,
}

impl<'a> Inventor<'a> {
    fn new(root: &'a Value, text: &str) -> Self {
        Self { root, text: text.to_lowercase(), names: hints::names(text), numbers: hints::numbers(text) }
    }

    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if depth > TOO_DEEP {
            return Value::Null;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let pointer = target.trim_start_matches('#');
            return self.root.pointer(pointer).map_or(Value::Null, |schema| self.value(schema, depth + 1));
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return self.one_of(values);
        }
        for combination in ["anyOf", "oneOf", "allOf"] {
            if let Some(schemas) = schema.get(combination).and_then(Value::as_array) {
                let schema = schemas.iter().find(|schema| schema.get("type") != Some(&json!("null")));
                return schema.map_or(Value::Null, |schema| self.value(schema, depth + 1));
            }
        }
        match type_of(schema) {
            "object" => Value::Object(self.properties(schema, depth)),
            "array" => Value::Array(self.items(schema, depth)),
            "integer" => Value::Number(within(schema, self.whole_number())),
            "number" => Value::Number(within(schema, self.number())),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => Value::String(self.string(schema)),
        }
    }

    fn properties(&mut self, schema: &Value, depth: usize) -> Map<String, Value> {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let mut object = Map::new();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if depth < DEEP || required.contains(&name.as_str()) {
                object.insert(name.clone(), self.value(property, depth + 1));
            }
        }
        for name in required {
            if !object.contains_key(name) {
                object.insert(name.to_owned(), self.value(&Value::Null, depth + 1));
            }
        }
        object
    }

    fn items(&mut self, schema: &Value, depth: usize) -> Vec<Value> {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let count = if depth < DEEP { least.max(1) } else { least };
        let item = schema.get("items").unwrap_or(&Value::Null);
        (0..count).map(|_| self.value(item, depth + 1)).collect()
    }

    /// The value that the user mentioned, or else the first.
    fn one_of(&self, values: &[Value]) -> Value {
        let mentioned = values.iter().find(|value| match value {
            Value::String(text) => !text.is_empty() && self.text.contains(&text.to_lowercase()),
            other => {
                self.numbers.iter().any(|number| matches!(other, Value::Number(known) if known == number))
            }
        });
        mentioned.or(values.first()).cloned().unwrap_or_default()
    }

    fn string(&mut self, schema: &Value) -> String {
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        match FORMATS.iter().find(|(known, _)| *known == format) {
            Some((_, text)) => (*text).to_owned(),
            None => self.names.pop_front().unwrap_or_else(|| "text".to_owned()),
        }
    }

    fn whole_number(&mut self) -> Number {
        let position = self.numbers.iter().position(|number| !number.is_f64());
        position.and_then(|position| self.numbers.remove(position)).unwrap_or_else(|| 1.into())
    }

    fn number(&mut self) -> Number {
        self.numbers.pop_front().unwrap_or_else(|| 1.into())
    }
}

/// The type that a schema demands: the first that is not null, if it names several.
fn type_of(schema: &Value) -> &str {
    let named = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        Some(name) => name.as_str(),
        None => None,
    };
    let implied = || {
        if schema.get("properties").is_some() { "object" } else { "string" }
    };
    named.unwrap_or_else(implied)
}

/// The number, moved into the range that the schema allows.
fn within(schema: &Value, number: Number) -> Number {
    let bound = |name: &str| match schema.get(name) {
        Some(Value::Number(bound)) => Some(bound.clone()),
        _ => None,
    };
    match (bound("minimum"), bound("maximum")) {
        (Some(least), _) if number.as_f64() < least.as_f64() => least,
        (_, Some(most)) if number.as_f64() > most.as_f64() => most,
        _ => number,
    }
}
