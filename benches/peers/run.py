#!/usr/bin/env python3
"""Loom beside its peers: sets everything up, measures, prints the tables.

    python3 benches/peers/run.py             # everything, about half an hour after the first set-up
    python3 benches/peers/run.py --quick     # the main cases, a few minutes

All traffic stays on loopback. CPU time is user and system time of the client's process; each figure is the median of
rounds in which the peers take turns, so that a busy machine is busy for all of them. The ratios are the result.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from typing import Any

import tables
from cases import CASES, FLOOR, IMPORTS, PEERS, Case
from setup_peers import HERE, ROOT, WORK, make, python_of, rust_program, say

#: A client that needs longer than this for one round of one case is given up on, which the tables say.
PATIENCE = 300


class Mock:
    """The mock server, and how much of a core it uses."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([rust_program("mock")], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return time.clock_gettime((~self.process.pid << 3) | 2)  # the clock of another process, see clock_getcpuclockid

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def measure(mock: Mock, language: str, peer: str, case: Case) -> dict[str, Any] | None:
    """One client process. ``None`` if the peer cannot do the case."""
    calls = case.calls[language]
    if peer in ("loom", FLOOR[language]) and not case.timed:
        calls *= 10
    if language == "rust":
        command = [str(rust_program("client"))]
    else:
        command = [str(python_of(peer)), str(HERE / "python" / "client.py")]
    command += [peer, case.served, mock.url, str(calls), str(case.concurrency)]
    before, start = mock.cpu(), time.perf_counter()
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {PATIENCE} s"}
    share = (mock.cpu() - before) / (time.perf_counter() - start)
    if done.returncode:
        say(f"{language} {peer} {case.name}: {done.stderr.strip()[-600:]}")
        return {"failed": done.stderr.strip().splitlines()[-1][-100:] if done.stderr.strip() else "failed"}
    result = json.loads(done.stdout.splitlines()[-1])
    if result is not None:
        units = calls * (result["deltas"] if case.per == "delta" else 1)
        result["cpu_us"] = result["cpu"] * 1e6 / units
        result["wall_us"] = result["wall"] * 1e6 / units
        result["memory_kib"] = (result["peak_kib"] - result["resident_kib"]) / case.concurrency
        result["mock_share"] = share
        first = result.pop("first")
        result["first_p50_ms"] = first[len(first) // 2] * 1e3 if first else None
        result["first_p99_ms"] = first[int(len(first) * 0.99)] * 1e3 if first else None
    return result


def median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure; the failure if a round has failed."""
    for one in rounds:
        if "failed" in one:
            return one
    return {
        key: statistics.median([one[key] for one in rounds]) if rounds[0][key] is not None else None
        for key in rounds[0]
    }


def run_case(mock: Mock, language: str, peers: list[str], case: Case, rounds: int) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    if case.peers:
        peers = [peer for peer in peers if peer in ("loom", FLOOR[language], *case.peers)]
    for at in range(rounds):
        for peer in peers[at % len(peers) :] + peers[: at % len(peers)]:
            if peer in found and "failed" in found[peer][-1]:
                continue
            result = measure(mock, language, peer, case)
            if result is not None:
                found.setdefault(peer, []).append(result)
    return {peer: median(found[peer]) for peer in peers if peer in found}


#: What a process says of itself once it has imported: CPU seconds and the most memory it had, in KiB.
REPORT = """
import re, time
print(time.process_time(), re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""


def reported(peer: str, program: str) -> list[float]:
    command = [python_of(peer), "-c", program + REPORT]
    return [float(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def run_imports(peers: list[str], rounds: int) -> dict[str, Any]:
    """CPU time and peak memory of importing a peer, over a process of the same environment that imports nothing."""
    found: dict[str, list[list[float]]] = {}
    for _ in range(rounds + 1):
        for peer in peers:
            # The first of the three only warms the caches, which the peer before has filled with its own.
            _, without, with_it = (reported(peer, program) for program in ("pass", "pass", IMPORTS[peer]))
            found.setdefault(peer, []).append([b - a for a, b in zip(without, with_it, strict=True)])
    # The first round fills the caches of the disk and of the byte code.
    middle = {
        peer: [statistics.median(column) for column in zip(*runs[1:], strict=True)] for peer, runs in found.items()
    }
    return {peer: {"cpu_ms": cpu * 1e3, "memory_mib": memory / 1024} for peer, (cpu, memory) in middle.items()}


def sizes(peers: list[str]) -> dict[str, Any]:
    """What an installation takes on the disk, without the installer."""
    found = {}
    for peer in peers:
        site = next((WORK / "env" / peer / "lib").glob("python*")) / "site-packages"
        skipped = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "maturin", "distutils-precedence")
        top = [entry for entry in site.iterdir() if not entry.name.startswith(skipped)]
        files = [path for entry in top for path in (entry.rglob("*") if entry.is_dir() else [entry])]
        code = [path for path in files if path.is_file() and path.suffix != ".pyc"]
        found[peer] = {"installed_mib": sum(path.stat().st_size for path in code) / 2**20}
    wheel = next((WORK / "wheel").glob("*.whl"), None)
    if wheel is not None and "loom" in found:
        found["loom"]["wheel_mib"] = wheel.stat().st_size / 2**20
    binary = ROOT / "target" / "release" / "loom"
    if binary.exists() and "loom" in found:
        found["loom"]["binary_mib"] = binary.stat().st_size / 2**20
    return found


def versions(python: list[str]) -> dict[str, dict[str, str]]:
    """The releases that were measured, from the lock files."""
    found: dict[str, dict[str, str]] = {"python": {}, "rust": {}}
    for peer in python:
        for line in (HERE / "python" / "locks" / f"{peer}.txt").read_text().splitlines():
            name, _, version = line.partition("==")
            if name == {"pydantic-ai": "pydantic-ai-slim"}.get(peer, peer):
                found["python"][peer] = version
    lock = (HERE / "rust" / "Cargo.lock").read_text().split("[[package]]")
    wanted = {"async-openai": "async-openai", "genai": "genai", "rig-core": "rig", "reqwest": "bare"}
    for entry in lock:
        fields = dict(line.split(" = ", 1) for line in entry.splitlines() if " = " in line)
        name = fields.get("name", "").strip('"')
        if name in wanted:
            found["rust"][wanted[name]] = fields["version"].strip('"')
    return found


def machine() -> dict[str, Any]:
    model = next(
        (line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "rustc": rustc,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the main cases, three rounds")
    parser.add_argument("--rounds", type=int, help="how often each client is run; default 5")
    parser.add_argument("--cases", help="only these, with commas: " + ", ".join(case.name for case in CASES))
    parser.add_argument("--peers", help="only these, with commas")
    parser.add_argument("--languages", default="rust,python", help="rust, python or both (the default)")
    parser.add_argument("--no-setup", action="store_true", help="measure what was built before")
    parser.add_argument("--save", type=pathlib.Path, help="a folder for performance.json and performance.svg")
    options = parser.parse_args()

    names = options.cases.split(",") if options.cases else None
    chosen = [case for case in CASES if (case.name in names if names else case.quick or not options.quick)]
    wanted = options.peers.split(",") if options.peers else None
    peers = {
        language: [peer for peer in PEERS[language] if wanted is None or peer in wanted or peer == FLOOR[language]]
        for language in options.languages.split(",")
    }
    rounds = options.rounds or (3 if options.quick else 5)
    if not options.no_setup:
        make(peers.get("python", []), rust="rust" in peers)

    result: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(peers.get("python", [])),
        "rounds": rounds,
        "cases": {},
    }
    mock = Mock()
    try:
        for language, names_of in peers.items():
            for case in chosen:
                say(f"{language}: {case.title}")
                result["cases"].setdefault(language, {})[case.name] = run_case(mock, language, names_of, case, rounds)
    finally:
        mock.stop()
    if "python" in peers and (names is None or "import" in names):
        say("python: import")
        result["imports"] = run_imports(peers["python"], max(rounds, 5))
        result["sizes"] = sizes(peers["python"])
    folder = options.save or WORK
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "performance.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "performance.svg").write_text(tables.plot(result))
    sys.stdout.write(tables.text(result))


if __name__ == "__main__":
    main()
