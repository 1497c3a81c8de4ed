//! A case over a real socket: the server says the case's bytes, the LLM (or an agent) is asked as the case says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use loom::agent::ToolContext;
use loom::{
    AgentError, Completion, Content, Llm, LlmError, LlmSettings, Message, Request, Timeout, Tool, ToolCall,
};
use loom::{ToolSpec, UnifiedLlm};
use loom_testkit::{RecordedRequest, Reply, Server};
use loom_wire::answer::Expected;
use serde_json::{Value, json};

use crate::case::{CallKind, Case, Expect, RequestSpec, ResponseSpec};
use crate::decoding::Outcome;
use crate::matching::{compare, completion_value, error_value, event_value};
use crate::{check, strictness};

type Fill<'a> = &'a (dyn Fn(&str) -> String + Sync);
type Replies = Arc<Mutex<VecDeque<Reply>>>;

pub(crate) async fn run(case: &Case) -> Result<(), String> {
    let replies = Replies::default();
    let server = start(&replies).await;
    let other = start(&Replies::default()).await;
    let fill = |text: &str| {
        text.replace("{origin}", &server.origin())
            .replace("{host}", server.origin().trim_start_matches("http://"))
            .replace("{other}", &other.origin())
            .replace("{date+30}", &httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30)))
    };
    let llm = settings(&case.request, &fill)
        .and_then(|settings| settings.build().map_err(|error| format!("the LLM cannot be made: {error}")))?;
    let mut last = Completion::default();
    let first = (&case.request, &case.responses, &case.expect);
    let further = case.then.iter().map(|step| (&step.request, &step.responses, &step.expect));
    for (number, step) in std::iter::once(first).chain(further).enumerate() {
        let before = server.requests().len();
        one_step(&llm, step, &replies, &server, &fill, &mut last)
            .await
            .and_then(|()| {
                let others = other.requests().len();
                if step.2.other_requests.is_some_and(|wanted| wanted != others) {
                    return Err(format!("the other origin got {others} requests"));
                }
                Ok(())
            })
            .map_err(|why| {
                let requests = server.requests();
                let lines: Vec<String> = requests
                    .iter()
                    .skip(before)
                    .map(|request| {
                        let body = String::from_utf8_lossy(&request.body);
                        format!("\n    sent: {} {} {body}", request.method, request.target)
                    })
                    .collect();
                format!("call {}: {why}{}", number + 1, lines.concat())
            })?;
    }
    Ok(())
}

/// The first call of a case again, with `strict`: what needed a leniency fails and nothing is asked differently; what
/// needed none succeeds as before. Says nothing about calls that fail anyway.
pub(crate) async fn run_strictly(case: &Case) -> Result<(), String> {
    let (spec, expect) = (&case.request, &case.expect);
    let Some(rules) =
        expect.ledger.as_ref().filter(|_| expect.error.is_none() && spec.call == CallKind::Chat)
    else {
        return Ok(());
    };
    let replies = Replies::default();
    let server = start(&replies).await;
    let fill = |text: &str| text.replace("{origin}", &server.origin());
    let llm = settings(spec, &fill)?.strict(true).build().map_err(|error| error.to_string())?;
    *replies.lock().unwrap() = case.responses.iter().map(|response| response.reply(&fill)).collect();
    let limit = Duration::from_secs(30);
    let outcome = tokio::time::timeout(limit, chat(&llm, spec, &Completion::default()))
        .await
        .map_err(|_| "it hangs")??;
    let requests = server.requests().len();
    let Some(error) = &outcome.error else {
        return if rules.is_empty() && outcome.sum.ledger.is_empty() {
            Ok(())
        } else {
            Err(format!("it succeeds, with the ledger {:?}", outcome.sum.ledger))
        };
    };
    let message = error["message"].as_str().unwrap_or_default();
    if rules.is_empty() {
        return Err(format!("it needs no leniency, but fails: {message}"));
    }
    let adapts = rules.iter().any(|rule| ["request_adapted", "path_adapted"].contains(&rule.as_str()));
    if adapts && requests != 1 {
        return Err(format!("{requests} requests were sent, although nothing may be changed"));
    }
    let names_a_rule = rules.iter().any(|rule| message.starts_with(&format!("strict: {rule} ")));
    if !adapts && (error["kind"] != "bad_response" || !names_a_rule) {
        return Err(format!("the error does not name one of {rules:?}: {error}"));
    }
    Ok(())
}

async fn start(replies: &Replies) -> Server {
    let replies = Arc::clone(replies);
    let handler = move |_: &RecordedRequest| {
        let next = replies.lock().unwrap().pop_front();
        next.unwrap_or_else(|| Reply::text(418, "the case has no further response"))
    };
    Server::start(handler).await.unwrap()
}

