"""Runs a user's coroutine for a call that goes on in Rust. Called by the extension module."""

from __future__ import annotations

import asyncio
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable


async def _wait(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def start(
    loop: asyncio.AbstractEventLoop,
    context: contextvars.Context,
    awaitable: Awaitable[Any],
    done: Callable[[Any, BaseException | None], None],
) -> Callable[[], None]:
    """Runs an awaitable as a task of `loop`, tells `done` its value or its exception, and returns what cancels it."""
    tasks: list[asyncio.Task[Any]] = []

    def finished(task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            # A task that is cancelled before its first step never comes to await it.
            close = getattr(awaitable, "close", None)
            if close is not None:
                close()
            done(None, asyncio.CancelledError())
        else:
            error = task.exception()
            done(None if error else task.result(), error)

    def begin() -> None:
        task = loop.create_task(_wait(awaitable))
        tasks.append(task)
        task.add_done_callback(finished)

    def cancel() -> None:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])

    loop.call_soon_threadsafe(begin, context=context)
    return cancel


def run_alone(awaitable: Awaitable[Any]) -> Any:
    """Runs an awaitable on a loop of its own."""
    return asyncio.run(_wait(awaitable))
