"""JSON schemas of Python's types, as servers take them and as Rust's types give them."""

from __future__ import annotations

import collections
import collections.abc
import enum
import inspect
import itertools
import json
import sys
import typing
from typing import Any

from ._docstring import parse_docstring
from ._types import UNIONS, bare, fields_of, is_alias
from .errors import ToolError

PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
LISTS = (
    list,
    tuple,
    set,
    frozenset,
    collections.deque,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
    collections.abc.Collection,
    collections.abc.Set,
    collections.abc.MutableSet,
)
DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
#: Types that are written as text in JSON, by module and name (they need not be loaded), and their formats.
_TEXTS = {
    ("datetime", "datetime"): "date-time",
    ("datetime", "date"): "date",
    ("datetime", "time"): "time",
    ("uuid", "UUID"): "uuid",
    ("decimal", "Decimal"): None,
    ("pathlib", "Path"): None,
    ("pathlib", "PurePath"): None,
}

if sys.version_info >= (3, 11):
    PLAIN[typing.LiteralString] = "string"


def schema_of(annotation: Any) -> dict[str, Any]:
    """The JSON schema of a type by itself.

    Raises:
        ToolError: it has none.
    """
    writer = Writer()
    schema = writer.of(annotation)
    (schema,) = writer.rooted(schema, of=annotation)
    return schema


class Writer:
    """Writes schemas that will stand in one; a type that contains itself is defined once, in ``definitions``."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._open: list[Any] = []
        self._names: dict[Any, str] = {}

    def of(self, annotation: Any, *, may_be_left_out: bool = False) -> dict[str, Any]:
        """The schema of a type. ``may_be_left_out``: null need not be offered then."""
        if is_alias(annotation):
            return self._once(
                annotation,
                (typing.get_origin(annotation) or annotation).__name__,
                lambda: self.of(bare(annotation), may_be_left_out=may_be_left_out),
            )
        annotation = bare(annotation)
        if hasattr(annotation, "__metadata__"):
            return self._annotated(annotation, may_be_left_out)
        origin, args = typing.get_origin(annotation), typing.get_args(annotation)
        if not _can_be_hashed(annotation):
            raise ToolError(f"{annotation!r} is a value: name its type")
        if annotation in (Any, inspect.Parameter.empty) or isinstance(annotation, typing.TypeVar):
            return {}
        if annotation in PLAIN:
            return {"type": PLAIN[annotation]}
        if origin in UNIONS:
            members = [arg for arg in args if not (may_be_left_out and arg is type(None))]
            if len(members) == 1:
                return self.of(members[0])
            return {"anyOf": [self.of(member) for member in members]}
        if origin is typing.Literal:
            return _enumeration(args)
        if is_enum(annotation):
            return _enumeration(list(annotation))
        if is_pydantics(annotation):
            return self._of_pydantics(annotation)
        if fields_of(annotation) is not None:
            return self._once(annotation, (origin or annotation).__name__, lambda: self._record(annotation))
        if (origin or annotation) in LISTS:
            if origin is tuple and args and args[-1] is not Ellipsis:
                schemas = [self.of(arg) for arg in args]
                return {"type": "array", "prefixItems": schemas, "minItems": len(args), "maxItems": len(args)}
            return {"type": "array", "items": self.of(args[0]) if args else {}}
        if (origin or annotation) in DICTS:
            values = self.of(args[1]) if len(args) == 2 else {}
            return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
        if is_text(annotation):
            found = _TEXTS[_place_of(annotation)]
            return {"type": "string", "format": found} if found else {"type": "string"}
        if "pydantic" in sys.modules and annotation is not object and not isinstance(annotation, str):
            try:
                return self._of_pydantics(annotation)
            except Exception:  # it knows no better, or says so at length
                pass
        raise ToolError(
            f"{annotation!r} has no JSON schema: use plain types, lists, dicts, Literal, enums, dataclasses or models"
        )

    def rooted(self, *schemas: dict[str, Any], of: Any = None) -> list[dict[str, Any]]:
        """The schemas with the definitions that they lead to, of which ``of`` is the root itself."""
        own = self._names.get(_key(of), self._names.get(_key(bare(of))))
        if own in self.definitions:
            del self.definitions[own]
            schemas, self.definitions = _redirected((schemas, self.definitions), f"#/$defs/{own}")
        return [{**schema, "$defs": self.definitions} if self.definitions else schema for schema in schemas]

    def _annotated(self, annotation: Any, may_be_left_out: bool) -> dict[str, Any]:
        if is_pydantics(annotation):
            schema = self._of_pydantics(annotation)
        else:
            schema = self.of(annotation.__origin__, may_be_left_out=may_be_left_out)
        said = said_of(annotation)
        return schema if said is None else {**schema, "description": said}

    def _once(self, kind: Any, name: str, write: Any) -> dict[str, Any]:
        """The schema of a type with a name; within itself it is a reference."""
        key = _key(kind)
        if key in self._open:
            if key not in self._names:
                taken = self._names.values()
                others = (f"{name}_{number}" for number in itertools.count(2))
                self._names[key] = name if name not in taken else next(free for free in others if free not in taken)
            return {"$ref": f"#/$defs/{self._names[key]}"}
        self._open.append(key)
        try:
            schema: dict[str, Any] = write()
        finally:
            self._open.pop()
        if key in self._names:
            self.definitions[self._names[key]] = schema
        return dict(schema)

    def _record(self, annotation: Any) -> dict[str, Any]:
        fields = fields_of(annotation)
        assert fields is not None  # asked before
        summary, described = _said_by_class(typing.get_origin(annotation) or annotation)
        properties = {}
        for name, hint in fields.hints.items():
            schema = self.of(hint, may_be_left_out=name not in fields.required)
            if name in described and said_of(hint) is None:
                schema["description"] = described[name]
            default = plain_default(fields.defaults.get(name))
            properties[name] = schema if default is None else {**schema, "default": default}
        schema = {"type": "object", "properties": properties}
        if fields.required:
            schema["required"] = fields.required
        return {**schema, "description": summary} if summary else schema

    def _of_pydantics(self, annotation: Any) -> dict[str, Any]:
        schema = adapter(annotation).json_schema()
        definitions = schema.get("$defs", {})
        # A definition is known by whose it is, and by its name unless it is that type's own.
        own = schema.get("$ref", "").rpartition("/")[2]
        keys = {name: _key(annotation) if name == own else (_key(annotation), name) for name in definitions}
        simple: dict[str, Any] = self._simple(schema, definitions, keys)
        return simple

    def _simple(self, schema: Any, definitions: dict[str, Any], keys: dict[str, Any]) -> Any:
        """A schema of pydantic's as ours are: without references (they lead to the root, where it will not stand),
        titles, and null for what may be left out."""
        if isinstance(schema, list):
            return [self._simple(item, definitions, keys) for item in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            beside = {key: value for key, value in schema.items() if key not in ("$ref", "$defs")}
            target = self._once(keys[name], name, lambda: self._simple(definitions[name], definitions, keys))
            return {**target, **self._simple(beside, definitions, keys)}
        simple: dict[str, Any] = {}
        for key, value in schema.items():
            if key == "properties":
                simple[key] = {
                    name: self._simple(
                        _without_null(item) if name not in schema.get("required", []) else item, definitions, keys
                    )
                    for name, item in value.items()
                }
            elif key in ("enum", "const", "default", "examples", "required"):
                simple[key] = value
            elif key not in ("$defs", "discriminator") and not (key == "title" and isinstance(value, str)):
                simple[key] = self._simple(value, definitions, keys)
        return simple


def said_of(annotation: Any) -> str | None:
    """What ``Annotated`` says of a value."""
    said = None
    for extra in getattr(bare(annotation), "__metadata__", ()):
        if isinstance(extra, str):
            said = extra
        else:
            words = (getattr(extra, name, None) for name in ("description", "documentation"))
            said = next((word for word in words if isinstance(word, str)), said)
    return said


def plain_default(value: Any) -> Any:
    """A default as it stands in a schema; ``None`` if it cannot."""
    if isinstance(value, enum.Enum):
        value = value.value
    if not isinstance(value, (str, int, float, bool, list, dict)):
        return None
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return value


def is_enum(annotation: Any) -> bool:
    """Whether it is an enum."""
    # Before Python 3.11, list[int] is a type as well.
    return isinstance(annotation, type) and typing.get_origin(annotation) is None and issubclass(annotation, enum.Enum)


def is_text(annotation: Any) -> bool:
    """Whether values of the type are written as text in JSON."""
    return isinstance(annotation, type) and _place_of(annotation) in _TEXTS


def is_pydantics(annotation: Any) -> bool:
    """Whether pydantic knows best what the type is: its models, dataclasses and types, and its constraints."""
    if "pydantic" not in sys.modules:
        return False
    if hasattr(annotation, "__metadata__"):
        packages = {type(extra).__module__.partition(".")[0] for extra in annotation.__metadata__}
        return bool(packages & {"pydantic", "annotated_types"})
    kind = typing.get_origin(annotation) or annotation
    names = ("model_json_schema", "__pydantic_validator__", "__get_pydantic_core_schema__")
    return isinstance(kind, type) and any(hasattr(kind, name) for name in names)


_adapters: dict[Any, Any] = {}


def adapter(annotation: Any) -> Any:
    """Pydantic's reader of a type."""
    from pydantic import TypeAdapter

    key = _key(annotation)
    if key not in _adapters:
        _adapters[key] = TypeAdapter(annotation)
    return _adapters[key]