async fn one_step(
    llm: &UnifiedLlm,
    (request, responses, expect): (&RequestSpec, &Vec<ResponseSpec>, &Expect),
    replies: &Replies,
    server: &Server,
    fill: Fill<'_>,
    last: &mut Completion,
) -> Result<(), String> {
    let before = server.requests().len();
    *replies.lock().unwrap() = responses.iter().map(|response| response.reply(fill)).collect();
    tokio::time::sleep(Duration::from_secs_f64(request.pause)).await;
    let started = Instant::now();
    let limit = Duration::from_secs(30);
    match request.call {
        CallKind::Models => {
            let outcome = match tokio::time::timeout(limit, llm.models()).await.map_err(|_| "it hangs")? {
                Ok(ids) => {
                    compare(expect.models.as_ref().unwrap_or(&Value::Null), &json!(ids), true, "models")?;
                    Outcome::default()
                }
                Err(error) => failed(&error),
            };
            if expect.models.is_none() || outcome.error.is_some() {
                check(expect, &outcome, true)?;
            }
        }
        CallKind::Chat => {
            let outcome =
                tokio::time::timeout(limit, chat(llm, request, last)).await.map_err(|_| "it hangs")??;
            *last = outcome.sum.clone();
            check(expect, &outcome, true)?;
        }
        CallKind::Agent => {
            let outcome =
                tokio::time::timeout(limit, agent(llm, request, expect)).await.map_err(|_| "it hangs")??;
            if expect.error.is_some() || outcome.error.is_some() {
                check(expect, &outcome, true)?;
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    if expect.seconds.is_some_and(|(least, most)| seconds < least || seconds > most) {
        return Err(format!("it took {seconds} s"));
    }
    let opened = server.connections().opened;
    if expect.connections.is_some_and(|wanted| wanted != opened) {
        return Err(format!("{opened} connections were opened"));
    }
    sent(expect, server.requests().get(before..).unwrap_or_default(), responses.len())
}

fn failed(error: &LlmError) -> Outcome {
    Outcome { error: Some(error_value(error)), ..Outcome::default() }
}

async fn chat(llm: &UnifiedLlm, spec: &RequestSpec, last: &Completion) -> Result<Outcome, String> {
    let request = request(spec, last)?;
    if !spec.stream {
        return Ok(match llm.generate(request).await {
            Ok(sum) => Outcome { sum, ..Outcome::default() },
            Err(error) => failed(&error),
        });
    }
    let mut outcome = Outcome::default();
    let mut events = llm.stream(request);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                outcome.sum.absorb(&event);
                // How often a call was tried is `attempts`; the waits differ each time.
                if !matches!(event, loom::Event::Retry(_)) {
                    outcome.events.push(event_value(&event));
                }
            }
            Err(error) => outcome.error = Some(error_value(&error)),
        }
    }
    Ok(outcome)
}

/// What the decoder is told about a request.
pub(crate) fn expected(spec: &RequestSpec) -> Result<Expected, String> {
    let model = spec.settings.get("model").and_then(Value::as_str).unwrap_or_default();
    Ok(Expected {
        request: Some(Arc::new(request_for(spec, Vec::new())?)),
        is_gpt_oss: model.contains("gpt-oss"),
        ..Expected::default()
    })
}

fn request(spec: &RequestSpec, last: &Completion) -> Result<Request, String> {
    let mut messages = Vec::new();
    for message in &spec.messages {
        if message.get("$answer").is_some() {
            messages.push(Message::from(last.clone()));
            continue;
        }
        let mut message = message.clone();
        if let Some(at) = message.pointer("/tool_call_id/$call").and_then(Value::as_u64) {
            let call = last.tool_calls.get(at as usize).ok_or("there is no such call to answer")?;
            message["tool_call_id"] = call.id.clone().into();
        }
        let message = message.to_string().replace("{corpus}", &crate::case::folder().display().to_string());
        messages.push(serde_json::from_str(&message).map_err(|error| error.to_string())?);
    }
    request_for(spec, messages)
}

fn request_for(spec: &RequestSpec, messages: Vec<Message>) -> Result<Request, String> {
    let mut request = Request { stream: spec.stream, ..Request::new(messages) };
    request.params = spec.params.clone();
    request.response_format = spec.response_format.clone();
    let read = |value: &Value| serde_json::from_value(value.clone()).map_err(|error| error.to_string());
    request.tools = spec.tools.iter().map(read).collect::<Result<_, _>>()?;
    if let Some(choice) = &spec.tool_choice {
        request.tool_choice =
            Some(serde_json::from_value(choice.clone()).map_err(|error| error.to_string())?);
    }
    Ok(request)
}

