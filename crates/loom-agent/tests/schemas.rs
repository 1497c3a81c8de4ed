//! The schemas of Rust's types are those of Python's annotations: both are compared with `tests/schemas.json`, Python's in
//! `tests/python/test_schemas.py`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use loom::agent::schema_of;
use loom_testkit::{RecordedRequest, Reply, Server};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

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
struct Tree {
    /// What it is called
    name: String,
    children: Vec<Tree>,
    twin: Option<Box<Tree>>,
}

#[derive(Deserialize, JsonSchema)]
struct Recursive {
    tree: Tree,
}

#[derive(Deserialize, JsonSchema)]
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Generic {
    numbers: Page<i64>,
}

/// A place
#[derive(Deserialize, JsonSchema)]
struct Stay {
    /// The city's name
    city: String,
    days: Option<i64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Numbers {
    One(i64),
    Many(Vec<Numbers>),
}

#[derive(Deserialize, JsonSchema)]
struct Anything {
    value: Value,
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

/// What is sent where an answer of that type is asked for.
async fn asked_for<T: JsonSchema + DeserializeOwned>() -> Value {
    let server =
        Server::start(|_: &RecordedRequest| Reply::json(200, &json!({"choices": []}))).await.unwrap();
    let agent =
        loom::agent("assistant").base_url(server.base_url()).model("m").max_retries(0).output_type::<T>();
    agent.build().unwrap().run("Hi").await.unwrap_err();
    server.requests()[0].json()["response_format"]["json_schema"]["schema"].clone()
}

#[tokio::test]
async fn each_type_has_the_schema_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/schemas.json");
    let table: BTreeMap<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let types = [
        ("plain", schema_of::<Plain>()),
        ("described", schema_of::<Described>()),
        ("defaults", schema_of::<Defaults>()),
        ("enums", schema_of::<Enums>()),
        ("collections", schema_of::<Collections>()),
        ("nested", schema_of::<Nested>()),
        ("unions", schema_of::<Unions>()),
        ("anything", schema_of::<Anything>()),
        ("nothing", schema_of::<Nothing>()),
        ("recursive", schema_of::<Recursive>()),
        ("generic", schema_of::<Generic>()),
        ("answer: object", asked_for::<Stay>().await),
        ("answer: recursive", asked_for::<Tree>().await),
        ("answer: list", asked_for::<Vec<Place>>().await),
        ("answer: enum", asked_for::<Unit>().await),
        ("answer: union", asked_for::<IdOrName>().await),
        ("answer: number", asked_for::<i64>().await),
        ("answer: map", asked_for::<BTreeMap<String, f64>>().await),
        ("answer: recursive union", asked_for::<Numbers>().await),
    ];
    let names: BTreeSet<&str> = types.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, table.keys().map(String::as_str).collect());
    for (name, schema) in &types {
        assert_eq!(schema, &table[*name], "{name}: {schema:#}");
    }
}