def _key(kind: Any) -> Any:
    return kind if _can_be_hashed(kind) else id(kind)


def _can_be_hashed(value: Any) -> bool:
    """What is annotated with something that cannot be compared cannot."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _place_of(annotation: Any) -> tuple[str, str]:
    return annotation.__module__.partition(".")[0], annotation.__name__


def _said_by_class(kind: Any) -> tuple[str, dict[str, str]]:
    """What a class's own docstring says: not its parents', nor what ``dataclass`` and ``NamedTuple`` write."""
    text = vars(kind).get("__doc__") or ""
    return ("", {}) if text.startswith(f"{kind.__name__}(") else parse_docstring(inspect.cleandoc(text))


def _redirected(schema: Any, reference: str) -> Any:
    """The schema with this reference led to the root."""
    if isinstance(schema, (list, tuple)):
        return [_redirected(item, reference) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: "#" if key == "$ref" and value == reference else _redirected(value, reference)
        for key, value in schema.items()
    }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    schema = {key: value for key, value in schema.items() if key != "default" or value is not None}
    if "anyOf" in schema:
        members = [member for member in schema["anyOf"] if member != {"type": "null"}]
        if len(members) == 1:
            return {**members[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
        schema["anyOf"] = members
    return schema


def _enumeration(members: Any) -> dict[str, Any]:
    values = [member.value if isinstance(member, enum.Enum) else member for member in members]
    kinds = {PLAIN.get(type(value)) for value in values}
    if None in kinds:
        raise ToolError(f"{values} cannot stand in JSON: values of an enum are texts, numbers, bools or None")
    schema: dict[str, Any] = {"enum": values}
    if len(kinds) == 1:
        schema["type"] = kinds.pop()
    return schema
