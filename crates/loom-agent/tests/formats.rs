//! JSON answers over real sockets: each rung of the ladder on a server that needs it, and servers that pass over the format.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use loom::{Completion, ErrorKind, Llm, LlmError, Message, Request, Rule, ToolSpec, UnifiedLlm};
use loom_testkit::{Handler, RecordedRequest, Reply, Script, Server, servers};
use serde_json::{Value, json};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
        "additionalProperties": false,
    })
}

fn typed(question: &str) -> Request {
    let mut request = Request::new(vec![Message::user(question)]);
    request.response_format =
        Some(json!({"type": "json_schema", "json_schema": {"name": "place", "schema": schema()}}));
    request
}

async fn on(handler: impl Handler) -> (Server, UnifiedLlm) {
    let server = Server::start(handler).await.unwrap();
    let settings = UnifiedLlm::builder().base_url(server.base_url()).model("m").max_retries(0);
    (server, settings.api_key("key").build().unwrap())
}

fn bodies(server: &Server) -> Vec<Value> {
    server
        .requests()
        .iter()
        .filter(|request| request.path.ends_with("/chat/completions"))
        .map(RecordedRequest::json)
        .collect()
}

fn says(content: &str) -> Reply {
    let message = json!({"role": "assistant", "content": content});
    Reply::json(
        200,
        &json!({"id": "c", "model": "m", "choices": [{"message": message, "finish_reason": "stop"}]}),
    )
}

fn refused(message: &str, param: &str) -> Reply {
    Reply::json(
        400,
        &json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": null}}),
    )
}

fn fits(completion: &Completion) {
    let value: Value = serde_json::from_str(&completion.content).unwrap();
    assert!(value["city"].is_string() && value["days"].is_i64(), "{value}");
    assert!(completion.tool_calls.is_empty());
}

fn noted(completion: &Completion, words: &str) -> bool {
    completion.ledger.iter().any(|entry| entry.detail.contains(words))
}

/// The answer, and the request that it answers; as a whole and as a stream.
async fn answered(emulator: impl Handler, provider: &str, model: &str) -> (Completion, Vec<Value>) {
    let server = Server::start(emulator).await.unwrap();
    let settings = UnifiedLlm::builder().provider(provider).base_url(server.base_url()).model(model);
    let llm = settings.api_key("key").max_retries(0).build().unwrap();
    let whole =
        llm.generate(typed("Paris for 3 days, as JSON")).await.unwrap_or_else(|error| panic!("{error}"));
    let asked = bodies(&server);
    fits(&whole);
    let streamed =
        loom::collect(llm.stream(Request { stream: true, ..typed("Paris for 3 days, as JSON") })).await;
    fits(&streamed.unwrap_or_else(|error| panic!("{error}")));
    (whole, asked)
}

#[tokio::test]
async fn an_old_vllm_gets_its_own_field() {
    let (completion, asked) = answered(servers::vllm_old(), "vllm", "Qwen/Qwen3-8B").await;
    // It refuses the format, then the field of newer versions.
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[2]["guided_json"], schema());
    assert!(asked[2].get("response_format").is_none() && noted(&completion, "guided_json"));
}

#[tokio::test]
async fn a_field_of_the_servers_own_can_be_asked_for() {
    for (emulator, model, provider, field) in [
        (servers::vllm(), "Qwen/Qwen3-8B", "vllm", "structured_outputs"),
        (servers::llamacpp(), "qwen3-8b-q4_k_m.gguf", "llamacpp", "json_schema"),
    ] {
        let server = Server::start(emulator).await.unwrap();
        let grammar = if field == "json_schema" { field } else { "structured_outputs" };
        let profile = json!({"response_format": "grammar", "grammar": grammar});
        let settings = UnifiedLlm::builder().provider(provider).base_url(server.base_url()).model(model);
        let llm = settings.api_key("key").profile(serde_json::from_value(profile).unwrap()).build().unwrap();
        fits(&llm.generate(typed("Paris")).await.unwrap());
        assert!(bodies(&server)[0].get(field).is_some(), "{field}");
    }
}

#[tokio::test]
async fn where_there_is_no_schema_a_tool_must_be_called_and_its_arguments_are_the_answer() {
    let (completion, asked) = answered(servers::deepseek(), "deepseek", "deepseek-flash").await;
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1]["tools"][0]["function"]["parameters"], schema());
    assert_eq!(asked[1]["tool_choice"]["function"]["name"], "place");
    assert!(asked[1].get("response_format").is_none() && noted(&completion, "as a tool"));
    assert!(!completion.ledger.iter().any(|entry| entry.rule == Rule::FinishReasonOverCalls));
}

