"""The Python clients: ``client.py PEER CASE BASE_URL CALLS CONCURRENCY`` does that many calls and prints what they took
as one line of JSON. Runs in the peer's own environment, so it needs nothing but Python."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import pathlib
import resource
import sys
import time
from typing import Any

DELTAS, FEW_DELTAS, PROMPT_BYTES, HISTORY = 256, 40, 2_000_000, 2_000
STREAMED = ("each", "many", "paced", "slow", "ttft", "concurrent")
QUESTION = "How is the weather in Paris?"


def expected(case: str) -> str:
    """The text that the answer adds up to."""
    return "".join(f"-w{at:03}" for at in range(deltas(case)))


def deltas(case: str) -> int:
    return FEW_DELTAS if case in ("slow", "ttft", "concurrent") else DELTAS


def messages(case: str) -> list[dict[str, str]]:
    """The conversation of a case in OpenAI's form."""
    if case == "prompt":
        line = 'The quick brown fox said: "jump" over the lazy dog\\n and 漢字 — 0123456789.\n'
        return [{"role": "user", "content": line * (PROMPT_BYTES // len(line.encode()) + 1)}]
    if case == "history":
        text = "Message {} of a long conversation: what was asked, and what was said about it, in one line."
        return [{"role": "assistant" if at % 2 else "user", "content": text.format(at)} for at in range(HISTORY + 1)]
    return [{"role": "user", "content": QUESTION}]


class Answer:
    """What a call brought: its text, and when the first of it came."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.pieces: list[str] = []
        self.first: float | None = None

    def add(self, delta: str | None) -> None:
        if delta:
            if self.first is None:
                self.first = time.perf_counter()
            self.pieces.append(delta)

    def whole(self) -> str:
        return self.text or "".join(self.pieces)


def status(name: str) -> int:
    """A number of KiB from the kernel's view of this process."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


async def work(peer: Any, wanted: str, calls: int, concurrency: int) -> list[float]:
    """Does ``calls`` calls, ``concurrency`` at a time; returns the times to the first piece of each."""
    left, times = calls, []

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            start = time.perf_counter()
            answer = await peer.call()
            if not peer.check(answer, wanted):
                raise SystemExit(f"a wrong answer: {answer.whole()!r}")
            if answer.first is not None:
                times.append(answer.first - start)

    if concurrency == 1:
        await worker()
    else:
        await asyncio.gather(*(worker() for _ in range(concurrency)))
    return sorted(times)


async def run(module: Any, case: str, url: str, calls: int, concurrency: int) -> dict[str, Any]:
    peer = module.Peer(case, f"{url}/{case}/v1")
    wanted = expected(case)
    # Connections, caches, modules imported late: what a program pays once.
    if case != "slow":
        await work(peer, wanted, max(concurrency, 2), concurrency)
    resident = status("VmRSS:")
    cpu, start = time.process_time(), time.perf_counter()
    first = await work(peer, wanted, calls, concurrency)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - start
    return {
        "cpu": cpu,
        "wall": wall,
        "calls": calls,
        "deltas": deltas(case) if case in STREAMED else 0,
        "resident_kib": resident,
        "peak_kib": status("VmHWM:"),
        "first": first,
    }


def main() -> None:
    name, case, url, calls, concurrency = sys.argv[1:]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    module = importlib.import_module(f"clients.{name.replace('-', '_')}_client")
    result = None
    if case not in getattr(module, "CANNOT", ()):
        result = asyncio.run(run(module, case, url, int(calls), int(concurrency)))
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    os._exit(0)  # what happens at exit is not measured, and some peers take long


if __name__ == "__main__":
    main()
