"""The same agent on a real server: plain and streamed, tools and JSON where the server has them, and its errors.

The models are tiny and random: what they say means nothing, how it arrives is the real thing.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import loom
import pytest

CITIES = ["Paris", "Rome"]


@loom.tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": CITIES}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def llm(server, **settings):
    settings = {"api_key": server.api_key, "model": server.model, "max_tokens": 24, **settings}
    return loom.UnifiedLLM("custom", base_url=server.base_url, **settings)


def agent(server, **settings):
    return loom.agent(name="assistant", llm=llm(server, **settings))


def loom_command(server, *args):
    """The command line program, with the server's settings in the environment."""
    settings = {"LOOM_BASE_URL": server.base_url, "LOOM_API_KEY": server.api_key, "LOOM_MODEL": server.model}
    command = [Path(sys.executable).with_name("loom"), *args, "--max-tokens", "24"]
    return subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)


def test_a_plain_answer(server):
    answer = asyncio.run(agent(server).run("Say hi, 漢字 🦙"))
    assert answer.role == "assistant" and answer.content
    assert answer.finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0
    assert answer.model


def test_a_streamed_answer(server):
    async def collect():
        return [event async for event in agent(server).stream("Say hi, 漢字 🦙")]

    for _ in range(5):  # the model may end its turn at once
        events = asyncio.run(collect())
        deltas = [event["content"] for event in events if event["type"] == "content_delta"]
        if len(deltas) > 1:
            break
    assert len(deltas) > 1, "the answer did not come in pieces"
    assert events[-1]["type"] == "finish"
    assert events[-1]["message"].content == "".join(deltas)


def test_the_shell_gives_an_answer(server):
    done = loom_command(server, "run", "Say hi")
    assert done.returncode == 0, done.stderr
    done = loom_command(server, "run", "--json", "Say hi")
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["type"] == "finish" and last["message"]["role"] == "assistant"


def test_the_models_are_listed(server):
    models = asyncio.run(llm(server).models())
    if server.name == "transformers":
        assert models == []
    else:
        assert server.model in models
        assert server.model in loom_command(server, "models").stdout.split()


def forced_calls(server):
    """A completion with usable calls. A random model may run into the token limit first: that is an error then."""
    for _ in range(10):
        try:
            completion = asyncio.run(
                llm(server, max_tokens=400).generate("The weather?", tools=[WEATHER], tool_choice="required")
            )
            if completion.tool_calls:
                return completion
            assert completion.finish_reason == "length"
        except loom.BadResponseError as error:
            assert error.partial.finish_reason == "length"
    raise AssertionError("no answer within the token limit in 10 tries")


def test_a_forced_tool_call_and_its_result(server):
    if not server.forces_tools:
        # Ignored or refused by this server; never a call that the model did not make.
        completion = asyncio.run(llm(server).generate("The weather?", tools=[WEATHER]))
        assert [call.name for call in completion.tool_calls] in ([], ["get_weather"])
        return
    completion = forced_calls(server)
    assert {call.name for call in completion.tool_calls} == {"get_weather"}
    assert all(call.arguments["city"] in CITIES and call.id for call in completion.tool_calls)
    assert len({call.id for call in completion.tool_calls}) == len(completion.tool_calls)
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": get_weather(**call.arguments)}
        for call in completion.tool_calls
    ]
    history = [loom.Message("user", "The weather?"), completion.to_message(), *results]
    try:
        answer = asyncio.run(llm(server).generate(history, tools=[WEATHER]))
        assert answer.finish_reason in ("stop", "length", "tool_calls")
    except loom.BadResponseError as error:  # the model has begun another call, and run into the token limit
        assert error.partial.finish_reason == "length"


def test_a_streamed_tool_call(server):
    if not server.forces_tools:
        pytest.skip(f"{server.name} does not hold tool_choice")

    async def collect():
        model = llm(server, max_tokens=400)
        return [event async for event in model.stream("The weather?", tools=[WEATHER], tool_choice="required")]

    for _ in range(5):
        events = asyncio.run(collect())
        # llama.cpp's grammar lets words stand before the call: in one answer of 150 they fill the token limit.
        if events[-1]["finish_reason"] != "length" or any(event["type"] == "tool_calls" for event in events):
            break
    (calls,) = [event["tool_calls"] for event in events if event["type"] == "tool_calls"]
    assert {call["name"] for call in calls} == {"get_weather"}
    for call in calls:
        assert isinstance(call["arguments"], dict) or call["invalid"]


def test_an_agent_with_tools(server):
    helper = loom.agent(llm=llm(server), tools=[get_weather])
    answer = asyncio.run(helper.run("Say hi"))
    assert answer.role == "assistant"


