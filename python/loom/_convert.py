"""JSON values as values of Python's types."""

from __future__ import annotations

import collections.abc
import enum
import inspect
import json
import sys
import typing
from typing import Any

from ._schema import DICTS, LISTS, PLAIN, adapter, is_enum, is_pydantics, is_text
from ._types import UNIONS, bare, fields_of
from .errors import ToolError


def convert(value: Any, annotation: Any, name: str) -> Any:
    """A JSON value as the annotated type. What has one reading is read so; anything else is an error for the model.

    Raises:
        ToolError: the value does not fit; or what pydantic raises for types of its own.
    """
    if type(value) is annotation and annotation in PLAIN:
        return value
    annotation = bare(annotation)
    if is_pydantics(annotation):
        return _by_pydantic(value, annotation)
    if hasattr(annotation, "__metadata__"):
        return convert(value, annotation.__origin__, name)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (Any, inspect.Parameter.empty) or isinstance(annotation, typing.TypeVar):
        return value
    if origin in UNIONS:
        return _convert_union(value, args, name)
    if origin is typing.Literal:
        return _member(value, args, name)
    if is_enum(annotation):
        return _member(value, list(annotation), name)
    fields = fields_of(annotation)
    if fields is not None and isinstance(value, dict):
        return _record(value, origin or annotation, fields, name)
    kind = origin or annotation
    if kind in LISTS and isinstance(value, list):
        return _items(value, kind, args, name)
    if kind in DICTS and isinstance(value, dict):
        keys, values = args if len(args) == 2 else (Any, Any)
        return {
            convert(key, keys, f"a key of {name}"): convert(item, values, f"{name}.{key}")
            for key, item in value.items()
        }
    if annotation in PLAIN:
        return _convert_plain(value, annotation, name)
    if isinstance(value, str) and is_text(annotation):
        try:
            return getattr(annotation, "fromisoformat", annotation)(value)
        except (ValueError, ArithmeticError) as error:
            raise ToolError(f"{name}: {error}") from None
    if fields is not None or kind in LISTS + DICTS:
        raise ToolError(f"{name} is {'an array' if kind in LISTS else 'an object'}, not {value!r}")
    return _by_pydantic(value, annotation) if "pydantic" in sys.modules else value


def _by_pydantic(value: Any, annotation: Any) -> Any:
    # From JSON, so that a strict model takes what JSON has to write as text, too.
    return adapter(annotation).validate_json(json.dumps(value))


def _member(value: Any, members: Any, name: str) -> Any:
    plain = [member.value if isinstance(member, enum.Enum) else member for member in members]
    for member, known in zip(members, plain):
        if value == known and type(value) is type(known):
            return member
    for member in members:
        if isinstance(member, enum.Enum) and value in (member.value, member.name):
            return member
    raise ToolError(f"{name} is one of {plain}, not {value!r}")


def _record(value: dict[str, Any], kind: Any, fields: Any, name: str) -> Any:
    unknown = [key for key in value if key not in fields.hints]
    if unknown and not hasattr(kind, "__required_keys__"):
        raise ToolError(f"{name} has no field {', '.join(unknown)}; there are: {', '.join(fields.hints)}")
    try:
        return kind(**{key: convert(item, fields.hints.get(key, Any), f"{name}.{key}") for key, item in value.items()})
    except TypeError as error:
        raise ToolError(f"{name}: {error}") from None


def _items(value: list[Any], kind: Any, args: Any, name: str) -> Any:
    if kind is tuple and args and args[-1] is not Ellipsis:
        if len(value) != len(args):
            raise ToolError(f"{name} has {len(args)} items, not {len(value)}")
        return tuple(convert(item, args[at], f"{name}[{at}]") for at, item in enumerate(value))
    items = [convert(item, args[0] if args else Any, f"{name}[{at}]") for at, item in enumerate(value)]
    if not inspect.isabstract(kind):
        return kind(items)
    return set(items) if issubclass(kind, collections.abc.Set) else items


def _convert_union(value: Any, members: tuple[Any, ...], name: str) -> Any:
    if value is None and type(None) in members:
        return None
    # A value that is of a member's type already is not converted to another one.
    for member in members:
        if isinstance(member, type) and type(value) is member:
            return value
    for member in members:
        try:
            return convert(value, member, name)
        except (ToolError, ValueError, TypeError):
            continue
    raise ToolError(f"{name} does not fit: {value!r}")


def _convert_plain(value: Any, kind: type, name: str) -> Any:
    if isinstance(value, kind) and not (kind in (int, float) and isinstance(value, bool)):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind in (int, float) and isinstance(value, str):
        try:
            return kind(value)
        except ValueError:
            pass
    if kind is bool and value in ("true", "false"):
        return value == "true"
    if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise ToolError(f"{name} is of type {PLAIN[kind]}, not {value!r}")
