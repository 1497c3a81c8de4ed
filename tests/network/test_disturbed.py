"""Five hundred calls while the machine itself misbehaves: a name server that is silent, a clock that jumps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from programs import clean_environment, program
from replies import chunk, sse

COMMON = """
import asyncio, collections, os, time, loom

CALLS = 500

def threads():
    with open("/proc/self/status") as status:
        return int(status.read().split("Threads:")[1].split()[0])

async def outcome(llm):
    started = time.monotonic()
    try:
        text = "".join([event["content"] async for event in llm.stream("hi") if event["type"] == "content_delta"])
        return text, None, time.monotonic() - started
    except loom.LLMError as error:
        return error.kind, error.link, time.monotonic() - started

async def outcomes(llm):
    tasks = [asyncio.ensure_future(outcome(llm)) for _ in range(CALLS)]
    most = 0
    while not all(task.done() for task in tasks):
        most = max(most, threads())
        await asyncio.sleep(0.02)
    results = [task.result() for task in tasks]
    return collections.Counter(result[:2] for result in results), max(result[2] for result in results), most
"""

SILENT = (
    COMMON
    + """
import socket

silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))

async def main():
    timeout = loom.Timeout(connect=1, total=5)
    llm = loom.UnifiedLLM(base_url="http://llm.corp.test/v1", model="m", max_retries=0, timeout=timeout)
    counted, longest, most = await outcomes(llm)
    assert counted == {("timeout", "name"): CALLS}, counted
    assert longest < 4, longest
    assert most < 20, f"{most} threads: a lookup each"
    # Whatever else needs a thread finds one.
    key = asyncio.Event()
    from loom.testing import emulate
    with emulate("vllm") as server:
        other = loom.UnifiedLLM(base_url=server.base_url.replace("127.0.0.1", "localhost"), api_key=lambda: "key")
        await asyncio.wait_for(other.generate("hi"), 3)
    print("fine")

asyncio.run(main())
"""
)

JUMPING = (
    COMMON
    + """
import pathlib

clock = pathlib.Path(os.environ["FAKETIME_TIMESTAMP_FILE"])

async def jump():
    for offset in ("+2d", "-400d", "+0"):
        await asyncio.sleep(0.5)
        before = time.time()
        clock.write_text(offset)
        await asyncio.sleep(0.1)
        assert abs(time.time() - before) > 3600, "the clock does jump"

async def main():
    timeout = loom.Timeout(connect=10, first_token=10, idle=5, total=30)
    llm = loom.UnifiedLLM(base_url=os.environ["ENDPOINT"], model="m", max_retries=0, timeout=timeout)
    jumping = asyncio.ensure_future(jump())
    counted, longest, _ = await outcomes(llm)
    await jumping
    assert counted == {("slowly", None): CALLS}, counted
    assert longest < 20, longest
    # A stream that stands still is noticed all the same, in its own time.
    stalled = loom.UnifiedLLM(
        base_url=os.environ["ENDPOINT"], model="stall", max_retries=0, timeout=loom.Timeout(idle=2, total=30)
    )
    clock.write_text("+1d")
    kind, _, took = await outcome(stalled)
    assert kind == "timeout" and 1.5 < took < 10, (kind, took)
    print("fine")

asyncio.run(main())
"""
)


def ran(command, tmp_path, **variables):
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**clean_environment(), "NO_PROXY": "*", **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", ""), done


def test_a_name_server_that_does_not_answer(tmp_path):
    """In a network of its own, whose only name server takes questions and says nothing."""
    alone = [program("unshare"), "--map-root-user", "--mount", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let a process have a network of its own")
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n", encoding="utf-8")
    script = 'ip link set lo up && mount --bind "$1" /etc/resolv.conf && exec "$2" -c "$3"'
    ran([*alone, "sh", "-c", script, "sh", str(resolver), sys.executable, SILENT], tmp_path)


def test_a_clock_that_jumps(server, tmp_path):
    program("faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    clock = tmp_path / "clock"
    clock.write_text("+0", encoding="utf-8")
    delta = chunk({"content": "slow"})
    slow = [chunk({"role": "assistant"}), delta, 2.0, chunk({"content": "ly"}), chunk({}, "stop")]
    server.handler = lambda request: sse(delta, "hang") if request.json["model"] == "stall" else sse(*slow)
    ran(
        [sys.executable, "-c", JUMPING],
        tmp_path,
        ENDPOINT=server.url,
        LD_PRELOAD=os.fspath(library),
        FAKETIME_TIMESTAMP_FILE=os.fspath(clock),
        FAKETIME_NO_CACHE="1",
        # Only the wall clock: as when it is set.
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
