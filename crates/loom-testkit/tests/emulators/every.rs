//! What holds for every emulated server: it answers, whole and in pieces, calls tools, refuses, and leaves no gap open.

use loom_testkit::{ServerSpec, servers};
use serde_json::{Value, json};

use crate::client::{Answer, Request};

fn tool() -> Value {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}])
}

async fn ask(spec: &ServerSpec, changes: Value) -> Answer {
    let server = servers::named(spec.name).unwrap().start().await.unwrap();
    let mut body = json!({"model": spec.model, "messages": [{"role": "user", "content": "The weather in Paris, as json"}]});
    for (key, value) in changes.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    let answer = Request::chat(spec.base, &body).send(server.port()).await;
    no_gaps(spec, &answer);
    answer
}

/// No name of a gap may reach the wire: neither `$name` nor `{name}` nor a half of `<?…?>`.
fn no_gaps(spec: &ServerSpec, answer: &Answer) {
    let heads: String = answer.headers.iter().map(|(_, value)| value.as_str()).collect();
    let text = format!("{heads}{}", answer.body);
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        let is_gap = match c {
            '$' => rest.starts_with(|c: char| c.is_ascii_lowercase()),
            '{' => rest.split_once('}').is_some_and(|(name, _)| {
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            }),
            '<' => rest.starts_with('?') || (rest.starts_with('!') && !rest.starts_with("!doctype")),
            _ => false,
        };
        assert!(!is_gap, "{}: {}", spec.name, &text[at..]);
    }
}

/// What a stream says in all: its text, and its calls.
fn said(answer: &Answer) -> (String, Vec<(String, String)>) {
    let (mut text, mut calls) = (String::new(), Vec::<(String, String)>::new());
    for choice in answer.chunks().iter().filter_map(|chunk| chunk["choices"].as_array()).flatten() {
        let delta = &choice["delta"];
        text += delta["content"].as_str().unwrap_or_default();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            if call["function"]["name"].is_string() && calls.is_empty() {
                calls.push((call["function"]["name"].as_str().unwrap().to_owned(), String::new()));
            }
            calls.last_mut().unwrap().1 += call["function"]["arguments"].as_str().unwrap_or_default();
        }
    }
    (text, calls)
}

#[tokio::test]
async fn words_are_the_same_whole_and_in_pieces() {
    for spec in servers::ALL {
        let whole = ask(spec, json!({})).await;
        assert_eq!(whole.status, 200, "{}: {}", spec.name, whole.body);
        let content =
            whole.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        assert!(content.starts_with("You said: \"The weather"), "{}: {}", spec.name, whole.body);
        let stream = ask(spec, json!({"stream": true})).await;
        assert!(stream.header("content-type").unwrap().starts_with("text/event-stream"), "{}", spec.name);
        assert_eq!(said(&stream).0, content, "{}", spec.name);
        let done = stream.events().last() == Some(&"[DONE]");
        assert_eq!(done, !spec.stream.done.is_empty(), "{}", spec.name);
    }
}

#[tokio::test]
async fn tools_are_called_whole_and_in_pieces() {
    let calls = |spec: &&ServerSpec| {
        !spec.ignores.contains(&"tools") && !spec.calls_in_text && spec.name != "vllm-no-tools"
    };
    for spec in servers::ALL.iter().filter(calls) {
        let whole = ask(spec, json!({"tools": tool()})).await.json();
        let call = whole["choices"][0]["message"]["tool_calls"][0]["function"].clone();
        assert_eq!(call["name"], "get_weather", "{}: {whole}", spec.name);
        let arguments = call["arguments"].as_str().unwrap().to_owned();
        assert_eq!(
            serde_json::from_str::<Value>(&arguments).unwrap(),
            json!({"city": "Paris"}),
            "{}",
            spec.name
        );
        let stream = ask(spec, json!({"tools": tool(), "stream": true})).await;
        assert_eq!(
            said(&stream).1,
            [("get_weather".to_owned(), arguments)],
            "{}: {}",
            spec.name,
            stream.body
        );
    }
}

#[tokio::test]
async fn thoughts_and_usage_leave_no_gap() {
    let changes = [
        json!({"enable_thinking": true, "stream": true, "stream_options": {"include_usage": true}}),
        json!({"thinking": {"type": "enabled"}}),
        json!({"reasoning_effort": "low", "stream": true}),
        json!({"max_tokens": 3, "stream": true}),
        json!({"stop": [" answer"], "n": 2}),
        json!({"response_format": {"type": "json_object"}}),
    ];
    for spec in servers::ALL {
        for changes in &changes {
            ask(spec, changes.clone()).await;
        }
    }
}

#[tokio::test]
async fn refusals_leave_no_gap() {
    for spec in servers::ALL {
        let server = servers::named(spec.name).unwrap().api_key("sk-right").context(3).start().await.unwrap();
        let model = json!({"model": spec.model, "messages": [{"role": "user", "content": "a b c d e"}]});
        let mut requests = vec![Request::chat(spec.base, &model), Request::chat("/nowhere", &model)];
        for broken in
            [json!({"model": "no-such-model", "messages": []}), json!({"model": spec.model}), json!(7)]
        {
            requests.push(Request::chat(spec.base, &broken));
        }
        requests.push(Request { body: "{".to_owned(), ..requests[0].clone() });
        requests.push(Request { method: "GET".to_owned(), body: String::new(), ..requests[0].clone() });
        for key in ["sk-right", "sk-wrong", ""] {
            for mut request in requests.clone() {
                for (name, before) in spec.keys.headers.iter().take(usize::from(!key.is_empty())) {
                    request.headers.push(((*name).to_owned(), format!("{before}{key}")));
                }
                let answer = request.send(server.port()).await;
                no_gaps(spec, &answer);
                assert!(!answer.body.contains("sk-"), "{} repeats a key", spec.name);
                if answer.header("content-type").is_some_and(|value| value.starts_with("application/json")) {
                    assert!(!answer.json().is_null(), "{}: {}", spec.name, answer.body);
                }
                let open = spec.keys.headers.is_empty() || spec.keys.open.contains(&request.path.as_str());
                if key != "sk-right" && !open {
                    assert!(answer.status >= 400, "{} lets in {key:?}", spec.name);
                }
            }
        }
    }
}

#[test]
fn names_are_unique_and_facts_have_sources() {
    let mut names: Vec<&str> = servers::ALL.iter().map(|spec| spec.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), servers::ALL.len());
    assert!(servers::ALL.iter().all(|spec| !spec.sources.is_empty() && !spec.title.is_empty()));
}
