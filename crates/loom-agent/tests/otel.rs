//! What OpenTelemetry is told of runs, over real HTTP and with the SDK's own exporters.

#![cfg(feature = "otel")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests may fail

use std::time::Duration;

use futures_util::StreamExt;
use loom::agent::otel::Otel;
use loom::{AgentError, AgentEvent};
use loom_testkit::{Emulator, Reply, Script, Server};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use schemars::JsonSchema;
use serde::Deserialize;

const QUESTION: &str = "How is the weather in Paris?";

#[derive(Deserialize, JsonSchema)]
struct City {
    /// The city's name
    city: String,
}

/// An SDK that keeps what it is told.
struct Told {
    tracers: SdkTracerProvider,
    meters: SdkMeterProvider,
    spans: InMemorySpanExporter,
    metrics: InMemoryMetricExporter,
}

impl Told {
    fn new() -> Self {
        let (spans, metrics) = (InMemorySpanExporter::default(), InMemoryMetricExporter::default());
        Self {
            tracers: SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build(),
            meters: SdkMeterProvider::builder().with_periodic_exporter(metrics.clone()).build(),
            spans,
            metrics,
        }
    }

    fn otel(&self) -> Otel {
        Otel::new().tracer_provider(&self.tracers).meter_provider(&self.meters)
    }

    fn spans(&self) -> Vec<SpanData> {
        self.spans.get_finished_spans().unwrap()
    }

    fn span(&self, name: &str) -> SpanData {
        let spans = self.spans();
        let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(named.len(), 1, "{name}: {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
        named[0].clone()
    }

    /// `name{attributes}` of each point with its sum and, of a histogram, its count.
    fn points(&self) -> Vec<(String, String, f64)> {
        self.meters.force_flush().unwrap();
        let mut points = Vec::new();
        for resource in self.metrics.get_finished_metrics().unwrap() {
            for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
                let name = metric.name().to_owned();
                match metric.data() {
                    AggregatedMetrics::F64(MetricData::Histogram(data)) => {
                        points.extend(
                            data.data_points().map(|point| {
                                (name.clone(), listed(point.attributes()), point.count() as f64)
                            }),
                        );
                    }
                    AggregatedMetrics::U64(MetricData::Sum(data)) => {
                        points.extend(
                            data.data_points().map(|point| {
                                (name.clone(), listed(point.attributes()), point.value() as f64)
                            }),
                        );
                    }
                    _ => panic!("{name}"),
                }
            }
        }
        points
    }
}

fn listed<'a>(attributes: impl IntoIterator<Item = &'a KeyValue>) -> String {
    let mut listed: Vec<_> =
        attributes.into_iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
    listed.sort();
    listed.join(" ")
}

fn value(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.to_string())
}

async fn server() -> Server {
    Server::start(Emulator::new().model("demo")).await.unwrap()
}

fn agent(server: &Server, told: &Told) -> loom::AgentBuilder {
    let tracer = told.tracers.tracer("mine");
    let weather = loom::tool("get_weather", "The weather now", move |args: City| {
        let tracer = tracer.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            tracer.in_span("my own", |context| assert!(context.has_active_span()));
            if args.city == "Atlantis" { Err("no such city") } else { Ok(format!("sunny in {}", args.city)) }
        }
    });
    loom::agent("assistant").base_url(server.base_url()).tool(weather).otel(told.otel())
}

#[tokio::test]
async fn a_run_is_a_tree_of_spans_without_contents() {
    let (server, told) = (server().await, Told::new());
    let agent = agent(&server, &told).build().unwrap();
    let mut events = agent.stream(QUESTION);
    while let Some(event) = events.next().await {
        event.unwrap();
    }
    let run = told.span("invoke_agent assistant");
    assert_eq!((run.span_kind.clone(), &run.status), (SpanKind::Internal, &Status::Unset));
    assert_eq!(value(&run, "gen_ai.agent.name").unwrap(), "assistant");
    let chats: Vec<_> = told.spans().into_iter().filter(|span| span.name == "chat demo").collect();
    assert_eq!(chats.len(), 2);
    for (chat, reason) in chats.iter().zip(["[\"tool_calls\"]", "[\"stop\"]"]) {
        assert_eq!(
            (chat.span_kind.clone(), chat.parent_span_id),
            (SpanKind::Client, run.span_context.span_id())
        );
        let port = server.port().to_string();
        for (key, expected) in [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "custom"),
            ("gen_ai.request.model", "demo"),
            ("gen_ai.request.stream", "true"),
            ("gen_ai.response.model", "demo"),
            ("gen_ai.response.finish_reasons", reason),
            ("server.address", "127.0.0.1"),
            ("server.port", port.as_str()),
        ] {
            assert_eq!(value(chat, key).as_deref(), Some(expected), "{key}");
        }
        let tokens: u64 = value(chat, "gen_ai.usage.input_tokens").unwrap().parse().unwrap();
        let first: f64 = value(chat, "gen_ai.response.time_to_first_chunk").unwrap().parse().unwrap();
        assert!(tokens > 0 && first > 0.0);
    }
    let tool = told.span("execute_tool get_weather");
    assert_eq!(tool.parent_span_id, run.span_context.span_id());
    assert_eq!(value(&tool, "gen_ai.tool.name").unwrap(), "get_weather");
    assert!(value(&tool, "gen_ai.tool.call.id").is_some());
    assert!(tool.end_time.duration_since(tool.start_time).unwrap() >= Duration::from_millis(20));
    assert_eq!(told.span("my own").parent_span_id, tool.span_context.span_id());
    let all = format!("{:?}", told.spans());
    assert!(!all.contains("Paris") && !all.contains("sunny"), "{all}");
    // Nothing of it reaches the endpoint.
    assert!(server.requests().iter().all(|request| request.header("traceparent").is_none()));
}

