"""Tools made from Python functions: what the model is told about them, how they are called, what they return."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from . import _loom
from ._parts import Image, _Part
from .errors import ToolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


#: The most characters of a result, unless told otherwise: some ten thousand tokens.
DEFAULT_MAX_RESULT_CHARS = 50_000

Deps = TypeVar("Deps")


class ToolContext(Generic[Deps]):
    """What a tool may know of the run that calls it. A parameter annotated so is filled in, and the model knows nothing
    of it: ``def lookup(city: str, context: loom.ToolContext) -> str``.

    Attributes:
        agent: the agent's name.
        call_id: the call's id.
        tool: the name that the tool was called by.
        attempt: counts from 1; more when a call is repeated.
        deps: what was given to ``agent.run(…, deps=…)``.
    """

    __slots__ = ("agent", "attempt", "call_id", "deps", "tool")

    def __init__(
        self, deps: Deps | None = None, *, agent: str = "", call_id: str = "", tool: str = "", attempt: int = 1
    ) -> None:
        self.deps: Deps = deps  # type: ignore[assignment]  # None is for runs without
        self.agent = agent
        self.call_id = call_id
        self.tool = tool
        self.attempt = attempt

    def __repr__(self) -> str:
        return (
            f"ToolContext(agent={self.agent!r}, call_id={self.call_id!r}, tool={self.tool!r}, attempt={self.attempt})"
        )


class Tool:
    """A function that the model may call. Made by ``@loom.tool``, which documents the options; calling it calls the
    function.

    Attributes:
        name: what the model calls it.
        description: what it does, for the model.
        parameters: JSON schema of the arguments.
        function: the function itself.
        requires_approval, timeout, retries, sequential, max_result_chars, raise_errors: see ``loom.tool``.
        origin: the MCP server that it is from.
    """

    requires_approval: bool | Callable[[dict[str, Any]], Any] = False
    timeout: float | None = None
    retries: int = 0
    sequential: bool = False
    max_result_chars: int = DEFAULT_MAX_RESULT_CHARS
    raise_errors: bool = False
    origin: str | None = None

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        import inspect

        from . import _signature

        if not callable(function):
            raise ToolError(f"a tool is made from a function, not from {type(function).__name__}")
        signature = _signature.read(function)
        self.function = function
        self.name = _name_of(function) if name is None else name
        wrong = _loom.check_tool_name(self.name) if isinstance(self.name, str) else "a tool's name is a str"
        if wrong is not None:
            raise ToolError(f'{wrong}; give one: loom.tool(function, name="…")')
        self.description = signature.description if description is None else description
        self.parameters = signature.parameters if parameters is None else parameters
        self._signature = signature
        self.__dict__.update(_checked(options))
        self._is_async = inspect.iscoroutinefunction(function)
        self.__doc__ = getattr(function, "__doc__", None)
        self.__name__ = self.name
        self.__wrapped__ = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Tool:
        """A tool in a class is a method: of an object, it is called with that object."""
        if instance is None or not self._signature.is_unbound:
            return self
        import copy

        bound = copy.copy(self)
        bound.function = self.function.__get__(instance, owner)
        bound._signature = copy.copy(self._signature)
        bound._signature.is_unbound = False
        return bound

    def check_offer(self) -> None:
        """Whether it can be called as it is.

        Raises:
            ToolError: it is a method without an object.
        """
        if self._signature.is_unbound:
            raise ToolError(f"{self.name!r} is a method without its object: offer it as object.{self.name}")

    def to_schema(self) -> dict[str, Any]:
        """The tool in OpenAI's form."""
        function: dict[str, Any] = {"name": self.name, "parameters": self.parameters}
        if self.description:
            function["description"] = self.description
        return {"type": "function", "function": function}

    async def invoke(self, arguments: dict[str, Any], context: ToolContext[Any] | None = None) -> Any:
        """Calls the function with the model's arguments and returns its result as the model gets it: a text, or a list
        of parts where there are images and the like among it; of a generator, the list of its items.

        A plain function runs in a thread, so that it does not hold up the event loop; an async one runs in the
        caller's task. Both see the caller's context variables.

        Raises:
            ToolError: the arguments do not fit the function.
            Exception: what the function raises.
        """
        import inspect

        self.check_offer()
        kwargs = self._signature.bind(arguments)
        for name in self._signature.contexts:
            kwargs[name] = ToolContext() if context is None else context
        if self._is_async:
            result = await self.function(**kwargs)
        else:
            import asyncio
            import contextvars

            variables = contextvars.copy_context()
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(None, lambda: variables.run(_call, self.function, kwargs))
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
    from collections.abc import Iterator

    try:
        result = function(**kwargs)
        # What yields its items is run here, in the thread, and not where the result is rendered.
        return list(result) if isinstance(result, Iterator) else result
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
    timeout: float | None = None,
    retries: int = 0,
    sequential: bool = False,
    max_result_chars: int = DEFAULT_MAX_RESULT_CHARS,
    raise_errors: bool = False,
) -> Any:
    """Makes a tool from a function: ``@tool``, ``@tool()`` or ``@tool(name="…")``.

    A ``functools.partial`` offers what it leaves open, a generator's items are its result. Classes and functions
    without a name of their own (a ``lambda``, unless ``name`` is given) are refused.

    The schema comes from the signature (``Optional``, ``Literal``, ``list[int]``, ``dict``, enums, dataclasses,
    pydantic models, defaults), the descriptions from the docstring or ``Annotated``. A parameter annotated
    ``ToolContext`` is filled in and not offered.

    What the function returns goes to the model: a text as it is, ``loom.Image`` and the like (also in a list beside
    texts) as parts, the bytes of an image as an image, all else as JSON.

    Args:
        function: the function, sync or async.
        name: what the model calls it. Default: the function's name.
        description: what it does. Default: the docstring up to its sections.
        requires_approval: whether somebody must agree to each call; or a function, sync or async, that tells by the
            arguments (a dict).
        timeout: seconds that a call may take; then it is given up, and the model reads so. A plain function's thread
            cannot be stopped and runs to its end. Default: as long as it takes.
        retries: how often a call that failed is repeated before the model reads of it.
        sequential: no other call of the turn runs at the same time.
        max_result_chars: the most characters of a result; what is longer is cut, and a note says so.
        raise_errors: a failure ends the run with ``ToolError`` instead of being told to the model.

    Raises:
        ToolError: no tool can be made of it, or an option is not what it must be.
    """
    options: dict[str, Any] = {
        "requires_approval": requires_approval,
        "timeout": timeout,
        "retries": retries,
        "sequential": sequential,
        "max_result_chars": max_result_chars,
        "raise_errors": raise_errors,
    }
    if function is None:
        return lambda decorated: Tool(decorated, name=name, description=description, **options)
    return Tool(function, name=name, description=description, **options)


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """The options, each of the right kind."""

    def is_number(value: Any, kinds: Any = int, least: float = 0) -> bool:
        return isinstance(value, kinds) and not isinstance(value, bool) and value >= least

    def is_bool(value: Any) -> bool:
        return isinstance(value, bool)

    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "requires_approval": (lambda it: is_bool(it) or callable(it), "a bool, or a function of the arguments"),
        "timeout": (lambda it: it is None or (is_number(it, (int, float)) and it > 0), "a number of seconds above 0"),
        "retries": (is_number, "a number from 0"),
        "sequential": (is_bool, "a bool"),
        "max_result_chars": (lambda it: is_number(it, least=1), "a number of characters from 1"),
        "raise_errors": (is_bool, "a bool"),
    }
    for name, value in options.items():
        if name not in rules:
            raise TypeError(f"a tool has no option {name!r}; there are: {', '.join(rules)}")
        fits, kind = rules[name]
        if not fits(value):
            raise ToolError(f"{name} is {kind}, not {value!r}")
    return options


