"""OpenTelemetry: spans and metrics of runs, named by the GenAI semantic conventions, version 0.1.0 (in development).

    import loom.otel

    loom.otel.instrument()

Needs ``pip install 'loom-agent[otel]'``. Without an SDK that somebody has set up, nothing is recorded, and nothing is
exported but by the exporters of that SDK.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from . import _loom, _observer
from ._agent import Agent
from .errors import ApprovalRequiredError

try:
    from opentelemetry import context as _context
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError("loom.otel needs opentelemetry-api: pip install 'loom-agent[otel]'") from error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from opentelemetry.context import Context

    Error = tuple[str, str]  # its type and its words

__all__ = ["instrument", "uninstrument"]

_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
#: Of all durations, as the conventions want them; seconds.
_BUCKETS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_CANCELLED = ("cancelled", "given up before its end")
_CONTENTS = ("content_delta", "reasoning_delta", "tool_calls")


def instrument(
    agent: Agent | None = None,
    *,
    capture_content: bool | None = None,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> None:
    """Tells OpenTelemetry of the runs that begin from now on.

    Spans are ``invoke_agent {agent}`` for a run and, below it, ``chat {model}`` for each model call and
    ``execute_tool {tool}`` for each executed call. A tool runs with its span as the current one.

    Args:
        agent: this agent only. Default: all agents.
        capture_content: whether prompts, answers, arguments, results and the words of errors are recorded in the spans.
            Default: if the variable ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` is ``true``, ``SPAN_ONLY``
            or ``SPAN_AND_EVENT``.
        tracer_provider: where spans go. Default: the global one.
        meter_provider: where metrics go. Default: the global one.
    """
    if capture_content is None:
        capture_content = os.environ.get(_CAPTURE, "").lower() in ("true", "span_only", "span_and_event")
    watch = _Watch(
        trace.get_tracer("loom", _loom.__version__, tracer_provider),
        metrics.get_meter("loom", _loom.__version__, meter_provider),
        capture_content,
    )
    (Agent if agent is None else agent)._watched_by = watch


def uninstrument(agent: Agent | None = None) -> None:
    """Ends what ``instrument`` with the same argument began, for the runs that begin from now on."""
    if agent is None:
        Agent._watched_by = None
    else:
        agent.__dict__.pop("_watched_by", None)


class _Operation:
    """What is under way: its span, and what its metrics say of it."""

    def __init__(
        self, watch: _Watch, name: str, kind: trace.SpanKind, duration: Any, attributes: dict[str, Any]
    ) -> None:
        parent = _context.get_current()
        self.span = watch.tracer.start_span(name, parent, kind, attributes)
        self.context = trace.set_span_in_context(self.span, parent)
        self.attributes = attributes
        self.is_over = False
        self._watch = watch
        self._duration = duration
        self._started = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    @contextmanager
    def current(self) -> Iterator[None]:
        """Its span is the current one. Never while an event is yielded: whoever takes it has a context of their own."""
        context = _context.attach(self.context)
        observer = _observer.current.set(self._watch)
        try:
            yield
        finally:
            _observer.current.reset(observer)
            _context.detach(context)

    def end(self, error: Error | None = None) -> None:
        if self.is_over:
            return
        self.is_over = True
        if error is not None:
            self.attributes = {**self.attributes, "error.type": error[0]}
            self.span.set_attribute("error.type", error[0])
            # Servers quote the question when they refuse it.
            words = error[1] if self._watch.capture_content else None
            self.span.set_status(trace.Status(trace.StatusCode.ERROR, words))
        self._duration.record(self.seconds(), self.attributes)
        self.span.end()


class _Watch:
    """The observer of runs."""

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter, capture_content: bool) -> None:
        def seconds(name: str) -> Any:
            return meter.create_histogram(name, "s", explicit_bucket_boundaries_advisory=_BUCKETS)

        self.tracer = tracer
        self.capture_content = capture_content
        self._of_runs = seconds("gen_ai.invoke_agent.duration")
        self._of_chats = seconds("gen_ai.client.inference.duration")
        self._of_tools = seconds("gen_ai.execute_tool.duration")
        self.of_first_chunks = seconds("gen_ai.client.inference.time_to_first_chunk")
        self._input_tokens = meter.create_counter("gen_ai.client.inference.usage.input_tokens", "{token}")
        self._output_tokens = meter.create_counter("gen_ai.client.inference.usage.output_tokens", "{token}")

    def run(self, agent: Agent, events: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[dict[str, Any], None]:
        return self._run(agent, events, _context.get_current())

    async def _run(
        self, agent: Agent, events: AsyncGenerator[dict[str, Any], None], parent: Context
    ) -> AsyncGenerator[dict[str, Any], None]:
        attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent.name}
        token = _context.attach(parent)
        operation = _Operation(self, f"invoke_agent {agent.name}", trace.SpanKind.INTERNAL, self._of_runs, attributes)
        _context.detach(token)
        try:
            while True:
                with operation.current():
                    try:
                        event = await events.__anext__()
                    except StopAsyncIteration:
                        return
                if event["type"] == "finish":
                    if event["finish_reason"] is not None:
                        operation.span.set_attribute("gen_ai.response.finish_reasons", [event["finish_reason"]])
                    operation.span.set_attributes(_counted(event["message"].usage))
                    operation.end()
                yield event
        except ApprovalRequiredError:
            operation.span.set_attribute("loom.run.paused", True)
            operation.end()
            raise
        except Exception as error:
            operation.end(_described(error))
            raise
        finally:
            try:
                with operation.current():
                    await events.aclose()
            finally:
                operation.end(_CANCELLED)

    def chat(self, llm: Any, request: _loom.Request, ask: Callable[[_loom.Request], Any]) -> _Chat:
        return _Chat(self, llm, request, ask)

    async def answer(
        self, llm: Any, request: _loom.Request, ask: Callable[[_loom.Request], Awaitable[_loom.Completion]]
    ) -> _loom.Completion:
        operation = self.begin_chat(llm, request, streamed=False)
        completion, error = None, _CANCELLED
        try:
            with operation.current():
                completion = await ask(request)
            return completion
        except Exception as failed:
            error = _described(failed)
            raise
        finally:
            self.end_chat(operation, llm, completion, error)

    async def tool(self, call: _loom.ToolCall, carried_out: Awaitable[tuple[Any, bool]]) -> tuple[Any, bool]:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.type": "function",
        }
        operation = _Operation(self, f"execute_tool {call.name}", trace.SpanKind.INTERNAL, self._of_tools, attributes)
        operation.span.set_attribute("gen_ai.tool.call.id", call.id)
        if self.capture_content:
            operation.span.set_attribute("gen_ai.tool.call.arguments", _json(call.arguments))
        try:
            with operation.current():
                content, is_error = await carried_out
            text = content if isinstance(content, str) else _json(content)
            if self.capture_content:
                operation.span.set_attribute("gen_ai.tool.call.result", text)
            operation.end(("tool_error", text) if is_error else None)
            return content, is_error
        except Exception as error:
            operation.end(_described(error))
            raise
        finally:
            operation.end(_CANCELLED)

    def begin_chat(self, llm: Any, request: _loom.Request, *, streamed: bool) -> _Operation:
        attributes: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": _provider(llm)}
        url = urlsplit(getattr(llm, "base_url", "") or "")
        if url.hostname:
            attributes["server.address"] = url.hostname
            attributes["server.port"] = url.port or (443 if url.scheme == "https" else 80)
        model = getattr(llm, "model_name", "")
        if model:
            attributes["gen_ai.request.model"] = model
        operation = _Operation(self, f"chat {model}".strip(), trace.SpanKind.CLIENT, self._of_chats, attributes)
        if streamed:
            operation.span.set_attribute("gen_ai.request.stream", True)
        if self.capture_content:
            messages, _ = request.arguments()
            operation.span.set_attribute("gen_ai.input.messages", _json([_parts(message) for message in messages]))
        return operation

    def end_chat(self, operation: _Operation, llm: Any, completion: _loom.Completion | None, error: Error) -> None:
        """Ends it: in the error, unless there is a completion."""
        if operation.is_over:
            return
        span, said = operation.span, dict(operation.attributes)
        model = getattr(llm, "model_name", "")
        if model and "gen_ai.request.model" not in said:  # the LLM has found it by now
            span.update_name(f"chat {model}")
            said["gen_ai.request.model"] = model
        reason: str | None = "error"
        usage = None
        if completion is not None:
            reason, usage = completion.finish_reason, completion.usage
            if completion.model:
                said["gen_ai.response.model"] = completion.model
            if completion.id:
                span.set_attribute("gen_ai.response.id", completion.id)
            if self.capture_content:
                answer = _parts(completion.to_message().to_dict())
                span.set_attribute("gen_ai.output.messages", _json([answer]))
        operation.attributes = said
        span.set_attributes({**said, **_counted(usage)})
        if reason is not None:
            span.set_attribute("gen_ai.response.finish_reasons", [reason])
        said = {**said, "gen_ai.token.modality": "unknown"}
        self._input_tokens.add((usage and usage.prompt_tokens) or 0, said)
        self._output_tokens.add((usage and usage.completion_tokens) or 0, said)
        operation.end(error if completion is None else None)


class _Chat:
    """The events of a model call in lists of those that came together, watched."""

    def __init__(self, watch: _Watch, llm: Any, request: _loom.Request, ask: Callable[[_loom.Request], Any]) -> None:
        self._watch = watch
        self._llm = llm
        self._operation = watch.begin_chat(llm, request, streamed=True)
        self._events = ask(request)
        self._completion: _loom.Completion | None = None
        self._waits_for_first = True

    def __aiter__(self) -> _Chat:
        return self

    async def __anext__(self) -> Any:
        try:
            with self._operation.current():
                events = await self._events.__anext__()
        except StopAsyncIteration:
            self._completion = self._events.completion()  # can be had once
            self._watch.end_chat(self._operation, self._llm, self._completion, _CANCELLED)
            raise
        except BaseException as error:
            described = _described(error) if isinstance(error, Exception) else _CANCELLED
            self._watch.end_chat(self._operation, self._llm, None, described)
            raise
        if self._waits_for_first and any(event["type"] in _CONTENTS for event in events):
            self._waits_for_first = False
            seconds = self._operation.seconds()
            self._watch.of_first_chunks.record(seconds, self._operation.attributes)
            self._operation.span.set_attribute("gen_ai.response.time_to_first_chunk", seconds)
        return events

    async def aclose(self) -> None:
        try:
            with self._operation.current():
                await self._events.aclose()
        finally:
            self._watch.end_chat(self._operation, self._llm, None, _CANCELLED)

    def completion(self) -> Any:
        return self._events.completion() if self._completion is None else self._completion


def _provider(llm: Any) -> str:
    """The provider's name; that of the conventions where they have one."""
    name = getattr(llm, "provider", None) or "custom"
    return next((entry.get("otel") or name for entry in _loom.providers() if entry["name"] == name), name)


def _counted(usage: _loom.Usage | None) -> dict[str, int]:
    counts = {
        "gen_ai.usage.input_tokens": usage and usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage and usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage and usage.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage and usage.reasoning_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}


def _described(error: Exception) -> Error:
    return str(getattr(error, "kind", None) or type(error).__name__), str(error)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _parts(message: dict[str, Any]) -> dict[str, Any]:
    """A message in the conventions' form. Pictures and files are named by their kind only."""
    parts: list[dict[str, Any]] = []
    content = message.get("content")
    if message.get("reasoning"):
        parts.append({"type": "reasoning", "content": message["reasoning"]})
    said = [content] if isinstance(content, str) else content or []
    texts = [part if isinstance(part, str) else part.get("text") for part in said]
    if message.get("tool_call_id"):
        response = "".join(text or "" for text in texts)
        parts.append({"type": "tool_call_response", "id": message["tool_call_id"], "response": response})
    else:
        for part, text in zip(said, texts):
            parts.append({"type": part.get("type")} if text is None else {"type": "text", "content": text})
    for call in message.get("tool_calls") or []:
        called = call.get("function", call)
        arguments = called["arguments"]
        if isinstance(arguments, str):
            with suppress(ValueError):
                arguments = json.loads(arguments)
        parts.append({"type": "tool_call", "id": call["id"], "name": called["name"], "arguments": arguments})
    return {"role": message["role"], "parts": parts}
