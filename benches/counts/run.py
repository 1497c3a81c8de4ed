#!/usr/bin/env python3
"""Counts instructions and compares them with what is written down: a change that makes them worse by 5 % fails.

    python3 benches/counts/run.py            # count and compare
    python3 benches/counts/run.py --renew    # count and write down

Instructions do not depend on how busy the machine is, but on the compiler. So what is kept is a ratio: Loom's over
those of a bare client, built by the same compiler in the same build, per streamed chunk and per call; and those of a
Python that imports Loom over those of one that imports nothing. Needs valgrind. The Python that has Loom is
``--python``, by default the one that scripts/test.sh installs the wheel for.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASELINE = pathlib.Path(__file__).with_name("baseline.json")
PROGRAM = ROOT / "target" / "release" / "loom-counts"
TOLERANCE = 0.05
DELTAS = 256


def instructions(*command: object) -> int:
    """How many instructions a program takes."""
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}"]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([*valgrind, *map(str, command)], capture_output=True, text=True, env=environment)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise SystemExit(done.stderr)
    return int(found[1])


def per_call(client: str, case: str, url: str) -> float:
    """Instructions of one call: what the first ones cost is not counted, such as finding out what the server is."""
    few, many = (instructions(PROGRAM, client, case, url, calls) for calls in (20, 50))
    return (many - few) / 30


def count(python: pathlib.Path) -> dict[str, float]:
    server = subprocess.Popen([PROGRAM, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        found = {}
        for case, unit, units in (("stream", "chunk", DELTAS), ("whole", "call", 1)):
            loom, bare = per_call("loom", case, url), per_call("bare", case, url)
            sys.stdout.write(f"per {unit}: Loom {loom / units:,.0f} instructions, bare {bare / units:,.0f}\n")
            found[f"{unit}, over a bare client's"] = round(loom / bare, 3)
    finally:
        server.terminate()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()
    with_it, without = (instructions(python, "-I", "-c", program) for program in ("import loom", "pass"))
    sys.stdout.write(f"import: {with_it - without:,} instructions, Python by itself {without:,}\n")
    found["import, over Python's own start"] = round(with_it / without, 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renew", action="store_true", help="write down what was counted")
    parser.add_argument("--python", type=pathlib.Path, default=ROOT / "target" / "wheel-venv" / "bin" / "python")
    options = parser.parse_args()
    build = ["cargo", "build", "--profile", "bench", "--quiet", "--locked", "--package", "loom-counts"]
    subprocess.run(build, check=True, cwd=ROOT)
    found = count(options.python)
    if options.renew:
        BASELINE.write_text(json.dumps(found, indent=2) + "\n")
    kept = json.loads(BASELINE.read_text())
    worse = False
    for name, ratio in found.items():
        change = ratio / kept[name] - 1
        worse |= change > TOLERANCE
        sys.stdout.write(f"{name}: {ratio:.3f}, written down {kept[name]:.3f} ({change:+.1%})\n")
    if worse:
        raise SystemExit(f"more than {TOLERANCE:.0%} worse. If it must be: python3 benches/counts/run.py --renew")


if __name__ == "__main__":
    main()
