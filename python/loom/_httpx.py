"""Requests through a user's httpx client: its auth flow, hooks, transport and proxies apply. Called by the extension
module; httpx is imported here only, where somebody has it."""

from __future__ import annotations

from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable


def is_client(value: Any) -> bool:
    """Whether this is an ``httpx.AsyncClient`` or an ``httpx.Client``, or behaves like one."""
    return callable(getattr(value, "build_request", None)) and callable(getattr(value, "send", None))


def open(client: Any, method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> Any:
    """Sends a request; returns status, headers and a reader of the answer, or an awaitable of them."""
    import inspect

    request = client.build_request(method, url, headers=headers, content=body or None, timeout=_timeout(client))
    if inspect.iscoroutinefunction(client.send):
        return _open_async(client, request)
    response = client.send(request, stream=True, follow_redirects=False)
    return _opened(response, _SyncReader(response))


async def _open_async(client: Any, request: Any) -> Any:
    response = await client.send(request, stream=True, follow_redirects=False)
    return _opened(response, _AsyncReader(response))


def _opened(response: Any, reader: Any) -> tuple[int, list[tuple[str, str]], Any]:
    # The body comes decoded and without its framing.
    gone = ("content-encoding", "content-length", "transfer-encoding", "connection")
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in gone]
    return response.status_code, headers, reader


def _timeout(client: Any) -> Any:
    """httpx's own default of 5 s between two reads would end a long thought; a limit that the user set is kept."""
    import httpx

    if client.timeout == httpx.Timeout(5.0):
        return httpx.Timeout(None, connect=5.0)
    return client.timeout


class _AsyncReader:
    def __init__(self, response: Any) -> None:
        self._response = response
        self._chunks = response.aiter_bytes()

    async def read(self) -> bytes | None:
        """More bytes, or None at the end."""
        async for chunk in self._chunks:
            return chunk  # type: ignore[no-any-return]
        await self._response.aclose()
        return None

    def close(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Closes the connection, from any thread."""
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(lambda: _keep(loop.create_task(self._close())))

    async def _close(self) -> None:
        # A read may be under way, which holds the generator.
        await self._response.aclose()


_tasks: set[Awaitable[Any]] = set()


def _keep(task: asyncio.Task[Any]) -> None:
    """A task that nobody refers to may vanish before it has run."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


class _SyncReader:
    def __init__(self, response: Any) -> None:
        self._response = response
        self._chunks = response.iter_bytes()

    def read(self) -> bytes | None:
        """More bytes, or None at the end."""
        for chunk in self._chunks:
            return chunk  # type: ignore[no-any-return]
        self._response.close()
        return None

    def close(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Closes the connection, on a thread of its own: a read may be under way."""
        import threading

        threading.Thread(target=self._response.close, name="loom-httpx-close", daemon=True).start()
