"""Twelve tasks that an agent must be able to do, the same for every server; nothing here knows which server it is.

    python tests/servers/twelve.py --base-url http://localhost:8000/v1 --model m [--api-key KEY] [--json]

A task passes, or fails, or is left to the model: where nothing but the model's goodwill stands between the request and
what was asked for, a model that does not do as it is told cannot be made to. So the model is first asked to say a word.
One that does so gets its tools to choose from; of any other (the tiny random models of ``servers/``) calls are demanded
by ``tool_choice``, which a server can hold by a grammar.

Beside the outcome it reports the form in which tools and formats were sent, as the requests had it that led to the
result.
"""

# ruff: noqa: T201 (a program: it prints)
from __future__ import annotations

import argparse
import asyncio
import enum
import json
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import loom

TRIES = 10  #: how often a task is tried with a model that says anything
WORD = "lighthouse"  #: what the model is asked to say
City = Literal["Paris", "Rome", "Oslo"]

#: What a model is to blame for, and not Loom or the server.
MODEL_FAULTS = (
    loom.ToolChoiceError,
    loom.OutputError,
    loom.BadResponseError,
    loom.LimitError,  # calls that are invalid, or repeated without end
    loom.ContextLengthError,  # the answers have filled it
    loom.RecursionError,
)


class Undone(Exception):
    """The model did not do what it was told, and what it did instead is right in itself."""


class By(enum.Enum):
    TRAIN = "train"
    BUS = "bus"


@dataclass
class Stop:
    city: City
    by: By
    nights: Literal[1, 2, 3]


@dataclass
class Trip:
    title: Literal["short", "long"]
    stops: list[Stop]
    guided: bool


@dataclass
class Place:
    city: City
    rain: bool


@dataclass
class Server:
    """Where it is, and what has been seen there."""

    base_url: str
    model: str
    api_key: str | None = None
    obeys: bool = False
    forms: dict[str, str] = field(default_factory=dict)

    def llm(self, **settings: Any) -> loom.UnifiedLLM:
        settings = {"max_tokens": 400, "timeout": 120.0, **settings}
        return loom.UnifiedLLM(base_url=self.base_url, model=self.model, api_key=self.api_key, **settings)

    def agent(self, llm: Any = None, **settings: Any) -> loom.Agent:
        return loom.agent(llm=llm or self.llm(), **settings)

    def choice(self, demanded: str) -> dict[str, str]:
        """Nothing for a model that chooses, else what it must call."""
        return {} if self.obeys else {"tool_choice": demanded}


def sent(llm: Any) -> dict[str, Any]:
    """The body of the last request; empty before the first."""
    explained = llm.explain()
    if explained is None:
        return {}
    command = shlex.split(explained["curl"])
    body: dict[str, Any] = json.loads(command[command.index("--data-binary") + 1])
    return body


def tool_form(body: dict[str, Any]) -> str:
    return "tools" if body.get("tools") else "prompt"


def choice_form(body: dict[str, Any]) -> str:
    choice = body.get("tool_choice")
    return "named" if isinstance(choice, dict) else choice or "words"


def format_form(body: dict[str, Any]) -> str:
    """The rung of the ladder."""
    for name in ("structured_outputs", "guided_json", "json_schema"):
        if name in body:
            return name
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_object":
        extra = [key for key in ("schema", "value") if key in wanted]
        return " + ".join(["json_object", *extra])
    return wanted.get("type") or ("tool" if body.get("tool_choice") not in (None, "auto", "none") else "prompt")


class Weather:
    """A tool that remembers its calls and the request that led to the first one."""

    def __init__(self, llm: Any, **options: Any) -> None:
        self.cities: list[str] = []
        self.body: dict[str, Any] = {}
        self.fails = False

        async def get_weather(city: City) -> str:
            """The weather in a city now."""
            self.cities.append(city)
            self.body = self.body or sent(llm)
            if self.fails:
                raise ValueError("the weather station is down")
            return f"sunny in {city}"

        self.tool = loom.tool(get_weather, **options)

    def was_called(self) -> None:
        if not self.cities:
            raise Undone("get_weather was not called")


async def says(server: Server) -> bool:
    """Whether the model says what it is told to say. The models are listed first, as users do to see what is there."""
    await server.llm().models()
    completion = await server.llm(max_tokens=60).generate(f"Say the word {WORD}.")
    return WORD in completion.content.lower()


