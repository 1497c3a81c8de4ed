//! The arguments that the emulator gives to a tool follow the tool's schema and the user's words.

use loom_testkit::{Emulator, Server};
use serde_json::{Value, json};

use crate::client::chat;

/// The arguments of the call that `text` leads to, of a tool with these parameters.
async fn arguments(text: &str, parameters: Value) -> Value {
    let server = Server::start(Emulator::new().model("demo")).await.expect("a free port");
    let request = json!({
        "model": "demo",
        "messages": [{"role": "user", "content": text}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}],
        "tool_choice": "required",
    });
    let answer = chat(server.port(), &request).await.json();
    let arguments = &answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
    serde_json::from_str(arguments.as_str().expect("arguments")).expect("JSON")
}

/// The value given to a single argument with this schema.
async fn argument(text: &str, schema: Value) -> Value {
    arguments(text, json!({"type": "object", "properties": {"x": schema}})).await["x"].clone()
}

#[tokio::test]
async fn strings_are_names_in_the_text() {
    let string = json!({"type": "string"});
    let cases = [
        ("What is the weather in Paris?", "Paris"),
        ("What does Anna like about New York, then?", "New York"),
        ("Tell Anna so", "Anna"),
        ("In London, is it raining", "London"),
        ("Look up \"rust async\" for Bob", "rust async"),
        ("查一下“北京”的天气", "北京"),
        ("What do I do?", "text"),
        ("nothing here", "text"),
        ("an open \" quote", "text"),
    ];
    for (text, expected) in cases {
        assert_eq!(argument(text, string.clone()).await, expected, "{text}");
    }
}

#[tokio::test]
async fn each_name_and_number_is_used_once() {
    let string = json!({"type": "string"});
    let integer = json!({"type": "integer"});
    let properties = json!({
        "from": string, "to": string, "via": string,
        "adults": integer, "price": {"type": "number"}, "bags": integer,
    });
    let text = "A flight from Paris to London for 2 people under 99.5 euros";
    let expected =
        json!({"from": "Paris", "to": "London", "via": "text", "adults": 2, "price": 99.5, "bags": 1});
    assert_eq!(arguments(text, json!({"type": "object", "properties": properties})).await, expected);
}

#[tokio::test]
async fn numbers_keep_to_their_range() {
    assert_eq!(argument("7", json!({"type": "integer", "maximum": 5})).await, 5);
    assert_eq!(argument("none", json!({"type": "integer", "minimum": 10})).await, 10);
    assert_eq!(argument("-4 degrees", json!({"type": "number"})).await, -4);
    assert_eq!(argument("on 2026-01-31 at 2+3.", json!({"type": "integer"})).await, 2);
}

#[tokio::test]
async fn each_kind_of_schema() {
    let cases = [
        (json!({"type": "boolean"}), json!(true)),
        (json!({"type": "null"}), json!(null)),
        (json!({"enum": ["celsius", "fahrenheit"]}), json!("fahrenheit")),
        (json!({"enum": ["a1", "b1"]}), json!("a1")),
        (json!({"enum": [1, 5]}), json!(5)),
        (json!({"const": "fixed"}), json!("fixed")),
        (json!({"type": ["null", "integer"]}), json!(5)),
        (json!({"anyOf": [{"type": "null"}, {"type": "boolean"}]}), json!(true)),
        (json!({"type": "array", "items": {"type": "integer"}}), json!([5])),
        (json!({"type": "array", "items": {"type": "string"}, "minItems": 2}), json!(["Rome", "Fahrenheit"])),
        (
            json!({"properties": {"y": {"type": "string"}}, "required": ["z"]}),
            json!({"y": "Rome", "z": "Fahrenheit"}),
        ),
        (json!({"type": "string", "format": "date"}), json!("2026-01-31")),
        (json!({}), json!("Rome")),
        (json!({"$ref": "#/nowhere"}), json!(null)),
    ];
    for (schema, expected) in cases {
        assert_eq!(
            argument("Give Fahrenheit for Rome in 5 days", schema.clone()).await,
            expected,
            "{schema}"
        );
    }
}

#[tokio::test]
async fn references_are_followed_even_in_circles() {
    let node = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
        },
        "required": ["name"],
    });
    let parameters =
        json!({"$defs": {"Node": node}, "type": "object", "properties": {"tree": {"$ref": "#/$defs/Node"}}});
    let arguments = arguments("the tree of Anna", parameters).await;
    assert_eq!(arguments["tree"]["name"], "Anna");
    assert_eq!(arguments["tree"]["children"][0]["name"], "text");
}

#[tokio::test]
async fn a_tool_without_parameters_gets_an_empty_object() {
    assert_eq!(arguments("go", json!({"type": "object", "properties": {}})).await, json!({}));
    assert_eq!(arguments("go", Value::Null).await, json!({}));
}
