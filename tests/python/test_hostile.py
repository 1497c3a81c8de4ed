"""Values and code that would hang or kill a careless library."""

from __future__ import annotations

import asyncio
import json
import pickle
import signal
import subprocess
import sys
import textwrap

import loom
import pytest


class Scripted(loom.BaseLLM):
    """An LLM that calls tools once and then repeats their results."""

    def __init__(self, *calls):
        self.calls = [{"id": "same", "name": "work", "arguments": arguments} for arguments in calls]

    async def stream(self, messages, tools=None, **_):
        results = [message["content"] for message in messages if message["role"] == "tool"]
        if results:
            yield {"type": "content_delta", "content": " | ".join(results)}
            yield {"type": "finish", "finish_reason": "stop"}
        else:
            yield {"type": "tool_calls", "tool_calls": self.calls}
            yield {"type": "finish", "finish_reason": "tool_calls"}


def said_after(function, *calls):
    tool = loom.tool(name="work")(function)
    return asyncio.run(asyncio.wait_for(loom.agent(llm=Scripted(*calls), tools=[tool]).run("go"), 5)).content


def cyclic():
    value = []
    value.append(value)
    return value


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("make", [cyclic, deep])
def test_values_nested_in_themselves_or_too_deeply_are_refused(make):
    value = make()
    for use in (
        lambda: loom.Message("user", [{"type": "text", "text": value}]),
        lambda: loom.UnifiedLLM("custom", base_url="http://h/v1", extra_body={"x": value}),
        lambda: loom.UnifiedLLM("custom", base_url="http://h/v1", stop=value),
    ):
        with pytest.raises((ValueError, TypeError)):
            use()


def test_a_tool_that_raises_stop_iteration_informs_the_model():
    def work() -> str:
        return next(iter([]))

    assert "StopIteration" in said_after(work, {})


def test_two_calls_with_one_id_are_two_calls():
    def work(n: int) -> str:
        return f"did {n}"

    assert said_after(work, {"n": 1}, {"n": 2}) == "did 1 | did 2"


def test_integers_of_any_size_reach_the_tool():
    big = 123456789012345678901234567890

    def work(n: int) -> str:
        return str(n)

    call = loom.ToolCall.from_dict({"id": "1", "name": "work", "arguments": json.dumps({"n": big})})
    assert call.arguments == {"n": big}


def test_text_that_utf8_cannot_carry_does_not_end_the_run():
    def work() -> str:
        return "file \udcff"

    assert said_after(work, {}) == "file ?"


def test_a_tool_that_cancels_something_of_its_own_does_not_cancel_the_run():
    async def work() -> str:
        task = asyncio.ensure_future(asyncio.sleep(10))
        task.cancel()
        await task
        return "unreachable"

    if sys.version_info < (3, 11):
        with pytest.raises(asyncio.CancelledError):
            said_after(work, {})
    else:
        assert "CancelledError" in said_after(work, {})


def test_an_event_handler_cannot_change_the_run():
    agent = loom.agent(llm=Scripted({}), tools=[loom.tool(name="work")(lambda: "done")], event_handler=dict.clear)
    assert agent.run_sync("go").content == "done"


@pytest.mark.parametrize("timeout", [1e19, loom.Timeout(first_token=1e19, idle=1e19, total=None)])
def test_a_timeout_beyond_all_time_is_no_timeout(server, timeout):
    llm = loom.UnifiedLLM("custom", base_url=server.url, model="m", timeout=timeout)
    assert asyncio.run(asyncio.wait_for(llm.generate("hi"), 5)).content


def test_an_error_with_a_partial_answer_can_be_pickled():
    partial = loom.Completion.from_dict({"content": "half", "tool_calls": [], "finish_reason": "length"})
    error = loom.StreamInterruptedError("cut", partial=partial)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.kind, copy.partial.content, copy.partial.finish_reason) == ("stream_interrupted", "half", "length")


@pytest.mark.parametrize("written", ["user:s3cret@h/v1", "ftp://u:s3cret@h", "h/v1?key=s3cret", "http://h#s3cret"])
def test_a_refused_base_url_shows_no_secret(written):
    with pytest.raises(loom.ConfigurationError) as caught:
        loom.UnifiedLLM("custom", base_url=written)
    assert "s3cret" not in str(caught.value)


def test_ctrl_c_ends_run_sync_inside_a_running_loop():
    """The notebook's case: the loop cannot see the signal while run_sync holds it up."""
    program = """
        import asyncio, loom, socket
        silent = socket.create_server(("127.0.0.1", 0))
        agent = loom.agent(llm="custom", base_url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1", model="m")

        async def cell():
            print("ready", flush=True)
            agent.run_sync("hi")

        asyncio.run(cell())
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=-1, stderr=-1, text=True)
    assert child.stdout.readline() == "ready\n"
    # Twice at most: the first may come before the call has begun to wait.
    for _ in range(2):
        try:
            child.wait(3)
            break
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode != 0


def test_loom_at_exit_does_not_hang():
    program = """
        import atexit, asyncio, loom
        agent = loom.agent(llm="custom", base_url="http://127.0.0.1:9/v1", model="m", max_retries=0)

        def last():
            try:
                agent.run_sync("hi")
            except Exception as error:
                print(type(error).__name__)

        atexit.register(last)
        last()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stdout.split()) == (0, ["APIConnectionError", "APIConnectionError"]), done.stderr
