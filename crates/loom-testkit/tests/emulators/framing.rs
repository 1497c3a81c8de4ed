//! Where the framing is the point: the bytes that tell one server from another.

use loom_testkit::{Emulator, Turn, servers};
use serde_json::{Value, json};

use crate::client::{Answer, Request};

async fn ask(emulator: Emulator, changes: Value) -> Answer {
    let (base, model) = (emulator.spec().base, emulator.models()[0].clone());
    let server = emulator.start().await.unwrap();
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Hi, json"}]});
    for (key, value) in changes.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    Request::chat(base, &body).send(server.port()).await
}

async fn stream(emulator: Emulator) -> Answer {
    ask(emulator.model("m"), json!({"stream": true, "stream_options": {"include_usage": true}})).await
}

/// An emulator that calls `f` without arguments.
fn calling(emulator: Emulator) -> Emulator {
    emulator.script([Turn::calls([("f", json!({}))])])
}

fn saying(emulator: Emulator) -> Emulator {
    emulator.script([Turn::says("Hi")])
}

#[tokio::test]
async fn tgi_has_no_blank_and_sends_errors_on_a_200() {
    let body = stream(saying(servers::tgi())).await.body;
    assert!(body.starts_with("data:{\"object\":\"chat.completion.chunk\",\"id\":\"\""), "{body}");
    assert!(body.ends_with("data:[DONE]\n\n"), "{body}");
    let error = ask(servers::tgi(), json!({"stream": true, "top_p": 1.0})).await;
    assert_eq!(error.status, 200);
    assert_eq!(
        error.body,
        "data:{\"error\":{\"message\":\"Input validation error: `top_p` must be > 0.0 and < 1.0\",\"http_status_code\":422}}\n\n\
         data:[DONE]\n\n"
    );
    let call = ask(calling(servers::tgi()), json!({})).await.json();
    assert_eq!(call["choices"][0]["finish_reason"], "stop");
    assert_eq!(call["choices"][0]["message"].get("content"), None);
    let text = ask(servers::tgi(), json!({"stop": "x"})).await;
    assert_eq!((text.status, text.header("content-type")), (422, Some("text/plain; charset=utf-8")));
}

#[tokio::test]
async fn openrouter_comments_and_finishes_twice() {
    let answer = stream(saying(servers::openrouter())).await;
    assert!(answer.body.starts_with(": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n"));
    let finishes: Vec<Value> =
        answer.chunks().iter().map(|chunk| chunk["choices"][0]["finish_reason"].clone()).collect();
    assert_eq!(finishes, [Value::Null, json!("stop"), json!("stop")]);
    assert!(answer.chunks()[2]["usage"].is_object() && answer.chunks()[1].get("usage").is_none());
}

#[tokio::test]
async fn deepseek_keeps_connections_alive() {
    let answer = stream(saying(servers::deepseek())).await;
    assert!(answer.body.starts_with(": keep-alive\n\n"));
    let chunks = answer.chunks();
    assert_eq!(chunks[0]["usage"], Value::Null);
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(chunks.last().unwrap()["usage"]["prompt_cache_hit_tokens"].is_number());
    assert!(ask(servers::deepseek(), json!({})).await.body.starts_with("\n\n{"));
}

#[tokio::test]
async fn mistral_calls_in_the_finish_chunk() {
    let answer = ask(calling(servers::mistral()), json!({"stream": true})).await;
    let last = &answer.chunks().pop().unwrap();
    let call = &last["choices"][0]["delta"]["tool_calls"][0];
    assert_eq!(
        (&last["choices"][0]["finish_reason"], &call["function"]["arguments"]),
        (&json!("tool_calls"), &json!(""))
    );
    assert_eq!((call["id"].as_str().unwrap().len(), call.get("type")), (9, None));
    assert!(last["usage"].is_object());
    assert_eq!(stream(servers::mistral()).await.json()["detail"][0]["loc"][1], "stream_options");
    let thinking = ask(servers::mistral(), json!({"reasoning_effort": "high"})).await.json();
    assert_eq!(thinking["choices"][0]["message"]["content"][0]["type"], "thinking");
}

#[tokio::test]
async fn zhipu_has_no_finish_reason_until_the_end() {
    let chunks = stream(saying(servers::zhipu())).await.chunks();
    let has_key = |chunk: &Value| chunk["choices"][0].get("finish_reason").is_some();
    assert_eq!(chunks.iter().map(has_key).collect::<Vec<_>>(), [false, true]);
    assert!(chunks[1]["usage"].is_object());
}

