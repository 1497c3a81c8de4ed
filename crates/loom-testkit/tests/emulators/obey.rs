//! What a prompt asks for in words is done where the server has no field for it.

use loom_testkit::servers;
use serde_json::{Value, json};

use crate::client::Request;

async fn say(messages: Value) -> String {
    ask(json!({"messages": messages})).await
}

async fn ask(mut body: Value) -> String {
    let server = servers::vllm().model("m").start().await.unwrap();
    body["model"] = json!("m");
    let answer = Request::chat("/v1", &body).send(server.port()).await;
    answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tools_in_the_prompt_are_called_in_its_form() {
    let tool = json!({"name": "get_weather", "description": "", "parameters": {"type": "object",
        "properties": {"city": {"type": "string"}}}});
    let prompt = format!("To call a tool, write <tool_call>…</tool_call>.\n\nThe tools:\n{tool}");
    let system = json!({"role": "system", "content": prompt});
    let user = json!({"role": "user", "content": "How is the weather in Paris?"});
    let call = say(json!([system, user])).await;
    assert_eq!(
        call,
        "<tool_call>\n{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Paris\"}}\n</tool_call>"
    );

    let result = json!({"role": "user", "content": "<tool_response>\nsunny weather\n</tool_response>"});
    let answer = say(json!([system, user, {"role": "assistant", "content": call}, result])).await;
    assert_eq!(answer, "sunny weather");
    assert!(say(json!([system, {"role": "user", "content": "Hello"}])).await.starts_with("You said"));
}

#[tokio::test]
async fn json_in_the_prompt_is_answered_in_json() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let prompt = format!("Answer with one JSON object and nothing else. It must be valid against:\n{schema}");
    let messages =
        json!([{"role": "system", "content": prompt}, {"role": "user", "content": "Where is it? In Rome."}]);
    assert_eq!(say(messages.clone()).await, r#"{"city":"Rome"}"#);
    // A server that knows `json_object` only gets the schema in words.
    let request = json!({"messages": messages, "response_format": {"type": "json_object"}});
    assert_eq!(ask(request).await, r#"{"city":"Rome"}"#);
}
