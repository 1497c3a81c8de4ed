"""The schemas of Python's annotations are those of Rust's types, of a tool's arguments and of typed answers: both are
compared with ``tests/schemas.json``, Rust's in ``crates/loom-agent/tests/schemas.rs``. Pydantic's are brought to the
same form."""

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar, Union

import loom
import pytest
from pydantic import BaseModel, Field, RootModel
from replies import whole
from typing_extensions import NotRequired

from servers import MockServer

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


@dataclass
class Tree:
    """
    Attributes:
        name: What it is called
    """

    name: str
    children: "list[Tree]"
    twin: "Optional[Tree]" = None


class TreeModel(BaseModel):
    name: str = Field(description="What it is called")
    children: "list[TreeModel]"
    twin: "Optional[TreeModel]" = None


def recursive(tree: Tree) -> None: ...


T = TypeVar("T")


@dataclass
class Page(Generic[T]):
    items: list[T]
    next: Optional[str] = None


class PageModel(BaseModel, Generic[T]):
    items: list[T]
    next: Optional[str] = None


def generic(numbers: Page[int]) -> None: ...


def anything(value: Any) -> None: ...


def nothing() -> None: ...


FUNCTIONS = [
    plain,
    described,
    defaults,
    enums,
    collections,
    nested,
    unions,
    recursive,
    generic,
    anything,
    nothing,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_each_signature_has_the_schema_of_the_table(function: Any) -> None:
    assert loom.tool(function).parameters == TABLE[function.__name__]


def test_pydantics_generics_and_recursive_models_are_as_ours() -> None:
    def generic(numbers: PageModel[int]) -> None: ...

    assert loom.tool(generic).parameters == TABLE["generic"]


@dataclass
class Stay:
    """A place

    Attributes:
        city: The city's name
    """

    city: str
    days: Optional[int] = None


class StayModel(BaseModel):
    """A place"""

    city: str = Field(description="The city's name")
    days: Optional[int] = None


class StayDict(TypedDict):
    """A place"""

    city: Annotated[str, "The city's name"]
    days: NotRequired[int]


class StayTuple(NamedTuple):
    """A place"""

    city: Annotated[str, "The city's name"]
    days: Optional[int] = None


class Places(RootModel[list[PlaceModel]]):
    pass


class Numbers(RootModel["Union[int, list[Numbers]]"]):
    pass


ANSWERS: list[tuple[str, Any]] = [
    ("object", Stay),
    ("object", StayModel),
    ("object", StayDict),
    ("object", StayTuple),
    ("recursive", Tree),
    ("recursive", TreeModel),
    ("list", list[Place]),
    ("list", list[PlaceDict]),
    ("list", Places),
    ("enum", Unit),
    ("enum", Literal["celsius", "kelvin"]),
    ("union", Union[int, str]),
    ("number", int),
    ("map", dict[str, float]),
    ("recursive union", Numbers),
]


@pytest.mark.parametrize(("name", "output_type"), ANSWERS, ids=str)
def test_each_type_of_an_answer_is_asked_for_as_in_the_table(name: str, output_type: Any) -> None:
    with MockServer(lambda _request: whole({"content": ""})) as server:
        agent = loom.agent(base_url=server.origin + "/v1", model="m", max_retries=0, output_retries=0)
        with pytest.raises(loom.LoomError):
            agent.run_sync("Hi", output_type=output_type)
        sent = server.chats[0].json["response_format"]["json_schema"]["schema"]
    assert sent == TABLE[f"answer: {name}"]


def test_the_table_holds_nothing_else() -> None:
    answers = {f"answer: {name}" for name, _ in ANSWERS}
    assert {function.__name__ for function in FUNCTIONS} | answers == set(TABLE)
