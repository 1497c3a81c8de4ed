"""The type of an agent's answer: its JSON schema for the model, and the checked JSON as a value of the type."""

from __future__ import annotations

from typing import Any

from . import _loom
from .errors import ConfigurationError, ToolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class OutputType:
    """What ``output_type=`` names: a pydantic model, dataclass, TypedDict, enum, ``Literal``, union, list or plain
    type, or a JSON schema as a dict."""

    __slots__ = ("_type", "name", "schema")

    def __init__(self, output_type: Any) -> None:
        self._type: Any = None
        if isinstance(output_type, dict):
            self.schema: Mapping[str, Any] = output_type
            self.name = str(output_type.get("title") or "answer")
            return
        from . import _schema

        self._type = output_type
        self.name = getattr(output_type, "__name__", "") or "answer"
        try:
            self.schema = _schema.schema_of(output_type)
        except ToolError as error:
            raise ConfigurationError(f"output_type: {error}") from None

    def typed(self, answer: _loom.Message) -> tuple[_loom.Message, Exception | None]:
        """The answer with ``parsed`` as a value of the type; or why the type refuses what its schema allows (a
        validator of a pydantic model)."""
        if self._type is None:
            return answer, None
        from . import _convert

        try:
            value = _convert.convert(answer.parsed, self._type, "the answer")
        except (ToolError, ValueError) as error:
            return answer, error
        return answer._with_parsed(value), None
