"""Waits for a run where an event loop is running already."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import Future
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine

    from . import _loom


def run_in_thread(run: Coroutine[Any, Any, _loom.Message], outer: Any) -> _loom.Message:
    """Runs a coroutine in a thread with an event loop of its own and waits for it. Ctrl-C ends it at once."""
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
