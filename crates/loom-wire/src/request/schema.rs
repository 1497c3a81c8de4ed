//! JSON schemas in the form that an endpoint takes. What an answer is checked against stays the caller's own schema.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::Notes;
use crate::profile::Profile;

/// The most schemas that one may become when its references are replaced: each may be used many times.
const MAX_INLINED: usize = 5_000;

/// The schema without references, where the endpoint wants none.
pub(super) fn fitted<'a>(schema: &'a Value, profile: &Profile, notes: &mut Notes) -> Cow<'a, Value> {
    if profile.inline_refs != Some(true) {
        return Cow::Borrowed(schema);
    }
    match inlined(schema) {
        Some(inlined) if inlined != *schema => {
            notes.adapted("$ref in the schema replaced by what it refers to");
            Cow::Owned(inlined)
        }
        _ => Cow::Borrowed(schema),
    }
}

/// The schema with each reference replaced by what it refers to. What refers to itself stays a reference, and its definition
/// stays with it. `None` if it would become too large.
fn inlined(schema: &Value) -> Option<Value> {
    let mut inliner = Inliner { root: schema, open: Vec::new(), kept: HashSet::new(), left: MAX_INLINED };
    let mut inlined = inliner.value(schema)?;
    if let Value::Object(fields) = &mut inlined {
        for key in DEFINITIONS {
            let Some(Value::Object(all)) = fields.get_mut(key) else { continue };
            all.retain(|name, _| inliner.kept.contains(&format!("#/{key}/{name}")));
            if all.is_empty() {
                fields.shift_remove(key);
            }
        }
    }
    Some(inlined)
}

const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

struct Inliner<'a> {
    root: &'a Value,
    /// The references that are being replaced.
    open: Vec<&'a str>,
    /// The references that could not be.
    kept: HashSet<String>,
    left: usize,
}

impl<'a> Inliner<'a> {
    fn value(&mut self, value: &'a Value) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        Some(match value {
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect::<Option<_>>()?,
            Value::Object(fields) => match fields.get("$ref").and_then(Value::as_str) {
                Some(path) => self.reference(path, fields)?,
                None => Value::Object(self.fields(fields)?),
            },
            other => other.clone(),
        })
    }

    fn fields(&mut self, fields: &'a Map<String, Value>) -> Option<Map<String, Value>> {
        fields.iter().map(|(name, value)| Some((name.clone(), self.value(value)?))).collect()
    }

    fn reference(&mut self, path: &'a str, fields: &'a Map<String, Value>) -> Option<Value> {
        let target = path.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let Some(target) =
            target.filter(|_| !self.open.contains(&path) && !path.trim_matches('#').is_empty())
        else {
            self.kept.insert(path.to_owned());
            return Some(Value::Object(fields.clone()));
        };
        self.open.push(path);
        let replaced = self.value(target);
        self.open.pop();
        let mut replaced = replaced?;
        // What stands beside a reference (a description, a default) says more of this place.
        if let Value::Object(all) = &mut replaced {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "$ref") {
                all.insert(name.clone(), value.clone());
            }
        }
        Some(replaced)
    }
}

/// The schema in the form that `strict` wants: objects closed, every property required, and null for what may be left out;
/// null there is read as left out again. `None` if it cannot be said so: objects with any keys, keywords that are refused.
pub(super) fn strict(schema: &Value) -> Option<Value> {
    let root = schema.as_object()?;
    (root.get("type")? == "object").then_some(())?;
    closed(schema)
}

/// Keywords that `strict` does not take. Source: OpenAI's guide on structured outputs, "Supported schemas".
const NOT_STRICT: &[&str] = &[
    "allOf",
    "oneOf",
    "not",
    "dependentRequired",
    "dependentSchemas",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "prefixItems",
    "contains",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];
/// What only tells of a value, and is not taken.
const TOLD: &[&str] = &["default", "examples", "title", "$schema", "$id"];

