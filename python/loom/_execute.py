"""Carries out the calls of one turn: at once as far as that is allowed, within the limits of each tool."""

from __future__ import annotations

from typing import Any

from . import _loom, _observer
from ._tools import ToolContext
from .errors import ToolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from ._tools import Tool


async def to_be_held(tools: Mapping[str, Tool], run: Any, calls: list[_loom.ToolCall]) -> list[str]:
    """The ids of the calls that somebody must approve first.

    Raises:
        ToolError: whether one needs it could not be told.
    """
    held = []
    for call in calls:
        needed = getattr(tools.get(call.name), "requires_approval", False)
        if needed and not run.is_approved(call.id):
            if callable(needed):
                try:
                    needed = needed(call.arguments)
                    if hasattr(needed, "__await__"):
                        needed = await needed
                except Exception as error:  # then nobody knows, so the call must not be made
                    raise ToolError(
                        f"requires_approval of the tool {call.name!r} failed: {_describe(error)[7:]}"
                    ) from error
            if needed:
                held.append(call.id)
    return held


class Execution:
    """The calls of one turn.

    Args:
        calls: the calls, in the order of the model.
        tools: the tools on offer, by name.
        agent: the agent's name.
        deps: what the tools get by their context.
        parallel: how many calls run at the same time.
    """

    def __init__(
        self, calls: list[_loom.ToolCall], tools: Mapping[str, Tool], agent: str, deps: Any, parallel: int
    ) -> None:
        self._calls = calls
        self._tools = tools
        self._agent = agent
        self._deps = deps
        self._parallel = parallel
        #: ``(id, content, is_error)`` of each call that has ended.
        self.results: list[tuple[str, Any, bool]] = []

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Runs them; yields the start and the end of each. Calls start in their order.

        Raises:
            ToolError: a call failed of a tool whose failures end the run.
        """
        if len(self._calls) == 1:  # in the caller's own task
            yield _started(self._calls[0])
            yield self._ended(self._calls[0], await self._carry_out(self._calls[0]))
            return
        import asyncio

        waiting = list(reversed(self._calls))
        running: dict[asyncio.Future[tuple[Any, bool]], _loom.ToolCall] = {}
        alone = False
        try:
            while waiting or running:
                while waiting and self._may_start(waiting[-1], len(running), alone):
                    call = waiting.pop()
                    alone = self._is_sequential(call)
                    yield _started(call)
                    running[asyncio.ensure_future(self._carry_out(call))] = call
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in running if task in done]:
                    yield self._ended(running.pop(task), task.result())
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _is_sequential(self, call: _loom.ToolCall) -> bool:
        tool = self._tools.get(call.name)
        return tool is not None and tool.sequential

    def _may_start(self, call: _loom.ToolCall, running: int, alone: bool) -> bool:
        return running == 0 or not (alone or self._is_sequential(call) or running >= self._parallel)

    def _ended(self, call: _loom.ToolCall, outcome: tuple[Any, bool]) -> dict[str, Any]:
        content, is_error = outcome
        self.results.append((call.id, content, is_error))
        return {"type": "tool_end", "id": call.id, "name": call.name, "content": content, "is_error": is_error}

    async def _carry_out(self, call: _loom.ToolCall) -> tuple[Any, bool]:
        observer = _observer.current.get()
        outcome = self._outcome(call)
        return await (outcome if observer is None else observer.tool(call, outcome))

    async def _outcome(self, call: _loom.ToolCall) -> tuple[Any, bool]:
        tool = self._tools.get(call.name)
        if tool is None:
            return f"Error: there is no tool called {call.name!r}", True
        context: ToolContext[Any] = ToolContext(self._deps, agent=self._agent, call_id=call.id, tool=call.name)
        arguments = call.arguments
        while True:
            try:
                called = tool.invoke(arguments, context)
                content = await (called if tool.timeout is None else _within(called, tool.timeout))
                return _limited(content, tool.max_result_chars), False
            except BaseException as error:  # a failing tool informs the model; it does not end the run
                if not isinstance(error, Exception) and not _is_the_tools_own(error):
                    raise
                if context.attempt <= tool.retries:
                    # A new one: the failed call may still hold the old.
                    context = ToolContext(
                        self._deps, agent=self._agent, call_id=call.id, tool=call.name, attempt=context.attempt + 1
                    )
                    _log("tool %s failed and is called again", call.name)
                    continue
                described = _describe(error)
                if tool.raise_errors:
                    raise ToolError(f"the tool {call.name!r} failed: {described}") from error
                _log("tool %s failed", call.name)
                return _limited(described, tool.max_result_chars), True


def _started(call: _loom.ToolCall) -> dict[str, Any]:
    return {"type": "tool_start", "id": call.id, "name": call.name, "arguments": call.arguments}


async def _within(called: Any, limit: float) -> Any:
    import asyncio

    task = asyncio.ensure_future(called)
    try:
        done, _ = await asyncio.wait([task], timeout=limit)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    if done:
        return task.result()
    task.cancel()
    # One that does not let itself be cancelled is not waited for.
    await asyncio.wait([task], timeout=1)
    if task.done() and not task.cancelled():
        task.exception()
    raise ToolError(f"the tool did not end within {limit:g} s")


def _log(text: str, name: str) -> None:
    import logging

    logging.getLogger("loom").debug(text, name, exc_info=True)


def _limited(content: Any, limit: int) -> Any:
    if isinstance(content, str):
        content = _sendable(content)
        if len(content) <= limit:
            return content
    return _loom.limited(content, limit)


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
