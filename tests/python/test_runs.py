"""Runs: limits, approval, tool choice, and what is left when one breaks off."""

import asyncio
import json
import pickle
import subprocess
import sys
import time
from pathlib import Path

import loom
import pytest
from conftest import collect, run
from loom.testing import emulate

STORED = Path(__file__).resolve().parents[1] / "corpus" / "stored-run.json"
PARIS = {"tool_calls": [{"name": "weather", "arguments": {"city": "Paris"}}]}
BOTH = {"tool_calls": [*PARIS["tool_calls"], {"name": "book", "arguments": {"city": "Rome"}}]}


class Tools:
    """Two tools that remember how often they were called."""

    def __init__(self, **options):
        self.called = []

        def weather(city: str) -> str:
            self.called.append(("weather", city))
            return f"sunny in {city}"

        def book(city: str) -> str:
            self.called.append(("book", city))
            return f"booked {city}"

        self.list = [loom.tool(weather), loom.tool(book, **options)]


def agent_on(server, **settings):
    return loom.agent(base_url=server.base_url, api_key="EMPTY", model=server.models[0], **settings)


# ---- Approval


def test_the_other_calls_are_executed_then_the_run_pauses():
    tools = Tools(requires_approval=True)
    with emulate(script=[BOTH, "done"]) as server:
        agent = agent_on(server, tools=tools.list)
        with pytest.raises(loom.ApprovalRequiredError, match="approval of book") as caught:
            agent.run_sync("go")
        assert tools.called == [("weather", "Paris")]
        paused = caught.value.run
        assert [(call.name, call.arguments) for call in caught.value.calls] == [("book", {"city": "Rome"})]
        paused.approve()
        answer = agent.run_sync(paused)
        assert (answer.content, tools.called) == ("done", [("weather", "Paris"), ("book", "Rome")])
        sent = server.requests[-1].json()["messages"]
        assert [message["content"] for message in sent if message["role"] == "tool"] == [
            "sunny in Paris",
            "booked Rome",
        ]
        assert agent.get_stats()["paused"] == 1 and agent.get_stats()["runs"] == 2


