//! OpenTelemetry: spans and metrics of runs, named by the GenAI semantic conventions, version 0.1.0 (in development).
//!
//! A run's span is current while the run is polled, and with it stands who watches the run. So the spans of model calls and
//! tools find their parent, those that a tool makes by itself find theirs, and agents that a tool runs are watched, too.
//! Without an SDK that somebody has set up, all of this does nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Instant;

use futures_util::Stream;
use loom_wire::{Completion, Content, Event, Message, Request, ToolCall, Usage};
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use opentelemetry::trace::{FutureExt, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use serde_json::json;

use crate::agent::error::AgentError;
use crate::agent::event::AgentEvent;
use crate::agent::start::AgentStream;
use crate::model::{EventStream, Llm, ServedBy};

const SCOPE: &str = "loom";
const CAPTURE: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
/// Of all durations, as the conventions want them; seconds.
const BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// The error type of what was given up before its end.
const CANCELLED: &str = "cancelled";

/// Tells OpenTelemetry of an agent's runs: [`AgentBuilder::otel`](crate::AgentBuilder::otel).
///
/// Spans are `invoke_agent {agent}` for a run and, below it, `chat {model}` for each model call and `execute_tool {tool}` for
/// each executed call. What is said in them is left out unless asked for.
///
/// ```
/// use loom::agent::otel::Otel;
///
/// let agent = loom::agent("assistant").base_url("http://localhost:8000/v1").otel(Otel::new()).build()?;
/// # Ok::<(), loom::AgentError>(())
/// ```
#[derive(Clone)]
pub struct Otel {
    tracer: Arc<BoxedTracer>,
    instruments: Instruments,
    capture_content: bool,
}

#[derive(Clone)]
struct Instruments {
    run: Histogram<f64>,
    chat: Histogram<f64>,
    tool: Histogram<f64>,
    first_chunk: Histogram<f64>,
    input_tokens: Counter<u64>,
    output_tokens: Counter<u64>,
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str| {
            meter.f64_histogram(name).with_unit("s").with_boundaries(BUCKETS.to_vec()).build()
        };
        let tokens = |name: &'static str| meter.u64_counter(name).with_unit("{token}").build();
        Self {
            run: seconds("gen_ai.invoke_agent.duration"),
            chat: seconds("gen_ai.client.inference.duration"),
            tool: seconds("gen_ai.execute_tool.duration"),
            first_chunk: seconds("gen_ai.client.inference.time_to_first_chunk"),
            input_tokens: tokens("gen_ai.client.inference.usage.input_tokens"),
            output_tokens: tokens("gen_ai.client.inference.usage.output_tokens"),
        }
    }
}

impl Otel {
    /// By the global providers, which must have been set before. Contents are captured if the environment variable
    /// `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says `true`, `SPAN_ONLY` or `SPAN_AND_EVENT`.
    pub fn new() -> Self {
        let wish = std::env::var(CAPTURE).unwrap_or_default().to_lowercase();
        Self {
            tracer: Arc::new(global::tracer(SCOPE)),
            instruments: Instruments::new(&global::meter(SCOPE)),
            capture_content: matches!(wish.as_str(), "true" | "span_only" | "span_and_event"),
        }
    }

    /// Spans go to this provider.
    pub fn tracer_provider<P: TracerProvider>(mut self, provider: &P) -> Self
    where
        P::Tracer: Send + Sync + 'static,
        <P::Tracer as Tracer>::Span: Send + Sync + 'static,
    {
        self.tracer = Arc::new(BoxedTracer::new(Box::new(provider.tracer(SCOPE))));
        self
    }

    /// Metrics go to this provider.
    pub fn meter_provider(mut self, provider: &impl MeterProvider) -> Self {
        self.instruments = Instruments::new(&provider.meter(SCOPE));
        self
    }

    /// Whether prompts, answers, arguments, results and the words of errors are recorded in the spans. Default: as the
    /// environment says, else not.
    pub fn capture_content(mut self, capture: bool) -> Self {
        self.capture_content = capture;
        self
    }

