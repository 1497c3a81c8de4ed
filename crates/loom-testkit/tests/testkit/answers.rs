//! What the emulator says: words, JSON, and calls of the tools that are meant.

use loom_testkit::{Emulator, Server};
use serde_json::{Value, json};

use crate::client::chat;

/// The first choice of the answer to `request`, to which the model is added.
async fn choice(request: Value) -> Value {
    completion(request).await["choices"][0].clone()
}

async fn completion(mut request: Value) -> Value {
    let server = Server::start(Emulator::new().model("demo")).await.expect("a free port");
    request["model"] = json!("demo");
    let answer = chat(server.port(), &request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn user(text: &str) -> Value {
    json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}])
}

fn tool(name: &str) -> Value {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!({"type": "function", "function": {"name": name, "parameters": parameters}})
}

fn called(choice: &Value) -> Vec<&str> {
    let calls = choice["message"]["tool_calls"].as_array().into_iter().flatten();
    calls.filter_map(|call| call["function"]["name"].as_str()).collect()
}

#[tokio::test]
async fn a_whole_answer() {
    let expected = json!({
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "demo",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "You said: \"介绍一下 vLLM\". This answer comes from Loom's emulated endpoint.",
                "refusal": null,
            },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 4, "completion_tokens": 11, "total_tokens": 15},
        "system_fingerprint": "fp_loom_testkit",
    });
    assert_eq!(completion(json!({"messages": user("介绍一下 vLLM")})).await, expected);
}

#[tokio::test]
async fn parts_of_text_are_one_text() {
    let parts = json!([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]);
    let choice = choice(json!({"messages": [{"role": "user", "content": parts}]})).await;
    assert!(choice["message"]["content"].as_str().unwrap().starts_with("You said: \"Hello\"."));
}

#[tokio::test]
async fn tools_are_called_when_they_are_mentioned() {
    let tools = json!([tool("get_weather"), tool("book-flight"), tool("get_time")]);
    let cases = [
        ("Hello!", json!("auto"), vec![]),
        ("What is the WEATHER in Paris?", json!("auto"), vec!["get_weather"]),
        (
            "The weather and the time in Rome, and a flight there",
            json!("auto"),
            vec!["get_weather", "book-flight", "get_time"],
        ),
        ("What is the weather in Paris?", json!("none"), vec![]),
        ("Hello!", json!("required"), vec!["get_weather"]),
        ("Hello!", json!({"type": "function", "function": {"name": "get_time"}}), vec!["get_time"]),
    ];
    for (text, tool_choice, expected) in cases {
        let choice =
            choice(json!({"messages": user(text), "tools": tools, "tool_choice": tool_choice})).await;
        assert_eq!(called(&choice), expected, "{text} {tool_choice}");
        let (reason, silent) = if expected.is_empty() { ("stop", false) } else { ("tool_calls", true) };
        assert_eq!(
            (choice["finish_reason"].as_str(), choice["message"]["content"].is_null()),
            (Some(reason), silent)
        );
    }
}

#[tokio::test]
async fn without_parallel_calls_there_is_one() {
    let tools = json!([tool("get_weather"), tool("get_time")]);
    let messages = user("weather and time");
    let request = json!({"messages": messages, "tools": tools, "parallel_tool_calls": false});
    assert_eq!(called(&choice(request).await), ["get_weather"]);
}

#[tokio::test]
async fn the_results_of_tools_are_quoted() {
    let call = |id: &str, name: &str| {
        let function = json!({"name": name, "arguments": "{}"});
        json!({"id": id, "type": "function", "function": function})
    };
    let messages = json!([
        {"role": "user", "content": "weather and time"},
        {"role": "assistant", "content": null, "tool_calls": [call("a", "get_weather"), call("b", "get_time")]},
        {"role": "tool", "tool_call_id": "a", "content": "sunny"},
        {"role": "tool", "tool_call_id": "b", "content": "noon"},
    ]);
    let tools = json!([tool("get_weather"), tool("get_time")]);
    let choice = choice(json!({"messages": messages, "tools": tools, "tool_choice": "required"})).await;
    assert_eq!(choice["message"]["content"], "get_weather says: sunny\nget_time says: noon");
    assert_eq!(choice["finish_reason"], "stop");
}

#[tokio::test]
async fn json_when_json_is_asked_for() {
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "trip", "schema": schema}});
    let messages = user("Plan 3 days in New York.");
    let by_schema = choice(json!({"messages": messages, "response_format": format})).await;
    assert_eq!(by_schema["message"]["content"], r#"{"city":"New York","days":3}"#);

    let any = choice(json!({"messages": user("Hi"), "response_format": {"type": "json_object"}})).await;
    let content: Value = serde_json::from_str(any["message"]["content"].as_str().unwrap()).unwrap();
    assert!(content["answer"].as_str().unwrap().starts_with("You said: \"Hi\"."));

    let text = choice(json!({"messages": user("Hi"), "response_format": {"type": "text"}})).await;
    assert!(text["message"]["content"].as_str().unwrap().starts_with("You said"));
}

#[tokio::test]
async fn limits_and_stop_sequences_are_kept() {
    for name in ["max_tokens", "max_completion_tokens"] {
        let mut request = json!({"messages": user("Hi")});
        request[name] = json!(3);
        let completion = completion(request).await;
        assert_eq!(completion["choices"][0]["message"]["content"], "You said: \"Hi\".");
        assert_eq!(completion["choices"][0]["finish_reason"], "length");
        assert_eq!(completion["usage"]["completion_tokens"], 3);
    }
    for stop in [json!(" comes"), json!(["emulated", " comes"])] {
        let choice = choice(json!({"messages": user("Hi"), "stop": stop})).await;
        assert_eq!(choice["message"]["content"], "You said: \"Hi\". This answer");
        assert_eq!(choice["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn a_limit_cuts_a_call_in_its_arguments() {
    let request =
        json!({"messages": user("The weather in Paris"), "tools": [tool("get_weather")], "max_tokens": 2});
    let choice = choice(request).await;
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], r#"{"city":"#);
}

#[tokio::test]
async fn several_choices() {
    let completion = completion(json!({"messages": user("Hi"), "n": 2})).await;
    assert_eq!(completion["choices"].as_array().unwrap().len(), 2);
    assert_eq!(completion["choices"][1]["index"], 1);
    assert_eq!(completion["usage"]["completion_tokens"], 20);
}
