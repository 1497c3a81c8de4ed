//! JSON schemas of argument types, in the form that servers take and that Python's annotations give as well.

use schemars::JsonSchema;
use serde_json::{Map, Value};

/// The JSON schema of an argument type, as servers take it: without references, names of Rust's types and widths of
/// numbers. What may be left out need not be null.
pub fn schema_of<A: JsonSchema>() -> Value {
    let mut schema = schema_of_value::<A>();
    if let Some(fields) = schema.as_object_mut() {
        fields.entry("type").or_insert("object".into());
        fields.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    }
    schema
}

/// The JSON schema of any type, as servers take it.
pub(crate) fn schema_of_value<T: JsonSchema>() -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    simplify(&mut schema);
    if let Some(fields) = schema.as_object_mut() {
        // Gemini refuses it.
        fields.remove("$schema");
    }
    schema
}

/// Formats that say how wide a number of Rust is; servers that check formats refuse them.
const WIDTHS: &[&str] = &[
    "int8", "int16", "int32", "int64", "int128", "int", "uint8", "uint16", "uint32", "uint64", "uint128",
    "uint", "float", "double",
];

fn simplify(schema: &mut Value) {
    if *schema == Value::Bool(true) {
        // What takes anything; servers expect an object.
        *schema = Value::Object(Map::new());
    }
    let Some(fields) = schema.as_object_mut() else { return };
    // The name of the type tells the model nothing.
    if fields.get("title").is_some_and(Value::is_string) {
        fields.remove("title");
    }
    if fields.get("format").and_then(Value::as_str).is_some_and(|format| WIDTHS.contains(&format)) {
        fields.remove("format");
    }
    let required: Vec<String> = fields
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        for (name, property) in properties {
            if !required.contains(name) {
                without_null(property);
            }
            simplify(property);
        }
    }
    for key in ["items", "additionalProperties", "not"] {
        if let Some(inner) = fields.get_mut(key).filter(|inner| key == "items" || inner.is_object()) {
            simplify(inner);
        }
    }
    if let Some(Value::Object(definitions)) = fields.get_mut("$defs") {
        definitions.values_mut().for_each(simplify);
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        if let Some(Value::Array(inner)) = fields.get_mut(key) {
            inner.iter_mut().for_each(simplify);
        }
    }
}

/// The schema of what may be left out, without null among what it may be.
fn without_null(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    if fields.get("default").is_some_and(Value::is_null) {
        fields.remove("default");
    }
    if let Some(Value::Array(kinds)) = fields.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            fields.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(values)) = fields.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(members)) = fields.get_mut("anyOf") {
        members.retain(|member| member.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(member)] = members.as_mut_slice() {
            let member = std::mem::take(member);
            fields.remove("anyOf");
            for (key, value) in member {
                fields.entry(key).or_insert(value);
            }
        }
    }
}