    /// Who watches the run that is being polled.
    fn current() -> Option<Self> {
        Context::map_current(|context| context.get::<Self>().cloned())
    }

    /// Starts a span; `attributes` are those of its metric, too.
    fn start(
        &self,
        parent: &Context,
        name: String,
        kind: SpanKind,
        duration: &Histogram<f64>,
        attributes: Vec<KeyValue>,
    ) -> Operation {
        let span = self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes.clone());
        let span = self.tracer.build_with_context(span, parent);
        let (context, duration) = (parent.with_span(span).with_value(self.clone()), duration.clone());
        let capture = self.capture_content;
        Operation { context, started: Instant::now(), duration, attributes, capture, is_over: false }
    }
}

impl Default for Otel {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Otel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Otel").field("capture_content", &self.capture_content).finish_non_exhaustive()
    }
}

/// What is under way. Dropped before its end, it was cancelled.
struct Operation {
    /// Holds the span.
    context: Context,
    started: Instant,
    duration: Histogram<f64>,
    /// What the metrics say of it.
    attributes: Vec<KeyValue>,
    capture: bool,
    is_over: bool,
}

impl Operation {
    fn tell(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        self.context.span().set_attributes(attributes);
    }

    fn end(&mut self, error: Option<(&str, String)>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        if let Some((kind, words)) = error {
            let kind = KeyValue::new("error.type", kind.to_owned());
            self.attributes.push(kind.clone());
            self.tell([kind]);
            // Servers quote the question when they refuse it.
            self.context.span().set_status(Status::error(if self.capture { words } else { String::new() }));
        }
        self.duration.record(self.started.elapsed().as_secs_f64(), &self.attributes);
        self.context.span().end();
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.end(Some((CANCELLED, "given up before its end".to_owned())));
    }
}

fn operation_name(name: &'static str) -> KeyValue {
    KeyValue::new("gen_ai.operation.name", name)
}

fn finish_reason(reason: &str) -> KeyValue {
    let reasons = Array::String(vec![StringValue::from(reason.to_owned())]);
    KeyValue::new("gen_ai.response.finish_reasons", Value::Array(reasons))
}

