"""Whoever listens to a run: told of each event in order, without holding the run up or harming it."""

from __future__ import annotations

from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections import deque
    from collections.abc import AsyncGenerator, Callable, Coroutine

GRACE = 5.0  #: seconds that a run waits at its end for a slow handler
MAX_BEHIND = 10_000  #: events that a handler may be behind before the run waits for it


async def told(
    handler: Callable[[dict[str, Any]], Any], events: AsyncGenerator[dict[str, Any], None]
) -> AsyncGenerator[dict[str, Any], None]:
    """The same events; the handler is told of each."""
    listener = _Listener(handler)
    try:
        async for event in events:
            listener.tell(dict(event))
            if listener.is_far_behind():
                await listener.catch_up(None)
            yield event
    finally:
        await events.aclose()
        await listener.catch_up(GRACE)


class _Listener:
    def __init__(self, handler: Callable[[dict[str, Any]], Any]) -> None:
        self._handler = handler
        self._waiting: deque[tuple[str, Coroutine[Any, Any, Any]]] | None = None
        self._task: asyncio.Future[None] | None = None

    def tell(self, event: dict[str, Any]) -> None:
        try:
            result = self._handler(event)
        except Exception:
            self._failed(event["type"])
            return
        if not hasattr(result, "__await__"):
            return
        # An async handler: what it returns for one event is awaited after what it returned for the one before.
        if self._waiting is None:
            from collections import deque

            self._waiting = deque()
        self._waiting.append((event["type"], result))
        if self._task is None or self._task.done():
            import asyncio

            self._task = asyncio.ensure_future(self._work(self._waiting))

    async def _work(self, waiting: deque[tuple[str, Any]]) -> None:
        while waiting:
            kind, result = waiting.popleft()
            try:
                await result
            except Exception:
                self._failed(kind)

    def is_far_behind(self) -> bool:
        return self._waiting is not None and len(self._waiting) > MAX_BEHIND

    async def catch_up(self, patience: float | None) -> None:
        """Waits until the handler has been told all; what it is too slow for is left out, which is logged."""
        if self._task is None or self._waiting is None:
            return
        import asyncio

        try:
            await asyncio.wait({self._task}, timeout=patience)
        finally:
            if not self._task.done():
                left = len(self._waiting) + 1
                self._task.cancel()
                while self._waiting:
                    close = getattr(self._waiting.popleft()[1], "close", None)
                    if close is not None:
                        close()
                _log().warning("event_handler was too slow: it was not told of the last %d events", left)

    @staticmethod
    def _failed(kind: str) -> None:
        _log().warning("event_handler failed on %s", kind, exc_info=True)


def _log() -> Any:
    import logging

    return logging.getLogger("loom")
