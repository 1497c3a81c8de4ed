"""A thousand streams on one event loop: all complete, and nothing is left behind of those that are cancelled."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import loom
import pytest
from conftest import clean_environment

STREAMS = 1000
QUESTION = " ".join(["word"] * 20)
LONG_QUESTION = " ".join(["word"] * 100)
ANSWER = f'You said: "{QUESTION}"'

#: The server has a process of its own, so that what is counted here is the client's.
SERVER = """
import sys
from loom.testing import emulate
with emulate("vllm", token_delay=float(sys.argv[1])) as server:
    print(server.base_url, flush=True)
    sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts what Linux tells under /proc")


@pytest.fixture
def endpoint(tmp_path, request):
    """A server whose tokens come as many seconds apart as the test says."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < STREAMS + 200:
        pytest.skip("a process may open too few files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, STREAMS + 200), hard))
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(request.param)],
        cwd=tmp_path,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process.stdout.readline().strip()
        process.kill()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def number(name):
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0])


def settles(most):
    """Whether this process holds no more than so many descriptors, soon."""
    deadline = time.monotonic() + 10
    while descriptors() > most:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("endpoint", [0.05], indirect=True)
def test_a_thousand_streams(endpoint):
    llm = loom.UnifiedLLM(base_url=endpoint)

    async def text():
        events = [event async for event in llm.stream(QUESTION)]
        assert events[-1]["type"] == "finish"
        return "".join(event["content"] for event in events if event["type"] == "content_delta")

    async def all_of_them():
        return await asyncio.gather(*(text() for _ in range(STREAMS)))

    # Other tests of this process may have left threads that wait for work; what these streams add is counted.
    before = number("Threads")
    answers = asyncio.run(asyncio.wait_for(all_of_them(), 60))
    assert [answer.startswith(ANSWER) for answer in answers] == [True] * STREAMS
    # The one that reads sockets, and helpers of asyncio: none per stream.
    assert number("Threads") - before < 10


# So slow that the first answer is under way when the last one begins, and its tokens keep none from beginning.
@pytest.mark.parametrize("endpoint", [1.0], indirect=True)
def test_a_thousand_cancelled_streams_leave_nothing(endpoint):
    llm = loom.UnifiedLLM(base_url=endpoint, timeout=loom.Timeout(connect=30))
    begun = 0

    async def reads():
        nonlocal begun
        first = True
        async for event in llm.stream(LONG_QUESTION):
            if event["type"] == "content_delta":
                begun += first
                first = False

    async def cancelled():
        nonlocal begun
        begun = 0
        tasks = [asyncio.ensure_future(reads()) for _ in range(STREAMS)]
        while begun < STREAMS:
            await asyncio.sleep(0.01)
        held = descriptors()
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        ended = [each for each in done if not isinstance(each, asyncio.CancelledError)]
        assert not ended, f"{len(ended)} ended by themselves: {ended[:3]}"
        assert len(asyncio.all_tasks()) <= 2, "this one, and the one that waits for it"
        return held

    async def once():
        await llm.generate("hello")

    asyncio.run(once())
    before = descriptors()
    memory = []
    for _ in range(4):
        assert asyncio.run(asyncio.wait_for(cancelled(), 60)) >= STREAMS
        assert settles(before + 20), f"{descriptors() - before} connections are left"
        gc.collect()
        memory.append(number("VmRSS"))
    # The first round fills the allocator's pools; the following ones find them.
    assert memory[-1] - memory[0] < 10 * 1024, f"{memory} KiB"
