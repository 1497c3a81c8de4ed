"""Many runs, loops, threads and processes; cancellation; and a consumer slower than the server."""

import asyncio
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import loom
import pytest
from conftest import agent_for, ask, clean_environment, collect, llm_for, output, run, texts
from replies import HANG, chunk, sse, streamed

DELTA = chunk({"content": "x" * 1000})
SIZE = 50_000_000


def hanging(server):
    server.handler = lambda request: sse(chunk({"content": "a"}), HANG)


def client_left(server, requests=1):
    """Whether the server saw so many clients go away before their answers were complete, within a second."""
    return server.wait_until(lambda: [chat.outcome for chat in server.chats].count("client_closed") == requests, 1)


# ---- Many at once


def test_a_hundred_runs_of_one_agent(server):
    agent = agent_for(server, system_prompt="s")

    async def hundred():
        return await asyncio.gather(*(agent.run(f"n{number}") for number in range(100)))

    assert [message.content for message in run(hundred())] == [f"echo: n{number}" for number in range(100)]
    assert all(len(chat.messages) == 2 for chat in server.chats)


def test_runs_overlap(server):
    everybody = threading.Event()

    def answer(request):
        if len(server.chats) == 20:
            everybody.set()
        return sse(everybody, chunk({"content": "a"}, "stop"))

    server.handler = answer
    agent = agent_for(server)

    async def twenty():
        return await asyncio.gather(*(agent.run("hi") for _ in range(20)))

    assert len(run(twenty())) == 20


def test_connections_are_used_again(server):
    agent = agent_for(server)

    async def in_turn():
        for _ in range(5):
            await agent.run("hi")

    run(in_turn())
    assert server.accepted == 1


# ---- Leaving early


@pytest.mark.parametrize("streams", [True, False])
def test_a_closed_loop_ends_the_calls_that_were_awaited_on_it(server, streams):
    hanging(server)
    agent = agent_for(server)
    work = collect(agent.stream("hi")) if streams else agent.run("hi")
    event_loop = asyncio.new_event_loop()
    task = event_loop.create_task(work)

    async def asked():
        while not server.chats:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)

    event_loop.run_until_complete(asked())
    event_loop.close()
    assert server.wait_until(lambda: server.chats[0].outcome == "client_closed", 20) and not task.done()
    task._log_destroy_pending = False


@pytest.mark.parametrize("answer", ["before the head", "in the stream"])
def test_a_cancelled_run_closes_its_connection(server, answer):
    server.handler = lambda request: HANG if answer == "before the head" else sse(chunk({"content": "a"}), HANG)

    async def cancelled():
        task = asyncio.ensure_future(agent_for(server).run("hi"))
        while not server.chats:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.get_running_loop().run_in_executor(None, client_left, server)

    run(cancelled())


def test_a_run_that_times_out_closes_its_connection(server):
    hanging(server)

    async def limited():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(agent_for(server).run("hi"), 0.2)

    run(limited())
    assert client_left(server)


@pytest.mark.parametrize("make", [agent_for, llm_for])
def test_a_dropped_stream_closes_its_connection(server, make):
    hanging(server)
    maker = make(server)

    async def dropped():
        async for event in maker.stream("hi" if make is agent_for else ask()):
            if event["type"] == "content_delta":
                break
        gc.collect()
        assert await asyncio.get_running_loop().run_in_executor(None, client_left, server)

    run(dropped())


def test_a_cancelled_reader_closes_its_connection(server):
    hanging(server)

    async def cancelled():
        task = asyncio.ensure_future(collect(llm_for(server).stream(ask())))
        while not server.chats:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancelled())
    assert client_left(server)


def test_cancelling_one_run_leaves_the_others_alone(server):
    server.script(HANG)

    async def two():
        agent = agent_for(server)
        first = asyncio.ensure_future(agent.run("first"))
        while not server.chats:
            await asyncio.sleep(0.01)
        second = asyncio.ensure_future(agent.run("second"))
        first.cancel()
        return (await second).content

    assert run(two()) == "echo: second"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("call", ["asyncio.run(main())", "agent.run_sync('hi')"])
