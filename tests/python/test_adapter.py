"""Adapters: another API told in OpenAI's words, with all the rest of a call as it is elsewhere."""

from __future__ import annotations

import json

import loom
import pytest
from conftest import run
from replies import RESET, Reply, error_reply, event, json_reply


class Own(loom.Adapter):
    path = "talk"
    profile = {"system": "first"}  # noqa: RUF012

    def request(self, body):
        return {"texts": [message["content"] for message in body["messages"]], "stop": None, "stream": body["stream"]}

    def chunk(self, event):
        if event.get("thought"):
            return {"choices": [{"delta": {"reasoning_content": event["thought"]}}]}
        if "say" in event or "why" in event:
            delta = {"content": event["say"]} if "say" in event else {}
            return {"choices": [{"delta": delta, "finish_reason": event.get("why")}], "usage": event.get("count")}


def answer_with(server, reply):
    """Queues answers for whatever path."""
    replies = getattr(server, "queued", [])
    server.queued = [*replies, reply]
    server.handler = lambda request: server.queued.pop(0)


def llm(server, adapter=None, **settings):
    return loom.UnifiedLLM(base_url=server.url, model="m", adapter=adapter or Own(), **settings)


def stream(*events):
    return Reply([event(value) for value in events], headers={"content-type": "text/event-stream"})


def test_a_stream_with_thinking_and_usage_in_parts(server):
    count = {"input_tokens": 3}, {"output_tokens": 2}
    answer_with(
        server,
        stream({"thought": "hm"}, {"ping": 1}, {"say": "a", "count": count[0]}, {"why": "end_turn", "count": count[1]}),
    )
    message = loom.agent(llm=llm(server, api_key="sk-x"), system_prompt="s").run_sync("hello")
    assert (message.content, message.reasoning, message.ledger) == ("a", "hm", [])
    assert message.usage == loom.Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    sent = server.requests[0]
    assert (sent.path, sent.authorization) == ("/v1/talk", "Bearer sk-x")
    assert sent.json == {"texts": ["s", "hello"], "stream": True}, "what is None is not sent"


def test_an_api_that_does_not_stream(server):
    answer_with(server, json_reply({"say": "all of it", "why": "stop"}))
    answer = run(llm(server).generate("hello"))
    assert (answer.content, answer.finish_reason, answer.ledger) == ("all of it", "stop", [])


def test_its_refusals_are_retried_and_told_as_elsewhere(server):
    answer_with(server, error_reply(529, "busy", headers={"retry-after-ms": "10"}))
    answer_with(server, stream({"say": "a", "why": "stop"}))
    assert run(llm(server).generate("hello")).content == "a"
    answer_with(server, error_reply(401, "who?"))
    with pytest.raises(loom.AuthenticationError):
        run(llm(server).generate("hello"))
    answer_with(server, stream({"say": "half"}, {"error": {"message": "out of memory", "type": "server_error"}}))
    with pytest.raises(loom.InternalServerError) as failed:
        run(llm(server, max_retries=0).generate("hello"))
    assert failed.value.partial.content == "half"


@pytest.mark.parametrize("end", [(), (RESET,)])
def test_an_answer_that_is_cut_off_fails(server, end):
    answer_with(server, Reply([event({"say": "half"}), 0.2, *end]))
    with pytest.raises(loom.errors.StreamInterruptedError) as failed:
        run(llm(server).generate("hello"))
    assert failed.value.partial.content == "half"


def test_what_an_adapter_does_wrong_is_told(server):
    class Wrong(Own):
        def request(self, body):
            raise KeyError("no such thing")

    with pytest.raises(loom.errors.ConfigurationError, match=r"request\(\) failed: KeyError: 'no such thing'"):
        run(llm(server, Wrong()).generate("hello"))
    assert not server.requests

    class Odd(Own):
        def chunk(self, event):
            return {"choices": object()}

    answer_with(server, stream({"say": "a"}))
    with pytest.raises(loom.errors.BadResponseError, match=r"result of chunk\(\)"):
        run(llm(server, Odd(), max_retries=0).generate("hello"))
    answer_with(server, Reply([b"data: {broken\n\n"]))
    with pytest.raises(loom.errors.BadResponseError, match="no JSON"):
        run(llm(server, max_retries=0).generate("hello"))
    for what in (Own, object(), "own"):
        with pytest.raises(loom.errors.ConfigurationError, match=r"loom\.Adapter"):
            llm(server, what)


def test_signed_thinking_goes_back_with_the_call(server):
    """As Anthropic demands it: the pieces of a turn's thinking, in their order, in the next request."""

    class Signed(Own):
        def request(self, body):
            return {"messages": body["messages"]}

        def chunk(self, event):
            return event

    def choice(**delta):
        return {"choices": [{"delta": delta, "finish_reason": delta.pop("finish", None)}]}

    call = {"index": 1, "id": "c1", "function": {"name": "look", "arguments": "{}"}}
    answer_with(
        server,
        stream(
            choice(reasoning_details=[{"text": "I "}]),
            choice(reasoning_details=[{"text": "look"}]),
            choice(reasoning_details=[{"signature": "sig"}]),
            choice(tool_calls=[call], finish="tool_use"),
        ),
    )
    answer_with(server, stream(choice(content="seen", finish="end_turn")))

    @loom.tool
    def look() -> str:
        """Looks."""
        return "nothing"

    message = loom.agent(llm=llm(server, Signed()), tools=[look]).run_sync("hello")
    assert message.content == "seen"
    assistant = json.loads(server.requests[1].body)["messages"][1]
    assert assistant["reasoning_details"] == [{"text": "I "}, {"text": "look"}, {"signature": "sig"}]
