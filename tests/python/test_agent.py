"""loom.agent, Message, run, run_sync, stream and event_handler, against a whole and a streaming server."""

import asyncio
import copy
import pickle

import loom
import pytest
from conftest import KEY, agent_for, ask, collect, llm_for, run, texts
from loom import Message
from replies import USAGE, chunk, sse, streamed, tool_calls, whole

# ---- Message


def test_message_has_the_fields_of_the_format():
    message = Message(role="user", content="hi")
    assert (message.role, message.content) == ("user", "hi")
    for name in ("name", "tool_call_id", "usage", "finish_reason", "reasoning", "model", "request_id"):
        assert getattr(message, name) is None
    assert not message.tool_calls


def test_message_compares_prints_and_pickles():
    message = Message("user", "你好")
    assert message == Message(role="user", content="你好") != Message("user", "hi")
    assert message != "你好"
    assert "user" in repr(message) and "你好" in repr(message)
    assert pickle.loads(pickle.dumps(message)) == copy.deepcopy(message) == message
    assert message.to_dict() == {"role": "user", "content": "你好"}


def test_tool_message_as_dict():
    message = Message(role="tool", content="3", tool_call_id="call_1", name="add")
    assert message.to_dict() == {"role": "tool", "content": "3", "tool_call_id": "call_1", "name": "add"}


def test_an_answer_pickles(server):
    message = run(agent_for(server).run("hi"))
    again = pickle.loads(pickle.dumps(message))
    assert again == message and again.content == "echo: hi" and again.usage.total_tokens == message.usage.total_tokens


# ---- run


def test_run_returns_the_answer(server):
    message = run(agent_for(server).run(Message(role="user", content="hi")))
    assert isinstance(message, Message)
    assert (message.role, message.content, message.finish_reason) == ("assistant", "echo: hi", "stop")
    assert message.model == "mock-model" and message.reasoning is None


@pytest.mark.parametrize(
    "given",
    ["hi", Message("user", "hi"), [Message("user", "hi")], ask("hi"), {"role": "user", "content": "hi"}],
    ids=lambda given: type(given).__name__,
)
def test_what_run_accepts(server, given):
    assert run(agent_for(server).run(given)).content == "echo: hi"
    assert server.chats[0].messages == ask("hi")


def test_run_takes_a_conversation(server):
    history = [{"role": "user", "content": "a"}, Message("assistant", "b"), Message("user", "c")]
    assert run(agent_for(server, system_prompt="Be brief.").run(history)).content == "echo: c"
    roles = [(message["role"], message["content"]) for message in server.chats[0].messages]
    assert roles == [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c")]


def test_runs_of_one_agent_share_nothing(server):
    agent = agent_for(server)
    run(agent.run("one"))
    run(agent.run("two"))
    assert server.chats[1].messages == ask("two")


def test_only_what_the_caller_set_is_sent(server):
    run(agent_for(server).run("hi"))
    body = server.chats[0].json
    assert body["model"] == "m" and body["messages"] == ask("hi")
    assert set(body) <= {"model", "messages", "stream", "stream_options"}


def test_llm_options_are_sent(server):
    run(agent_for(server, temperature=0, max_tokens=5, seed=3, stop=["\n"]).run("hi"))
    body = server.chats[0].json
    assert (body["temperature"], body["max_tokens"], body["seed"], body["stop"]) == (0, 5, 3, ["\n"])


def test_usage_as_reported(server):
    details = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    server.script(streamed("hi", usage=details))
    usage = run(agent_for(server).run("hi")).usage
    assert isinstance(usage, loom.Usage)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 5, 12)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (4, 2)


def test_usage_is_none_where_the_server_reports_none(server):
    server.script(streamed("hi"))
    assert run(agent_for(server).run("hi")).usage is None
    server.script(streamed("hi", usage=USAGE))
    assert run(agent_for(server).run("hi")).usage.cached_tokens is None