def test_ctrl_c(server, tmp_path, call):
    hanging(server)
    source = f"""
import asyncio, loom
agent = loom.agent(llm="custom", base_url={server.url!r}, model="m")
async def main():
    await agent.run("hi")
try:
    {call}
except KeyboardInterrupt:
    print("interrupted")
"""
    child = subprocess.Popen(
        [sys.executable, "-c", source],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.wait_until(lambda: server.chats)
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    started = time.monotonic()
    out, err = child.communicate(timeout=10)
    assert (out, err, child.returncode) == ("interrupted\n", "", 0)
    assert time.monotonic() - started < 2 and client_left(server)


# ---- Slow consumers


@pytest.mark.parametrize("make", [agent_for, llm_for])
def test_a_slow_consumer_slows_the_server(server, make):
    server.script(sse(*[DELTA] * (SIZE // len(DELTA))))

    async def slowly():
        stream = make(server).stream("hi" if make is agent_for else ask())
        for _ in range(30):
            await stream.__anext__()
            await asyncio.sleep(0.01)
        # What the two sockets' buffers hold may still be filling; then the server must stand still.
        held = -1
        while held != server.chats[0].bytes_sent:
            held = server.chats[0].bytes_sent
            await asyncio.sleep(0.5)
        await stream.aclose()
        return held

    assert run(slowly()) < SIZE // 3
    assert client_left(server)


def test_nothing_is_lost_on_a_slow_consumer(server):
    words = [f"w{number} " for number in range(3000)]
    server.script(streamed(*words))

    async def slowly():
        got = []
        async for event in llm_for(server).stream(ask()):
            got.append(event)
            if len(got) % 100 == 0:
                await asyncio.sleep(0.005)
        return texts(got)

    assert run(slowly()) == "".join(words)


def test_what_has_arrived_does_not_visit_the_loop(server):
    everything = b"".join([chunk({"content": "x"})] * 2000) + chunk({}, "stop")
    server.script(sse(everything))

    async def reads():
        loop, turns, got, visits, before = asyncio.get_running_loop(), [0], 0, 0, 0

        def turn():
            turns[0] += 1
            ticking[0] = loop.call_soon(turn)

        stream = llm_for(server).stream(ask())
        await stream.__anext__()
        await asyncio.sleep(0.2)
        ticking = [loop.call_soon(turn)]
        async for event in stream:
            got += event["type"] == "content_delta"
            visits += turns[0] != before  # the loop ran while this one was fetched
            before = turns[0]
        ticking[0].cancel()
        return visits, got

    visits, got = run(reads())
    assert got == 1999 and visits < 200


# ---- Loops, threads, processes


def test_several_loops_in_turn(server):
    agent, llm = agent_for(server), llm_for(server)
    for number in range(5):
        assert run(agent.run(f"{number}")).content == f"echo: {number}"
        assert texts(run(collect(llm.stream(ask(f"{number}"))))) == f"echo: {number}"


def test_a_loop_that_ended_early_does_not_hurt_the_next(server):
    server.script(HANG)
    agent = agent_for(server)
    with pytest.raises(asyncio.TimeoutError):
        run(agent.run("hi"), timeout=0.2)
    assert run(agent.run("hi")).content == "echo: hi"


def test_a_loop_per_thread(server):
    agent = agent_for(server)

    def one(number):
        return run(agent.run(f"{number}")).content if number % 2 else agent.run_sync(f"{number}").content

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(32))) == [f"echo: {number}" for number in range(32)]


def test_a_loop_that_reads_no_sockets(server):
    class AsOnWindows(asyncio.SelectorEventLoop):
        def add_reader(self, *args):
            raise NotImplementedError

    agent, loop = agent_for(server), AsOnWindows()
    try:
        assert texts(loop.run_until_complete(collect(agent.stream("a")))) == "echo: a"
        assert loop.run_until_complete(asyncio.wait_for(agent.run("b"), 10)).content == "echo: b"
    finally:
        loop.close()


def test_a_loop_at_the_address_of_a_closed_one(server):
    class Loop(asyncio.SelectorEventLoop):
        def __del__(self):
            """Some are never begun."""

    agent = agent_for(server)

    def ask_on(loop):
        return loop.run_until_complete(asyncio.wait_for(agent.run("a"), 10)).content

    loop = Loop()
    assert ask_on(loop) == "echo: a"
    # Whoever keeps what the closed loop called, keeps what Loom had for it.
    called = [reader._callback for reader, _ in (key.data for key in loop._selector.get_map().values())]
    kept = [callback for callback in called if type(callback).__module__ == "loom._loom"]
    assert kept
    address, is_there = id(loop), weakref.ref(loop)
    loop.close()
    del loop, called
    end = time.monotonic() + 10
    while is_there() is not None and time.monotonic() < end:
        time.sleep(0.1)  # Loom looks after its calls once a second
        gc.collect()
    assert is_there() is None, "the closed loop is kept"

    others = []
    while (other := Loop.__new__(Loop)) and id(other) != address and len(others) < 100_000:
        others.append(other)
    if id(other) != address:
        pytest.skip("no loop came to lie there")
    other.__init__()
    try:
        assert ask_on(other) == "echo: a"
    finally:
        other.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts what Linux tells under /proc")
def test_loops_leave_no_descriptors(server):
    agent, counts = agent_for(server), []
    for number in range(30):
        assert run(agent.run(f"{number}")).content == f"echo: {number}"
        gc.collect()
        counts.append(len(os.listdir("/proc/self/fd")))
    assert max(counts[2:]) <= counts[1], counts


def test_threads_run_while_one_waits(server):
    server.script(HANG)

    def waits():
        with pytest.raises(loom.APITimeoutError):
            agent_for(server, timeout=0.5, max_retries=0).run_sync("hi")

    waiting = threading.Thread(target=waits)
    waiting.start()
    counted = 0
    while waiting.is_alive():
        counted += 1
    waiting.join()
    assert counted > 10_000, "run_sync holds the GIL while it waits"


def test_uvloop(server):
    uvloop = pytest.importorskip("uvloop")
    agent = agent_for(server)

    async def both():
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        assert texts(await collect(agent.stream("a"))) == "echo: a"
        return (await asyncio.wait_for(agent.run("b"), 10)).content

    for _ in range(2):
        loop = uvloop.new_event_loop()
        try:
            assert loop.run_until_complete(both()) == "echo: b"
        finally:
            loop.close()
    assert run(agent.run("c")).content == "echo: c"


FORK = """
import os, sys, loom
agent = loom.agent(llm="custom", base_url={url!r}, model="m")
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        print(agent.run_sync(f"child {{number}}").content, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
print(agent.run_sync("parent").content)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_before_the_first_use(server, tmp_path):
    assert (
        output(FORK.format(url=server.url), tmp_path) == "echo: child 0\necho: child 1\necho: child 2\necho: parent\n"
    )


POOL = """
import multiprocessing, sys, loom
agent = None
def work(number):
    global agent
    agent = agent or loom.agent(llm="custom", base_url={url!r}, model="m")
    return agent.run_sync(str(number)).content
if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print(pool.map(work, range(4)))
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing(server, tmp_path, method):
    script = tmp_path / "work.py"
    script.write_text(POOL.format(url=server.url, method=method))
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (0, "['echo: 0', 'echo: 1', 'echo: 2', 'echo: 3']\n"), done.stderr


def test_an_exit_in_the_middle_of_a_stream_is_quiet(server, tmp_path):
    hanging(server)
    source = f"""
import asyncio, loom
async def main():
    stream = loom.agent(llm="custom", base_url={server.url!r}, model="m").stream("hi")
    async for event in stream:
        if event["type"] == "content_delta":
            print("bye")
            return
asyncio.run(main())
"""
    assert output(source, tmp_path) == "bye\n"
    assert client_left(server)