/// The LLM's settings, or which of them Loom does not have.
fn settings(spec: &RequestSpec, fill: Fill<'_>) -> Result<LlmSettings, String> {
    let mut settings = LlmSettings::default().model("m").max_retries(0);
    let mut base = "{origin}/v1";
    for (name, value) in &spec.settings {
        let text = || value.as_str().unwrap_or_default();
        settings = match name.as_str() {
            "provider" => settings.provider(text()),
            "model" => settings.model(text()),
            "api_key" => settings.api_key(text()),
            "base_url" => {
                base = value.as_str().unwrap_or_default();
                settings
            }
            "max_retries" => settings.max_retries(value.as_u64().unwrap_or_default() as u32),
            "timeout" => match value.as_f64() {
                Some(seconds) => settings.timeout_secs(seconds),
                None => settings.timeout(
                    serde_json::from_value::<Timeout>(value.clone()).map_err(|error| error.to_string())?,
                ),
            },
            "headers" => value.as_object().into_iter().flatten().fold(settings, |settings, (name, value)| {
                settings.header(name, value.as_str().unwrap_or_default())
            }),
            "query" => value.as_object().into_iter().flatten().fold(settings, |settings, (name, value)| {
                settings.query(name, value.as_str().unwrap_or_default())
            }),
            "strict" => settings.strict(value.as_bool().unwrap_or_default()),
            "extra_body" => settings.extra_body(value.as_object().cloned().unwrap_or_default()),
            "limits" => {
                settings.limits(serde_json::from_value(value.clone()).map_err(|error| error.to_string())?)
            }
            "parse_text" => settings.parse_text(value.as_bool().unwrap_or_default()),
            "drop_params" => settings.drop_params(value.as_bool().unwrap_or_default()),
            "profile" => {
                settings.profile(serde_json::from_value(value.clone()).map_err(|error| error.to_string())?)
            }
            other => return Err(format!("Loom has no setting {other:?} yet")),
        };
    }
    Ok(settings.base_url(fill(base)))
}

/// A tool that keeps its calls on record and returns what the case says.
struct FixedTool {
    spec: ToolSpec,
    returns: String,
    calls: Arc<Mutex<Vec<Value>>>,
}

impl Tool for FixedTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn call<'a>(&'a self, call: &'a ToolCall, _: &'a ToolContext) -> BoxFuture<'a, Result<Content, String>> {
        self.calls.lock().unwrap().push(json!([call.name, call.arguments_object()]));
        Box::pin(async { Ok(self.returns.as_str().into()) })
    }
}

async fn agent(llm: &UnifiedLlm, spec: &RequestSpec, expect: &Expect) -> Result<Outcome, String> {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let mut agent = loom::agent("corpus").llm(llm.clone()).max_recursion_depth(4);
    for tool in &spec.tools {
        agent = agent.tool(FixedTool {
            spec: serde_json::from_value(tool.clone()).map_err(|error| error.to_string())?,
            returns: tool["returns"].as_str().unwrap_or_default().to_owned(),
            calls: Arc::clone(&calls),
        });
    }
    let agent = agent.build().map_err(|error| error.to_string())?;
    let messages = request(spec, &Completion::default())?.messages;
    let messages: Vec<Message> = messages.iter().map(|message| (**message).clone()).collect();
    let result = agent.run(messages).await;
    let executed = Value::from(calls.lock().unwrap().clone());
    compare(expect.executed.as_ref().unwrap_or(&json!([])), &executed, true, "executed")?;
    match result {
        Ok(message) => {
            compare(expect.text.as_ref().unwrap_or(&Value::Null), &message.text().into(), true, "text")?;
            Ok(Outcome::default())
        }
        Err(AgentError::Llm { error, .. }) => Ok(failed(&error)),
        Err(error) => Err(format!("the run failed: {error}")),
    }
}

fn sent(expect: &Expect, requests: &[RecordedRequest], responses: usize) -> Result<(), String> {
    let attempts = expect.attempts.unwrap_or(responses);
    if requests.len() != attempts {
        return Err(format!("{} requests were sent, not {attempts}", requests.len()));
    }
    for (at, request) in requests.iter().enumerate() {
        strictness::check(request).map_err(|why| format!("request {}: {why}", at + 1))?;
        let Some(facts) = expect.sent.get(at) else { continue };
        let headers: serde_json::Map<String, Value> = request
            .headers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), Value::from(value.as_str())))
            .collect();
        let actual = json!({
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": headers,
            "body": request.json(),
            "body_text": String::from_utf8_lossy(&request.body),
        });
        compare(facts, &actual, false, &format!("sent[{at}]"))?;
    }
    Ok(())
}

/// The completion as the corpus writes it.
pub(crate) fn sum_value(outcome: &Outcome) -> Value {
    completion_value(&outcome.sum)
}
