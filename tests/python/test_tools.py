"""@loom.tool: schema from signature and docstring, the arguments a function gets, and the tool loop."""

import asyncio
import dataclasses
import enum
import json
import threading
from typing import Any, Dict, List, Literal, Optional, Union  # noqa: UP035 (both spellings are tested)

import loom
import pytest
from conftest import agent_for, run
from loom import tool
from replies import tool_calls


def offered(server, function):
    """The function object of the tool as it goes over the wire."""
    run(agent_for(server, tools=[function]).run("hi"))
    (entry,) = server.chats[-1].json["tools"]
    assert entry["type"] == "function"
    return entry["function"]


def property_schema(server, annotation, *default):
    """The schema of one parameter of this type, with references resolved."""

    def probe(value=None):
        """Probes."""

    probe.__annotations__ = {"value": annotation}
    probe.__defaults__ = default or None
    parameters = offered(server, tool(probe))["parameters"]
    assert parameters["type"] == "object" and list(parameters["properties"]) == ["value"]
    assert (parameters.get("required", []) == []) == bool(default)
    return resolved(parameters["properties"]["value"], parameters.get("$defs", {}))


def resolved(schema, definitions):
    if isinstance(schema, list):
        return [resolved(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}
    return {name: resolved(value, definitions) for name, value in schema.items()}


def branches(schema):
    """The alternatives of a schema, without null."""
    kinds = schema.get("type")
    found = [{"type": kind} for kind in kinds] if isinstance(kinds, list) else schema.get("anyOf", [schema])
    return [branch for branch in found if branch["type"] != "null"]


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


# ---- Schema


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, "string"),
        (int, "integer"),
        (float, "number"),
        (bool, "boolean"),
        (dict, "object"),
        (list, "array"),
        (Dict[str, Any], "object"),  # noqa: UP006
    ],
    ids=str,
)
def test_plain_types(server, annotation, kind):
    assert property_schema(server, annotation)["type"] == kind


@pytest.mark.parametrize("annotation", [list[int], List[int]], ids=str)  # noqa: UP006
def test_lists(server, annotation):
    schema = property_schema(server, annotation)
    assert schema["type"] == "array" and schema["items"]["type"] == "integer"


def test_dicts_of_values(server):
    schema = property_schema(server, dict[str, float])
    assert schema["type"] == "object" and schema["additionalProperties"]["type"] == "number"


def test_literal(server):
    schema = property_schema(server, Literal["asc", "desc"])
    assert schema["enum"] == ["asc", "desc"] and schema["type"] == "string"


def test_optional(server):
    (branch,) = branches(property_schema(server, Optional[int], None))
    assert branch["type"] == "integer"


def test_union(server):
    assert {branch["type"] for branch in branches(property_schema(server, Union[int, str]))} == {"integer", "string"}


def test_enum(server):
    assert property_schema(server, Color)["enum"] == ["red", "blue"]


def test_dataclass(server):
    schema = property_schema(server, Point)
    assert schema["type"] == "object" and schema["required"] == ["x"]
    assert {name: one["type"] for name, one in schema["properties"].items()} == {"x": "integer", "y": "integer"}


def test_list_of_dataclasses(server):
    assert set(property_schema(server, list[Point])["items"]["properties"]) == {"x", "y"}


def test_default(server):
    assert property_schema(server, int, 5)["default"] == 5


def test_string_annotations(server):
    assert property_schema(server, "Optional[list[int]]", None)  # as under `from __future__ import annotations`


def test_google_docstring(server):
    @tool
    def search(query: str, limit: int = 10) -> list:
        """Searches the archive.

        Only what is public.

        Args:
            query: What to look for,
                in plain words.
            limit (int): At most so many.

        Returns:
            The hits.
        """
        return []

    function = offered(server, search)
    assert function["name"] == "search"
    assert (
        function["description"].startswith("Searches the archive.")
        and "Only what is public." in function["description"]
    )
    assert "Args" not in function["description"]
    properties = function["parameters"]["properties"]
    assert " ".join(properties["query"]["description"].split()) == "What to look for, in plain words."
    assert properties["limit"]["description"] == "At most so many."
    assert function["parameters"]["required"] == ["query"]


def test_no_parameters_and_no_docstring(server):
    @tool
    def now():
        return "noon"

    function = offered(server, now)
    assert (
        function["name"] == "now"
        and function["parameters"]["type"] == "object"
        and not function["parameters"].get("properties")
    )


def test_the_three_ways_to_write_it(server):
    @loom.tool
    def one() -> str:
        """One."""

    @tool()
    def two() -> str:
        """Two."""

    @tool(name="drei")
    def three() -> str:
        """Three."""

    run(agent_for(server, tools=[one, two, three]).run("hi"))
    assert [entry["function"]["name"] for entry in server.chats[0].json["tools"]] == ["one", "two", "drei"]


def test_a_tool_is_still_a_function():
    @tool
    def double(n: int) -> int:
        """Doubles."""
        return 2 * n

    assert double(2) == 4 and double.__name__ == "double" and double.__doc__ == "Doubles."


def test_two_tools_of_one_name_are_refused(server):
    def make(text):
        @tool(name="same")
        def function() -> str:
            """Says."""
            return text

        return function

    with pytest.raises(loom.LoomError, match="same"):
        agent_for(server, tools=[make("a"), make("b")])


# ---- Arguments and results


