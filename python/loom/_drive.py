"""Drives a run of an agent: does the IO that the machine in Rust (``_loom.Run``) asks for."""

from __future__ import annotations

from typing import Any

from . import _execute, _loom, _observer
from ._llm import NativeLLM, open_stream
from .errors import ApprovalRequiredError, ContextLengthError, LLMError, LoomError, OutputError, SessionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from ._agent import Agent, Input


class Driver:
    """Runs of one agent, any number at once."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        # The fast path asks the Rust core itself; an LLM with a stream of its own is asked through that.
        built_in = isinstance(agent.llm, NativeLLM) and type(agent.llm).stream is NativeLLM.stream
        self._native = agent.llm._native if built_in else None

    async def events(
        self,
        start: Input,
        output_type: Any,
        deps: Any,
        session: _loom.Session | None,
        extra: dict[str, Any],
        deltas: bool,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a run. ``deltas``: also those of single tokens."""
        agent = self._agent
        options, output = agent._asked if output_type is None else agent._ask_for(output_type)
        run = start if isinstance(start, _loom.Run) else _loom.Run(start, agent.system_prompt, options)
        yield {"type": "run_start", "agent": agent.name}
        if session is not None and run.turns == 0:
            await run.open_session(session, agent.system_prompt is not None, self._model_name())
        outcome = ""  # a run that is left before its end is not counted
        try:
            tools = await agent._toolset.now()
            kind, value = run.start(tools.specs, options, agent.llm, extra)
            while True:
                for report in run.reports():
                    yield report
                if kind == "done":
                    value, refusal = (value, None) if output is None else output.typed(value)
                    if refusal is None:
                        break
                    try:
                        kind, value = run.refuse(str(refusal))
                    except OutputError as error:
                        raise error from refusal
                    continue
                if kind == "model":
                    yield {"type": "model_request", "turn": run.turns}
                    try:
                        if self._native is not None and not deltas:
                            completion = await _within(run, self._answer(value))
                            for event in completion.events():
                                yield event
                        else:
                            events, partial = self._ask(value), run.partial()
                            try:
                                # What has arrived comes as one list: waiting for each event would cost more than the
                                # event.
                                async for batch in events if run.time_left() is None else _timed(run, events, events):
                                    for event in batch:
                                        if event["type"] != "finish":
                                            yield event
                                        if partial is not None and event["type"] == "content_delta":
                                            grown = partial.push(event["content"])
                                            if grown is not None:
                                                yield {"type": "partial", "value": grown}
                            finally:
                                await events.aclose()
                            completion = events.completion()
                    except ContextLengthError as error:
                        # Nothing has been said yet, so it may be asked again with less before the question.
                        less = None if error.partial else run.overflowed(error.context_limit, error.requested_tokens)
                        if less is None:
                            raise
                        kind, value = less
                        continue
                    kind, value = run.completion(completion)
                elif kind == "summary":
                    kind, value = run.summary(await _within(run, self._summarize(value)))
                elif kind == "tools":
                    held = await _execute.to_be_held(tools.by_name, run, value)
                    if held:
                        kind, value = run.hold(held)
                        continue
                    execution = _execute.Execution(value, tools.by_name, agent.name, deps, agent.max_parallel_tools)
                    tool_events = execution.events()
                    try:
                        async for event in tool_events if run.time_left() is None else _timed(run, tool_events):
                            yield event
                    finally:
                        await tool_events.aclose()
                    # What a model called is judged by what it was offered, so they change between the turns.
                    tools = await agent._toolset.now()
                    run.set_tools(tools.specs)
                    kind, value = run.tool_results(execution.results)
                else:
                    outcome = "paused"
                    yield {"type": "approval_required", "tool_calls": [call.to_dict() for call in value]}
                    names = ", ".join(call.name for call in value)
                    raise ApprovalRequiredError(f"the run waits for approval of {names}")
            if session is not None:
                await run.keep(session, self._model_name())
            outcome = "answered"
        except LoomError as error:
            outcome = outcome or "failed"
            if session is not None and not isinstance(error, SessionError):
                try:
                    await run.keep(session, self._model_name())
                except SessionError as unkept:
                    _warn_of_unkept(unkept)
            if error.run is None or session is not None:
                error.run = run.__copy__()
            for report in run.reports():
                yield report
            raise
        finally:
            if outcome:
                agent._stats.add(outcome, run)
            elif session is not None:  # left early: nothing can be awaited any more
                try:
                    run.keep_now(session, self._model_name())
                except SessionError as unkept:
                    _warn_of_unkept(unkept)
        yield {"type": "finish", "finish_reason": value.finish_reason, "message": value}

    def _ask(self, request: _loom.Request) -> Any:
        observer = _observer.current.get()
        return self._open(request) if observer is None else observer.chat(self._agent.llm, request, self._open)

    def _open(self, request: _loom.Request) -> Any:
        if self._native is not None:
            return self._native.stream(request, batched=True)
        return _Collected(self._agent.llm, request)

    def _answer(self, request: _loom.Request) -> Any:
        assert self._native is not None
        generate = self._native.generate
        observer = _observer.current.get()
        if observer is None:
            return generate(request, checked=False)
        return observer.answer(self._agent.llm, request, lambda request: generate(request, checked=False))

    def _model_name(self) -> str:
        return str(getattr(self._agent.llm, "model_name", ""))

    async def _summarize(self, request: _loom.Request) -> _loom.Completion | str:
        """The summary of what will be left out, or why there is none."""
        try:
            if self._native is not None:
                completion: _loom.Completion = await self._answer(request)
                return completion
            events = self._ask(request)
            try:
                async for _ in events:
                    pass
            finally:
                await events.aclose()
            summary: _loom.Completion = events.completion()
            return summary
        except LLMError as error:
            return error.message


def _warn_of_unkept(error: SessionError) -> None:
    import logging

    logging.getLogger("loom").warning("what a run had said was not kept: %s", error)


class _Collected:
    """The events of an LLM written in Python, each in a list of its own, and their sum."""

    def __init__(self, llm: Any, request: _loom.Request) -> None:
        messages, arguments = request.arguments()
        self._events = open_stream(llm, messages, **arguments)
        self._collector = _loom.Collector()

    def __aiter__(self) -> _Collected:
        return self

    async def __anext__(self) -> list[dict[str, Any]]:
        event = await self._events.__anext__()
        self._collector.add(event)
        return [event]

    async def aclose(self) -> None:
        await self._events.aclose()

    def completion(self) -> _loom.Completion:
        return self._collector.completion()


async def _within(run: _loom.Run, answer: Any, events: Any = None) -> Any:
    """The answer, if the run's time allows; else ``events`` know what there is of it."""
    left = run.time_left()
    if left is None:
        return await answer
    import asyncio

    try:
        return await asyncio.wait_for(answer, left)
    except asyncio.TimeoutError:
        run.out_of_time(None if events is None else _arrived(events))


def _arrived(events: Any) -> _loom.Completion | None:
    try:
        completion: _loom.Completion = events.completion()
        return completion
    except LLMError:  # nothing
        return None


async def _timed(run: _loom.Run, coming: AsyncIterator[Any], events: Any = None) -> AsyncGenerator[Any, None]:
    """What comes, as long as the run's time allows."""
    while True:
        try:
            yield await _within(run, coming.__anext__(), events)
        except StopAsyncIteration:
            return
