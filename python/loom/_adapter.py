"""Adapters: an API that is not OpenAI-like, told in OpenAI's words."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Adapter:
    """Translates between OpenAI's chat format and another API's: ``UnifiedLLM(…, adapter=MyAPI())``.

    It does no IO: keys, proxies, clocks, retries and errors are those of any other endpoint. One object serves all
    calls at once, from Loom's own thread, so it keeps nothing between events and waits for nothing.
    """

    path: str = ""
    """Where requests go, behind the base URL, such as ``"messages"``."""

    profile: Mapping[str, Any] = {}
    """What the API takes of what OpenAI's format can say, as ``profile=`` has it. With ``{"system": "first"}``, say,
    ``request`` finds one system message at most, at the beginning. With ``{"alternate_roles": True}``, neighbouring
    ``messages`` of one role in the body that it gives are joined where their contents are lists."""

    def request(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request's body in OpenAI's form (``model``, ``messages``, ``tools``, parameters) to the one that is sent.

        It always asks for a stream; an API that has none answers in one piece. ``body`` may be changed. A field of the
        result that is None is not sent. An exception is raised to the caller as a ``ConfigurationError``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement request()")

    def chunk(self, event: Any) -> dict[str, Any] | None:
        """An event of the answer to a chunk in OpenAI's form; ``None`` if it says nothing.

        A body that is no event stream is one event. Counts of tokens and the finish reason may have other APIs' names
        (``input_tokens``, ``end_turn``). Usage may come in parts: counts of several chunks are put together, and the
        total is their sum if none names it. Events that carry an ``error`` do not come here; Loom reads them itself. An
        exception is raised to the caller as a ``BadResponseError``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement chunk()")