def answered(answer: loom.Message) -> None:
    assert answer.role == "assistant"
    if not answer.text.strip():
        raise Undone("nothing was said")


# ---- The tasks


async def text(server: Server) -> None:
    answer = await server.agent().run("Say hello, 漢字 🦙")
    answered(answer)
    assert answer.finish_reason in ("stop", "length"), answer.finish_reason


async def stream(server: Server) -> None:
    events = [event async for event in server.agent().stream("Tell me about llamas, please.")]
    deltas = [event["content"] for event in events if event["type"] == "content_delta"]
    assert events[-1]["type"] == "finish", events[-1]
    assert events[-1]["message"].text == "".join(deltas)
    if len(deltas) < 2:
        raise Undone("the answer is one piece")


async def one_tool(server: Server) -> None:
    llm = server.llm()
    weather = Weather(llm)
    agent = server.agent(llm, tools=[weather.tool], **server.choice("get_weather"))
    try:
        answer = await agent.run("How is the weather in Paris?")
    finally:
        server.forms["tools"] = tool_form(weather.body or sent(llm))
        if not server.obeys:
            server.forms["named"] = choice_form(weather.body or sent(llm))
    weather.was_called()
    answered(answer)
    if server.obeys:
        assert weather.cities == ["Paris"] and "sunny in Paris" in answer.text, answer


