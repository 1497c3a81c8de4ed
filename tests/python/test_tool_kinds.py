"""What may be a tool, and what its name may be."""

import asyncio
import functools
import json

import loom
import pytest
from conftest import run


def invoke(tool, **arguments):
    return run(tool.invoke(arguments))


@pytest.mark.parametrize("name", ["get weather", "a(b)", "x" * 65, "", "a\nb", "tool:1", "<lambda>"])
def test_a_name_that_servers_refuse_is_an_error_that_says_so(name):
    with pytest.raises(loom.ToolError, match="name of a tool"):
        loom.tool(name=name)(lambda: 1)
    with pytest.raises((loom.ToolError, TypeError), match="name"):
        dict_tool = {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
        run(loom.UnifiedLLM(base_url="http://127.0.0.1:9/v1", model="m").generate("Hi", tools=[dict_tool]))


def test_the_error_proposes_a_name():
    with pytest.raises(loom.ToolError, match='"get_weather" could'):
        loom.tool(name="get weather!")(lambda: 1)


def test_a_lambda_needs_a_name():
    with pytest.raises(loom.ToolError, match=r"<lambda>.*name="):
        loom.agent(base_url="http://127.0.0.1:9/v1", tools=[lambda x: x])
    assert invoke(loom.tool(lambda x: x, name="echo"), x=3) == "3"


@pytest.mark.parametrize("name", ["a", "get_weather", "Get-Weather.v2", "查询天气", "x" * 64])
def test_names_that_servers_take(name):
    assert loom.tool(lambda: 1, name=name).name == name


def test_a_partial_offers_what_it_leaves_open():
    def search(index: str, query: str, limit: int = 3) -> str:
        """Searches.

        Args:
            query: what for
        """
        return f"{index}/{query}/{limit}"

    by_name = loom.tool(functools.partial(search, index="docs"))
    by_place = loom.tool(functools.partial(search, "docs", limit=9))
    assert by_name.name == by_place.name == "search" and by_name.description == "Searches."
    assert list(by_name.parameters["properties"]) == ["query", "limit"]
    assert by_name.parameters["properties"]["query"] == {"type": "string", "description": "what for"}
    assert list(by_place.parameters["properties"]) == ["query"] and by_place.parameters["required"] == ["query"]
    assert invoke(by_name, query="x") == "docs/x/3"
    assert invoke(by_place, query="x") == "docs/x/9"

    async def later(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    assert invoke(loom.tool(functools.partial(later, b=2)), a=1) == "3"


def test_a_class_is_refused_with_what_to_do():
    class Weather:
        def __init__(self, city: str) -> None:
            self.city = city

        def __call__(self, day: str) -> str:
            return f"{self.city} {day}"

    with pytest.raises(loom.ToolError, match="Weather is a class"):
        loom.tool(Weather)
    assert invoke(loom.tool(Weather("Paris")), day="Monday") == "Paris Monday"
    assert invoke(loom.tool(Weather("Paris").__call__, name="weather"), day="Monday") == "Paris Monday"


def test_the_items_of_a_generator_are_its_result():
    def count(to: int):
        yield from range(to)

    async def later(to: int):
        for number in range(to):
            await asyncio.sleep(0)
            yield {"n": number}

    def broken():
        yield 1
        raise KeyError("no more")

    assert json.loads(invoke(loom.tool(count), to=3)) == [0, 1, 2]
    assert json.loads(invoke(loom.tool(later), to=2)) == [{"n": 0}, {"n": 1}]
    with pytest.raises(KeyError):
        invoke(loom.tool(broken))
