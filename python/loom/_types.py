"""What Python's types are made of: their fields, with resolved annotations. Schemas (``_schema``) and values
(``_convert``) are both made by it."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import sys
import types
import typing
import weakref
from typing import Any

from .errors import ToolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

UNIONS = (typing.Union, getattr(types, "UnionType", typing.Union))
_QUALIFIERS = ("NotRequired", "Required", "ReadOnly", "Final")  #: what stands around the types of fields

#: The annotations of a class as they were resolved where it was offered: later its names may be out of sight.
_hints: weakref.WeakKeyDictionary[type, dict[str, Any]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a dataclass, a named tuple or a ``TypedDict``."""

    hints: dict[str, Any]
    required: list[str]
    defaults: dict[str, Any]


def fields_of(annotation: Any) -> Fields | None:
    """The fields of a type; ``None`` if it has none.

    Raises:
        ToolError: an annotation of it cannot be resolved.
    """
    kind = typing.get_origin(annotation) or annotation
    if not isinstance(kind, type):
        return None
    if dataclasses.is_dataclass(kind):
        given = [field for field in dataclasses.fields(kind) if field.init]
        without = [field.name for field in given if field.default is field.default_factory is dataclasses.MISSING]
        defaults = {field.name: field.default for field in given if field.default is not dataclasses.MISSING}
        hints = {field.name: hint for field in given if (hint := _hints_of(kind).get(field.name)) is not None}
    elif issubclass(kind, tuple) and hasattr(kind, "_field_defaults"):
        hints, defaults = _hints_of(kind), kind._field_defaults
        hints = {name: hints.get(name, Any) for name in kind._fields}  # type: ignore[attr-defined]
        without = [name for name in hints if name not in defaults]
    elif hasattr(kind, "__required_keys__"):
        # Its own list is wrong where annotations are texts: a qualifier in one is not seen.
        hints, defaults = _hints_of(kind), {}
        stated = {name: _qualifiers(hint) for name, hint in hints.items()}
        without = sorted(
            name
            for name, said in stated.items()
            if "Required" in said or ("NotRequired" not in said and name in kind.__required_keys__)
        )
    else:
        return None
    known = dict(zip(getattr(kind, "__parameters__", ()), typing.get_args(annotation)))
    return Fields({name: _filled_in(hint, known) for name, hint in hints.items()}, without, defaults)


def bare(annotation: Any) -> Any:
    """The annotation without what says nothing about the value: qualifiers, names for types (``NewType``, ``type``)."""
    while True:
        if annotation is None:
            return type(None)
        origin = typing.get_origin(annotation)
        if getattr(origin, "_name", None) in _QUALIFIERS:
            annotation = typing.get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif is_alias(annotation):
            alias = origin or annotation
            annotation = _filled_in(alias.__value__, dict(zip(alias.__type_params__, typing.get_args(annotation))))
        else:
            return annotation


def is_alias(annotation: Any) -> bool:
    """Whether it is a name for a type, made by ``type``; it may stand in its own value."""
    return type(typing.get_origin(annotation) or annotation).__name__ == "TypeAliasType"


def _qualifiers(hint: Any) -> list[str]:
    found = []
    while True:
        origin = typing.get_origin(hint)
        name = getattr(origin, "_name", None)
        if name in _QUALIFIERS:
            found.append(name)
        elif not hasattr(hint, "__metadata__"):
            return found
        hint = hint.__origin__ if hasattr(hint, "__metadata__") else typing.get_args(hint)[0]


def _filled_in(hint: Any, known: Mapping[Any, Any]) -> Any:
    """The annotation with the type variables that are known replaced."""
    if not known:
        return hint
    if isinstance(hint, typing.TypeVar):
        return known.get(hint, hint)
    open_ones = getattr(hint, "__parameters__", ())
    if typing.get_origin(hint) is None or not open_ones:
        return hint
    return hint[tuple(known.get(variable, variable) for variable in open_ones)]


def _hints_of(kind: type) -> dict[str, Any]:
    found = _hints.get(kind)
    if found is None:
        try:
            found = _hints[kind] = resolved(kind)
        except Exception as error:
            raise ToolError(f"the annotations of {kind.__name__} cannot be resolved: {error}") from None
    return found


def resolved(target: Any) -> dict[str, Any]:
    """The annotations of a function or class. Names that are known only where it is offered (classes of the function
    that calls) are found as well."""
    found: dict[str, Any] = {}
    nearby: Mapping[str, Any] | None = None
    while True:
        try:
            return typing.get_type_hints(target, localns=found or None, include_extras=True)
        except NameError as error:
            name = getattr(error, "name", None) or str(error).partition("'")[2].partition("'")[0]
            nearby = _callers_names() if nearby is None else nearby
            if name in found or name not in nearby:
                raise
            found[name] = nearby[name]


def hints_of_function(function: Any) -> dict[str, Any]:
    """The annotations of what is called. One that cannot be resolved (there only for type checkers) takes anything."""
    target = function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
    # Of something wrapped (``functools.wraps``, ``lru_cache``) the names are those of what is in it.
    target = inspect.unwrap(target)
    try:
        return resolved(target)
    except Exception:
        return {name: _resolve(hint, target) for name, hint in getattr(target, "__annotations__", {}).items()}


def _resolve(hint: Any, function: Any) -> Any:
    """One annotation by itself. A name that cannot be found is named."""
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, getattr(function, "__globals__", {}), dict(_callers_names()))
    except Exception as error:
        name = getattr(function, "__name__", function)
        logging.getLogger("loom").warning(
            "tool %s: %r cannot be resolved (%s), so it takes anything", name, hint, error
        )
        return Any


def _callers_names() -> Mapping[str, Any]:
    """The names of the code that called Loom."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("loom", "typing", "asyncio"):
            return frame.f_locals
        frame = frame.f_back  # type: ignore[assignment]  # none is left at the end
    return {}