#[tokio::test]
async fn metrics_count_tokens_and_measure_time() {
    let (server, told) = (server().await, Told::new());
    let streamed = agent(&server, &told).model("demo").event_handler(|_| {}).build().unwrap();
    let answer = streamed.run(QUESTION).await.unwrap();
    let of = |points: &[(String, String, f64)], name: &str| {
        let of: Vec<_> = points.iter().filter(|point| point.0 == name).cloned().collect();
        assert_eq!(of.len(), 1, "{name}: {of:?}");
        of[0].clone()
    };
    let points = told.points();
    let chat = of(&points, "gen_ai.client.inference.duration");
    let port = server.port();
    let attributes = format!(
        "gen_ai.operation.name=chat gen_ai.provider.name=custom gen_ai.request.model=demo \
         gen_ai.response.model=demo server.address=127.0.0.1 server.port={port}"
    );
    assert_eq!((chat.1, chat.2), (attributes, 2.0));
    assert_eq!(of(&points, "gen_ai.client.inference.time_to_first_chunk").2, 2.0);
    let tokens = of(&points, "gen_ai.client.inference.usage.input_tokens");
    assert!(tokens.1.contains("gen_ai.token.modality=unknown"));
    let usage = answer.usage.unwrap();
    assert_eq!(tokens.2, usage.prompt_tokens.unwrap() as f64);
    let tokens = of(&points, "gen_ai.client.inference.usage.output_tokens").2;
    assert_eq!(tokens, usage.completion_tokens.unwrap() as f64);
    let tool = of(&points, "gen_ai.execute_tool.duration").1;
    assert_eq!(
        tool,
        "gen_ai.operation.name=execute_tool gen_ai.tool.name=get_weather gen_ai.tool.type=function"
    );
    assert_eq!(of(&points, "gen_ai.invoke_agent.duration").2, 1.0);

    // Of an answer in one piece there is no first chunk.
    let told = Told::new();
    agent(&server, &told).model("demo").build().unwrap().run("hello").await.unwrap();
    assert!(told.points().iter().all(|point| !point.0.contains("first_chunk")));
    assert!(value(&told.span("chat demo"), "gen_ai.request.stream").is_none());
}