async def two_parallel_tools(server: Server) -> None:
    llm = server.llm()
    running, most = 0, 0

    async def meet(name: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        return f"{name} is done"

    async def get_weather(city: City) -> str:
        """The weather in a city now."""
        return await meet("weather")

    async def get_time(city: City) -> str:
        """The time in a city now."""
        return await meet("time")

    agent = server.agent(llm, tools=[get_weather, get_time], **server.choice("required"))
    events = [event async for event in agent.stream("Get the weather in Paris and the time in Rome.")]
    turns = [[call["name"] for call in event["tool_calls"]] for event in events if event["type"] == "tool_calls"]
    started = [event["name"] for event in events if event["type"] == "tool_start"]
    server.forms["two tools"] = "at once" if most > 1 else "in turn"
    if server.obeys:
        # Some servers let a model make one call in a turn.
        assert started == ["get_weather", "get_time"], started
        assert most == 2 or [len(turn) for turn in turns] == [1, 1], turns
    elif most < 2:
        raise Undone("it did not call two tools at once")
    history = sent(llm)["messages"]
    results = [message["tool_call_id"] for message in history if message["role"] == "tool"]
    calls = [call["id"] for message in history for call in message.get("tool_calls") or []]
    assert results == calls, "the results are not in the order of the calls"


async def tool_error_and_recovery(server: Server) -> None:
    llm = server.llm()
    weather = Weather(llm)
    weather.fails = True
    agent = server.agent(llm, tools=[weather.tool], **server.choice("get_weather"))
    session = loom.Session()
    events = []
    async for event in agent.stream("How is the weather in Paris?", session=session):
        events.append(event)
        if event["type"] == "tool_end" and weather.cities:
            weather.fails = False  # the model may try again at once
    weather.was_called()
    # A call that was cut off comes to an end, too, and is not executed.
    ends = [event for event in events if event["type"] == "tool_end" and "weather station" in event["content"]]
    assert ends and ends[0]["is_error"] and ends[0]["content"].startswith("Error: "), events
    assert events[-1]["type"] == "finish"
    told = [message.text for message in session.messages if message.role == "tool"]
    assert any("the weather station is down" in text for text in told), told
    # The conversation goes on with the failure in it, and the tool works now.
    before = len(weather.cities)
    answer = await agent.run("And how is the weather in Rome?", session=session)
    if len(weather.cities) == before:
        raise Undone("get_weather was not called again")
    if server.obeys:
        assert weather.cities[-1] == "Rome" and "sunny in Rome" in answer.text, answer


async def approval_and_resume(server: Server) -> None:
    llm = server.llm()
    weather = Weather(llm, requires_approval=True)
    agent = server.agent(llm, tools=[weather.tool], **server.choice("get_weather"))
    try:
        answer = await agent.run("How is the weather in Paris?")
    except loom.ApprovalRequiredError as error:
        stored = error.run.to_json()
        assert error.run.held and not weather.cities
    else:
        raise Undone(f"get_weather was not called: {answer.text}")
    command = [sys.executable, __file__, "--base-url", server.base_url, "--model", server.model, "--resume"]
    command += ["--api-key", server.api_key] if server.api_key else []
    done = await asyncio.to_thread(
        subprocess.run, command, input=stored, capture_output=True, text=True, encoding="utf-8", timeout=120
    )
    assert done.returncode == 0, done.stderr
    resumed = json.loads(done.stdout)
    if "undone" in resumed:
        raise Undone(resumed["undone"])
    assert resumed["cities"], resumed
    if server.obeys:
        assert resumed["cities"] == ["Paris"] and "sunny in Paris" in resumed["answer"], resumed


async def resume(server: Server, stored: str) -> None:
    """The other process of ``approval_and_resume``."""
    llm = server.llm()
    await llm.models()
    weather = Weather(llm, requires_approval=True)
    agent = server.agent(llm, tools=[weather.tool])
    run, answer = loom.Run.from_json(stored), None
    while answer is None:
        run.approve()
        try:
            answer = await agent.run(run)
        except loom.ApprovalRequiredError as error:  # a random model may go on calling
            run = error.run
        except MODEL_FAULTS as error:
            print(json.dumps({"undone": str(error)}))
            return
    print(json.dumps({"cities": weather.cities, "answer": answer.text}))


async def required_tool(server: Server) -> None:
    llm = server.llm()
    weather = Weather(llm)

    async def get_time(city: City) -> str:
        """The time in a city now."""
        weather.cities.append(city)
        weather.body = weather.body or sent(llm)
        return "noon"

    agent = server.agent(llm, tools=[get_time, weather.tool], tool_choice="required")
    try:
        await agent.run("Good morning.")  # nothing that leads to a call by itself
    finally:
        server.forms["required"] = choice_form(weather.body or sent(llm))
    assert weather.cities, "no tool was called, and no error was raised"


async def json_object(server: Server) -> None:
    llm = server.llm()
    try:
        completion = await llm.generate("Describe a llama in JSON.", response_format={"type": "json_object"})
    finally:
        server.forms["json_object"] = format_form(sent(llm))
    if completion.finish_reason == "length":
        raise Undone("it came to no end")
    assert isinstance(json.loads(completion.content), dict), completion.content


async def nested_schema(server: Server) -> None:
    llm = server.llm()
    try:
        answer = await server.agent(llm, output_type=Trip).run("Plan a short trip to Rome by train, 2 nights.")
    finally:
        server.forms["schema"] = format_form(sent(llm))
    trip = answer.parsed
    assert isinstance(trip, Trip) and trip.title in ("short", "long") and isinstance(trip.guided, bool)
    assert all(isinstance(stop, Stop) and isinstance(stop.by, By) and stop.nights in (1, 2, 3) for stop in trip.stops)
    if server.obeys:
        assert [stop.city for stop in trip.stops] == ["Rome"], trip


async def schema_with_tools(server: Server) -> None:
    llm = server.llm()
    weather = Weather(llm)
    agent = server.agent(llm, tools=[weather.tool], output_type=Place, **server.choice("get_weather"))
    try:
        answer = await agent.run("How is the weather in Paris?")
    finally:
        last = sent(llm)
        together = format_form(last) if last.get("tools") else ""
        server.forms["schema_with_tools"] = together or f"{format_form(last)}, after the tools"
    weather.was_called()
    assert isinstance(answer.parsed, Place), answer


async def typed_stream(server: Server) -> None:
    agent = server.agent(output_type=Trip)
    events = [event async for event in agent.stream("Plan a long trip to Oslo by bus, 3 nights.")]
    values = [event["value"] for event in events if event["type"] == "partial"]
    assert events[-1]["type"] == "finish" and isinstance(events[-1]["message"].parsed, Trip)
    assert len(values) > 1, "the value did not grow"
    for before, after in zip(values, values[1:]):
        # A value that has to be asked for again begins anew.
        assert grows(before, after) or after == {}, f"{before} does not grow into {after}"
    final = json.loads(events[-1]["message"].text)
    assert grows(values[-1], final), (values[-1], final)


def grows(before: Any, after: Any) -> bool:
    """Whether a partial value may become the other by more text."""
    if isinstance(before, dict) and isinstance(after, dict):
        return all(key in after and grows(value, after[key]) for key, value in before.items())
    if isinstance(before, list) and isinstance(after, list):
        return len(before) <= len(after) and all(map(grows, before, after))
    if isinstance(before, str) and isinstance(after, str):
        return after.startswith(before)
    return bool(before == after)


async def long_history(server: Server) -> None:
    llm = server.llm(max_tokens=60)
    weather = Weather(llm)
    history: list[Any] = []
    for number in range(40):
        call = {"id": f"call_{number}", "type": "function"}
        call["function"] = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
        history += [
            {"role": "user", "content": f"Question {number}: how is the weather in Paris today, I would like to know?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {
                "role": "tool",
                "tool_call_id": f"call_{number}",
                "content": f"sunny, {number} degrees, wind from the west",
            },
            {
                "role": "assistant",
                "content": f"It is sunny and {number} degrees in Paris, with some wind from the west.",
            },
        ]
    session = loom.Session()
    session.append(history)
    agent = server.agent(llm, tools=[weather.tool], context_policy="trim")
    events = [event async for event in agent.stream("Say the word " + WORD + ".", session=session)]
    assert events[-1]["type"] == "finish"
    compacted = [event for event in events if event["type"] == "context_compacted"]
    server.forms["history"] = "trimmed" if compacted else "whole"
    assert bool(compacted) == any(entry["rule"] == "context_compacted" for entry in events[-1]["message"].ledger)
    body = sent(llm)
    open_calls: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            assert message["tool_call_id"] in open_calls, "a result without its call was sent"
            open_calls.remove(message["tool_call_id"])
        else:
            assert not open_calls, "a call without its result was sent"
            open_calls = [call["id"] for call in message.get("tool_calls") or []]
    assert not open_calls and len(session) >= len(history) + 2, "the session has lost something"
    questions = [message for message in body["messages"] if message["role"] == "user"]
    assert WORD in json.dumps(questions[-1]), "the question was not sent"
    if not compacted and server.forms["tools"] == "tools":
        assert len([message for message in body["messages"] if message["role"] == "tool"]) >= 40
    if server.obeys:
        assert WORD in events[-1]["message"].text


TASKS: dict[str, Callable[[Server], Awaitable[None]]] = {
    "text": text,
    "stream": stream,
    "one tool": one_tool,
    "two parallel tools": two_parallel_tools,
    "tool error and recovery": tool_error_and_recovery,
    "approval and resume": approval_and_resume,
    "required tool": required_tool,
    "JSON object": json_object,
    "schema with nesting and enums": nested_schema,
    "schema with tools": schema_with_tools,
    "typed stream": typed_stream,
    "long history": long_history,
}


async def attempt(task: Callable[[Server], Awaitable[None]], server: Server) -> str:
    """``passed``, ``model`` (left to the model, which did not), or ``failed: …``; then why, for people."""
    why = ""
    for _ in range(1 if server.obeys else TRIES):
        try:
            await task(server)
            return "passed"
        except (Undone, *MODEL_FAULTS) as error:
            why = f"{type(error).__name__}: {error}"
        except Exception as error:
            return f"failed: {type(error).__name__}: {error}"
    return f"failed: {why}" if server.obeys else f"model: {why}"


async def outcomes(server: Server) -> AsyncIterator[tuple[str, str]]:
    """Each task and how it went."""
    server.obeys = await says(server)
    for name, task in TASKS.items():
        yield name, await attempt(task, server)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-key")
    parser.add_argument("--json", action="store_true", help="the result as one line of JSON")
    parser.add_argument("--task", action="append", help="one task alone")
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    server = Server(options.base_url, options.model, options.api_key)
    if options.resume:
        await resume(server, sys.stdin.read())
        return 0
    for name in list(TASKS):
        if options.task and name not in options.task:
            del TASKS[name]
    tasks = {}
    async for name, outcome in outcomes(server):
        tasks[name] = outcome
        if not options.json:
            print(f"{name}: {outcome}", flush=True)
    if options.json:
        print(json.dumps({"obeys": server.obeys, "tasks": tasks, "forms": server.forms}))
    else:
        print(f"the model {'does as it is told' if server.obeys else 'says anything'}; sent: {server.forms}")
    return int(any(outcome.startswith("failed") for outcome in tasks.values()))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
