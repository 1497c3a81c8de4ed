"""What a Python function takes: the schema of its arguments, and the model's arguments as keyword arguments."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from typing import Any

from ._convert import convert
from ._docstring import parse_docstring
from ._schema import Writer, plain_default, said_of
from ._types import UNIONS, hints_of_function
from .errors import ToolError


@dataclasses.dataclass
class Signature:
    """What a function takes, for the model and for the call."""

    description: str
    parameters: dict[str, Any]
    annotations: dict[str, Any]
    required: list[str]
    #: The type of what ``**`` takes besides; ``None`` if there is no ``**``.
    others: Any = None
    #: The parameters that get the context; the model knows nothing of them.
    contexts: tuple[str, ...] = ()
    #: It is a method, and has no object yet.
    is_unbound: bool = False

    def bind(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The model's arguments as keyword arguments of the function."""
        missing = [name for name in self.required if name not in arguments]
        unknown = [name for name in arguments if name not in self.annotations]
        if missing:
            raise ToolError(f"the arguments lack {', '.join(missing)}")
        if unknown and self.others is None:
            expected = ", ".join(self.annotations) or "none"
            raise ToolError(f"there is no argument {', '.join(unknown)}; there are: {expected}")
        return {
            name: convert(value, self.annotations.get(name, self.others), name) for name, value in arguments.items()
        }


def read(function: Any) -> Signature:
    """The signature of a function. Of a ``functools.partial``, what is not bound yet is the model's to give.

    Raises:
        ToolError: no tool can be made of it.
    """
    if inspect.isclass(function):
        raise ToolError(
            f"{function.__name__} is a class: a tool is made from a function; wrap it in one that returns what the "
            "model shall read"
        )
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ToolError(f"the signature of {function!r} cannot be read: {error}") from None
    bound: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        function, bound = function.func, {**bound, **function.keywords}
    is_unbound = _is_unbound(function, parameters)
    if is_unbound:
        del parameters[0]
    hints = hints_of_function(function)
    summary, described = parse_docstring(inspect.getdoc(function) or "")
    signature = Signature(summary, {"type": "object", "properties": {}}, {}, [], is_unbound=is_unbound)
    properties = signature.parameters["properties"]
    writer = Writer()
    for parameter in parameters:
        annotation = hints.get(parameter.name, Any)
        if parameter.kind is parameter.VAR_KEYWORD:
            signature.others = annotation
            if annotation is not Any:
                signature.parameters["additionalProperties"] = writer.of(annotation)
            continue
        if parameter.kind is parameter.VAR_POSITIONAL or parameter.name in bound:
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ToolError(f"{parameter.name!r} is positional-only: the model passes arguments by name")
        if _is_context(annotation):
            signature.contexts += (parameter.name,)
            continue
        has_default = parameter.default is not parameter.empty
        schema = writer.of(annotation, may_be_left_out=has_default)
        if parameter.name in described and said_of(annotation) is None:
            schema["description"] = described[parameter.name]
        if has_default:
            default = plain_default(parameter.default)
            if default is not None:
                schema["default"] = default
        else:
            signature.required.append(parameter.name)
        signature.annotations[parameter.name] = annotation
        properties[parameter.name] = schema
    if signature.required:
        signature.parameters["required"] = signature.required
    (signature.parameters,) = writer.rooted(signature.parameters)
    return signature


def _is_unbound(function: Any, parameters: list[inspect.Parameter]) -> bool:
    """Whether it is a method as its class holds it, with its object still to come."""
    within = getattr(function, "__qualname__", "").rpartition(".")[0]
    is_method = inspect.isfunction(function) and within not in ("", "<locals>") and not within.endswith(".<locals>")
    return is_method and bool(parameters) and parameters[0].name == "self"


def _is_context(annotation: Any) -> bool:
    from ._tools import ToolContext

    origin = typing.get_origin(annotation)
    if origin in UNIONS or hasattr(annotation, "__metadata__"):
        return any(_is_context(arg) for arg in typing.get_args(annotation))
    return ToolContext in (annotation, origin)
