"""Every provider that Loom knows by name, on the emulator of that name: text, stream, tools and JSON.

``tests/corpus/providers.json`` names the emulators that have another name, and what does not work yet; what is listed
there and works fails the test, too. The same from Rust: ``crates/loom-agent/tests/spec_table.rs``.
"""

import json

import loom
import pytest
from conftest import ROOT, collect, run, texts
from loom.testing import emulate, emulators

LIST = json.loads((ROOT / "tests" / "corpus" / "providers.json").read_text(encoding="utf-8"))
PROVIDERS = [provider["name"] for provider in loom.providers()]
KEY = "sk-emulated"
QUESTION = "How is the weather in Paris?"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@loom.tool
def get_weather(city: str) -> str:
    """The weather now."""
    return f"sunny in {city}"


def text(settings):
    assert "Hello there" in loom.agent(**settings).run_sync("Hello there").content


def stream(settings):
    events = run(collect(loom.agent(**settings).stream("Hello there")))
    assert len([event for event in events if event["type"] == "content_delta"]) > 1
    assert "Hello there" in texts(events) == events[-1]["message"].content


def tools(settings):
    agent = loom.agent(**settings, tools=[get_weather])
    assert "sunny in Paris" in agent.run_sync(QUESTION).content
    assert "sunny in Paris" in run(collect(agent.stream(QUESTION)))[-1]["message"].content


def structured(settings):
    llm = loom.UnifiedLLM(settings.pop("llm"), **settings)
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    answer = run(llm.generate("Which city? Paris is meant.", response_format=wanted))
    assert isinstance(json.loads(answer.content)["city"], str)


STEPS = {"text": text, "stream": stream, "tools": tools, "json": structured}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_agent_works_on_every_provider(provider, step):
    name = LIST["emulators"].get(provider, provider)
    assert name in emulators(), f"{provider} has no emulator"
    not_yet = LIST["not_yet"].get(provider, {}).get(step)
    with emulate(name, api_key=KEY) as server:
        settings = {"llm": provider, "base_url": server.base_url, "api_key": KEY, "model": server.models[0]}
        try:
            STEPS[step]({**settings, "max_retries": 0})
        except (loom.LLMError, loom.AgentError, AssertionError, ValueError):
            if not_yet is None:
                raise
            return
    assert not_yet is None, f"{provider} {step} works: take it off the list"
