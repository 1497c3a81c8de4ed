//! The schemas of Rust's types are those of Python's annotations: both are compared with `tests/schemas.json`, Python's in
//! `tests/python/test_schemas.py`.

#![allow(clippy::unwrap_used, dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use loom::agent::schema_of;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize, JsonSchema)]
struct Plain {
    text: String,
    whole: i64,
    number: f64,
    flag: bool,
}

#[derive(Deserialize, JsonSchema)]
struct Described {
    /// The city's name
    city: String,
}

fn three() -> i64 {
    3
}
fn celsius() -> String {
    "celsius".to_owned()
}

#[derive(Deserialize, JsonSchema)]
struct Defaults {
    #[serde(default = "three")]
    days: i64,
    #[serde(default = "celsius")]
    unit: String,
    note: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Celsius,
    Kelvin,
}

#[derive(Deserialize, JsonSchema)]
struct Enums {
    unit: Unit,
    other: Option<Unit>,
}

#[derive(Deserialize, JsonSchema)]
struct Collections {
    numbers: Vec<i64>,
    by_name: BTreeMap<String, f64>,
    pair: (i64, String),
    nested: Vec<Vec<bool>>,
    several: Option<Vec<String>>,
}

#[derive(Deserialize, JsonSchema)]
struct Place {
    city: String,
    country: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Nested {
    place: Place,
    others: Vec<Place>,
    last: Option<Place>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum IdOrName {
    Id(i64),
    Name(String),
}

#[derive(Deserialize, JsonSchema)]
struct Unions {
    which: IdOrName,
}

#[derive(Deserialize, JsonSchema)]
struct Anything {
    value: Value,
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

#[test]
fn each_type_has_the_schema_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/schemas.json");
    let table: BTreeMap<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let types: [(&str, Value); 9] = [
        ("plain", schema_of::<Plain>()),
        ("described", schema_of::<Described>()),
        ("defaults", schema_of::<Defaults>()),
        ("enums", schema_of::<Enums>()),
        ("collections", schema_of::<Collections>()),
        ("nested", schema_of::<Nested>()),
        ("unions", schema_of::<Unions>()),
        ("anything", schema_of::<Anything>()),
        ("nothing", schema_of::<Nothing>()),
    ];
    let names: BTreeSet<&str> = types.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, table.keys().map(String::as_str).collect());
    for (name, schema) in &types {
        assert_eq!(schema, &table[*name], "{name}: {schema:#}");
    }
}