def test_a_stored_run_is_answered_and_resumed_in_another_process(tmp_path):
    with emulate(script=[BOTH, "done"]) as server:
        with pytest.raises(loom.ApprovalRequiredError) as caught:
            agent_on(server, tools=Tools(requires_approval=True).list).run_sync("go")
        file = tmp_path / "run.json"
        file.write_text(caught.value.run.to_json(), encoding="utf-8")
        program = f"""
import loom, pathlib
run = loom.Run.from_json(pathlib.Path({str(file)!r}).read_text(encoding="utf-8"))
run.deny(run.held[0].id, "too dear")
def weather(city: str) -> str: raise AssertionError
def book(city: str) -> str: raise AssertionError
agent = loom.agent(base_url={server.base_url!r}, api_key="EMPTY", model={server.models[0]!r}, tools=[weather, book])
print(agent.run_sync(run).content)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("done\n", "")
        last = server.requests[-1].json()["messages"][-1]
        assert "denied this call: too dear" in last["content"]


def test_what_python_stores_rust_resumes(tmp_path):
    """A test of Rust resumes the file (crates/loom-agent/tests/runs.rs); here it is held to what is stored now."""
    with emulate(script=[BOTH]) as server, pytest.raises(loom.ApprovalRequiredError) as caught:
        agent_on(server, tools=Tools(requires_approval=True).list, system_prompt="Be brief.").run_sync("go")
    now = json.loads(caught.value.run.to_json())
    now["used"]["seconds"] = 0.0
    for message in now["messages"]:
        message.pop("request_id", None)
    kept = json.loads(STORED.read_text(encoding="utf-8"))
    assert now == kept
    again = loom.Run.from_json(json.dumps(kept))
    assert json.loads(again.to_json()) == kept and len(again.held) == 1


def test_a_predicate_decides_by_the_arguments():
    async def dear(arguments):
        return arguments["city"] == "Rome"

    for predicate in (lambda arguments: arguments["city"] == "Rome", dear):
        tools = Tools(requires_approval=predicate)
        calls = [{"name": "book", "arguments": {"city": city}} for city in ("Rome", "Bonn")]
        with emulate(script=[{"tool_calls": calls}]) as server, pytest.raises(loom.ApprovalRequiredError) as caught:
            agent_on(server, tools=tools.list).run_sync("go")
        assert tools.called == [("book", "Bonn")] and len(caught.value.calls) == 1


def test_the_stream_says_what_waits_before_it_raises():
    with emulate(script=[PARIS]) as server:
        tool = loom.tool(Tools().list[0].function, requires_approval=True)
        kinds = []

        async def watch():
            async for event in agent_on(server, tools=[tool]).stream("go"):
                kinds.append(event["type"])

        with pytest.raises(loom.ApprovalRequiredError):
            run(watch())
        assert kinds[-1] == "approval_required" and "tool_start" not in kinds


def test_nothing_else_is_a_stored_run():
    for text in ("", "{}", "[1]", '{"version": 1}'):
        with pytest.raises(loom.ExecutionError, match="no stored run"):
            loom.Run.from_json(text)
    later = json.loads(STORED.read_text(encoding="utf-8")) | {"version": 2}
    with pytest.raises(loom.ExecutionError, match="version 2"):
        loom.Run.from_json(json.dumps(later))
    with pytest.raises(loom.ExecutionError, match='no call with the id "x"'):
        loom.Run.from_json(STORED.read_text(encoding="utf-8")).approve("x")


# ---- Limits


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"max_tool_calls": 1}, loom.ToolCallLimitError),
        ({"max_total_tokens": 5}, loom.TokenLimitError),
        ({"max_cost": 1e-6, "prices": {"input": 1.0, "output": 1.0}}, loom.CostLimitError),
        ({"max_recursion_depth": 2}, loom.RecursionError),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_limit_has_its_error_and_whoever_raises_it_loses_nothing(limits, error):
    rome = {"tool_calls": [{"name": "weather", "arguments": {"city": "Rome"}}]}
    for deltas in (False, True):
        tools = Tools()
        with emulate(script=[PARIS, rome, "done"]) as server:
            agent = agent_on(server, tools=tools.list, **limits)
            with pytest.raises(error) as caught:
                run(collect(agent.stream("go"))) if deltas else agent.run_sync("go")
            assert isinstance(caught.value, loom.LoomError) and caught.value.transcript[0].content == "go"
            asked, called = len(server.requests), len(tools.called)
            answer = agent_on(server, tools=tools.list).run_sync(caught.value.run)
            assert answer.content == "done"
            assert tools.called == [("weather", "Paris"), ("weather", "Rome")], "no call was made twice"
            assert (len(server.requests) == 3 and asked < 3 and called < 2) or error is loom.RecursionError


def test_the_time_is_up_in_the_middle_of_an_answer_and_of_a_tool():
    with emulate(script=["word " * 200], token_delay=0.05) as server:
        for deltas in (False, True):
            agent = agent_on(server, max_seconds=0.4)
            began = time.monotonic()
            with pytest.raises(loom.TimeLimitError, match=r"max_seconds=0\.4") as caught:
                run(collect(agent.stream("go"))) if deltas else agent.run_sync("go")
            if deltas:
                assert caught.value.partial.content
            assert time.monotonic() - began < 2

    cancelled = []

    async def slow() -> str:
        """Takes long."""
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return "late"

    with emulate(script=[{"tool_calls": [{"name": "slow", "arguments": {}}]}, "done"]) as server:
        with pytest.raises(loom.TimeLimitError) as caught:
            agent_on(server, tools=[slow], max_seconds=0.4).run_sync("go")
        assert cancelled and caught.value.run.used["seconds"] >= 0.4


@pytest.mark.parametrize(
    "limits",
    [
        {"max_seconds": 0},
        {"max_seconds": float("nan")},
        {"max_seconds": "soon"},
        {"max_cost": 1.0},
        {"max_cost": 1.0, "prices": {"input": 1.0}},
        {"max_cost": 1.0, "prices": {"input": -1.0, "output": 1.0}},
        {"max_tool_calls": -1},
        {"max_tool_calls": True},
        {"max_total_tokens": 1.5},
        {"max_repeats": "3"},
        {"tool_choice": 5},
    ],
    ids=str,
)
def test_limits_that_cannot_be_are_refused(limits):
    with pytest.raises(loom.ConfigurationError):
        loom.agent(base_url="http://localhost:8000/v1", model="m", **limits)


def test_a_model_that_repeats_itself_is_told_and_then_stopped():
    tools = Tools()
    with emulate(script=[PARIS] * 9) as server:
        with pytest.raises(loom.RepeatedCallError, match="weather"):
            agent_on(server, tools=tools.list).run_sync("go")
        assert len(tools.called) == 3
        assert "Use that result" in server.requests[-1].json()["messages"][-1]["content"]


def test_arguments_that_do_not_fit_go_back_with_their_place_until_it_is_enough():
    def order(count: int, size: str) -> str:
        """Orders."""
        return f"{count} {size}"

    def turn(**arguments):
        return {"tool_calls": [{"name": "order", "arguments": arguments}]}

    with emulate(script=[turn(count="many", size="L"), turn(size="L"), turn(count="3", size="L"), "done"]) as server:
        assert agent_on(server, tools=[order]).run_sync("go").content == "done"
        told = [m["content"] for m in server.requests[-1].json()["messages"] if m["role"] == "tool"]
        assert "/count" in told[0] and '"count" is a required property' in told[1] and told[2] == "3 L"
    with emulate(script=[turn(count="many", size="L")] * 9) as server:
        with pytest.raises(loom.InvalidCallsError):
            agent_on(server, tools=[order], max_invalid_calls=1).run_sync("go")
        assert len(server.requests) == 2


# ---- What is left


def test_a_call_that_fails_in_mid_run_does_not_cost_what_the_tools_did():
    tools = Tools()
    with emulate(script=[PARIS, {"status": 400, "message": "bad luck"}, "done"]) as server:
        agent = agent_on(server, tools=tools.list)
        with pytest.raises(loom.BadRequestError) as caught:
            agent.run_sync("go")
        error = pickle.loads(pickle.dumps(caught.value))
        assert [message.role for message in error.transcript] == ["user", "assistant", "tool"]
        assert agent.run_sync(error.run).content == "done"
        assert tools.called == [("weather", "Paris")]
        stats = agent.get_stats()
        assert (stats["runs"], stats["failed"], stats["tool_calls"], stats["turns"]) == (2, 1, 1, 3)


def test_a_run_that_is_done_is_not_run_again():
    with emulate(script=[PARIS, "done"]) as server:
        agent = agent_on(server, tools=Tools().list)
        with pytest.raises(loom.ExecutionError, match="has ended"):
            finished = loom.Run.from_json(
                json.dumps(json.loads(STORED.read_text(encoding="utf-8")) | {"state": "done"})
            )
            agent.run_sync(finished)


# ---- Tool choice


def test_a_tool_choice_that_is_passed_over_is_told_once_more_and_then_an_error():
    with emulate(script=["no", PARIS, "done"]) as server:
        answer = agent_on(server, tools=Tools().list, tool_choice="weather").run_sync("go")
        assert answer.content == "done" and "tool_choice_ignored" in [entry["rule"] for entry in answer.ledger]
        first, second, third = (request.json() for request in server.requests)
        assert first["tool_choice"]["function"]["name"] == "weather" and len(first["tools"]) == 2
        # Some servers pass over a name, and hold to this.
        assert second["tool_choice"] == "required"
        assert [tool["function"]["name"] for tool in second["tools"]] == ["weather"]
        assert "You must call" in second["messages"][-1]["content"] and "tool_choice" not in third
    with emulate(script=["no", "no"]) as server, pytest.raises(loom.ToolChoiceError, match="asked twice"):
        agent_on(server, tools=Tools().list, tool_choice="required").run_sync("go")
    with emulate(script=[PARIS, "done"]) as server:
        tools = Tools()
        assert agent_on(server, tools=tools.list, tool_choice="none").run_sync("go").content == "done"
        assert tools.called == []


def test_an_llm_of_ones_own_gets_what_the_run_asks_for():
    asked = []

    class Own(loom.BaseLLM):
        async def stream(self, messages, tools=None, response_format=None, tool_choice=None, **params):
            asked.append((len(messages), [tool["function"]["name"] for tool in tools], tool_choice))
            if len(asked) == 1:
                yield {"type": "tool_calls", "tool_calls": [{"id": "1", "name": "weather", "arguments": {"city": "X"}}]}
            else:
                yield {"type": "content_delta", "content": "done"}
            yield {"type": "finish", "finish_reason": "stop"}

    agent = loom.agent(llm=Own(), tools=Tools().list, tool_choice="required")
    assert agent.run_sync("go").content == "done"
    assert asked == [(1, ["weather", "book"], "required"), (3, ["weather", "book"], None)]


# ---- Whoever listens


def test_adaptations_are_events():
    with emulate(script=["no", PARIS, "done"]) as server:
        agent = agent_on(server, tools=Tools().list, tool_choice="required")
        events = run(collect(agent.stream("go")))
        told = [entry["rule"] for event in events if event["type"] == "adaptation" for entry in event["ledger"]]
        assert told == ["tool_choice_ignored"]
        assert [event["type"] for event in events].index("adaptation") == 4


def test_a_slow_or_failing_handler_does_not_hold_up_the_run():
    seen = []

    async def slow(event):
        seen.append(event["type"])
        await asyncio.sleep(0.2)

    with emulate(script=["word " * 50]) as server:
        began = time.monotonic()
        answer = agent_on(server, event_handler=slow).run_sync("go")
        assert len(answer.content) > 100 and time.monotonic() - began < 8
        assert seen[0] == "run_start"
