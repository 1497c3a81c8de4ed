"""The schemas of Python's annotations are those of Rust's types: both are compared with ``tests/schemas.json``, Rust's
in ``crates/loom-agent/tests/schemas.rs``. Pydantic's are brought to the same form."""

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Optional, TypedDict, Union

import loom
import pytest
from pydantic import BaseModel
from typing_extensions import NotRequired

TABLE = json.loads((Path(__file__).parents[1] / "schemas.json").read_text())


def plain(text: str, whole: int, number: float, flag: bool) -> None: ...


def described(city: str) -> None:
    """Described.

    Args:
        city: The city's name
    """


def defaults(days: int = 3, unit: str = "celsius", note: Optional[str] = None) -> None: ...


class Unit(Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


def enums(unit: Unit, other: Optional[Literal["celsius", "kelvin"]] = None) -> None: ...


def collections(
    numbers: list[int],
    by_name: dict[str, float],
    pair: tuple[int, str],
    nested: list[list[bool]],
    several: Optional[list[str]] = None,
) -> None: ...


@dataclass
class Place:
    city: str
    country: Optional[str] = None


class PlaceDict(TypedDict):
    city: str
    country: NotRequired[str]


class PlaceModel(BaseModel):
    city: str
    country: Optional[str] = None


def nested(place: Place, others: list[PlaceDict], last: Optional[PlaceModel] = None) -> None: ...


def unions(which: Union[int, str]) -> None: ...


def anything(value: Any) -> None: ...


def nothing() -> None: ...


FUNCTIONS = [plain, described, defaults, enums, collections, nested, unions, anything, nothing]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_each_signature_has_the_schema_of_the_table(function: Any) -> None:
    assert loom.tool(function).parameters == TABLE[function.__name__]


def test_the_table_holds_nothing_else() -> None:
    assert {function.__name__ for function in FUNCTIONS} == set(TABLE)