fn closed(schema: &Value) -> Option<Value> {
    let fields = schema.as_object()?;
    if fields.is_empty() || fields.keys().any(|key| NOT_STRICT.contains(&key.as_str())) {
        return None;
    }
    let mut closed_fields = Map::new();
    for (key, value) in fields {
        let value = match (key.as_str(), value) {
            (key, _) if TOLD.contains(&key) => continue,
            ("properties" | "$defs" | "definitions", Value::Object(named)) => named
                .iter()
                .map(|(name, schema)| Some((name.clone(), closed(schema)?)))
                .collect::<Option<_>>()?,
            ("anyOf", Value::Array(parts)) => parts.iter().map(closed).collect::<Option<_>>()?,
            ("items", items) => closed(items)?,
            ("additionalProperties", Value::Bool(false)) => continue,
            ("additionalProperties", _) => return None,
            (_, value) => value.clone(),
        };
        closed_fields.insert(key.clone(), value);
    }
    let is_object = fields.get("type").is_some_and(|kind| {
        kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
    });
    if is_object {
        // An object of any keys cannot be said.
        let required: HashSet<&str> = fields
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let Some(Value::Object(properties)) = closed_fields.get_mut("properties") else { return None };
        for (name, property) in properties.iter_mut() {
            if !required.contains(name.as_str()) && !takes_null(property) {
                *property = json!({"anyOf": [property.take(), {"type": "null"}]});
            }
        }
        let names: Vec<Value> = properties.keys().map(|name| name.as_str().into()).collect();
        closed_fields.insert("required".to_owned(), names.into());
        closed_fields.insert("additionalProperties".to_owned(), false.into());
    }
    Some(Value::Object(closed_fields))
}

fn takes_null(schema: &Value) -> bool {
    let is_null = |kind: &Value| kind == "null";
    schema
        .get("type")
        .is_some_and(|kind| is_null(kind) || kind.as_array().is_some_and(|all| all.iter().any(is_null)))
        || schema.get("anyOf").and_then(Value::as_array).is_some_and(|parts| parts.iter().any(takes_null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_what_refers_to_itself_stays() {
        let schema = json!({
            "type": "object",
            "properties": {
                "home": {"$ref": "#/$defs/Place", "description": "where"},
                "tree": {"$ref": "#/$defs/Node"},
            },
            "$defs": {
                "Place": {"type": "object", "properties": {"point": {"$ref": "#/$defs/Point"}}},
                "Point": {"type": "array", "items": {"type": "number"}},
                "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}},
            },
        });
        let found = inlined(&schema).unwrap();
        let point = json!({"type": "array", "items": {"type": "number"}});
        assert_eq!(
            found["properties"]["home"],
            json!({"type": "object", "properties": {"point": point}, "description": "where"})
        );
        assert_eq!(found["properties"]["tree"]["properties"]["next"], json!({"$ref": "#/$defs/Node"}));
        assert_eq!(found["$defs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["Node"]);
        let circle = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert_eq!(inlined(&circle).unwrap(), circle);
    }

    #[test]
    fn references_that_multiply_are_left() {
        let mut defs = Map::new();
        for level in 0..40 {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            defs.insert(format!("d{level}"), json!({"anyOf": [next, next]}));
        }
        defs.insert("d40".to_owned(), json!({"type": "string"}));
        assert_eq!(inlined(&json!({"$ref": "#/$defs/d0", "$defs": defs})), None);
    }

    #[test]
    fn strict_closes_objects_and_makes_null_of_what_may_be_left_out() {
        let schema = json!({
            "type": "object",
            "title": "T",
            "properties": {
                "a": {"type": "string", "default": "x"},
                "b": {"$ref": "#/$defs/B"},
                "c": {"type": ["integer", "null"]},
            },
            "required": ["b"],
            "$defs": {"B": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
        });
        assert_eq!(
            strict(&schema).unwrap(),
            json!({
                "type": "object",
                "properties": {
                    "a": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "b": {"$ref": "#/$defs/B"},
                    "c": {"type": ["integer", "null"]},
                },
                "$defs": {"B": {
                    "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
                    "additionalProperties": false,
                }},
                "required": ["a", "b", "c"],
                "additionalProperties": false,
            })
        );
        for open in [
            json!({"type": "object"}),
            json!({"type": "object", "properties": {"a": {}}}),
            json!({"type": "object", "properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}}}),
            json!({"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}]}}}),
            json!({"type": "array", "items": {"type": "string"}}),
        ] {
            assert_eq!(strict(&open), None, "{open}");
        }
    }
}