#[tokio::test]
async fn contents_are_captured_where_they_are_asked_for() {
    let (server, told) = (server().await, Told::new());
    let otel = told.otel().capture_content(true);
    agent(&server, &told).otel(otel).system_prompt("Be brief.").build().unwrap().run(QUESTION).await.unwrap();
    let tool = told.span("execute_tool get_weather");
    assert_eq!(value(&tool, "gen_ai.tool.call.arguments").unwrap(), r#"{"city":"Paris"}"#);
    assert_eq!(value(&tool, "gen_ai.tool.call.result").unwrap(), "sunny in Paris");
    let last = told.spans().into_iter().rfind(|span| span.name == "chat demo").unwrap();
    let json = |key: &str| serde_json::from_str::<serde_json::Value>(&value(&last, key).unwrap()).unwrap();
    let asked = json("gen_ai.input.messages");
    assert_eq!(asked[0]["parts"][0]["content"], "Be brief.");
    assert_eq!(
        asked[1],
        serde_json::json!({"role": "user", "parts": [{"type": "text", "content": QUESTION}]})
    );
    assert_eq!(asked[2]["parts"][0]["type"], "tool_call");
    assert_eq!(asked[2]["parts"][0]["arguments"]["city"], "Paris");
    assert_eq!(asked[3]["parts"][0]["response"], "sunny in Paris");
    let answered = json("gen_ai.output.messages");
    assert!(answered[0]["parts"][0]["content"].as_str().unwrap().contains("sunny in Paris"));
}

#[tokio::test]
async fn what_fails_ends_with_an_error() {
    let told = Told::new();
    let refusal =
        serde_json::json!({"error": {"message": "I will not say: hello, secret", "code": "invalid"}});
    let server = Server::start(Script::new([Reply::json(400, &refusal)])).await.unwrap();
    let error = agent(&server, &told).model("demo").build().unwrap().run("hello, secret").await.unwrap_err();
    for name in ["chat demo", "invoke_agent assistant"] {
        let span = told.span(name);
        assert!(matches!(span.status, Status::Error { .. }));
        assert_eq!(value(&span, "error.type").as_deref(), Some(error.kind()));
    }
    assert_eq!(value(&told.span("chat demo"), "gen_ai.response.finish_reasons").unwrap(), "[\"error\"]");
    assert!(!format!("{:?}", told.spans()).contains("secret"));
    let points = told.points();
    let failed = |name: &str| points.iter().any(|at| at.0 == name && at.1.contains("error.type="));
    assert!(failed("gen_ai.client.inference.duration") && failed("gen_ai.invoke_agent.duration"));

    // A tool's failure is the tool's alone.
    let (server, told) = (self::server().await, Told::new());
    agent(&server, &told).build().unwrap().run("The weather in Atlantis?").await.unwrap();
    assert_eq!(value(&told.span("execute_tool get_weather"), "error.type").unwrap(), "tool_error");
    assert_eq!(told.span("invoke_agent assistant").status, Status::Unset);
}

#[tokio::test]
async fn what_is_dropped_ends_as_cancelled() {
    let told = Told::new();
    let emulator = Emulator::new().model("demo").token_delay(Duration::from_millis(200));
    let server = Server::start(emulator).await.unwrap();
    let agent = agent(&server, &told).model("demo").build().unwrap();
    let mut events = agent.stream("hello");
    while let Some(event) = events.next().await {
        if matches!(event.unwrap(), AgentEvent::ContentDelta { .. }) {
            break;
        }
    }
    assert!(told.spans().is_empty());
    drop(events);
    for name in ["chat demo", "invoke_agent assistant"] {
        let span = told.span(name);
        assert!(matches!(span.status, Status::Error { .. }));
        assert_eq!(value(&span, "error.type").unwrap(), "cancelled");
    }
    // Of a run that has answered, what is left is dropped, too.
    let told = Told::new();
    self::agent(&server, &told).model("demo").build().unwrap().run("hi").await.unwrap();
    assert_eq!(told.span("invoke_agent assistant").status, Status::Unset);
}

#[tokio::test]
async fn runs_at_once_keep_apart_and_under_whoever_asked() {
    let (server, told) = (server().await, Told::new());
    let agent = agent(&server, &told).model("demo").build().unwrap();
    let tracer = told.tracers.tracer("mine");
    let ask = |n: usize| {
        let (agent, span) = (agent.clone(), tracer.start(format!("caller {n}")));
        let context = opentelemetry::Context::current_with_span(span);
        opentelemetry::trace::FutureExt::with_context(
            async move { agent.run(QUESTION).await.unwrap() },
            context,
        )
    };
    futures_util::future::join_all((0..10).map(ask)).await;
    let spans = told.spans();
    let parent = |span: &SpanData| {
        spans.iter().find(|other| other.span_context.span_id() == span.parent_span_id).unwrap().clone()
    };
    let own: Vec<_> = spans.iter().filter(|span| span.name == "my own").collect();
    assert_eq!(own.len(), 10);
    let mut callers = std::collections::HashSet::new();
    for span in own {
        let run = parent(&parent(span));
        assert_eq!(run.name, "invoke_agent assistant");
        callers.insert(parent(&run).name.to_string());
    }
    assert_eq!(callers.len(), 10);
}

#[tokio::test]
async fn a_run_that_pauses_has_not_failed_and_agents_called_by_tools_are_watched() {
    let (server, told) = (server().await, Told::new());
    let careful =
        loom::tool("get_weather", "The weather now", |args: City| async move { Ok::<_, String>(args.city) });
    let agent =
        |told: &Told| loom::agent("outer").base_url(server.base_url()).model("demo").otel(told.otel());
    let error =
        agent(&told).tool(careful.requires_approval(true)).build().unwrap().run(QUESTION).await.unwrap_err();
    assert!(matches!(error, AgentError::ApprovalRequired { .. }));
    let run = told.span("invoke_agent outer");
    assert_eq!((&run.status, value(&run, "loom.run.paused").as_deref()), (&Status::Unset, Some("true")));
    assert!(told.spans().iter().all(|span| !span.name.starts_with("execute_tool")));

    let told = Told::new();
    let inner = loom::agent("inner").base_url(server.base_url()).model("demo").build().unwrap();
    let ask = loom::tool("get_weather", "The weather now", move |args: City| {
        let inner = inner.clone();
        async move { inner.run(format!("hello from {}", args.city)).await.map(|answer| answer.text()) }
    });
    agent(&told).tool(ask).build().unwrap().run(QUESTION).await.unwrap();
    let tool = told.span("execute_tool get_weather");
    assert_eq!(told.span("invoke_agent inner").parent_span_id, tool.span_context.span_id());
}
