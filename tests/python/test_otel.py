"""loom.otel: what OpenTelemetry is told of runs, with the SDK's own exporters."""

import asyncio
import json
import threading

import loom
import loom.otel
import pytest
from conftest import agent_for, collect, output, run
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from replies import Reply, error_reply, sse, text_chunks, tool_calls

ASK_PARIS = 'call weather {"city": "Paris"}'


class Told:
    """An SDK that keeps what it is told."""

    def __init__(self):
        self._spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader])

    @property
    def providers(self):
        return {"tracer_provider": self.tracers, "meter_provider": self.meters}

    @property
    def spans(self):
        return list(self._spans.get_finished_spans())

    def span(self, name):
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def points(self, name):
        data = self._reader.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return [point for metric in metrics if metric.name == name for point in metric.data.data_points]


@pytest.fixture
def told():
    told = Told()
    yield told
    loom.otel.uninstrument()
    told.meters.shutdown()


def weather_of(told):
    tracer = told.tracers.get_tracer("mine")

    async def weather(city: str) -> str:
        with tracer.start_as_current_span("my own"):
            await asyncio.sleep(0.02)
        if city == "Atlantis":
            raise LookupError("no such city")
        return f"sunny in {city}"

    return weather


def watched(server, told, capture_content=None, **options):
    agent = agent_for(server, **{"tools": [weather_of(told)], **options})
    loom.otel.instrument(agent, capture_content=capture_content, **told.providers)
    return agent


def parent_of(told, span):
    (parent,) = [other for other in told.spans if other.context.span_id == span.parent.span_id]
    return parent


def test_a_run_is_a_tree_of_spans_without_contents(server, told):
    run(collect(watched(server, told).stream(ASK_PARIS)))
    whole = told.span("invoke_agent assistant")
    assert whole.parent is None and whole.kind is SpanKind.INTERNAL and whole.status.status_code is StatusCode.UNSET
    assert whole.attributes["gen_ai.agent.name"] == "assistant"
    chats = [span for span in told.spans if span.name == "chat m"]
    for chat, reason in zip(chats, ("tool_calls", "stop")):
        assert chat.kind is SpanKind.CLIENT and parent_of(told, chat) is whole
        expected = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "custom",
            "gen_ai.request.model": "m",
            "gen_ai.request.stream": True,
            "gen_ai.response.model": "mock-model",
            "gen_ai.response.finish_reasons": (reason,),
            "server.address": "127.0.0.1",
            "server.port": server.port,
        }
        assert {name: chat.attributes[name] for name in expected} == expected
        assert chat.attributes["gen_ai.usage.input_tokens"] > 0 and chat.attributes["gen_ai.usage.output_tokens"] > 0
        assert chat.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert len(chats) == 2
    tool = told.span("execute_tool weather")
    assert parent_of(told, tool) is whole and tool.attributes["gen_ai.tool.call.id"] == "call_1"
    assert tool.end_time - tool.start_time >= 20_000_000
    assert parent_of(told, told.span("my own")) is tool
    everything = "".join(span.to_json() for span in told.spans)
    assert "Paris" not in everything and "sunny" not in everything
    assert all("traceparent" not in request.headers for request in server.requests)


def test_metrics_count_tokens_and_measure_time(server, told):
    answer = run(watched(server, told, event_handler=lambda event: None).run(ASK_PARIS))
    (chat,) = told.points("gen_ai.client.inference.duration")
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "custom",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "mock-model",
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    assert dict(chat.attributes) == expected and chat.count == 2 and chat.explicit_bounds[-1] == 81.92
    assert [point.count for point in told.points("gen_ai.client.inference.time_to_first_chunk")] == [2]
    (tokens,) = told.points("gen_ai.client.inference.usage.input_tokens")
    assert tokens.value == answer.usage.prompt_tokens
    assert dict(tokens.attributes) == {**expected, "gen_ai.token.modality": "unknown"}
    (tokens,) = told.points("gen_ai.client.inference.usage.output_tokens")
    assert tokens.value == answer.usage.completion_tokens
    (tool,) = told.points("gen_ai.execute_tool.duration")
    assert tool.attributes["gen_ai.tool.name"] == "weather" and "gen_ai.tool.call.id" not in tool.attributes
    assert [point.count for point in told.points("gen_ai.invoke_agent.duration")] == [1]


def test_an_answer_in_one_piece_has_no_first_chunk(server, told):
    assert run(watched(server, told).run("hi")).content == "echo: hi"
    assert "gen_ai.request.stream" not in told.span("chat m").attributes
    assert told.span("chat m").attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert not told.points("gen_ai.client.inference.time_to_first_chunk")


