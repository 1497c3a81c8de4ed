"""JSON schemas from Python signatures, and the model's JSON back into Python's types."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import re
import sys
import types
import typing
from typing import Any

from .errors import ToolError

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_UNIONS = (typing.Union, getattr(types, "UnionType", typing.Union))
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Set)
_FROM_TEXT = ("datetime", "uuid", "decimal", "pathlib")  #: modules whose types are written as text in JSON
_QUALIFIERS = ("NotRequired", "Required", "ReadOnly")  #: what stands around the types of a TypedDict's keys
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


@dataclasses.dataclass
class Signature:
    """What a function takes, for the model and for the call."""

    description: str
    parameters: dict[str, Any]
    annotations: dict[str, Any]
    required: list[str]
    takes_any: bool
    #: The parameter that gets the context; the model knows nothing of it.
    context: str | None = None

    def bind(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The model's arguments as keyword arguments of the function."""
        missing = [name for name in self.required if name not in arguments]
        unknown = [name for name in arguments if name not in self.annotations]
        if missing:
            raise ToolError(f"the arguments lack {', '.join(missing)}")
        if unknown and not self.takes_any:
            expected = ", ".join(self.annotations) or "none"
            raise ToolError(f"there is no argument {', '.join(unknown)}; there are: {expected}")
        return {name: convert(value, self.annotations.get(name, Any), name) for name, value in arguments.items()}


def read(function: Any) -> Signature:
    """The signature of a function. Of a ``functools.partial``, what is not bound yet is the model's to give."""
    if inspect.isclass(function):
        raise ToolError(
            f"{function.__name__} is a class: a tool is made from a function; wrap it in one that returns what the "
            "model shall read"
        )
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ToolError(f"the signature of {function!r} cannot be read: {error}") from None
    try:
        return _read(function, parameters)
    except RecursionError:
        raise ToolError(f"the types of {function!r} contain themselves, which has no finite schema") from None


def _read(function: Any, parameters: Any) -> Signature:
    bound: dict[str, Any] = {}
    if isinstance(function, functools.partial):
        function, bound = function.func, function.keywords
    hints = _hints(function)
    summary, described = parse_docstring(inspect.getdoc(function) or "")
    properties: dict[str, Any] = {}
    required: list[str] = []
    annotations: dict[str, Any] = {}
    takes_any = False
    context: str | None = None
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.name in bound:
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ToolError(f"{parameter.name!r} is positional-only: the model passes arguments by name")
        annotation = hints.get(parameter.name, Any)
        if _is_context(annotation):
            context = parameter.name
            continue
        has_default = parameter.default is not parameter.empty
        schema = schema_of(annotation, drop_null=has_default)
        if parameter.name in described:
            schema.setdefault("description", described[parameter.name])
        if has_default:
            default = _default(parameter.default)
            if default is not None:
                schema["default"] = default
        else:
            required.append(parameter.name)
        annotations[parameter.name] = annotation
        properties[parameter.name] = schema
    parameters_schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters_schema["required"] = required
    return Signature(summary, parameters_schema, annotations, required, takes_any, context)


def _is_context(annotation: Any) -> bool:
    from ._tools import ToolContext

    origin = typing.get_origin(annotation)
    if origin in _UNIONS or hasattr(annotation, "__metadata__"):
        return any(_is_context(arg) for arg in typing.get_args(annotation))
    return ToolContext in (annotation, origin)


def _hints(function: Any) -> dict[str, Any]:
    target = function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:
        return {name: _resolve(hint, target) for name, hint in getattr(target, "__annotations__", {}).items()}


def _resolve(hint: Any, function: Any) -> Any:
    """One annotation by itself. A name that cannot be found (it is local, or there only for type checkers) is named."""
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, getattr(function, "__globals__", {}))
    except Exception as error:
        import logging

        name = getattr(function, "__name__", function)
        logging.getLogger("loom").warning(
            "tool %s: %r cannot be resolved (%s), so it takes anything", name, hint, error
        )
        return Any