#: In a process of its own, since Loom knows the server once it has answered.
FIRST_CALL = """
import loom, sys

@loom.tool
def get_weather(city: str) -> str:
    'The weather in a city.'
    return city

base_url, api_key, model = sys.argv[1:]
agent = loom.agent(base_url=base_url, api_key=api_key, model=model, max_tokens=24, tools=[get_weather])
agent.run_sync("Say hi")
assert any("passes over" in entry["detail"] for entry in agent.llm.ledger), agent.llm.ledger
sent = agent.llm.explain()["curl"]
assert "get_weather" in sent and '"tools"' not in sent, sent
"""


def test_tools_that_a_server_passes_over_are_asked_for_again(server):
    if server.name != "fastchat":
        pytest.skip(f"{server.name} does not pass over tools, or is not known by its first answer")
    command = [sys.executable, "-c", FIRST_CALL, server.base_url, server.api_key, server.model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_json(server):
    schema = {
        "type": "object",
        "properties": {"city": {"enum": CITIES}},
        "required": ["city"],
        "additionalProperties": False,
    }
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "place", "schema": {**schema, "additionalProperties": False}},
    }
    if not server.has_json:
        pytest.skip(f"{server.name} holds no answer to a schema")
    for _ in range(5):  # blanks may fill the token limit
        completion = asyncio.run(llm(server, max_tokens=200).generate("A city?", response_format=wanted))
        if completion.finish_reason == "stop":
            break
    assert json.loads(completion.content)["city"] in CITIES


#: The rungs of the ladder that a server holds by a grammar: the profile, and what must stand in the body.
RUNGS = {
    "vllm": [
        ({"response_format": "json_schema"}, "response_format"),
        ({"response_format": "grammar", "grammar": "structured_outputs"}, "structured_outputs"),
        ({"response_format": "tool"}, "tool_choice"),
    ],
    "llama-server": [
        ({"response_format": "json_schema"}, "response_format"),
        ({"response_format": "grammar", "grammar": "json_schema"}, "json_schema"),
        ({"response_format": "tool"}, "tool_choice"),
    ],
    "litellm": [({"response_format": "json_schema"}, "response_format")],
    "llama-cpp-python": [
        ({"response_format": "grammar", "grammar": "schema"}, "response_format"),
        ({"response_format": "tool"}, "tool_choice"),
    ],
}


def test_each_rung_that_the_server_holds_by_a_grammar(server):
    if server.name not in RUNGS:
        pytest.skip(f"{server.name} holds no answer to a schema")
    city = {"type": "object", "properties": {"city": {"enum": CITIES}}, "required": ["city"]}
    city["additionalProperties"] = False
    for profile, field in RUNGS[server.name]:
        model = llm(server, max_tokens=200, profile=profile)
        for _ in range(5):  # blanks may fill the token limit
            try:
                answer = asyncio.run(loom.agent(llm=model, output_type=city, output_retries=0).run("A city?"))
                break
            except (loom.OutputError, loom.BadResponseError) as error:
                failure = error
        else:
            raise AssertionError(f"{profile}: {failure}")
        assert answer.parsed["city"] in CITIES, profile
        command = shlex.split(model.explain()["curl"])
        assert field in json.loads(command[command.index("--data-binary") + 1]), profile


def test_a_wrong_key(server):
    if not server.checks_keys:
        pytest.skip(f"{server.name} takes any key")
    with pytest.raises(loom.AuthenticationError) as caught:
        asyncio.run(llm(server, api_key="sk-wrong-0123456789").generate("hi"))
    assert "sk-wrong-0123456789" not in str(caught.value) + str(caught.value.body)


def test_a_prompt_that_is_too_long(server):
    if server.name == "transformers":
        pytest.skip("it answers a prompt of any length")
    with pytest.raises(loom.ContextLengthError) as caught:
        asyncio.run(llm(server).generate("word " * 5000))
    assert not caught.value.retryable


def test_an_unknown_model(server):
    if server.name in ("llama-server", "llama-cpp-python"):
        pytest.skip(f"{server.name} takes any name")
    with pytest.raises(loom.LLMError) as caught:
        asyncio.run(llm(server, model="no-such-model", max_retries=0).generate("hi"))
    # transformers serve tries to download it and fails with a 500 of its own.
    assert caught.value.kind == ("server" if server.name == "transformers" else "not_found")


def test_leaving_a_stream_early(server):
    async def leave():
        async for event in llm(server, max_tokens=1500).stream("Tell me a long story"):
            if event["type"] == "content_delta":
                break

    asyncio.run(leave())
    assert asyncio.run(agent(server).run("Say hi")).role == "assistant"
