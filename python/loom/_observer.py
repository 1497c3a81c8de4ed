"""Who watches runs beside their handlers: nobody, unless ``loom.otel.instrument`` has been called."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import Protocol

    from ._agent import Agent
    from ._loom import Completion, Request, ToolCall

    class Observer(Protocol):
        """Each method returns what it is about, watched."""

        def run(
            self, agent: Agent, events: AsyncGenerator[dict[str, Any], None]
        ) -> AsyncGenerator[dict[str, Any], None]:
            """The events of a run."""

        def chat(self, llm: Any, request: Request, ask: Callable[[Request], Any]) -> Any:
            """The events of a model call, which ``ask`` begins."""

        def answer(
            self, llm: Any, request: Request, ask: Callable[[Request], Awaitable[Completion]]
        ) -> Awaitable[Completion]:
            """A model call that is answered in one piece."""

        def tool(self, call: ToolCall, carried_out: Awaitable[tuple[Any, bool]]) -> Awaitable[tuple[Any, bool]]:
            """A call that is carried out: to what the model reads, and whether it failed."""


#: Who watches the run that goes on here.
current: ContextVar[Observer | None] = ContextVar("loom_observer", default=None)