def captured(told, server, capture_content):
    run(watched(server, told, capture_content, system_prompt="Be brief.").run(ASK_PARIS))
    return [span for span in told.spans if span.name == "chat m"][-1]


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_contents_are_captured_where_they_are_asked_for(server, told, by, monkeypatch):
    if by == "environment":
        monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    last = captured(told, server, True if by == "argument" else None)
    system, user, calling, result = json.loads(last.attributes["gen_ai.input.messages"])
    assert system == {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}
    assert user == {"role": "user", "parts": [{"type": "text", "content": ASK_PARIS}]}
    call = {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": {"city": "Paris"}}
    assert calling == {"role": "assistant", "parts": [call]}
    assert result["parts"] == [{"type": "tool_call_response", "id": "call_1", "response": "sunny in Paris"}]
    (answer,) = json.loads(last.attributes["gen_ai.output.messages"])
    assert answer["parts"] == [{"type": "text", "content": "tools: sunny in Paris"}]
    tool = told.span("execute_tool weather")
    assert json.loads(tool.attributes["gen_ai.tool.call.arguments"]) == {"city": "Paris"}
    assert tool.attributes["gen_ai.tool.call.result"] == "sunny in Paris"


def test_the_argument_wins_over_the_environment(server, told, monkeypatch):
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    assert "gen_ai.input.messages" not in captured(told, server, False).attributes


@pytest.mark.parametrize("streams", [False, True])
def test_what_fails_ends_with_an_error(server, told, streams):
    server.script(error_reply(400, "I will not say: hello, secret"))
    agent = watched(server, told, event_handler=(lambda event: None) if streams else None)
    with pytest.raises(loom.LLMError) as raised:
        run(agent.run("hello, secret"))
    for name in ("chat m", "invoke_agent assistant"):
        span = told.span(name)
        assert span.status.status_code is StatusCode.ERROR and span.attributes["error.type"] == raised.value.kind
    assert told.span("chat m").attributes["gen_ai.response.finish_reasons"] == ("error",)
    assert "secret" not in "".join(span.to_json() for span in told.spans)
    (point,) = told.points("gen_ai.client.inference.duration")
    assert point.attributes["error.type"] == raised.value.kind
    (tokens,) = told.points("gen_ai.client.inference.usage.input_tokens")
    assert tokens.value == 0


def test_a_failing_tool_is_not_a_failing_run(server, told):
    run(watched(server, told).run('call weather {"city": "Atlantis"}'))
    assert told.span("execute_tool weather").attributes["error.type"] == "tool_error"
    assert told.span("invoke_agent assistant").status.status_code is StatusCode.UNSET


def test_a_limit_is_named_by_its_error(server, told):
    with pytest.raises(loom.RecursionError):
        run(watched(server, told, max_recursion_depth=1).run(ASK_PARIS))
    assert told.span("invoke_agent assistant").attributes["error.type"] == "RecursionError"


def assert_cancelled(told, *names):
    assert sorted(span.name for span in told.spans) == sorted(names)
    for span in told.spans:
        assert span.status.status_code is StatusCode.ERROR and span.attributes["error.type"] == "cancelled"


def test_what_is_left_early_ends_as_cancelled(server, told):
    async def leave():
        stay = threading.Event()
        server.script(sse(*text_chunks("one"), stay))
        events = watched(server, told).stream("hi")
        async for event in events:
            if event["type"] == "content_delta":
                break
        assert not told.spans
        await events.aclose()
        stay.set()

    run(leave())
    assert_cancelled(told, "chat m", "invoke_agent assistant")


@pytest.mark.parametrize("streams", [False, True])
def test_what_is_cancelled_ends_as_cancelled(server, told, streams):
    async def cancel():
        stay = threading.Event()
        server.script(Reply([], delay=stay))
        agent = watched(server, told, event_handler=(lambda event: None) if streams else None)
        task = asyncio.ensure_future(agent.run("hi"))
        while not server.chats:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stay.set()

    run(cancel())
    assert_cancelled(told, "chat m", "invoke_agent assistant")


def test_a_time_limit_within_a_stream(server, told):
    stay = threading.Event()
    server.script(sse(*text_chunks("one"), stay))
    with pytest.raises(loom.TimeLimitError):
        run(watched(server, told, max_seconds=0.2, event_handler=lambda event: None).run("hi"))
    stay.set()
    assert told.span("chat m").attributes["error.type"] == "cancelled"
    assert told.span("invoke_agent assistant").attributes["error.type"] == "TimeLimitError"


def test_a_run_that_pauses_has_not_failed(server, told):
    tool = loom.tool(weather_of(told), requires_approval=True)
    with pytest.raises(loom.ApprovalRequiredError):
        run(watched(server, told, tools=[tool]).run(ASK_PARIS))
    span = told.span("invoke_agent assistant")
    assert span.status.status_code is StatusCode.UNSET and span.attributes["loom.run.paused"] is True
    assert not [span for span in told.spans if span.name.startswith("execute_tool")]


def test_runs_at_once_keep_apart_and_under_whoever_asked(server, told):
    agent = watched(server, told)
    tracer = told.tracers.get_tracer("mine")

    async def ask(number):
        with tracer.start_as_current_span(f"caller {number}") as caller:
            async for _ in agent.stream(f"{ASK_PARIS}\n{ASK_PARIS}"):
                assert trace.get_current_span() is caller  # the run's span is not left behind
        return caller

    async def all_of_them():
        return await asyncio.gather(*(ask(number) for number in range(10)))

    run(all_of_them())
    own = [span for span in told.spans if span.name == "my own"]
    assert len(own) == 20
    runs = {parent_of(told, parent_of(told, span)).context.span_id: span for span in own}
    callers = {parent_of(told, span).name for span in told.spans if span.name == "invoke_agent assistant"}
    assert len(runs) == len(callers) == 10


def test_plain_functions_and_llms_of_ones_own_run_within_their_spans(told):
    seen = {}

    def weather(city: str) -> str:
        """The weather."""
        seen["tool"] = trace.get_current_span().name
        return "sunny"

    class Mine(loom.BaseLLM):
        @property
        def model_name(self):
            return "mine"

        async def stream(self, messages, tools=None, **_):
            seen["llm"] = trace.get_current_span().name
            if messages[-1]["role"] == "tool":
                yield {"type": "content_delta", "content": messages[-1]["content"]}
                yield {"type": "finish", "finish_reason": "stop"}
            else:
                yield {"type": "tool_calls", "tool_calls": [{"id": "1", "name": "weather", "arguments": {"city": "x"}}]}
                yield {"type": "finish", "finish_reason": "tool_calls"}

    agent = loom.agent(llm=Mine(), tools=[weather])
    loom.otel.instrument(agent, **told.providers)
    assert run(agent.run("?")).content == "sunny"
    assert seen == {"tool": "execute_tool weather", "llm": "chat mine"}
    assert "server.address" not in told.span("execute_tool weather").attributes


def test_all_agents_can_be_watched_and_those_that_tools_call(server, told):
    inner = agent_for(server, name="inner")

    async def ask(question: str) -> str:
        """Asks."""
        return (await inner.run(question)).content

    outer = agent_for(server, name="outer", tools=[ask])
    loom.otel.instrument(outer, **told.providers)
    run(outer.run('call ask {"question": "hi"}'))
    assert parent_of(told, told.span("invoke_agent inner")) is told.span("execute_tool ask")
    run(inner.run("hi"))
    assert len([span for span in told.spans if span.name == "invoke_agent inner"]) == 1

    loom.otel.instrument(**told.providers)
    run(inner.run("hi"))
    assert len([span for span in told.spans if span.name == "invoke_agent inner"]) == 2
    loom.otel.uninstrument()
    run(inner.run("hi"))
    assert len([span for span in told.spans if span.name == "invoke_agent inner"]) == 2


def test_a_model_that_is_found_by_asking_and_a_provider_with_another_name(server, told):
    agent = loom.agent(llm="mistral", base_url=server.url, api_key="k")
    loom.otel.instrument(agent, **told.providers)
    run(agent.run("hi"))
    (chat,) = [span for span in told.spans if span.name.startswith("chat ")]
    assert chat.attributes["gen_ai.provider.name"] == "mistral_ai"
    told_again = Told()
    found = loom.agent(llm="custom", base_url=server.url)
    loom.otel.instrument(found, **told_again.providers)
    run(found.run("hi"))
    assert told_again.span("chat mock-model").attributes["gen_ai.request.model"] == "mock-model"


def test_loom_itself_does_not_import_opentelemetry(tmp_path):
    assert (
        output("import loom, sys; assert not [name for name in sys.modules if 'opentelemetry' in name]", tmp_path) == ""
    )
    source = "import sys; sys.modules['opentelemetry'] = None\ntry: import loom.otel\nexcept ImportError as e: print(e)"
    assert "loom-agent[otel]" in output(source, tmp_path)


def test_without_an_sdk_nothing_is_recorded(server):
    agent = agent_for(server)
    loom.otel.instrument(agent)
    assert run(agent.run("hi")).content == "echo: hi"


def test_a_tool_turn_of_a_script(server, told):
    server.script(tool_calls(("weather", {"city": "A"}), ("weather", {"city": "B"})))
    run(collect(watched(server, told).stream("hi")))
    tools = [span for span in told.spans if span.name == "execute_tool weather"]
    assert {span.attributes["gen_ai.tool.call.id"] for span in tools} == {"call_1", "call_2"}
    # At once, and each as long as it took itself.
    assert tools[0].start_time < tools[1].end_time and tools[1].start_time < tools[0].end_time
