"""Agents: a model, tools, and the loop between them. The loop's rules are in Rust (``_loom.Run``); this drives it."""

from __future__ import annotations

from typing import Any

from . import _loom, _tools
from ._llm import NativeLLM, UnifiedLLM, open_stream
from ._pool import named_llm
from .errors import ConfigurationError, StreamInterruptedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping

    Input = str | _loom.Message | Mapping[str, Any] | Iterable[str | _loom.Message | Mapping[str, Any]]


class Agent:
    """An agent: a model, tools, and the loop between them. ``loom.agent(…)`` makes one.

    Making it uses no network. Runs share nothing, so any number can go on at once.

    Args:
        name: the agent's name.
        llm: a provider's name (``"custom"``, ``"openai"``, …), an endpoint or pool of ``loom.toml``, a dict of
            ``UnifiedLLM``'s arguments (it is not changed), or an LLM object.
        api_key: the key; see ``UnifiedLLM``.
        base_url: the endpoint's address, such as ``"http://localhost:8000/v1"``.
        model: the model's name.
        system_prompt: instructions that stand before each conversation.
        tools: functions made tools by ``@loom.tool``, or plain functions.
        max_recursion_depth: how often the model may be asked in one run.
        event_handler: called with each event of a run, as ``Agent.stream`` yields them; sync or async. Its failures
            are logged and do not harm the run.
        **llm_options: further arguments of ``UnifiedLLM`` (``temperature``, ``max_tokens``, ``timeout``, …). Given
            beside a dict, they win over its entries.

    Raises:
        ConfigurationError: the settings cannot work.
        ToolError: a tool cannot be used.
    """

    def __init__(
        self,
        name: str = "assistant",
        llm: Any = None,
        *,
        api_key: Any = None,
        base_url: str | None = None,
        model: str | None = None,
        system_prompt: str | None = None,
        tools: Iterable[Any] | None = None,
        max_recursion_depth: int = 20,
        event_handler: Callable[[dict[str, Any]], Any] | None = None,
        **llm_options: Any,
    ) -> None:
        if isinstance(max_recursion_depth, bool) or not isinstance(max_recursion_depth, int) or max_recursion_depth < 1:
            raise ConfigurationError(f"max_recursion_depth is a number of turns from 1, not {max_recursion_depth!r}")
        self.name = name
        self.llm = _make_llm(llm, {"api_key": api_key, "base_url": base_url, "model": model, **llm_options})
        self.system_prompt = system_prompt
        self.max_recursion_depth = max_recursion_depth
        self.event_handler = event_handler
        self._by_name = _tools.collect(tools)
        self._specs = _loom.Tools(list(self._by_name.values()))
        # The fast path asks the Rust core itself; an LLM with a stream of its own is asked through that.
        built_in = isinstance(self.llm, NativeLLM) and type(self.llm).stream is NativeLLM.stream
        self._native = self.llm._native if built_in else None

    @property
    def tools(self) -> list[_tools.Tool]:
        """The tools on offer."""
        return list(self._by_name.values())

    async def run(self, message: Input) -> _loom.Message:
        """Runs to the answer.

        Args:
            message: what the user says: a text, or a list of texts and parts
                (``["What is this?", loom.Image("cat.png")]``); or a whole conversation as a list of messages. It is
                not changed.

        Returns:
            The answer, with ``content``, ``usage`` (of the whole run), ``finish_reason`` and ``reasoning``.

        Raises:
            LLMError: a model call failed; ``partial`` holds what had arrived.
            RecursionError: no answer after ``max_recursion_depth`` turns; ``transcript`` holds the conversation.
        """
        answer: _loom.Message | None = None
        async for event in self._events(message, deltas=self.event_handler is not None):
            if event["type"] == "finish":
                answer = event["message"]
        assert answer is not None  # the machine ends with an answer or raises
        return answer

    def run_sync(self, message: Input) -> _loom.Message:
        """``run`` for scripts and notebooks: waits for the answer, also where an event loop is running already."""
        import asyncio

        if asyncio._get_running_loop() is None:
            return asyncio.run(self.run(message))
        # The running loop cannot be waited for from inside itself, so the run gets a loop and a thread of its own.
        return _run_in_thread(self.run(message), asyncio.current_task())

    def stream(self, message: Input) -> _RunEvents:
        """Runs and reports what happens, as an async iterator of dicts.

        Types, in order: ``run_start``; for each turn ``model_request``, then ``reasoning_delta`` and
        ``content_delta`` (``content``), ``tool_calls``, ``usage``, and per tool ``tool_start`` (``id``, ``name``,
        ``arguments``) and ``tool_end`` (``id``, ``name``, ``content``, ``is_error``); last, once, ``finish``
        (``finish_reason``, ``message``).

        Leaving the loop early ends the run and closes its connection.
        """
        return _RunEvents(self._events(message, deltas=True))

    def _events(self, message: Input, *, deltas: bool) -> AsyncGenerator[dict[str, Any], None]:
        events = self._drive(message, deltas)
        return events if self.event_handler is None else _told(self.event_handler, events)

    async def _drive(self, message: Input, deltas: bool) -> AsyncGenerator[dict[str, Any], None]:
        run = _loom.Run(message, self.system_prompt, self.max_recursion_depth, self._specs)
        yield {"type": "run_start", "agent": self.name}
        kind, value = run.start()
        while kind != "done":
            if kind == "model":
                yield {"type": "model_request", "turn": run.turns}
                if self._native is not None and not deltas:
                    completion = await self._native.generate(value, self._specs, checked=False)
                    for event in completion.events():
                        yield event
                else:
                    events = self._ask(value)
                    try:
                        async for event in events:
                            if event["type"] != "finish":
                                yield event
                    finally:
                        await events.aclose()
                    completion = events.completion()
                kind, value = run.completion(completion)
            else:
                results: list[tuple[str, str, bool]] = []
                tool_events = self._call_tools(value, results)
                try:
                    async for event in tool_events:
                        yield event
                finally:
                    await tool_events.aclose()
                kind, value = run.tool_results(results)
        yield {"type": "finish", "finish_reason": value.finish_reason, "message": value}

    def _ask(self, request: _loom.Request) -> Any:
        if self._native is not None:
            return self._native.stream(request, self._specs)
        return _Collected(self.llm, request, self._specs)

    async def _call_tools(
        self, calls: list[_loom.ToolCall], results: list[tuple[str, str, bool]]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Runs the calls of one turn at once and adds their results as ``(id, content, is_error)``."""
        for call in calls:
            yield {"type": "tool_start", "id": call.id, "name": call.name, "arguments": call.arguments}

        def ended(call: _loom.ToolCall, content: str, is_error: bool) -> dict[str, Any]:
            results.append((call.id, content, is_error))
            return {"type": "tool_end", "id": call.id, "name": call.name, "content": content, "is_error": is_error}

        if len(calls) == 1:  # in the caller's own task
            yield ended(calls[0], *await self._call_tool(calls[0]))
            return
        import asyncio

        running = {asyncio.ensure_future(self._call_tool(call)): call for call in calls}
        try:
            waiting = set(running)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=lambda task: calls.index(running[task])):
                    yield ended(running[task], *task.result())
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _call_tool(self, call: _loom.ToolCall) -> tuple[str, bool]:
        try:
            return _sendable(await self._by_name[call.name].invoke(call.arguments)), False
        except BaseException as error:  # a failing tool informs the model; it does not end the run
            if not isinstance(error, Exception) and not _is_the_tools_own(error):
                raise
            import logging

            logging.getLogger("loom").debug("tool %s failed", call.name, exc_info=True)
            return _describe(error), True

    def __repr__(self) -> str:
        return f"Agent(name={self.name!r}, llm={self.llm!r}, tools={list(self._by_name)!r})"


class _RunEvents:
    """The events of a run. As an async generator; but where a wait for an event was cancelled (``asyncio.wait_for``),
    which ends the run, asking for the next is an error and not the end."""

    __slots__ = ("_events", "_over")

    def __init__(self, events: AsyncGenerator[dict[str, Any], None]) -> None:
        self._events = events
        self._over = False

    def __aiter__(self) -> _RunEvents:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self._over:
            self._over = False
            raise StreamInterruptedError(
                "the run has ended, because a wait for its next event was cancelled",
                hint="asyncio.wait_for on one event cancels the whole run: use timeout=loom.Timeout(first_token=…, "
                "idle=…) instead",
            )
        try:
            return await self._events.__anext__()
        except BaseException as error:
            self._over = type(error).__name__ == "CancelledError"
            raise

    async def aclose(self) -> None:
        """Ends the run and closes its connection."""
        self._over = False
        await self._events.aclose()


def _run_in_thread(run: Coroutine[Any, Any, _loom.Message], outer: Any) -> _loom.Message:
    """Runs a coroutine in a thread with an event loop of its own and waits for it. Ctrl-C ends it at once."""
    import asyncio
    import contextvars
    import threading
    from concurrent.futures import Future

    context = contextvars.copy_context()
    loop = asyncio.new_event_loop()
    done: Future[_loom.Message] = Future()

    def work() -> None:
        try:
            done.set_result(loop.run_until_complete(run))
        except BaseException as error:
            done.set_exception(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def cancel() -> None:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(5)

    thread = threading.Thread(target=context.run, args=(work,), name="loom-run-sync", daemon=True)
    thread.start()
    # Under asyncio.run the first Ctrl-C cancels the task that waits here and raises nothing, so it is looked at.
    cancelling = getattr(outer, "cancelling", int)
    before = cancelling()
    try:
        while True:
            thread.join(0.05)
            if done.done():
                return done.result()
            if cancelling() > before:
                raise asyncio.CancelledError
    except BaseException:
        if not done.done():
            cancel()
        raise


class _Collected:
    """The events of an LLM written in Python, and their sum."""

    def __init__(self, llm: Any, request: _loom.Request, specs: _loom.Tools) -> None:
        self._events = open_stream(llm, request.to_list(), tools=specs.to_list() if len(specs) else None)
        self._collector = _loom.Collector()

    def __aiter__(self) -> _Collected:
        return self

    async def __anext__(self) -> dict[str, Any]:
        event = await self._events.__anext__()
        self._collector.add(event)
        return event

    async def aclose(self) -> None:
        await self._events.aclose()

    def completion(self) -> _loom.Completion:
        return self._collector.completion()


def _is_the_tools_own(error: BaseException) -> bool:
    """Whether a cancellation came out of the tool (of something it had cancelled itself) and not from whoever awaits
    the run. Only Python 3.11 and later can tell."""
    import asyncio

    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    cancelling = getattr(task, "cancelling", None)
    return cancelling is not None and cancelling() == 0


def _describe(error: BaseException) -> str:
    """An exception as the model reads it."""
    kind = type(error).__name__
    try:
        said = str(error)
    except Exception:
        said = ""
    return _sendable(f"Error: {kind}: {said}" if said else f"Error: {kind}")


def _sendable(text: str) -> str:
    """Text without lone surrogates (file names hold them), which UTF-8 cannot carry."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _make_llm(llm: Any, options: dict[str, Any]) -> Any:
    """The LLM of an agent: from a provider's name, a dict of settings, or the object itself."""
    given = {name: value for name, value in options.items() if value is not None}
    if llm is None or isinstance(llm, str):
        return named_llm(llm, given)
    if isinstance(llm, dict):
        return UnifiedLLM(**{**llm, **given})
    if hasattr(llm, "stream") and not isinstance(llm, type):
        if given:
            names = ", ".join(given)
            raise ConfigurationError(
                f"{names} was given beside an LLM object, which has its own settings",
                hint="set it where the LLM object is made",
            )
        return llm
    raise ConfigurationError(f"llm is a provider's name, a dict of settings, or an object with stream(), not {llm!r}")


async def _told(
    handler: Callable[[dict[str, Any]], Any], events: AsyncGenerator[dict[str, Any], None]
) -> AsyncGenerator[dict[str, Any], None]:
    """The same events, after the handler has seen each."""
    try:
        async for event in events:
            try:
                result = handler(dict(event))
                if hasattr(result, "__await__"):
                    await result
            except Exception:  # whoever listens must not harm the run
                import logging

                logging.getLogger("loom").warning("event_handler failed on %s", event["type"], exc_info=True)
            yield event
    finally:
        await events.aclose()


agent = Agent