def render(result: Any) -> Any:
    """A result as the model gets it: a str as it is, anything else as JSON where it can be; a list of parts where there
    are parts in it."""
    if isinstance(result, str):
        return result
    items = list(result) if isinstance(result, (list, tuple)) else [result]
    media = [_part(item) for item in items]
    if any(media):
        return [part or {"type": "text", "text": render(item)} for item, part in zip(items, media)]
    import json

    try:
        return json.dumps(result, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError):
        # Keys that JSON has not, or what holds itself. The tool has done its work, so this is no failure of it: a model
        # that reads of one calls again.
        return str(result)


def _part(value: Any) -> dict[str, Any] | None:
    """A part as servers take it, read here and now so that what is wrong with it is the tool's failure."""
    if isinstance(value, (bytes, bytearray)):
        is_image = bytes(value[:12]).startswith((b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8")) or value[8:12] == b"WEBP"
        value = Image(value) if is_image else None
    return _loom.resolve_part(value) if isinstance(value, _Part) else None


def _plain(value: Any) -> Any:
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    for method in ("model_dump", "to_dict", "_asdict", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"({len(value)} bytes)"
    if hasattr(value, "__iter__") and hasattr(value, "__len__"):  # sets, ranges, deques, views of dicts
        return list(value)
    return str(getattr(value, "value", value))
