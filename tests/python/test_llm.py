"""UnifiedLLM: stream, generate, models, parameters; the aliases; and LLMs written in Python."""

import json

import loom
import loom.builtin
import pytest
from conftest import KEY, agent_for, ask, collect, llm_for, run, texts
from loom.builtin import UnifiedLLM
from replies import USAGE, chunk, error_reply, sse, streamed, tool_calls, whole

TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


# ---- stream


def test_stream_is_dicts(server):
    server.script(streamed("Hel", "lo", usage=USAGE))
    events = run(collect(llm_for(server).stream(ask())))
    assert all(type(event) is dict for event in events)
    assert texts(events) == "Hello"
    (usage,) = [event for event in events if event["type"] == "usage"]
    assert {"type": "usage", **USAGE}.items() <= usage.items()
    assert {"type": "finish", "finish_reason": "stop"}.items() <= events[-1].items()


def test_stream_reasoning(server):
    server.script(sse(chunk({"reasoning_content": "Hm."}), chunk({"content": "42"}), chunk({}, "stop")))
    events = run(collect(llm_for(server).stream(ask())))
    assert events[0] == {"type": "reasoning_delta", "content": "Hm."}
    assert texts(events) == "42"


def test_stream_tool_calls_come_once_and_parsed(server):
    server.script(tool_calls(("add", {"a": 1}), ("now", {})))
    events = run(collect(llm_for(server).stream(ask(), tools=[TOOL])))
    (calls,) = [event["tool_calls"] for event in events if event["type"] == "tool_calls"]
    assert calls == [
        {"id": "call_1", "name": "add", "arguments": {"a": 1}},
        {"id": "call_2", "name": "now", "arguments": {}},
    ]
    assert {"type": "finish", "finish_reason": "tool_calls"}.items() <= events[-1].items()


def test_stream_can_be_closed(server):
    server.script(sse(chunk({"content": "a"}), "hang"))

    async def leaves():
        stream = llm_for(server).stream(ask())
        assert (await stream.__anext__())["content"] == "a"
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()

    run(leaves())
    assert server.wait_until(lambda: server.chats[0].outcome == "client_closed", 1)


def test_an_unused_stream_sends_nothing(server):
    async def makes():
        await llm_for(server).stream(ask()).aclose()

    run(makes())
    assert server.requests == []


# ---- generate


def test_generate(server):
    server.script(whole({"content": "42", "reasoning_content": "Hm."}, usage=USAGE))
    completion = run(llm_for(server).generate(ask()))
    assert (completion.content, completion.reasoning, completion.finish_reason) == ("42", "Hm.", "stop")
    assert (completion.usage.total_tokens, completion.model) == (12, "mock-model")
    assert not completion.tool_calls


def test_generate_tool_calls(server):
    server.script(lambda request: tool_calls(("add", {"a": 1}), stream=request.json.get("stream", False)))
    completion = run(llm_for(server).generate(ask(), tools=[TOOL]))
    (call,) = completion.tool_calls
    assert (call.id, call.name, call.arguments) == ("call_1", "add", {"a": 1})
    assert server.chats[0].json["tools"] == [TOOL]


def test_request_id(server):
    server.script(*[streamed("hi", headers={"x-request-id": "req-7"})] * 2)
    assert run(llm_for(server).generate(ask())).request_id == "req-7"
    assert run(agent_for(server).run("hi")).request_id == "req-7"


# ---- models


def test_models(server):
    server.handler.models = ["b", "a"]
    assert sorted(run(llm_for(server).models())) == ["a", "b"]
    assert server.requests[0].authorization == f"Bearer {KEY}"


def test_without_model_the_only_one_is_used(server):
    server.handler.models = ["the-only-one"]
    agent = agent_for(server, model=None)
    for _ in range(2):
        assert run(agent.run("hi")).content == "echo: hi"
    assert [chat.json["model"] for chat in server.chats] == ["the-only-one"] * 2
    assert [request.path for request in server.requests].count("/v1/models") == 1


