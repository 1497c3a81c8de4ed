"""Emulated servers to test one's own code with: local, without a model, the same answers every time.

    from loom.testing import emulate

    with emulate("vllm", script=["Bonjour"]) as server:
        ...  # any client, with base_url=server.base_url

With pytest, the fixtures ``loom_server`` and ``loom_emulate`` come with the package: see ``loom.testing.plugin``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from .. import _loom

__all__ = ["EmulatedServer", "RecordedRequest", "emulate", "emulators"]


@dataclass(frozen=True)
class RecordedRequest:
    """One request that a server got, exactly as it came."""

    method: str
    target: str  #: path and query
    headers: list[tuple[str, str]]  #: in the order and the spelling in which they came
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """The value of the first header of this name, in any spelling; None if there is none."""
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class EmulatedServer:
    """An emulated server on 127.0.0.1; made by :func:`emulate`."""

    def __init__(self, name: str, server: _loom.EmulatedServer) -> None:
        self.name = name
        self._server = server

    @property
    def base_url(self) -> str:
        """What to give to a client, with the base path of the server: ``http://127.0.0.1:PORT/v1``."""
        return self._server.base_url

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return self._server.origin

    @property
    def models(self) -> list[str]:
        """The models that it serves; of ``badproxy``, the ways to break an answer."""
        return self._server.models

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests so far, in the order in which they came."""
        return [RecordedRequest(*fields) for fields in self._server.requests()]

    def close(self) -> None:
        """Stops it and frees its port. What it got stays."""
        self._server.close()

    def __enter__(self) -> EmulatedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EmulatedServer {self.name} at {self.base_url}>"


def emulators() -> dict[str, str]:
    """The servers that can be emulated: name and title."""
    return dict(_loom.emulators())


def emulate(
    name: str = "openai",
    *,
    api_key: str | None = None,
    models: Sequence[str] | None = None,
    script: Sequence[str | Mapping[str, Any]] | None = None,
    context: int | None = None,
    token_delay: float = 0.0,
    port: int = 0,
) -> EmulatedServer:
    """Starts an emulated server in this process. It is a context manager; without ``with``, close it.

    Args:
        name: one of :func:`emulators`. ``badproxy`` takes only a ``port``.
        api_key: the key that requests must carry. Default: none is asked for.
        models: the models that it serves. Default: one that fits the server.
        script: what it answers, one turn for each chat request that is not refused: a text, or a dict with
            ``content``, ``reasoning``, ``tool_calls`` (of ``name`` and ``arguments``), ``finish_reason``, or with
            ``status`` and ``message``. After the last turn it answers by itself.
        context: the context of the model, in tokens, which are words. Default: the server's.
        token_delay: seconds between the tokens of an answer.
        port: the port. Default: a free one.

    Raises:
        ValueError: there is no such server, it does not take the setting, or the script is wrong.
        OSError: the port is taken.
    """
    if isinstance(script, (str, bytes)):
        raise TypeError("script is a list of turns: [text]")
    if name == "badproxy" and (api_key is not None or models or script or context is not None or token_delay):
        raise ValueError("badproxy takes only a port: what it does stands in the requests")
    turns = None if script is None else list(script)
    server = _loom.emulate(name, api_key, list(models or []), turns, context, token_delay, port)
    return EmulatedServer(name, server)
