"""Tools made from Python functions."""

from __future__ import annotations

from typing import Any

from . import _loom
from .errors import ToolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Tool:
    """A function that the model may call. Made by ``@loom.tool``; calling it calls the function.

    Attributes:
        name: what the model calls it.
        description: what it does, for the model.
        parameters: JSON schema of the arguments.
        function: the function itself.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: dict[str, Any] | None = None,
        requires_approval: Any = False,
    ) -> None:
        import inspect

        from . import _schema

        if not callable(function):
            raise ToolError(f"a tool is made from a function, not from {type(function).__name__}")
        signature = _schema.read(function)
        self.function = function
        self.name = _name_of(function) if name is None else name
        wrong = _loom.check_tool_name(self.name) if isinstance(self.name, str) else "a tool's name is a str"
        if wrong is not None:
            raise ToolError(f'{wrong}; give one: loom.tool(function, name="…")')
        self.description = signature.description if description is None else description
        self.parameters = signature.parameters if parameters is None else parameters
        self.requires_approval = requires_approval
        self._signature = signature
        self._is_async = inspect.iscoroutinefunction(function)
        self.__doc__ = getattr(function, "__doc__", None)
        self.__name__ = self.name
        self.__wrapped__ = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def to_schema(self) -> dict[str, Any]:
        """The tool in OpenAI's form."""
        function: dict[str, Any] = {"name": self.name, "parameters": self.parameters}
        if self.description:
            function["description"] = self.description
        return {"type": "function", "function": function}

    async def invoke(self, arguments: dict[str, Any]) -> str:
        """Calls the function with the model's arguments and returns its result as the model reads it; of a generator,
        the list of its items.

        A plain function runs in a thread, so that it does not hold up the event loop; an async one runs in the
        caller's task. Both see the caller's context variables.

        Raises:
            ToolError: the arguments do not fit the function.
            Exception: what the function raises.
        """
        import inspect

        kwargs = self._signature.bind(arguments)
        if self._is_async:
            result = await self.function(**kwargs)
        else:
            import asyncio
            import contextvars

            context = contextvars.copy_context()
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(None, lambda: context.run(_call, self.function, kwargs))
            if inspect.isawaitable(result):
                result = await result
        if inspect.isasyncgen(result):
            result = [item async for item in result]
        return render(result)

    def __repr__(self) -> str:
        return f"Tool(name={self.name!r})"


def _call(function: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    """Calls a plain function. What it raises must be something that a future can carry."""
    import concurrent.futures
    import types

    try:
        result = function(**kwargs)
        # Its body runs here, in the thread, and not where the result is rendered.
        return list(result) if isinstance(result, types.GeneratorType) else result
    except (StopIteration, concurrent.futures.CancelledError) as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _name_of(function: Any) -> str:
    """The name of what is called: of a partial the function's own, of an object its class's."""
    inner = getattr(function, "func", function) if type(function).__name__ == "partial" else function
    return str(getattr(inner, "__name__", type(inner).__name__))


def tool(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    requires_approval: bool | Callable[[dict[str, Any]], Any] = False,
) -> Any:
    """Makes a tool from a function: ``@tool``, ``@tool()`` or ``@tool(name="…")``.

    A ``functools.partial`` offers what it leaves open, a generator's items are its result. Classes and functions
    without a name of their own (a ``lambda``, unless ``name`` is given) are refused.

    The schema comes from the signature (``Optional``, ``Literal``, ``list[int]``, ``dict``, enums, dataclasses,
    defaults), the descriptions from the docstring.

    Args:
        function: the function, sync or async.
        name: what the model calls it. Default: the function's name.
        description: what it does. Default: the docstring up to its sections.
        requires_approval: somebody must agree to each call, or to those for whose arguments the function says so.
    """
    if function is None:
        return lambda decorated: tool(
            decorated, name=name, description=description, requires_approval=requires_approval
        )
    return Tool(function, name=name, description=description, requires_approval=requires_approval)


def collect(tools: Any) -> dict[str, Tool]:
    """Tools and plain functions, by name."""
    found: dict[str, Tool] = {}
    if tools is None:
        return found
    if isinstance(tools, Tool) or callable(tools):
        raise ToolError("tools is a list: write tools=[…]")
    for item in tools:
        made = item if isinstance(item, Tool) else Tool(item)
        if made.name in found:
            raise ToolError(f"two tools are called {made.name!r}")
        found[made.name] = made
    return found


def render(result: Any) -> str:
    """A result as the model reads it: a str as it is, anything else as JSON where it can be."""
    if isinstance(result, str):
        return result
    import json

    return json.dumps(result, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    for method in ("model_dump", "to_dict", "_asdict"):
        if hasattr(value, method):
            return getattr(value, method)()
    if isinstance(value, (set, frozenset)):
        return list(value)
    return str(getattr(value, "value", value))