def _default(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    return value if isinstance(value, (str, int, float, bool, list, dict)) else None


def schema_of(annotation: Any, *, drop_null: bool = False) -> dict[str, Any]:
    """The JSON schema of a type. ``drop_null``: the argument may be left out, so null need not be offered."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is getattr(typing, "Annotated", None) or hasattr(annotation, "__metadata__"):
        schema = schema_of(annotation.__origin__, drop_null=drop_null)
        for extra in annotation.__metadata__:
            if isinstance(extra, str):
                schema["description"] = extra
            elif isinstance(getattr(extra, "description", None), str):
                schema["description"] = extra.description
        return schema
    if annotation in (Any, inspect.Parameter.empty):
        return {}
    if getattr(origin, "_name", None) in _QUALIFIERS:
        return schema_of(args[0], drop_null=drop_null)
    if annotation in _PLAIN:
        return {"type": _PLAIN[annotation]}
    if origin in _UNIONS:
        members = [arg for arg in args if not (drop_null and arg is type(None))]
        if len(members) == 1:
            return schema_of(members[0])
        return {"anyOf": [schema_of(member) for member in members]}
    if origin is typing.Literal:
        return _enumeration(list(args))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _enumeration([member.value for member in annotation])
    if hasattr(annotation, "model_json_schema"):
        schema = annotation.model_json_schema()
        simple: dict[str, Any] = _of_pydantic(schema, schema.get("$defs", {}))
        return simple
    if dataclasses.is_dataclass(annotation):
        return _fields(
            typing.get_type_hints(annotation, include_extras=True),
            [
                field.name
                for field in dataclasses.fields(annotation)
                if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            ],
        )
    if hasattr(annotation, "__required_keys__"):
        return _fields(typing.get_type_hints(annotation, include_extras=True), sorted(annotation.__required_keys__))
    if origin in _LISTS or annotation in _LISTS:
        if origin is tuple and args and args[-1] is not Ellipsis:
            schemas = [schema_of(arg) for arg in args]
            return {"type": "array", "prefixItems": schemas, "minItems": len(args), "maxItems": len(args)}
        return {"type": "array", "items": schema_of(args[0]) if args else {}}
    if origin in _DICTS or annotation in _DICTS:
        values = schema_of(args[1]) if len(args) == 2 else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    if isinstance(annotation, typing.TypeVar):
        return {}
    if getattr(annotation, "__module__", "") in _FROM_TEXT:
        formats = {"datetime": "date-time", "date": "date", "time": "time", "UUID": "uuid"}
        found = formats.get(annotation.__name__)
        return {"type": "string", "format": found} if found else {"type": "string"}
    raise ToolError(f"{annotation!r} has no JSON schema: use plain types, lists, dicts, Literal, enums or dataclasses")


def _of_pydantic(schema: Any, definitions: dict[str, Any]) -> Any:
    """A model's schema as ours are: without references (they lead to the root, where it will not stand), titles, and
    null for what may be left out."""
    if isinstance(schema, list):
        return [_of_pydantic(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return _of_pydantic({**target, **{key: value for key, value in schema.items() if key != "$ref"}}, definitions)
    simple: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            simple[key] = {
                name: _of_pydantic(_without_null(item) if name not in schema.get("required", []) else item, definitions)
                for name, item in value.items()
            }
        elif key in ("enum", "const", "default", "examples", "required"):
            simple[key] = value
        elif key != "$defs" and not (key == "title" and isinstance(value, str)):
            simple[key] = _of_pydantic(value, definitions)
    return simple


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    schema = {key: value for key, value in schema.items() if key != "default" or value is not None}
    if "anyOf" in schema:
        members = [member for member in schema["anyOf"] if member != {"type": "null"}]
        if len(members) == 1:
            return {**members[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
        schema["anyOf"] = members
    return schema


def _fields(hints: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: schema_of(hint, drop_null=name not in required) for name, hint in hints.items()},
    }
    if required:
        schema["required"] = required
    return schema


def _enumeration(values: list[Any]) -> dict[str, Any]:
    kinds = {_PLAIN.get(type(value)) for value in values}
    schema: dict[str, Any] = {"enum": values}
    if len(kinds) == 1 and None not in kinds:
        schema["type"] = kinds.pop()
    return schema


def convert(value: Any, annotation: Any, name: str) -> Any:
    """A JSON value as the annotated type. What has one reading is read so; anything else is an error for the model."""
    if type(value) is annotation and annotation in _PLAIN:
        return value
    if hasattr(annotation, "__metadata__"):
        return convert(value, annotation.__origin__, name)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (Any, inspect.Parameter.empty) or isinstance(annotation, typing.TypeVar):
        return value
    if getattr(origin, "_name", None) in _QUALIFIERS:
        return convert(value, args[0], name)
    if origin in _UNIONS:
        return _convert_union(value, args, name)
    if origin is typing.Literal:
        if any(value == arg and type(value) is type(arg) for arg in args):
            return value
        raise ToolError(f"{name} is one of {list(args)}, not {value!r}")
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        for member in annotation:
            if value in (member.value, member.name):
                return member
        raise ToolError(f"{name} is one of {[member.value for member in annotation]}, not {value!r}")
    if hasattr(annotation, "model_validate"):
        return annotation.model_validate(value)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type) and isinstance(value, dict):
        hints = typing.get_type_hints(annotation, include_extras=True)
        unknown = [key for key in value if key not in hints]
        if unknown:
            raise ToolError(f"{name} has no field {', '.join(unknown)}; there are: {', '.join(hints)}")
        try:
            return annotation(**{key: convert(item, hints[key], f"{name}.{key}") for key, item in value.items()})
        except TypeError as error:
            raise ToolError(f"{name}: {error}") from None
    if (origin in _LISTS or annotation in _LISTS) and isinstance(value, list):
        kind = origin or annotation
        if kind is tuple and args and args[-1] is not Ellipsis:
            if len(value) != len(args):
                raise ToolError(f"{name} has {len(args)} items, not {len(value)}")
            return tuple(convert(item, args[at], f"{name}[{at}]") for at, item in enumerate(value))
        items = [convert(item, args[0] if args else Any, f"{name}[{at}]") for at, item in enumerate(value)]
        return kind(items) if kind in (tuple, set, frozenset) else items
    if (origin in _DICTS or annotation in _DICTS) and isinstance(value, dict):
        return {key: convert(item, args[1] if len(args) == 2 else Any, f"{name}.{key}") for key, item in value.items()}
    if annotation in _PLAIN:
        return _convert_plain(value, annotation, name)
    if isinstance(value, str) and getattr(annotation, "__module__", "") in _FROM_TEXT:
        try:
            return getattr(annotation, "fromisoformat", annotation)(value)
        except (ValueError, ArithmeticError) as error:
            raise ToolError(f"{name}: {error}") from None
    if origin in _LISTS + _DICTS or annotation in _LISTS + _DICTS or dataclasses.is_dataclass(annotation):
        raise ToolError(f"{name} is {'an array' if (origin or annotation) in _LISTS else 'an object'}, not {value!r}")
    return value


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
    raise ToolError(f"{name} is of type {_PLAIN[kind]}, not {value!r}")


_SECTION = re.compile(
    r"^(args|arguments|parameters|params|returns?|yields?|raises|examples?|notes?):?\s*$", re.IGNORECASE
)
_GOOGLE = re.compile(r"^\s+\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_SPHINX = re.compile(r"^:param\s+(?:[^:]*\s)?(\w+):\s*(.*)$")
_NUMPY = re.compile(r"^(\w+)\s*(?::.*)?$")


def parse_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The description and what is said about each parameter, in Google's, Sphinx's or NumPy's style."""
    summary: list[str] = []
    described: dict[str, str] = {}
    section, current, numpy = "", "", False
    lines = text.splitlines()
    for at, line in enumerate(lines):
        sphinx = _SPHINX.match(line)
        if sphinx:
            section, current = "params", sphinx[1]
            described[current] = sphinx[2]
            continue
        if line.startswith(":"):
            section = "other"
            continue
        heading = _SECTION.match(line)
        underlined = at + 1 < len(lines) and re.match(r"^-{3,}\s*$", lines[at + 1]) is not None
        if heading and (line.rstrip().endswith(":") or underlined):
            section = "params" if heading[1].lower().startswith(("arg", "param")) else "other"
            current, numpy = "", underlined
            continue
        if re.match(r"^-{3,}\s*$", line):
            continue
        if not section:
            summary.append(line)
        elif section == "params":
            entry = (_NUMPY if numpy else _GOOGLE).match(line)
            starts = entry is not None and (not numpy or not line.startswith(" "))
            if starts and entry is not None:
                current = entry[1]
                described[current] = "" if numpy else entry[2]
            elif current and line.strip():
                described[current] = f"{described[current]} {line.strip()}".strip()
    paragraphs = re.split(r"\n\s*\n", "\n".join(summary).strip())
    description = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return description, {name: said for name, said in described.items() if said}


if sys.version_info >= (3, 11):
    _PLAIN[typing.LiteralString] = "string"