#[tokio::test]
async fn the_first_of_several_answers_counts_also_where_the_token_limit_cuts_a_later_one() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "place", "arguments": arguments}});
    let whole = r#"{"city":"Paris","days":3}"#;
    for (calls, kept) in [
        (vec![call("a", whole), call("b", r#"{"city":"Rome","days":1}"#)], true),
        (vec![call("a", whole), call("b", r#"{"city":"Ro"#)], true),
        (vec![call("a", r#"{"city":"Ro"#)], false),
    ] {
        let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
        let answer =
            json!({"id": "c", "model": "m", "choices": [{"message": message, "finish_reason": "length"}]});
        let chunks: Vec<String> = calls
            .iter()
            .enumerate()
            .map(|(at, call)| {
                let mut call = call.clone();
                call["index"] = json!(at);
                json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
            })
            .chain([json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})])
            .map(|chunk| chunk.to_string())
            .collect();
        let server = Server::start(move |request: &RecordedRequest| match request.json()["stream"] == true {
            true => Reply::sse(chunks.iter().cloned().chain(["[DONE]".to_owned()])),
            false => Reply::json(200, &answer),
        });
        let server = server.await.unwrap();
        let settings = UnifiedLlm::builder().base_url(server.base_url()).model("m").api_key("key");
        let profile = serde_json::from_value(json!({"response_format": "tool"})).unwrap();
        let llm = settings.profile(profile).max_retries(0).build().unwrap();
        for stream in [false, true] {
            let answer = loom::collect(llm.stream(Request { stream, ..typed("Paris") })).await;
            if kept {
                let answer = answer.unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(answer.content, whole);
                assert!(answer.ledger.iter().any(|entry| entry.rule == Rule::ExtraCall));
            } else {
                assert_eq!(answer.unwrap_err().kind, ErrorKind::BadResponse);
            }
        }
        assert_eq!(bodies(&server)[0]["parallel_tool_calls"], false);
    }
}

#[tokio::test]
async fn where_no_tool_can_be_forced_the_schema_is_told_beside_json_object() {
    let choice = "Thinking mode does not support this tool_choice";
    let (server, llm) = on(Script::new([
        refused("This response_format type is unavailable now", "response_format"),
        refused(choice, "tool_choice"),
        says("{\"city\": \"Paris\", \"days\": 3}"),
    ]))
    .await;
    fits(&llm.generate(typed("Paris")).await.unwrap());
    let last = bodies(&server).pop().unwrap();
    assert_eq!(last["response_format"], json!({"type": "json_object"}));
    assert!(last["messages"].to_string().contains("valid against this JSON schema"));
}

#[tokio::test]
async fn a_format_that_is_passed_over_is_told_in_the_prompt_at_once_and_from_then_on() {
    let good = "{\"city\": \"Paris\", \"days\": 3}";
    for bad in ["Paris, for three days.", "{\"town\": \"Paris\"}", "[1]"] {
        let (server, llm) = on(Script::new([says(bad), says(good), says(good)])).await;
        for _ in 0..2 {
            let completion = llm.generate(typed("Paris")).await.unwrap();
            fits(&completion);
            assert!(noted(&completion, "told in the prompt as well"));
        }
        let told: Vec<bool> = bodies(&server)
            .iter()
            .map(|body| body["messages"].to_string().contains("additionalProperties"))
            .collect();
        assert_eq!(told, [false, true, true], "{bad}");
        assert!(bodies(&server).iter().all(|body| body["response_format"]["type"] == "json_schema"));
    }
}

/// Anthropic's layer ignores `response_format`; behind a company's proxy nothing says so before its first answer.
#[tokio::test]
async fn a_first_call_to_an_endpoint_that_ignores_formats_gets_json() {
    let at = async || {
        let server = Server::start(servers::anthropic()).await.unwrap();
        let settings = UnifiedLlm::builder().provider("openai").base_url(server.base_url());
        (server, settings.model("claude-sonnet-5").api_key("key").max_retries(0).build().unwrap())
    };
    let tells = |body: &Value| body["messages"].to_string().contains("JSON schema");

    let (server, llm) = at().await;
    fits(&llm.generate(typed("Paris for 3 days")).await.unwrap());
    assert_eq!(bodies(&server).iter().map(tells).collect::<Vec<_>>(), [false, true]);

    let (server, llm) = at().await;
    let mut request = typed("Paris for 3 days");
    request.response_format = Some(json!({"type": "json_object"}));
    let answer = llm.generate(request).await.unwrap();
    assert!(serde_json::from_str::<Value>(&answer.content).unwrap().is_object());
    assert_eq!(server.requests().len(), 2);

    let (server, llm) = at().await;
    let stream = || loom::collect(llm.stream(Request { stream: true, ..typed("Paris for 3 days") }));
    let answer = stream().await.unwrap();
    fits(&answer);
    assert!(noted(&answer, "told in the prompt as well"));
    assert_eq!(bodies(&server).iter().map(tells).collect::<Vec<_>>(), [false, true]);
    fits(&stream().await.unwrap());
    assert_eq!(server.requests().len(), 3);

    for streams in [false, true] {
        let (server, llm) = at().await;
        let agent = loom::agent("a").llm(llm).output_type::<Trip>().build().unwrap();
        let answer = if streams {
            let events: Vec<_> = futures_util::StreamExt::collect(agent.stream("Paris for 3 days")).await;
            match events.into_iter().last() {
                Some(Ok(loom::AgentEvent::Finish { message, .. })) => *message,
                other => panic!("{other:?}"),
            }
        } else {
            agent.run("Paris for 3 days").await.unwrap()
        };
        answer.parsed_as::<Trip>().unwrap();
        assert!(answer.ledger.iter().any(|entry| entry.rule == Rule::OutputRepaired));
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn what_does_not_fit_in_the_end_is_an_error_with_the_text_and_the_places() {
    let bad = "{\"city\": \"Paris\", \"days\": \"many\"}";
    let (server, llm) = on(Script::new([says(bad), says(bad)])).await;
    let error: LlmError = llm.generate(typed("Paris")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadResponse);
    assert!(error.message.contains("/days"), "{error}");
    assert_eq!(error.partial.as_ref().unwrap().content, bad);
    assert_eq!(server.requests().len(), 2);

    // A stream has been delivered: it is not repeated, and the next request knows.
    let chunk = json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": bad}, "finish_reason": "stop"}]});
    let stream = || Reply::sse([chunk.to_string(), "[DONE]".to_owned()]);
    let (server, llm) = on(Script::new([stream(), stream()])).await;
    for told in [false, true] {
        let error = loom::collect(llm.stream(Request { stream: true, ..typed("Paris") })).await.unwrap_err();
        assert!(error.message.contains("/days"), "{error}");
        let asked = bodies(&server).pop().unwrap();
        assert_eq!(asked["messages"].to_string().contains("additionalProperties"), told);
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn who_checks_by_himself_gets_the_answer_and_the_next_request_knows() {
    let (server, llm) = on(Script::new([says("no"), says("no")])).await;
    for told in [false, true] {
        let request = Request { unchecked: true, ..typed("Paris") };
        assert_eq!(llm.generate(request).await.unwrap().content, "no");
        let asked = bodies(&server).pop().unwrap();
        assert_eq!(asked["messages"].to_string().contains("additionalProperties"), told);
    }
}

#[tokio::test]
async fn values_with_one_reading_are_read_and_noted() {
    let (_server, llm) = on(Script::new([says("{\"city\": \"Paris\", \"days\": \"3\"}")])).await;
    let completion = llm.generate(typed("Paris")).await.unwrap();
    fits(&completion);
    assert!(completion.ledger.iter().any(|entry| entry.rule == Rule::JsonRead));
    assert!(llm.ledger().iter().any(|entry| entry.rule == Rule::JsonRead));
}

#[tokio::test]
async fn a_schema_that_is_none_is_refused_before_anything_is_sent() {
    let (server, llm) = on(Script::new([])).await;
    let mut request = typed("Paris");
    request.response_format =
        Some(json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}));
    assert_eq!(llm.generate(request).await.unwrap_err().kind, ErrorKind::Config);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_grammar_leaves_room_for_calls() {
    let server = Server::start(servers::vllm()).await.unwrap();
    let settings = UnifiedLlm::builder().provider("vllm").base_url(server.base_url()).model("Qwen/Qwen3-8B");
    let llm = settings.api_key("key").build().unwrap();
    let mut request = typed("Call get_weather for Paris");
    request.tools = vec![ToolSpec::new("get_weather", "The weather")];
    request.unchecked = true;
    let completion = llm.generate(request).await.unwrap();
    assert_eq!(completion.tool_calls.len(), 1);
    assert!(completion.ledger.iter().any(|entry| entry.rule == Rule::FormatAfterTools));

    // Gemini, Groq, TGI and others say so; what they say is remembered.
    let good = says("{\"city\": \"Paris\", \"days\": 3}");
    let (server, llm) =
        on(Script::new([refused("json mode cannot be combined with tool/function calling", ""), good])).await;
    let mut request = typed("Paris");
    request.tools = vec![ToolSpec::new("get_weather", "The weather")];
    fits(&llm.generate(request).await.unwrap());
    let last = bodies(&server).pop().unwrap();
    assert!(last.get("response_format").is_none() && last["tools"].is_array());
    assert!(last["messages"].to_string().contains("valid against this JSON schema"));
}

#[tokio::test]
async fn openai_gets_a_strict_schema_and_one_that_it_refuses_so_without() {
    let refusal = "Invalid schema for response_format 'place': In context=(), 'x' is not permitted.";
    let good = "{\"city\": \"Paris\", \"days\": 3}";
    let replies = [refused(refusal, "response_format"), says(good)];
    // Where OpenAI answers: recognised by its header.
    let hello = says("Hello").header("openai-version", "2020-10-01");
    let (server, llm) = on(Script::new([hello].into_iter().chain(replies))).await;
    llm.generate(Request::new(vec![Message::user("Hi")])).await.unwrap();
    fits(&llm.generate(typed("Paris")).await.unwrap());
    let strict = |body: &Value| body["response_format"]["json_schema"]["strict"].clone();
    let asked = bodies(&server);
    assert_eq!((strict(&asked[1]), strict(&asked[2])), (json!(true), Value::Null));
}

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct Trip {
    city: String,
    days: i64,
}

#[tokio::test]
async fn an_agent_gives_typed_answers_and_what_is_there_of_them_while_they_stream() {
    let good = "{\"city\": \"Paris\", \"days\": 3}";
    let chunk =
        |text: &str| json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]});
    let mut events: Vec<String> = good.split_inclusive('"').map(|text| chunk(text).to_string()).collect();
    let end =
        json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    events.extend([end.to_string(), "[DONE]".to_owned()]);
    let (_server, llm) = on(Script::new([says("{\"city\": 1}"), says(good), Reply::sse(events)])).await;
    let agent = loom::agent("a").llm(llm).output_type::<Trip>().build().unwrap();
    let trip = Trip { city: "Paris".to_owned(), days: 3 };

    let answer = agent.run("Paris").await.unwrap();
    assert_eq!(answer.parsed_as::<Trip>().unwrap(), trip);
    assert!(answer.ledger.iter().any(|entry| entry.rule == Rule::OutputRepaired));
    assert!(Message::user("x").parsed_as::<Trip>().is_err());

    let mut stream = agent.stream("Paris");
    let (mut values, mut last) = (Vec::new(), None);
    while let Some(event) = futures_util::StreamExt::next(&mut stream).await {
        match event.unwrap() {
            loom::AgentEvent::Partial { value } => values.push(value),
            loom::AgentEvent::Finish { message, .. } => last = Some(message),
            _ => {}
        }
    }
    assert_eq!(
        values,
        [json!({}), json!({"city": ""}), json!({"city": "Paris"}), json!({"city": "Paris", "days": 3})]
    );
    assert_eq!(last.unwrap().parsed_as::<Trip>().unwrap(), trip);
}

#[tokio::test]
async fn tools_and_a_type_go_together_where_a_grammar_leaves_no_room() {
    let server = Server::start(servers::vllm()).await.unwrap();
    let settings = UnifiedLlm::builder().provider("vllm").base_url(server.base_url()).model("Qwen/Qwen3-8B");
    let weather = loom::tool("get_weather", "The weather", |_: serde_json::Map<String, Value>| async move {
        Ok::<_, std::convert::Infallible>("sunny")
    });
    let llm = settings.api_key("key").build().unwrap();
    let agent = loom::agent("a").llm(llm).tool(weather).output_type::<Trip>().build().unwrap();
    let answer = agent.run("Call get_weather for Paris").await.unwrap();
    answer.parsed_as::<Trip>().unwrap();
    let asked = bodies(&server);
    assert!(asked[0].get("response_format").is_none() && asked[0]["tools"].is_array());
    assert!(asked.last().unwrap().get("response_format").is_some());
    assert!(answer.ledger.iter().any(|entry| entry.rule == Rule::FormatAfterTools));
}