def test_finish_reason_and_reasoning(server):
    server.script(
        sse(
            chunk({"role": "assistant", "reasoning_content": "Hm"}),
            chunk({"reasoning_content": "m."}),
            chunk({"content": "42"}, "length"),
        )
    )
    message = run(agent_for(server).run("hi"))
    assert (message.content, message.reasoning, message.finish_reason) == ("42", "Hmm.", "length")


def test_a_server_that_does_not_stream(server):
    server.script(whole({"content": "all at once"}, usage=USAGE))
    message = run(agent_for(server).run("hi"))
    assert (message.content, message.usage.total_tokens) == ("all at once", 12)


def test_what_a_run_adds_goes_with_each_of_its_calls_and_no_other(server):
    def now() -> str:
        """The time."""
        return "noon"

    extra = {"extra_headers": {"X-Trace-Id": "7f3a", "X-Team": None}, "extra_query": {"n": 1}, "extra_body": {"k": 2}}
    agent = agent_for(server, tools=[now], default_headers={"X-Team": "search"})
    server.script(tool_calls(("now", {}), stream=False), whole({"content": "It is noon."}))
    run(agent.run("When?", **extra))
    agent.run_sync("When?", **extra)
    run(collect(agent.stream("When?", **extra)))
    run(agent.run("When?"))
    *extended, plain = server.chats
    assert len(extended) == 4
    for request in extended:
        assert (request.headers["x-trace-id"], request.query, request.json["k"]) == ("7f3a", {"n": "1"}, 2)
        assert "x-team" not in request.headers
    assert plain.headers["x-team"] == "search" and not plain.query and "k" not in plain.json
    assert "x-trace-id" not in plain.headers


def test_an_llm_of_ones_own_is_handed_what_a_run_adds():
    class Own(loom.BaseLLM):
        async def stream(self, messages, **params):
            yield {"type": "content_delta", "content": str(params)}
            yield {"type": "finish", "finish_reason": "stop"}

    agent = loom.agent(llm=Own())
    answer = agent.run_sync("Hi", extra_headers={"A": "b", "C": None}, extra_query={"q": "1"}, extra_body={"k": [2]})
    extra = {"extra_headers": {"A": "b", "C": None}, "extra_query": {"q": "1"}, "extra_body": {"k": [2]}}
    assert answer.content == str(extra)
    assert agent.run_sync("Hi").content == "{}"


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        ({"extra_headers": {"A": "b\r\nC: sk-secret"}}, loom.ConfigurationError),
        ({"extra_headers": {"A\r\nC: sk-secret": "b"}}, loom.ConfigurationError),
        ({"extra_headers": {"A": 1}}, TypeError),
        ({"extra_headers": [1]}, TypeError),
        ({"extra_body": "sk-secret"}, TypeError),
    ],
)
def test_what_a_run_cannot_add_is_refused(server, extra, error):
    with pytest.raises(error) as caught:
        run(agent_for(server).run("hi", **extra))
    assert "sk-secret" not in repr(caught.value) and not server.chats


# ---- What an agent is made of


def test_loom_agent_makes_an_agent(server):
    agent = agent_for(server, name="helper")
    assert isinstance(agent, loom.Agent) and agent.name == "helper"
    assert KEY not in repr(agent)
    assert run(loom.Agent(llm=llm_for(server)).run("hi")).content == "echo: hi"


def test_an_llm_dict_is_not_changed(server):
    llm = {
        "provider": "custom",
        "base_url": server.url,
        "api_key": KEY,
        "model": "m",
        "default_headers": {"X-A": "b"},
        "temperature": 0.5,
    }
    before = copy.deepcopy(llm)
    run(loom.agent(name="a", llm=llm).run("hi"))
    run(loom.agent(name="b", llm=llm).run("hi"))
    assert llm == before
    assert [(chat.headers["x-a"], chat.json["temperature"]) for chat in server.chats] == [("b", 0.5)] * 2


