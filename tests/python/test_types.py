"""Odd types and signatures: what schema they give, what value the function or the caller gets."""

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

import local_types
import loom
import pydantic
import pytest
from conftest import run
from replies import whole
from typing_extensions import NotRequired

from servers import MockServer

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Pair(NamedTuple):
    left: int
    right: datetime.date


@dataclasses.dataclass
class Box(Generic[T]):
    content: T
    more: list[T] = dataclasses.field(default_factory=list)
    size: int = dataclasses.field(default=0, init=False)


class Labelled(TypedDict, Generic[T]):
    label: str
    value: NotRequired[T]


class Tree(pydantic.BaseModel):
    name: str
    children: list["Tree"] = []


class Strict(pydantic.BaseModel):
    model_config = {"strict": True}
    day: datetime.date
    pair: tuple[int, str]


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    name: str


@pydantic.dataclasses.dataclass
class Checked:
    age: int = pydantic.Field(ge=0)


Name = NewType("Name", str)


def parsed(output_type: Any, said: Any) -> Any:
    """What becomes of an answer of that type."""
    with MockServer(lambda _request: whole({"content": json.dumps(said)})) as server:
        agent = loom.agent(base_url=server.origin + "/v1", model="m", max_retries=0, output_retries=0)
        return agent.run_sync("Hi", output_type=output_type).parsed


@pytest.mark.parametrize(
    ("output_type", "said", "value"),
    [
        (Pair, {"left": 1, "right": "2026-01-02"}, Pair(1, datetime.date(2026, 1, 2))),
        (Box[datetime.date], {"content": "2026-01-02"}, Box(datetime.date(2026, 1, 2))),
        (Box[Box[int]], {"content": {"content": 1}, "more": []}, Box(Box(1))),
        (
            Labelled[datetime.date],
            {"label": "x", "value": "2026-01-02"},
            {"label": "x", "value": datetime.date(2026, 1, 2)},
        ),
        (
            local_types.Place,
            {"city": "Paris", "since": "2026-01-02"},
            {"city": "Paris", "since": datetime.date(2026, 1, 2)},
        ),
        (local_types.Place, {"city": "Paris"}, {"city": "Paris"}),
        (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree(name="a", children=[Tree(name="b")])),
        (Strict, {"day": "2026-01-02", "pair": [1, "x"]}, Strict(day=datetime.date(2026, 1, 2), pair=(1, "x"))),
        (
            Annotated[Union[Cat, Dog], pydantic.Field(discriminator="kind")],
            {"value": {"kind": "dog", "name": "Rex"}},
            Dog(kind="dog", name="Rex"),
        ),
        (Checked, {"age": 3}, Checked(3)),
        (dict[int, Color], {"1": "red"}, {1: Color.RED}),
        (Literal[Color.RED, 1, True, None], {"value": "red"}, Color.RED),
        (Literal[Color.RED, 1, True, None], {"value": True}, True),
        (Name, {"value": "x"}, "x"),
        (Sequence[int], {"value": [1, 2]}, [1, 2]),
        (collections.deque[int], {"value": [1, 2]}, collections.deque([1, 2])),
        (decimal.Decimal, {"value": "1.50"}, decimal.Decimal("1.50")),
        (uuid.UUID, {"value": str(uuid.UUID(int=7))}, uuid.UUID(int=7)),
        (datetime.timedelta, {"value": "PT1H"}, datetime.timedelta(hours=1)),
        (list[Optional[Color]], {"value": ["red", None]}, [Color.RED, None]),
        (None, {"value": 1}, None),
    ],
    ids=str,
)
def test_values_of_types(output_type: Any, said: Any, value: Any) -> None:
    found = parsed(output_type, said)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("output_type", "said"),
    [
        (Checked, {"age": -1}),
        (Annotated[int, pydantic.Field(ge=1)], {"value": 0}),
        (Annotated[str, pydantic.Field(pattern="^a")], {"value": "b"}),
    ],
    ids=str,
)
def test_constraints_are_checked(output_type: Any, said: Any) -> None:
    with pytest.raises(loom.OutputError) as caught:
        parsed(output_type, said)
    assert caught.value.problems


def test_a_class_of_the_calling_function_is_found_where_annotations_are_texts() -> None:
    assert local_types.tool_of_a_local_class().parameters["properties"]["place"]["required"] == ["city"]
    assert run(local_types.tool_of_a_local_class().invoke({"place": {"city": "Paris"}})) == "Paris"
    with MockServer(lambda _request: whole({"content": '{"places": [{"city": "Rome"}]}'})) as server:
        answer = local_types.ask(loom.agent(base_url=server.origin + "/v1", model="m"))
    assert answer.places[0].city == "Rome"


