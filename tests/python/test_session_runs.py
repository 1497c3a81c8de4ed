"""Runs in a session: what they start from, what is kept, and conversations longer than the model's context."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys

import loom
import pytest
from loom.testing import emulate


@loom.tool
def look() -> str:
    """Looks at the thermometer."""
    return "21 °C"


CALL = {"tool_calls": [{"name": "look", "arguments": {}}]}
DOWN = {"status": 500, "message": "down"}


def agent_for(server, **options):
    options = {"max_retries": 0, "tools": [look], "system_prompt": "Be brief.", **options}
    return loom.agent(base_url=server.base_url, model=server.models[0], **options)


def roles(session):
    return " ".join(message.role for message in session.messages)


@pytest.fixture(params=["memory", "file"])
def session(request, tmp_path):
    return loom.Session() if request.param == "memory" else loom.Session.open(tmp_path / "chat.db", "talk")


def test_a_run_starts_from_what_was_said_and_adds_what_is_said(session):
    with emulate("vllm", script=["Hello, Ada.", CALL, "It is warm, Ada."]) as server:
        agent = agent_for(server)
        agent.run_sync("I am Ada.", session=session)

        async def ask():
            async for event in agent.stream("How warm is it?", session=session):
                if event["type"] == "finish":
                    assert len(session) == 6, "it is kept when the answer is told"

        asyncio.run(ask())
        sent = server.requests[1].json()["messages"]
    assert roles(session) == "user assistant user assistant tool assistant"
    assert [message["content"] for message in sent] == ["Be brief.", "I am Ada.", "Hello, Ada.", "How warm is it?"]


def test_of_a_run_that_fails_what_is_complete_is_kept_once(session):
    with emulate("vllm", script=[DOWN, CALL, DOWN, "warm"]) as server:
        agent = agent_for(server)
        with pytest.raises(loom.LLMError):
            agent.run_sync("How warm is it?", session=session)
        assert roles(session) == ""
        with pytest.raises(loom.LLMError) as caught:
            agent.run_sync("How warm is it?", session=session)
        assert roles(session) == "user assistant tool"
        run = type(caught.value.run).from_json(caught.value.run.to_json())
        assert agent.run_sync(run, session=session).content == "warm"
    assert roles(session) == "user assistant tool assistant"


def test_a_stream_that_is_left_or_cancelled_keeps_what_is_complete(session):
    with emulate("vllm", script=[CALL, "one two three four", CALL], token_delay=0.02) as server:
        agent = agent_for(server)

        async def leave():
            events = agent.stream("How warm is it?", session=session)
            async for event in events:
                if event["type"] == "content_delta":
                    break
            await events.aclose()

        asyncio.run(leave())
        assert roles(session) == "user assistant tool"

        async def cancel():
            task = asyncio.ensure_future(agent.run("And now?", session=session))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
    assert roles(session) == "user assistant tool"


def long():
    session = loom.Session()
    for turn in range(40):
        session.append([f"question {turn} {'word ' * 10}", loom.Message("assistant", f"answer {turn} {'word ' * 10}")])
    return session


def events_of(agent, text, session):
    async def collect():
        return [event async for event in agent.stream(text, session=session)]

    return asyncio.run(collect())


@pytest.mark.parametrize("name", ["vllm", "llamacpp"])
def test_a_conversation_longer_than_the_context(name):
    with emulate(name, context=300) as server:
        agent = agent_for(server, tools=None)
        session = long()
        events = events_of(agent, "and now?", session)
        [told] = [event for event in events if event["type"] == "context_compacted"]
        assert (told["policy"], told["reason"], told["context_limit"]) == ("trim", "overflow", 300)
        assert "context_compacted" in [entry["rule"] for entry in events[-1]["message"].ledger]
        assert len(session) == 82, "the session keeps everything"
        before = len(server.requests)
        agent.run_sync("and then?", session=session)
        assert len(server.requests) == before + 1
        assert [message["role"] for message in server.requests[-1].json()["messages"]][:2] == ["system", "user"]
        agent.run_sync("whole answers, too", session=long())
        with pytest.raises(loom.ContextLengthError):
            agent_for(server, tools=None, context_policy="keep").run_sync("and now?", session=long())
        with pytest.raises(loom.ContextLengthError):
            agent.run_sync([*long().messages, loom.Message("user", "and now?")])


def test_what_the_list_of_models_says_of_the_context_is_known_before_a_refusal():
    with emulate("llamacpp", context=300) as server:
        agent = loom.agent(base_url=server.base_url, max_retries=0)
        assert agent.llm.context_window is None
        agent.run_sync("hi")  # which model there is stands in the list
        assert agent.llm.context_window == 300
        events = events_of(agent, "and now?", long())
        [told] = [event for event in events if event["type"] == "context_compacted"]
        assert (told["reason"], told["context_limit"]) == ("near_limit", 300)


def test_a_summary_stands_for_what_is_left_out():
    with emulate("vllm", script=["They asked much.", "fine"], context=300) as server:
        agent = agent_for(server, tools=None, context_policy="summarize")
        events = events_of(agent, "and now?", long())
        [told] = [event for event in events if event["type"] == "context_compacted"]
        # What goes is itself longer than this context, so there is no summary of it, which is said.
        assert told["policy"] == "trim" and "context" in told["error"]
        knowing = agent_for(server, tools=None, context_policy="summarize", context_window=900)
        session = long()
        events = events_of(knowing, "and now?", session)
    assert events[-1]["message"].content


def test_what_cannot_work_is_said_at_once(tmp_path):
    with pytest.raises(loom.ConfigurationError, match="context_policy is"):
        loom.agent(base_url="http://localhost:9/v1", context_policy="forget")
    with pytest.raises(loom.ConfigurationError, match="context_window"):
        loom.agent(base_url="http://localhost:9/v1", context_window=0)


def test_an_answer_that_cannot_be_kept_is_an_error_that_holds_it(tmp_path):
    path = tmp_path / "chat.db"
    with emulate("vllm", script=["Hello."]) as server:
        session = loom.Session.open(path, "a")

        async def ask():
            async for event in agent_for(server).stream("hi", session=session):
                if event["type"] == "model_request":
                    path.write_text("somebody else's")

        with pytest.raises(loom.SessionError) as caught:
            asyncio.run(ask())
    assert caught.value.kind == "foreign"
    assert caught.value.run.messages[-1].text == "Hello."
    assert path.read_text() == "somebody else's"


def test_what_is_not_kept_of_a_failed_run_is_logged(tmp_path, caplog):
    path = tmp_path / "chat.db"
    with emulate("vllm", script=[CALL, DOWN]) as server:
        session = loom.Session.open(path, "a")

        async def ask():
            async for event in agent_for(server).stream("hi", session=session):
                if event["type"] == "tool_end":
                    path.write_text("somebody else's")

        with caplog.at_level(logging.WARNING, "loom"), pytest.raises(loom.LLMError):
            asyncio.run(ask())
    assert "was not kept" in caplog.text


def test_a_run_pauses_in_a_session_and_another_process_goes_on_with_it(tmp_path):
    """Python asks, the run pauses; another process denies one call, approves the other and goes on; the shell (Rust)
    goes on with the session, and Python again."""

    @loom.tool(requires_approval=True)
    def book(city: str) -> str:
        """Books."""
        return f"booked {city}"

    both = {"tool_calls": [{"name": "book", "arguments": {"city": city}} for city in ("Paris", "Rome")]}
    file = tmp_path / "chat.db"
    with emulate("vllm", script=[both, "Rome it is.", "Rome, by train.", "As I said: Rome."]) as server:
        session = loom.Session.open(file, "trip")
        with pytest.raises(loom.ApprovalRequiredError) as caught:
            agent_for(server, tools=[book]).run_sync("Paris or Rome?", session=session)
        assert roles(session) == "", "a call without its result is not kept"
        stored = tmp_path / "run.json"
        stored.write_text(caught.value.run.to_json(), encoding="utf-8")

        program = f"""
import loom, pathlib
run = loom.Run.from_json(pathlib.Path({str(stored)!r}).read_text(encoding="utf-8"))
paris, rome = run.held
run.deny(paris.id, "too dear")
run.approve(rome.id)
def book(city: str) -> str: return "booked " + city
tools = [loom.tool(book, requires_approval=True)]
agent = loom.agent(base_url={server.base_url!r}, model={server.models[0]!r}, tools=tools)
print(agent.run_sync(run, session=loom.Session.open({str(file)!r}, "trip")).content)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("Rome it is.\n", "")
        assert roles(session) == "user assistant tool tool assistant"
        results = [message.text for message in session.messages if message.role == "tool"]
        assert results == ["Error: the user denied this call: too dear", "booked Rome"]

        place = ["--base-url", server.base_url, "--session", "trip", "--store", str(file)]
        shell = [sys.executable, "-m", "loom", "run", "How?", *place]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("Rome, by train.\n", "")
        assert agent_for(server).run_sync("Where?", session=session).content == "As I said: Rome."
        sent = [message["content"] for message in server.requests[-1].json()["messages"] if message["role"] == "user"]
        assert sent == ["Paris or Rome?", "How?", "Where?"]
        assert len(session) == 9
