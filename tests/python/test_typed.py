"""Typed answers: which types there are, what is checked, and what is there of a value while it streams."""

import dataclasses
import enum
import json
from typing import Literal, Optional, TypedDict, Union

import loom
import pytest
from conftest import collect, run
from replies import DONE, chunk, sse, whole

from servers import MockServer

GOOD = '{"city": "Paris", "days": 3}'


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@dataclasses.dataclass
class Trip:
    city: str
    days: int
    mood: Optional[Mood] = None


class Place(TypedDict):
    city: str


def says(content):
    return whole({"content": content})


def scripted(*replies):
    """A server that gives these answers, the last again and again."""
    left = list(replies)
    return MockServer(lambda _request: left.pop(0) if len(left) > 1 else left[0])


def llm_on(server):
    return loom.UnifiedLLM(base_url=server.origin + "/v1", model="m", max_retries=0)


def agent_on(server, **options):
    return loom.agent(llm=llm_on(server), **options)


@pytest.mark.parametrize(
    ("output_type", "said", "value"),
    [
        (Trip, GOOD, Trip("Paris", 3)),
        (Trip, '{"city": "Paris", "days": "3", "mood": "Good"}', Trip("Paris", 3, Mood.GOOD)),
        (Place, '{"city": "Paris"}', {"city": "Paris"}),
        ({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}, '{"n": 1}', {"n": 1}),
        (list[Trip], f'{{"value": [{GOOD}]}}', [Trip("Paris", 3)]),
        (list[int], "[1, 2]", [1, 2]),
        (Literal["yes", "no"], '{"value": "yes"}', "yes"),
        (Mood, '{"value": "bad"}', Mood.BAD),
        (int, '{"value": 3}', 3),
        (Optional[bool], '{"value": null}', None),
        (Union[int, str], '{"value": "x"}', "x"),
    ],
    ids=lambda case: getattr(case, "__name__", None) or str(case)[:20],
)
def test_types(output_type, said, value):
    with scripted(says(said)) as server:
        answer = agent_on(server).run_sync("Paris", output_type=output_type)
        sent = server.chats[0].json["response_format"]
    assert answer.parsed == value and type(answer.parsed) is type(value)
    assert sent["type"] == "json_schema" and sent["json_schema"]["schema"]["type"] == "object"


def test_pydantic_models_of_models():
    pydantic = pytest.importorskip("pydantic")

    class Point(pydantic.BaseModel):
        x: float

    class Route(pydantic.BaseModel):
        points: list[Point]

    with scripted(says('{"value": [{"points": [{"x": 1}]}]}')) as server:
        answer = agent_on(server, output_type=list[Route]).run_sync("?")
        schema = server.chats[0].json["response_format"]["json_schema"]["schema"]
    assert answer.parsed == [Route(points=[Point(x=1)])]
    points = schema["properties"]["value"]["items"]["properties"]["points"]
    assert points["items"]["required"] == ["x"] and "$ref" not in str(schema), "references are written out"


def test_what_does_not_fit_is_told_and_asked_again_and_fails_in_the_end():
    bad = '{"city": "Paris"}'
    with scripted(says(bad), says(GOOD)) as server:
        answer = agent_on(server, output_type=Trip).run_sync("Paris")
        told = server.chats[1].json["messages"][-1]["content"]
    assert answer.parsed == Trip("Paris", 3) and "days" in told
    assert "output_repaired" in [entry["rule"] for entry in answer.ledger]

    with scripted(says(bad)) as server, pytest.raises(loom.OutputError) as caught:
        agent_on(server, output_type=Trip, output_retries=1).run_sync("Paris")
    assert caught.value.text == bad and "days" in caught.value.problems[0]["message"]
    assert caught.value.run.messages[-1].content == bad


def test_partial_values_only_grow_and_the_last_is_the_answer():
    pieces = [chunk({"content": text}) for text in ('{"ci', 'ty": "Pa', 'ris", "days"', ": 1", "2}")]
    with scripted(sse(*pieces, chunk({}, "stop"), DONE)) as server:
        events = run(collect(agent_on(server).stream("Paris", output_type=Trip)))
    values = [event["value"] for event in events if event["type"] == "partial"]
    assert values == [{}, {"city": "Pa"}, {"city": "Paris"}, {"city": "Paris", "days": 12}]
    assert events[-1]["message"].parsed == Trip("Paris", 12)


def test_types_without_a_schema_are_refused_before_anything_is_sent():
    with pytest.raises(loom.ConfigurationError, match="output_type"):
        loom.agent(llm="custom", base_url="http://localhost:1/v1", output_type=object)


def test_an_llm_checks_and_says_what_does_not_fit():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    with scripted(says('{"n": "many"}'), says('{"n": 1}')) as server:
        answer = run(llm_on(server).generate("How many?", response_format=wanted))
        told = json.dumps(server.chats[1].json["messages"])
    assert json.loads(answer.content) == {"n": 1} and "JSON schema" in told
    with scripted(says('{"n": "many"}')) as server, pytest.raises(loom.BadResponseError, match="/n") as caught:
        run(llm_on(server).generate("How many?", response_format=wanted))
    assert caught.value.partial.content == '{"n": "many"}'


def test_a_value_that_its_type_refuses_is_asked_for_again():
    pydantic = pytest.importorskip("pydantic")

    class Even(pydantic.BaseModel):
        number: int

        @pydantic.field_validator("number")
        @classmethod
        def is_even(cls, number: int) -> int:
            if number % 2:
                raise ValueError(f"{number} is odd")
            return number

    def number(value):
        return says(json.dumps({"number": value}))

    with scripted(number(3), number(4)) as server:
        answer = agent_on(server, output_type=Even).run_sync("go")
        assert answer.parsed == Even(number=4)
        assert [entry["rule"] for entry in answer.ledger].count("output_repaired") == 1
        assert "3 is odd" in json.loads(server.requests[1].body)["messages"][2]["content"]
    with scripted(number(3)) as server:
        with pytest.raises(loom.OutputError, match="3 is odd") as caught:
            agent_on(server, output_type=Even, output_retries=1).run_sync("go")
        assert isinstance(caught.value.__cause__, pydantic.ValidationError)
        assert len(server.requests) == 2 and caught.value.text == '{"number": 3}'


def test_where_nothing_may_be_bridged_no_answer_is_asked_for_again():
    with scripted(says("no JSON")) as server:
        agent = loom.agent(
            llm=loom.UnifiedLLM(base_url=server.origin + "/v1", model="m", strict=True), output_type=Trip
        )
        with pytest.raises(loom.BadResponseError, match="output_repaired") as caught:
            agent.run_sync("go")
        assert caught.value.transcript[-1].text == "no JSON" and len(server.requests) == 1