def called(server, function, arguments, name=None):
    """What the model is told when it calls `function` with these arguments."""
    server.script(tool_calls((name or function.__name__, arguments)))
    run(agent_for(server, tools=[function]).run("go"))
    assistant, result = server.chats[-1].messages[-2:]
    assert [call["id"] for call in assistant["tool_calls"]] == [result["tool_call_id"]] == ["call_1"]
    assert (assistant["role"], result["role"]) == ("assistant", "tool")
    return result["content"]


def test_a_function_gets_values_of_its_types(server):
    got = []

    @tool
    def probe(
        color: Color,
        point: Point,
        points: list[Point],
        ratio: float,
        maybe: Optional[Point] = None,
        more: Optional[dict] = None,
    ) -> str:
        """Probes."""
        got.extend([color, point, points, ratio, maybe, more])
        return "ok"

    arguments = {"color": "blue", "point": {"x": 1}, "points": [{"x": 2, "y": 3}], "ratio": 1, "more": {"a": None}}
    assert called(server, probe, arguments) == "ok"
    assert got == [Color.BLUE, Point(1), [Point(2, 3)], 1.0, None, {"a": None}]


def result_of(server, value):
    @tool
    def probe():
        """Probes."""
        return value

    return called(server, probe, {})


@pytest.mark.parametrize(("value", "content"), [("文本", "文本"), ("", "")], ids=str)
def test_text_is_told_as_it_is(server, value, content):
    assert result_of(server, value) == content


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (3, 3),
        (1.5, 1.5),
        (True, True),
        ([1, "é"], [1, "é"]),
        ({"a": None}, {"a": None}),
        (Point(1, 2), {"x": 1, "y": 2}),
        (Color.RED, "red"),
    ],
    ids=str,
)
def test_other_values_are_told_as_json(server, value, content):
    said = result_of(server, value)
    assert json.loads(said) == content and "\\u" not in said


def test_nothing_is_told_as_a_string_too(server):
    assert isinstance(result_of(server, None), str)


def test_async_tools(server):
    @tool
    async def later(text: str) -> str:
        """Answers later."""
        await asyncio.sleep(0)
        return text.upper()

    assert called(server, later, {"text": "hi"}) == "HI"


def test_a_tool_that_fails_informs_the_model(server):
    @tool
    def broken(n: int) -> int:
        """Fails."""
        raise ValueError("no such n: 3")

    said = called(server, broken, {"n": 3})
    assert "no such n: 3" in said and "Traceback" not in said


def test_a_failure_without_a_text_informs_the_model_too(server):
    @tool
    def broken() -> int:
        """Fails."""
        raise TimeoutError

    assert "TimeoutError" in called(server, broken, {})


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({}, "text"),
        ({"text": "a", "count": "many"}, "count"),
        ({"text": "a", "colour": 1}, "colour"),
        ('{"text": "a', "JSON"),
    ],
)
def test_wrong_arguments_inform_the_model_and_do_not_call(server, arguments, hint):
    ran = []

    @tool
    def probe(text: str, count: int = 1) -> str:
        """Probes."""
        ran.append(text)
        return "ok"

    assert hint in called(server, probe, arguments) and ran == []


def test_a_tool_that_does_not_exist_informs_the_model(server):
    @tool
    def real() -> str:
        """Is real."""
        return "ok"

    said = called(server, real, {}, name="imagined")
    assert "imagined" in said and "real" in said


# ---- The loop


def test_the_loop_runs_to_the_answer(server):
    @tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    server.script(tool_calls(("add", {"a": 1, "b": 2})), tool_calls(("add", {"a": 3, "b": 4})))
    message = run(agent_for(server, tools=[add]).run("go"))
    assert (message.content, len(server.chats)) == ("tools: 7", 3)
    roles = [message["role"] for message in server.chats[-1].messages]
    assert roles == ["user", "assistant", "tool", "assistant", "tool"]
    arguments = server.chats[-1].messages[1]["tool_calls"][0]["function"]["arguments"]
    assert isinstance(arguments, str) and json.loads(arguments) == {"a": 1, "b": 2}


def test_async_calls_of_one_turn_run_together_and_answer_in_order(server):
    async def go():
        met = asyncio.Event()

        @tool
        async def waits() -> str:
            """Ends after the other."""
            await asyncio.wait_for(met.wait(), 5)
            return "one"

        @tool
        async def goes() -> str:
            """Lets the other end."""
            met.set()
            return "two"

        return await agent_for(server, tools=[waits, goes]).run("call waits {}\ncall goes {}")

    assert run(go()).content == "tools: one, two"
    assert [message.get("tool_call_id") for message in server.chats[-1].messages] == [None, None, "call_1", "call_2"]


def test_sync_calls_of_one_turn_run_together_and_leave_the_loop_alone(server):
    both = threading.Barrier(2)

    @tool
    def meet() -> str:
        """Meets the other call."""
        both.wait(timeout=5)
        return "met"

    assert run(agent_for(server, tools=[meet]).run("call meet {}\ncall meet {}")).content == "tools: met, met"


def test_max_recursion_depth_ends_the_run(server):
    @tool
    def again() -> str:
        """Again."""
        return "again"

    server.handler = lambda request: tool_calls(("again", {}), stream=request.json.get("stream", False))
    with pytest.raises(loom.RecursionError, match="3"):
        run(agent_for(server, tools=[again], max_recursion_depth=3).run("go"))
    assert 3 <= len(server.chats) <= 4


def test_tools_work_with_run_sync(server):
    @tool
    async def later() -> str:
        """Answers later."""
        await asyncio.sleep(0)
        return "done"

    assert agent_for(server, tools=[later]).run_sync("call later {}").content == "tools: done"