@pytest.mark.parametrize(
    ("output_type", "says"),
    [
        (Tree(name="x"), "name its type"),
        ("Tree", "no JSON schema"),
        (Literal[b"x"], "cannot stand in JSON"),
        (enum.Enum("Places", {"A": (1, 2)}), "cannot stand in JSON"),
        (local_types.Lost, "Nowhere"),
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, "cannot be used"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "cannot be used"),
        (functools.reduce(lambda inner, _: {"properties": {"a": inner}}, range(200), {}), "levels deep"),
    ],
    ids=lambda case: str(case)[:30],
)
def test_what_is_no_type_is_a_configuration_error(output_type: Any, says: str) -> None:
    agent = loom.agent(base_url="http://127.0.0.1:9/v1", model="m")
    with pytest.raises(loom.ConfigurationError, match=says):
        agent.run_sync("Hi", output_type=output_type)


class Desk:
    """Has a tool that is a method."""

    def __init__(self, name: str) -> None:
        self.name = name

    @loom.tool(retries=2)
    def look_up(self, word: str) -> str:
        """Looks a word up.

        Args:
            word: the word
        """
        return f"{self.name}: {word}"


def test_a_method_is_a_tool_of_its_object() -> None:
    tool = Desk("a").look_up
    assert list(tool.parameters["properties"]) == ["word"] and tool.retries == 2
    assert run(tool.invoke({"word": "x"})) == "a: x" and Desk("b").look_up("y") == "b: y"
    assert run(loom.tool(Desk("c").look_up.function).invoke({"word": "z"})) == "c: z"
    for unbound in (Desk.look_up, Desk.look_up.function):
        with pytest.raises(loom.ToolError, match="without its object"):
            loom.agent(base_url="http://127.0.0.1:9/v1", model="m", tools=[unbound])


def test_what_stands_behind_two_stars_is_of_its_type() -> None:
    def put(key: str, **values: Color) -> str:
        return f"{key} {values}"

    tool = loom.tool(put)
    assert tool.parameters["additionalProperties"] == {"type": "string", "enum": ["red", "blue"]}
    assert run(tool.invoke({"key": "k", "a": "red"})) == f"k { ({'a': Color.RED}) }"


def test_defaults_that_json_has_not_are_left_out() -> None:
    def put(a: Any = float("nan"), b: Any = {"x": object}, c: Any = Color.RED, d: Any = [1]) -> None:  # noqa: B006
        ...

    properties = loom.tool(put).parameters["properties"]
    assert properties == {"a": {}, "b": {}, "c": {"default": "red"}, "d": {"default": [1]}}


@pytest.mark.parametrize(
    ("docstring", "summary", "said"),
    [
        ("Does.\n\n@param a: first\n", "Does.", "first"),
        ("Does.\n\nKeyword Args:\n    a (int): first\n", "Does.", "first"),
        ("Does.\nArgs:\n    a: first\n      and more\nNote: slow.", "Does. Note: slow.", "first and more"),
        ("Does.\n\n:param int a: first\n    and more\n:returns: nothing\n", "Does.", "first and more"),
        ("Does.\n\nOther Parameters\n----------------\na : int\n    first\n", "Does.", "first"),
    ],
)
def test_docstrings(docstring: str, summary: str, said: str) -> None:
    def put(a: int) -> None: ...

    put.__doc__ = docstring
    tool = loom.tool(put)
    assert tool.description == summary and tool.parameters["properties"]["a"]["description"] == said


@pytest.mark.parametrize(
    ("result", "read"),
    [
        (map(str, [1]), '["1"]'),
        (range(2), "[0, 1]"),
        (collections.deque([1]), "[1]"),
        ({"a": 1}.keys(), '["a"]'),
        (datetime.datetime(2026, 1, 2), '"2026-01-02T00:00:00"'),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (memoryview(b"abc"), '"(3 bytes)"'),
    ],
    ids=str,
)
def test_results(result: Any, read: str) -> None:
    assert run(loom.tool(lambda: result, name="get").invoke({})) == read


def test_an_approval_function_that_fails_ends_the_run_and_calls_nothing() -> None:
    called = []

    def unsure(arguments: dict[str, Any]) -> bool:
        raise KeyError("amount")

    pay = loom.tool(lambda: called.append(1), name="pay", requires_approval=unsure)
    call = {"id": "c", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
    with MockServer(lambda _request: whole({"content": None, "tool_calls": [call]}, "tool_calls")) as server:
        agent = loom.agent(base_url=server.origin + "/v1", model="m", tools=[pay])
        with pytest.raises(loom.ToolError, match="requires_approval of the tool 'pay' failed: KeyError") as caught:
            agent.run_sync("Hi")
    assert not called and caught.value.run is not None and caught.value.transcript[-1].tool_calls[0].name == "pay"


@pytest.mark.parametrize(("tools", "choice"), [([], "required"), ([Desk("a").look_up], "look_down")])
def test_a_choice_among_tools_that_are_not_there_is_an_error_before_anything_is_sent(tools: Any, choice: str) -> None:
    with MockServer(lambda _request: whole({"content": "Hi"})) as server:
        agent = loom.agent(base_url=server.origin + "/v1", model="m", tools=tools, tool_choice=choice)
        with pytest.raises(loom.ToolChoiceError, match="not on offer"):
            agent.run_sync("Hi")
        assert not server.chats
