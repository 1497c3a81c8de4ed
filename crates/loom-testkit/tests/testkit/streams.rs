//! A streamed answer says the same as a whole one, in OpenAI's chunks.

use std::time::{Duration, Instant};

use loom_testkit::servers::OPENAI;
use loom_testkit::{Calls, Emulator, Server, ServerSpec, Stream, UsageChunk};
use serde_json::{Value, json};

use crate::client::{Answer, chat};

async fn stream(framing: Stream, changes: Value) -> Answer {
    let server = Server::start(Emulator::of(ServerSpec { stream: framing, ..OPENAI }).model("demo"))
        .await
        .expect("a free port");
    chat(server.port(), &request(changes)).await
}

fn request(changes: Value) -> Value {
    let mut request =
        json!({"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "stream": true});
    for (key, value) in changes.as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    request
}

fn weather() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    json!({
        "messages": [{"role": "user", "content": "The weather in Paris"}],
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}],
    })
}

fn deltas(answer: &Answer) -> Vec<Value> {
    answer.chunks().iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect()
}

#[tokio::test]
async fn exact_bytes() {
    let answer = stream(OPENAI.stream, json!({"max_tokens": 1})).await;
    assert!(answer.head.contains("content-type: text/event-stream\r\n"));
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-0\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"demo\",\"system_fingerprint\":\"fp_loom_testkit\",\"choices\":[{{\"index\":0,\
             \"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let expected = chunk(r#"{"role":"assistant","content":"","refusal":null}"#, "null")
        + &chunk(r#"{"content":"You"}"#, "null")
        + &chunk("{}", "\"length\"")
        + "data: [DONE]\n\n";
    assert_eq!(answer.text(), expected);
}

#[tokio::test]
async fn words_and_usage_are_those_of_the_whole_answer() {
    let server = Server::start(Emulator::new().model("demo")).await.unwrap();
    let streamed = chat(server.port(), &request(json!({"stream_options": {"include_usage": true}}))).await;
    let whole = chat(server.port(), &request(json!({"stream": false}))).await.json();

    let text: String = deltas(&streamed).iter().filter_map(|delta| delta["content"].as_str()).collect();
    assert_eq!(text, whole["choices"][0]["message"]["content"]);

    let chunks = streamed.chunks();
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
    assert!(others.iter().all(|chunk| chunk.as_object().unwrap().get("usage") == Some(&Value::Null)));
}

#[tokio::test]
async fn calls_come_in_fragments() {
    let answer = stream(OPENAI.stream, weather()).await;
    let function = json!({"name": "get_weather", "arguments": ""});
    let start = json!({"index": 0, "id": "call_0_0", "type": "function", "function": function});
    let expected = [
        json!({"role": "assistant", "content": null, "refusal": null}),
        json!({"tool_calls": [start]}),
        json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"city\":"}}]}),
        json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"Paris\"}"}}]}),
        json!({}),
    ];
    assert_eq!(deltas(&answer), expected);
    assert_eq!(answer.chunks().last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn choices_are_interleaved() {
    let answer = stream(OPENAI.stream, json!({"n": 2, "max_tokens": 1})).await;
    let indices: Vec<Value> =
        answer.chunks().iter().map(|chunk| chunk["choices"][0]["index"].clone()).collect();
    assert_eq!(indices, [0, 1, 0, 1, 0, 1]);
}

#[tokio::test]
async fn a_spec_changes_the_framing() {
    let usage = (UsageChunk::Always, OPENAI.stream.usage.1);
    let framing = Stream { event: ("data:", "\n\n"), done: "", usage, ..OPENAI.stream };
    let answer = stream(framing, json!({})).await;
    assert!(answer.text().starts_with("data:{"));
    assert!(answer.chunks().last().unwrap()["usage"].is_object());
    assert!(!answer.text().contains("[DONE]"));

    let usage = (UsageChunk::Never, OPENAI.stream.usage.1);
    let whole =
        r#"{"index":$index,"delta":{"tool_calls":[{"function":{"name":$tool,"arguments":$arguments}}]}}"#;
    let framing = Stream { usage, asked: "", calls: Calls::Whole((whole, "")), ..OPENAI.stream };
    let mut changes = weather();
    changes["stream_options"] = json!({"include_usage": true});
    let answer = stream(framing, changes).await;
    assert!(!answer.text().contains("usage"));
    let call = &deltas(&answer)[1]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], "{\"city\":\"Paris\"}");
    assert_eq!(deltas(&answer).len(), 3);
}

#[tokio::test]
async fn tokens_take_their_time() {
    let pause = Duration::from_millis(20);
    let server = Server::start(Emulator::new().model("demo").token_delay(pause)).await.unwrap();
    for stream in [true, false] {
        let start = Instant::now();
        chat(server.port(), &request(json!({"stream": stream, "max_tokens": 4}))).await;
        assert!(start.elapsed() >= 4 * pause);
    }
}