def test_without_model_several_are_listed(server):
    server.handler.models = ["qwen3:8b", "llama3.2:1b"]
    with pytest.raises(loom.ConfigurationError) as caught:
        run(agent_for(server, model=None).run("hi"))
    assert "qwen3:8b" in str(caught.value) and "llama3.2:1b" in str(caught.value) and "model" in str(caught.value)
    assert server.chats == []


# ---- Parameters


def test_parameters_of_the_llm_and_of_the_call(server):
    llm = llm_for(server, temperature=0.7, max_tokens=20, top_p=0.9)
    server.handler = lambda request: whole({"content": "{}"})  # an answer that shall be JSON is checked
    run(
        llm.generate(
            ask(),
            temperature=0.1,
            seed=1,
            response_format={"type": "json_object"},
            tools=[TOOL],
            tool_choice="required",
        )
    )
    body = server.chats[0].json
    wanted = {
        "temperature": 0.1,
        "max_tokens": 20,
        "top_p": 0.9,
        "seed": 1,
        "tool_choice": "required",
        "response_format": {"type": "json_object"},
    }
    assert wanted.items() <= body.items() and body["tools"] == [TOOL]
    run(llm.generate(ask()))
    again = server.chats[1].json
    assert again["temperature"] == 0.7 and not {"seed", "tools", "tool_choice", "response_format"} & set(again)


def test_extra_body_headers_and_query(server):
    llm = llm_for(
        server,
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
        default_headers={"X-Team": "red", "User-Agent": "mine"},
        default_query={"api-version": "1"},
    )
    run(llm.generate(ask()))
    (chat,) = server.chats
    assert chat.json["chat_template_kwargs"] == {"enable_thinking": False}
    assert (chat.headers["x-team"], chat.headers["user-agent"], chat.query) == ("red", "mine", {"api-version": "1"})


def test_a_header_may_replace_the_authorization(server):
    run(llm_for(server, api_key=None, default_headers={"Authorization": "Basic abc"}).generate(ask()))
    run(llm_for(server, api_key=None, default_headers={"api-key": "abc"}).generate(ask()))
    assert [(chat.authorization, chat.headers.get("api-key")) for chat in server.chats] == [
        ("Basic abc", None),
        (None, "abc"),
    ]


def test_text_goes_out_as_utf8(server):
    run(llm_for(server).generate(ask("你好 😀")))
    assert server.chats[0].messages == ask("你好 😀")


def test_messages_may_be_messages(server):
    run(llm_for(server).generate([loom.Message("user", "hi")]))
    assert server.chats[0].messages == ask("hi")


# ---- The object


def test_repr_tells_where_it_goes_but_not_the_key(server):
    llm = llm_for(server, model="qwen3:8b", default_headers={"X-Secret": KEY})
    for text in (repr(llm), str(llm), repr(loom.agent(llm=llm))):
        assert KEY not in text
    assert "qwen3:8b" in repr(llm) and server.origin in repr(llm)


def test_it_is_a_base_llm_with_a_name(server):
    llm = llm_for(server)
    assert isinstance(llm, loom.BaseLLM) and llm.model_name == "m"


@pytest.mark.parametrize("name", ["OpenAILLM", "DeepSeekLLM", "QwenLLM", "KimiLLM", "ZhipuLLM", "DoubaoLLM", "YiLLM"])
def test_aliases(server, name):
    alias = getattr(loom.builtin, name)
    llm = alias(api_key=KEY, base_url=server.url, model="m", temperature=0.5)
    assert isinstance(llm, UnifiedLLM)
    assert run(llm.generate(ask())).content == "echo: ping"
    assert (server.chats[0].json["temperature"], server.chats[0].authorization) == (0.5, f"Bearer {KEY}")


def test_misspelt_alias_is_an_attribute_error():
    with pytest.raises(AttributeError):
        loom.builtin.NoSuchLLM  # noqa: B018


# ---- LLMs written in Python


