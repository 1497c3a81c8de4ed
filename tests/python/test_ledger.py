"""The ledger wherever Python sees it: answers, messages of agents, errors, the life of an LLM; and `strict`."""

import asyncio
import json
import pickle

import loom
import pytest
from conftest import run
from loom.builtin import UnifiedLLM
from replies import DONE, HANG, Reply, chunk, json_reply, sse

from servers import MockServer


def body(**choice):
    message = {"role": "assistant", "content": "Hi", **choice.pop("message", {})}
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}]}


def scripted(*bodies):
    """A server that gives these answers, the last again and again."""
    left = list(bodies)

    def reply(_request):
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer if isinstance(answer, Reply) else json_reply(answer)

    return MockServer(reply)


def llm_of(server, **settings):
    return UnifiedLLM(base_url=server.origin + "/v1", model="m", max_retries=0, **settings)


CALL = {"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}]}


def rules(entries):
    return [entry["rule"] for entry in entries]


def test_an_entry_says_what_where_and_which_bytes():
    with scripted(body(finish_reason="eos")) as server:
        completion = run(llm_of(server).generate("Hi"))
    [entry] = completion.ledger
    assert entry == {
        "rule": "finish_reason_renamed",
        "what": "A finish reason was renamed to the format's own.",
        "where": "answer.finish_reason",
        "detail": "eos",
        "event": None,
        "count": 1,
    }
    assert set(entry) == set(loom.LedgerEntry.__annotations__)
    assert loom.Completion.from_dict(completion.to_dict()).ledger == completion.ledger
    assert pickle.loads(pickle.dumps(completion)).ledger == completion.ledger
    message = completion.to_message()
    assert message.ledger == completion.ledger
    assert loom.Message.from_dict(json.loads(json.dumps(message.to_dict()))).ledger == completion.ledger


def test_a_streams_entry_says_which_event_it_was():
    stream = sse(chunk({"content": "a"}), chunk({"content": "b"}), chunk({}, "eos_token"))
    with scripted(stream) as server:
        llm = llm_of(server)

        async def main():
            events = llm.stream("Hi")
            finish = [event async for event in events if event["type"] == "finish"]
            return finish[0]["ledger"], events.completion().ledger

        in_the_event, of_the_sum = run(main())
    assert in_the_event == of_the_sum
    assert {entry["rule"]: entry["event"] for entry in of_the_sum} == {"finish_reason_renamed": 3, "missing_done": None}


def test_every_rule_has_a_name_and_a_sentence():
    rows = loom.ledger_rules()
    assert len({row["rule"] for row in rows}) == len(rows) > 20
    assert all(row["what"].endswith(".") and row["where"] for row in rows)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_agents_answer_tells_of_all_its_turns(streamed):
    with scripted(body(message=CALL, finish_reason="tool_calls"), body(finish_reason="eos")) as server:
        agent = loom.agent(llm=llm_of(server), tools=[add])

        async def main():
            if not streamed:
                return await agent.run("1+2")
            return [event async for event in agent.stream("1+2")][-1]["message"]

        answer = run(main())
    expected = {"arguments_object", "tool_call_id_made", "finish_reason_renamed"}
    assert set(rules(answer.ledger)) == expected | ({"whole_for_stream"} if streamed else set())
    by_rule = {entry["rule"]: entry["count"] for entry in answer.ledger}
    assert by_rule.get("whole_for_stream", 2) == 2, "the same in both turns is counted"


def add(a: int, b: int) -> int:
    return a + b


def test_what_is_sent_back_carries_no_ledger():
    with scripted(body(message=CALL, finish_reason="tool_calls"), body()) as server:
        loom.agent(llm=llm_of(server), tools=[add]).run_sync("1+2")
    assert b"ledger" not in server.requests[-1].body and b"tool_call_id_made" not in server.requests[-1].body


def test_the_llm_remembers_all_its_calls_bounded_and_from_any_thread():
    def reply(request):
        text = request.json["messages"][-1]["content"]
        return json_reply(body(finish_reason="eos", message={"content": "", "tool_calls": [named(text)]}))

    def named(text):
        return {"function": {"name": f"tool_{text}", "arguments": {}}}

    with MockServer(reply) as server:
        llm = llm_of(server)
        assert llm.ledger == []

        async def main():
            await asyncio.gather(*(llm.generate(str(number)) for number in range(40)))

        run(main())
    by_rule: dict = {}
    for entry in llm.ledger:
        by_rule.setdefault(entry["rule"], []).append(entry)
    assert sum(entry["count"] for entry in by_rule["finish_reason_renamed"]) == 40
    assert len(by_rule["arguments_object"]) == 16, "of a rule with many details the newest are kept"
    assert loom.BaseLLM().ledger == []


def test_a_stream_that_is_left_early_counts_too():
    stream = sse(chunk({"content": "a"}), b"stray line\n", chunk({"content": "b"}), HANG)
    with scripted(stream) as server:
        llm = llm_of(server)

        async def main():
            async with llm.stream("Hi") as events:
                async for event in events:
                    if event["content"] == "b":
                        break
            del events
            for _ in range(200):
                if llm.ledger:
                    break
                await asyncio.sleep(0.02)

        run(main())
        assert rules(llm.ledger) == ["stray_line"]


def test_an_error_carries_what_had_been_bridged():
    broken = {"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}
    with scripted(body(message=broken)) as server, pytest.raises(loom.BadResponseError) as caught:
        run(llm_of(server).generate("Hi"))
    assert "tool_call_id_made" in rules(caught.value.ledger)
    assert rules(pickle.loads(pickle.dumps(caught.value)).ledger) == rules(caught.value.ledger)
    assert loom.LLMError("x").ledger == []


def test_strict_makes_an_entry_an_error_that_names_it():
    with scripted(body(finish_reason="eos")) as server:
        llm = llm_of(server, strict=True)
        with pytest.raises(loom.BadResponseError, match="finish_reason_renamed") as caught:
            run(llm.generate("Hi"))
        assert caught.value.partial.content == "Hi" and rules(caught.value.ledger) == ["finish_reason_renamed"]
        assert "strict=True" in caught.value.hint and not caught.value.retryable
        with pytest.raises(loom.BadResponseError, match="finish_reason_renamed"):
            loom.agent(llm="custom", base_url=server.origin + "/v1", model="m", strict=True).run_sync("Hi")
        assert rules(llm.ledger) == ["finish_reason_renamed"]


def test_strict_does_not_execute_what_had_to_be_bridged():
    called = []

    def add(a: int, b: int) -> int:
        called.append((a, b))
        return a + b

    with scripted(body(message=CALL, finish_reason="tool_calls")) as server:
        agent = loom.agent(llm=llm_of(server, strict=True), tools=[add])
        with pytest.raises(loom.BadResponseError, match="arguments_object"):
            agent.run_sync("1+2")
    assert called == []


def test_strict_in_the_file(tmp_path, monkeypatch):
    with scripted(body(finish_reason="eos")) as server:
        file = tmp_path / "loom.toml"
        file.write_text(f'[endpoints.tested]\nbase_url = "{server.origin}/v1"\nmodel = "m"\nstrict = true\n')
        monkeypatch.setenv("LOOM_CONFIG", str(file))
        with pytest.raises(loom.BadResponseError, match="finish_reason_renamed"):
            run(UnifiedLLM("tested").generate("Hi"))
        assert run(UnifiedLLM("tested", strict=False).generate("Hi")).content == "Hi"


def test_strict_is_a_truth_value():
    with pytest.raises(loom.ConfigurationError, match="strict"):
        UnifiedLLM(base_url="http://localhost:1/v1", strict="yes")  # type: ignore[arg-type]


def test_an_llm_of_ones_own_may_bring_its_ledger():
    class Own(loom.BaseLLM):
        async def stream(self, messages, tools=None, response_format=None, tool_choice=None, **params):
            yield {"type": "content_delta", "content": "Hi"}
            ledger = [{"rule": "missing_done", "detail": "own"}]
            yield {"type": "finish", "finish_reason": "stop", "id": "c1", "ledger": ledger}

    assert rules(loom.agent(llm=Own()).run_sync("Hi").ledger) == ["missing_done"]
    assert run(Own().generate("Hi")).id == "c1"


# ---- Answers that shall be JSON

JSON = {"type": "json_object"}
FENCED = '```json\n{"a": 1}\n```'


def test_json_is_taken_out_of_its_fence_also_from_a_stream():
    stream = sse(chunk({"content": FENCED[:9]}), chunk({"content": FENCED[9:]}), chunk({}, "stop"), DONE)
    with scripted(body(message={"content": FENCED}), stream) as server:
        llm = llm_of(server)
        completion = run(llm.generate("Hi", response_format=JSON))
        assert json.loads(completion.content) == {"a": 1} and rules(completion.ledger) == ["json_extracted"]

        async def main():
            events = llm.stream("Hi", response_format=JSON)
            seen = [event async for event in events]
            return seen, events.completion()

        seen, completion = run(main())
    assert "".join(event["content"] for event in seen[:-1]) == FENCED, "deltas are not held back"
    assert seen[-1]["type"] == "finish" and json.loads(seen[-1]["content"]) == {"a": 1} == json.loads(
        completion.content
    )


def test_an_agent_whose_answers_shall_be_json():
    with scripted(body(message={"content": FENCED})) as server:
        agent = loom.agent(llm=llm_of(server, response_format=JSON), event_handler=lambda event: None)
        assert json.loads(agent.run_sync("Hi").content) == {"a": 1}


def test_what_is_no_json_is_an_error_with_the_text():
    prose = body(message={"content": "Sure!"})
    with scripted(prose) as server, pytest.raises(loom.BadResponseError, match="JSON") as caught:
        run(llm_of(server).generate("Hi", response_format=JSON))
    assert caught.value.partial.content == "Sure!" and caught.value.attempts == 2


# ---- A wait that is cancelled


@pytest.mark.parametrize("of_the_agent", [False, True])
def test_a_stream_whose_wait_was_cancelled_does_not_look_complete(of_the_agent):
    with scripted(sse(chunk({"content": "a"}), HANG)) as server:
        llm = llm_of(server)

        async def main():
            events = loom.agent(llm=llm).stream("Hi") if of_the_agent else llm.stream("Hi")
            while (await events.__anext__())["type"] != "content_delta":
                pass
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(events.__anext__(), 0.1)
            with pytest.raises(loom.StreamInterruptedError, match="cancelled") as caught:
                await events.__anext__()
            assert "wait_for" in caught.value.hint
            assert of_the_agent or caught.value.partial.content == "a"
            with pytest.raises(StopAsyncIteration):
                await events.__anext__()
            await events.aclose()

        run(main())