def test_an_llm_object_serves_several_agents(server):
    llm = llm_for(server, temperature=0.1)
    for name in ("a", "b"):
        assert run(loom.agent(name=name, llm=llm, system_prompt=name).run("hi")).content == "echo: hi"
    assert [chat.messages[0]["content"] for chat in server.chats] == ["a", "b"]


# ---- run_sync


def test_run_sync(server):
    agent = agent_for(server)
    assert [agent.run_sync(text).content for text in ("a", "b")] == ["echo: a", "echo: b"]


def test_run_sync_inside_a_running_loop(server):
    async def notebook():
        return agent_for(server).run_sync("hi").content

    assert run(notebook()) == "echo: hi"


# ---- stream and event_handler


def test_stream_events(server):
    server.script(streamed("Hel", "lo", usage=USAGE))
    events = run(collect(agent_for(server).stream("hi")))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "run_start" and kinds[1] == "model_request"
    assert kinds[-1] == "finish" and kinds.count("finish") == 1
    assert texts(events) == "Hello"
    (usage,) = [event for event in events if event["type"] == "usage"]
    assert usage["total_tokens"] == 12
    assert events[-1]["finish_reason"] == "stop"
    assert isinstance(events[-1]["message"], Message) and events[-1]["message"].content == "Hello"


def test_stream_reports_reasoning_apart_from_content(server):
    server.script(sse(chunk({"reasoning_content": "Hm."}), chunk({"content": "42"}), chunk({}, "stop")))
    events = run(collect(agent_for(server).stream("hi")))
    assert [event["content"] for event in events if event["type"] == "reasoning_delta"] == ["Hm."]
    assert texts(events) == "42" and events[-1]["message"].reasoning == "Hm."


def test_stream_events_of_a_tool_run(server):
    @loom.tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    events = run(collect(agent_for(server, tools=[add]).stream('call add {"a": 1, "b": 2}')))
    kinds = [event["type"] for event in events if event["type"] not in ("content_delta", "usage")]
    assert kinds == ["run_start", "model_request", "tool_calls", "tool_start", "tool_end", "model_request", "finish"]
    by_kind = {event["type"]: event for event in events}
    assert by_kind["tool_calls"]["tool_calls"] == [{"id": "call_1", "name": "add", "arguments": {"a": 1, "b": 2}}]
    start = {"type": "tool_start", "id": "call_1", "name": "add", "arguments": {"a": 1, "b": 2}}
    end = {"type": "tool_end", "id": "call_1", "name": "add", "content": "3", "is_error": False}
    assert start.items() <= by_kind["tool_start"].items()
    assert end.items() <= by_kind["tool_end"].items()
    assert texts(events) == "tools: 3" == by_kind["finish"]["message"].content


def test_deltas_arrive_while_the_server_still_writes(server):
    import threading

    gate = threading.Event()
    server.script(sse(chunk({"content": "first"}), gate, chunk({"content": " second"}, "stop")))

    async def reads():
        got = []
        async for event in agent_for(server).stream("hi"):
            if event["type"] == "content_delta":
                got.append(event["content"])
                gate.set()  # the server goes on only because the first delta is here
        return got

    assert run(reads()) == ["first", " second"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_event_handler_sees_what_stream_yields(server, kind):
    seen = []

    async def later(event):
        await asyncio.sleep(0)
        seen.append(event)

    agent = agent_for(server, event_handler=seen.append if kind == "sync" else later)
    assert run(agent.run("hi")).content == "echo: hi"
    streamed_events = run(collect(agent_for(server).stream("hi")))
    assert [event["type"] for event in merged(seen)] == [event["type"] for event in merged(streamed_events)]
    assert texts(seen) == "echo: hi" and seen[-1]["message"].content == "echo: hi"


def merged(events):
    """The events with runs of one type taken as one: how deltas are grouped is not promised."""
    return [event for before, event in zip([{"type": None}, *events], events) if event["type"] != before["type"]]


def test_event_handler_works_with_run_sync(server):
    seen = []
    agent_for(server, event_handler=seen.append).run_sync("hi")
    assert [event["type"] for event in seen].count("finish") == 1