class Script:
    """A duck-typed LLM: yields one list of events per call and keeps what it was asked."""

    model_name = "script"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def stream(self, messages, tools=None, response_format=None, tool_choice=None, **params):
        self.asked.append({"messages": messages, "tools": tools, "params": params})
        for event in self.answers.pop(0):
            yield event


class Subclassed(Script, loom.BaseLLM):
    """The same as a subclass of the base class."""


def says(text):
    return [
        {"type": "content_delta", "content": text},
        {"type": "usage", **USAGE},
        {"type": "finish", "finish_reason": "stop"},
    ]


def calls(name, arguments):
    return [
        {"type": "tool_calls", "tool_calls": [{"id": "c1", "name": name, "arguments": arguments}]},
        {"type": "finish", "finish_reason": "tool_calls"},
    ]


@pytest.mark.parametrize("kind", [Script, Subclassed])
def test_python_llm_in_an_agent(kind):
    llm = kind(says("hello"))
    message = run(loom.agent(llm=llm, system_prompt="Be brief.").run("hi"))
    assert (message.content, message.finish_reason, message.usage.total_tokens) == ("hello", "stop", 12)
    assert [as_dict(message)["role"] for message in llm.asked[0]["messages"]] == ["system", "user"]
    assert not llm.asked[0]["tools"]


@pytest.mark.parametrize("kind", [Script, Subclassed])
def test_python_llm_calls_tools(kind):
    @loom.tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    llm = kind(calls("add", {"a": 1, "b": 2}), says("3, I think"))
    assert run(loom.agent(llm=llm, tools=[add]).run("1 + 2?")).content == "3, I think"
    assert llm.asked[0]["tools"][0]["function"]["name"] == "add"
    user, assistant, tool = (as_dict(message) for message in llm.asked[1]["messages"])
    assert user["content"] == "1 + 2?"
    (call,) = assistant["tool_calls"]
    assert (
        call["id"] == "c1"
        and call["function"]["name"] == "add"
        and json.loads(call["function"]["arguments"]) == {"a": 1, "b": 2}
    )
    assert (tool["role"], tool["tool_call_id"], tool["content"]) == ("tool", "c1", "3")


def test_python_llm_streams_and_works_with_run_sync():
    events = run(collect(loom.agent(llm=Script(says("hello"))).stream("hi")))
    assert texts(events) == "hello" and events[-1]["type"] == "finish"
    assert loom.agent(llm=Script(says("hello"))).run_sync("hi").content == "hello"


def test_the_error_of_a_python_llm_reaches_the_caller():
    class Broken:
        model_name = "broken"

        async def stream(self, messages, tools=None, response_format=None, tool_choice=None, **params):
            raise ZeroDivisionError("boom")
            yield

    with pytest.raises(Exception, match="boom"):
        run(loom.agent(llm=Broken()).run("hi"))


def test_the_base_class_brings_generate():
    completion = run(Subclassed(says("hello")).generate(ask()))
    assert (completion.content, completion.finish_reason) == ("hello", "stop")


def test_a_wrapper_may_hand_on_to_a_built_in_llm(server):
    class Shouting(loom.BaseLLM):
        model_name = "shouting"

        async def stream(self, messages, tools=None, response_format=None, tool_choice=None, **params):
            async for event in llm_for(server).stream(messages, tools=tools, **params):
                yield {**event, "content": event["content"].upper()} if "content" in event else event

    assert run(loom.agent(llm=Shouting()).run("hi")).content == "ECHO: HI"


def as_dict(message):
    return message if isinstance(message, dict) else message.to_dict()


def test_an_object_that_is_no_llm_is_refused():
    with pytest.raises((loom.ConfigurationError, TypeError), match="stream"):
        loom.agent(llm=object())


def test_an_llm_error_passes_through_an_agent(server):
    server.script(error_reply(401, "no"))
    with pytest.raises(loom.AuthenticationError):
        run(agent_for(server).run("hi"))