fn counted(usage: &Usage) -> impl Iterator<Item = KeyValue> {
    let count = |name: &'static str, tokens: Option<u64>| {
        tokens.and_then(|tokens| Some(KeyValue::new(name, i64::try_from(tokens).ok()?)))
    };
    [
        count("gen_ai.usage.input_tokens", usage.prompt_tokens),
        count("gen_ai.usage.output_tokens", usage.completion_tokens),
        count("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens),
        count("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
    ]
    .into_iter()
    .flatten()
}

/// The events of a run, watched if the agent is or the run is part of one that is.
pub(crate) fn run(otel: Option<&Otel>, agent: &str, events: AgentStream) -> AgentStream {
    match otel.cloned().or_else(Otel::current) {
        Some(otel) => {
            Box::pin(Run { events, state: State::Ready(otel, agent.to_owned(), Context::current()) })
        }
        None => events,
    }
}

struct Run {
    /// Dropped first, so that what the run was doing ends before it.
    events: AgentStream,
    state: State,
}

enum State {
    Ready(Otel, String, Context),
    Begun(Operation),
}

impl Stream for Run {
    type Item = Result<AgentEvent, AgentError>;

    fn poll_next(self: Pin<&mut Self>, waker: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let State::Ready(otel, agent, parent) = &this.state {
            let attributes =
                vec![operation_name("invoke_agent"), KeyValue::new("gen_ai.agent.name", agent.clone())];
            let name = format!("invoke_agent {agent}");
            let run = &otel.instruments.run;
            this.state = State::Begun(otel.start(parent, name, SpanKind::Internal, run, attributes));
        }
        let State::Begun(operation) = &mut this.state else { return Poll::Ready(None) };
        let current = operation.context.clone().attach();
        let event = ready!(this.events.as_mut().poll_next(waker));
        drop(current);
        match &event {
            Some(Ok(AgentEvent::Finish { message, finish_reason: reason })) => {
                operation.tell(message.usage.iter().flat_map(counted));
                operation.tell(reason.iter().map(|reason| finish_reason(reason.as_str())));
                operation.end(None);
            }
            Some(Err(AgentError::ApprovalRequired { .. })) => {
                operation.tell([KeyValue::new("loom.run.paused", true)]);
                operation.end(None);
            }
            Some(Err(error)) => operation.end(Some((error.kind(), error.to_string()))),
            Some(Ok(_)) | None => {}
        }
        Poll::Ready(event)
    }
}

/// Asks the model, watched if the run is.
pub(crate) fn chat(llm: &Arc<dyn Llm>, request: Request) -> EventStream {
    let Some(otel) = Otel::current() else { return llm.stream(request) };
    let served_by = llm.served_by();
    let provider = served_by.as_ref().map_or("custom", |by| by.provider.as_str()).to_owned();
    let mut attributes = vec![operation_name("chat"), KeyValue::new("gen_ai.provider.name", provider)];
    if let Some(ServedBy { host, port, .. }) = served_by {
        attributes.push(KeyValue::new("server.address", host));
        attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
    }
    let model = llm.model_name();
    let name = if model.is_empty() { "chat".to_owned() } else { format!("chat {model}") };
    if !model.is_empty() {
        attributes.push(KeyValue::new("gen_ai.request.model", model.clone()));
    }
    let parent = Context::current();
    let operation = otel.start(&parent, name, SpanKind::Client, &otel.instruments.chat, attributes);
    if otel.capture_content {
        let messages: Vec<_> = request.messages.iter().map(|message| parts(message)).collect();
        operation.tell([KeyValue::new("gen_ai.input.messages", json!(messages).to_string())]);
    }
    let is_streamed = request.stream;
    if is_streamed {
        operation.tell([KeyValue::new("gen_ai.request.stream", true)]);
    }
    Box::pin(Chat {
        events: llm.stream(request),
        operation,
        otel,
        unnamed: model.is_empty().then(|| Arc::clone(llm)),
        waits_for_first: is_streamed,
        completion: Completion::default(),
    })
}

struct Chat {
    events: EventStream,
    operation: Operation,
    otel: Otel,
    /// The LLM, if its model was not known when it was asked.
    unnamed: Option<Arc<dyn Llm>>,
    waits_for_first: bool,
    /// Without the texts, unless contents are captured.
    completion: Completion,
}

impl Chat {
    fn note(&mut self, event: &Event) {
        let is_content = matches!(
            event,
            Event::ContentDelta { .. } | Event::ReasoningDelta { .. } | Event::ToolCalls { .. }
        );
        if is_content && std::mem::take(&mut self.waits_for_first) {
            let seconds = self.operation.started.elapsed().as_secs_f64();
            self.otel.instruments.first_chunk.record(seconds, &self.operation.attributes);
            self.operation.tell([KeyValue::new("gen_ai.response.time_to_first_chunk", seconds)]);
        }
        if !is_content || self.otel.capture_content {
            self.completion.absorb(event);
        }
        if matches!(event, Event::Finish(_)) {
            self.end(None);
        }
    }

    fn end(&mut self, error: Option<(&str, String)>) {
        if self.operation.is_over {
            return;
        }
        let operation = &mut self.operation;
        if let Some(name) = self.unnamed.take().map(|llm| llm.model_name()).filter(|name| !name.is_empty()) {
            operation.context.span().update_name(format!("chat {name}"));
            operation.tell([KeyValue::new("gen_ai.request.model", name.clone())]);
            operation.attributes.push(KeyValue::new("gen_ai.request.model", name));
        }
        let completion = std::mem::take(&mut self.completion);
        if let Some(model) = &completion.model {
            let model = KeyValue::new("gen_ai.response.model", model.clone());
            operation.tell([model.clone()]);
            operation.attributes.push(model);
        }
        let reason = completion.finish_reason.as_ref().map(|reason| reason.as_str());
        operation.tell(reason.or(error.as_ref().map(|_| "error")).map(finish_reason));
        operation.tell(completion.id.clone().map(|id| KeyValue::new("gen_ai.response.id", id)));
        operation.tell(completion.usage.iter().flat_map(counted));
        let mut of_tokens = operation.attributes.clone();
        of_tokens.push(KeyValue::new("gen_ai.token.modality", "unknown"));
        let usage = completion.usage.unwrap_or_default();
        self.otel.instruments.input_tokens.add(usage.prompt_tokens.unwrap_or(0), &of_tokens);
        self.otel.instruments.output_tokens.add(usage.completion_tokens.unwrap_or(0), &of_tokens);
        if self.otel.capture_content {
            let answer = json!([parts(&completion.into())]).to_string();
            operation.tell([KeyValue::new("gen_ai.output.messages", answer)]);
        }
        operation.end(error);
    }
}

impl Stream for Chat {
    type Item = Result<Event, loom_wire::LlmError>;

    fn poll_next(self: Pin<&mut Self>, waker: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let current = this.operation.context.clone().attach();
        let event = ready!(this.events.as_mut().poll_next(waker));
        drop(current);
        match &event {
            Some(Ok(event)) => this.note(event),
            Some(Err(error)) => this.end(Some((error.kind.as_str(), error.to_string()))),
            None => this.end(Some(("stream_interrupted", "ended without a finish event".to_owned()))),
        }
        Poll::Ready(event)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.end(Some((CANCELLED, "given up before its end".to_owned())));
    }
}

/// Carries out a call, watched if the run is. `told` says what the model reads, and whether it is an error.
pub(crate) async fn tool<T>(
    call: &ToolCall,
    carried_out: impl Future<Output = T>,
    told: fn(&T) -> (&Content, bool),
) -> T {
    let Some(otel) = Otel::current() else { return carried_out.await };
    let attributes = vec![
        operation_name("execute_tool"),
        KeyValue::new("gen_ai.tool.name", call.name.clone()),
        KeyValue::new("gen_ai.tool.type", "function"),
    ];
    let (parent, name) = (Context::current(), format!("execute_tool {}", call.name));
    let mut operation = otel.start(&parent, name, SpanKind::Internal, &otel.instruments.tool, attributes);
    operation.tell([KeyValue::new("gen_ai.tool.call.id", call.id.clone())]);
    if otel.capture_content {
        operation.tell([KeyValue::new("gen_ai.tool.call.arguments", call.arguments.clone())]);
    }
    let result = carried_out.with_context(operation.context.clone()).await;
    let (content, is_error) = told(&result);
    if otel.capture_content {
        operation.tell([KeyValue::new("gen_ai.tool.call.result", content.text())]);
    }
    operation.end(is_error.then(|| ("tool_error", content.text())));
    result
}

/// A message in the conventions' form. Pictures and files are named by their kind only.
fn parts(message: &Message) -> serde_json::Value {
    let text = |text: &str| json!({"type": "text", "content": text});
    let mut parts = Vec::new();
    if let Some(reasoning) = &message.reasoning {
        parts.push(json!({"type": "reasoning", "content": reasoning}));
    }
    match (&message.content, &message.tool_call_id) {
        (content, Some(id)) => {
            let response = content.as_ref().map(Content::text);
            parts.push(json!({"type": "tool_call_response", "id": id, "response": response}));
        }
        (None, None) => {}
        (Some(Content::Text(said)), None) => parts.push(text(said)),
        (Some(Content::Parts(said)), None) => parts.extend(said.iter().map(|part| {
            let said = part.as_str().or_else(|| part.get("text")?.as_str());
            said.map_or_else(|| json!({"type": part.get("type")}), text)
        })),
    }
    parts.extend(message.tool_calls.iter().map(|call| {
        json!({"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments_object()})
    }));
    json!({"role": message.role.as_str(), "parts": parts})
}
