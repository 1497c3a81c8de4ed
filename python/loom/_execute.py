"""Executing the calls of one turn: which must be approved first, and all others at once."""

from __future__ import annotations

from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from ._loom import ToolCall
    from ._tools import Tool

    Result = tuple[str, Any, bool]  # the call's id, what the model reads, whether it failed


async def to_be_held(tools: Mapping[str, Tool], run: Any, calls: list[ToolCall]) -> list[str]:
    """The ids of the calls that somebody must approve first."""
    held = []
    for call in calls:
        needed = getattr(tools.get(call.name), "requires_approval", False)
        if needed and not run.is_approved(call.id):
            if callable(needed):
                needed = needed(call.arguments)
                if hasattr(needed, "__await__"):
                    needed = await needed
            if needed:
                held.append(call.id)
    return held


async def call_tools(
    tools: Mapping[str, Tool], calls: list[ToolCall], results: list[Result]
) -> AsyncGenerator[dict[str, Any], None]:
    """Runs the calls and adds their results to ``results``; yields their events."""
    for call in calls:
        yield {"type": "tool_start", "id": call.id, "name": call.name, "arguments": call.arguments}

    def ended(call: ToolCall, content: Any, is_error: bool) -> dict[str, Any]:
        results.append((call.id, content, is_error))
        return {"type": "tool_end", "id": call.id, "name": call.name, "content": content, "is_error": is_error}

    if len(calls) == 1:  # in the caller's own task
        yield ended(calls[0], *await _call(tools, calls[0]))
        return
    import asyncio

    running = {asyncio.ensure_future(_call(tools, call)): call for call in calls}
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


async def _call(tools: Mapping[str, Tool], call: ToolCall) -> tuple[Any, bool]:
    try:
        return _sendable(await tools[call.name].invoke(call.arguments)), False
    except BaseException as error:  # a failing tool informs the model; it does not end the run
        if not isinstance(error, Exception) and not _is_the_tools_own(error):
            raise
        import logging

        logging.getLogger("loom").debug("tool %s failed", call.name, exc_info=True)
        return _describe(error), True


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
