//! Fields within messages, tools and formats that the endpoint refuses and that are therefore left out.

use serde::Serialize;
use serde_json::Value;

use super::Notes;
use crate::profile::Profile;

/// A part of the body without what the profile leaves out of it, or `None` where it leaves nothing out.
pub(super) fn stripped<T: Serialize + ?Sized>(
    part: &str,
    value: &T,
    profile: &Profile,
    notes: &mut Notes,
) -> Result<Option<Value>, serde_json::Error> {
    if profile.left_out_of(part).next().is_none() {
        return Ok(None);
    }
    let mut value = serde_json::to_value(value)?;
    for key in profile.left_out_of(part) {
        if remove(&mut value, key) {
            notes.adapted(format!("{key} left out of {part}"));
        }
    }
    Ok(Some(value))
}

/// Takes a key out wherever it is a field; says whether it was there. The names of a schema's properties and of a function
/// are no fields.
fn remove(value: &mut Value, key: &str) -> bool {
    match value {
        Value::Array(items) => items.iter_mut().fold(false, |found, item| remove(item, key) | found),
        Value::Object(fields) => {
            let is_function =
                key == "name" && (fields.contains_key("parameters") || fields.contains_key("arguments"));
            let mut found = !is_function && fields.shift_remove(key).is_some();
            for (name, inner) in fields.iter_mut() {
                match (name.as_str(), inner) {
                    ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(named)) => {
                        for schema in named.values_mut() {
                            found |= remove(schema, key);
                        }
                    }
                    ("default" | "const" | "enum" | "examples" | "example", _) => {}
                    (_, inner) => found |= remove(inner, key),
                }
            }
            found
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::remove;
    use serde_json::json;

    #[test]
    fn names_of_properties_stay() {
        let mut tools = json!([{"type": "function", "function": {"name": "f", "strict": true, "parameters": {
            "type": "object", "strict": 1, "properties": {"strict": {"type": "boolean", "strict": 2, "default": {"strict": 3}}},
        }}}]);
        assert!(remove(&mut tools, "strict"));
        assert_eq!(
            tools,
            json!([{"type": "function", "function": {"name": "f", "parameters": {
                "type": "object", "properties": {"strict": {"type": "boolean", "default": {"strict": 3}}},
            }}}])
        );
        assert!(!remove(&mut tools, "name"));
    }
}