#[tokio::test]
async fn azure_begins_with_filters_and_serves_deployments() {
    let chunks = stream(saying(servers::azure())).await.chunks();
    assert_eq!((&chunks[0]["choices"], &chunks[0]["id"]), (&json!([]), &json!("")));
    let server = servers::azure().model("d").api_key("k").start().await.unwrap();
    let mut request = Request::chat(
        "/openai/deployments/d",
        &json!({"model": "x", "messages": [{"role": "user", "content": "Hi"}]}),
    );
    request.headers.push(("api-key".to_owned(), "k".to_owned()));
    assert_eq!(request.send(server.port()).await.json()["error"]["message"], "Resource not found");
    request.path += "?api-version=2024-10-21";
    assert_eq!(request.send(server.port()).await.json()["model"], "d");
    request.path = request.path.replace("/d/", "/other/");
    assert_eq!(request.send(server.port()).await.json()["error"]["code"], "DeploymentNotFound");
}

#[tokio::test]
async fn gemini_wants_its_signatures_back_and_knows_no_other_names() {
    let unknown = ask(servers::gemini(), json!({"seed": 1})).await.json();
    assert_eq!(
        unknown[0]["error"]["message"],
        "Invalid JSON payload received. Unknown name \"seed\": Cannot find field."
    );
    let answer = ask(calling(servers::gemini()), json!({})).await.json();
    let mut message = answer["choices"][0]["message"].clone();
    let result = json!({"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "1"});
    let history = |message: &Value| json!({"messages": [{"role": "user", "content": "Hi"}, message, result]});
    assert_eq!(ask(servers::gemini(), history(&message)).await.status, 200);
    message["tool_calls"][0].as_object_mut().unwrap().remove("extra_content");
    assert_eq!(ask(servers::gemini(), history(&message)).await.status, 400);
}

#[tokio::test]
async fn lmstudio_sends_errors_as_events_and_wrong_paths_on_a_200() {
    let emulator = servers::lmstudio().context(1);
    let error = ask(emulator, json!({"stream": true})).await;
    assert!(
        error.status == 200 && error.body.starts_with("event: error\ndata: {\"error\":{\"message\":\"Trying"),
        "{}",
        error.body
    );
    let server = servers::lmstudio().start().await.unwrap();
    let wrong = Request::chat("", &json!({})).send(server.port()).await;
    assert_eq!(
        (wrong.status, wrong.body.as_str()),
        (200, r#"{"error":"Unexpected endpoint or method. (POST /chat/completions)"}"#)
    );
}

#[tokio::test]
async fn xinference_ends_lines_with_crlf() {
    let answer = stream(saying(servers::xinference())).await;
    assert!(
        answer.body.starts_with(": ping - ") && answer.body.ends_with("\r\n\r\ndata: [DONE]\r\n\r\n"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn textgen_breaks_a_stream_without_a_word() {
    let history = json!({"stream": true, "messages": [{"role": "user"}]});
    let answer = ask(servers::textgen(), history).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test]
async fn ollama_cuts_what_is_too_long() {
    let answer = ask(servers::ollama().context(2), json!({})).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(
        (&answer["choices"][0]["message"]["content"], &answer["usage"]["prompt_tokens"]),
        (&json!(""), &json!(1))
    );
    assert_eq!(answer["system_fingerprint"], "fp_ollama");
}

#[tokio::test]
async fn qwen_sends_empty_ids_and_leaves_the_finish_reason_out() {
    let chunks = ask(calling(servers::qwen()), json!({"stream": true})).await.chunks();
    let more = chunks.iter().find(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0]["id"] == "").unwrap();
    assert_eq!(more["choices"][0].get("finish_reason"), None);
}

#[tokio::test]
async fn a_script_is_framed_as_the_server_frames() {
    let script = json!([
        "Hello",
        {"reasoning": "Hm.", "content": "So"},
        {"tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
        {"status": 429, "message": "Slow down"},
    ]);
    let emulator = servers::sglang().script(Turn::script(&script).unwrap());
    let server = emulator.start().await.unwrap();
    let request =
        Request::chat("/v1", &json!({"model": "any", "messages": [{"role": "user", "content": "Hi"}]}));
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(request.send(server.port()).await.json());
    }
    let message = |at: usize| &answers[at]["choices"][0]["message"];
    assert_eq!(message(0)["content"], "Hello");
    assert_eq!(message(1)["reasoning_content"], "Hm.");
    assert_eq!(message(2)["tool_calls"][0]["function"]["arguments"], r#"{"a":1}"#);
    assert_eq!((&answers[3]["message"], &answers[3]["code"]), (&json!("Slow down"), &json!(429)));
    assert!(message(4)["content"].as_str().unwrap().starts_with("You said"));

    for (wrong, why) in [
        (json!({}), "a script is a list of turns"),
        (json!([1]), "turn 0 of the script: it is neither a text nor an object"),
        (json!(["a", {"contents": "b"}]), "turn 1 of the script: 'contents' is not one of content"),
        (json!([{"tool_calls": [{}]}]), "a tool call has no name"),
    ] {
        let error = Turn::script(&wrong).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}
