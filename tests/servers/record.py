"""Runs the twelve tasks on every emulated server, or on real ones, and keeps the results in tests/servers/twelve.json.

python tests/servers/record.py            the emulated servers
python tests/servers/record.py NAME…      these real ones, by their names in servers/servers.sh; vllm-no-tools too
"""

# ruff: noqa: T201 (a program: it prints)
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from loom import _loom
from loom.testing import emulate

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "servers" / "twelve.json"


def emulators() -> list[str]:
    """The names of the emulated servers; the one that breaks answers is none."""
    return [name for name, _ in _loom.emulators() if name != "badproxy"]


def twelve(base_url: str, model: str, api_key: str | None = None) -> dict[str, Any]:
    """The result of the script."""
    command = [sys.executable, str(ROOT / "tests" / "servers" / "twelve.py"), "--json"]
    command += ["--base-url", base_url, "--model", model, *(["--api-key", api_key] if api_key else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    if not done.stdout:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def emulated(name: str) -> dict[str, Any]:
    with emulate(name) as server:
        return twelve(server.base_url, server.models[0])


def real(name: str) -> dict[str, Any]:
    import conftest

    server = conftest.started(name)
    try:
        return twelve(server.base_url, server.model, server.api_key)
    finally:
        if name != "llama-server":  # litellm forwards to it
            subprocess.run([conftest.SCRIPT, "stop", name.removesuffix(conftest.WITHOUT_TOOLS)], check=True)


def kept(result: dict[str, Any]) -> dict[str, Any]:
    """What of a result is kept: not what a random model said."""
    tasks = {name: outcome.split(":")[0] for name, outcome in result["tasks"].items()}
    return {"tasks": tasks, "forms": result["forms"]}


def main() -> int:
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"real": {}, "emulated": {}}
    if names := sys.argv[1:]:
        new = {name: kept(real(name)) for name in names}
        results["real"] |= new
    else:
        new = results["emulated"] = {name: kept(emulated(name)) for name in emulators()}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    failed = {name: tasks for name, tasks in new.items() if "failed" in tasks["tasks"].values()}
    if failed:
        print(json.dumps(failed, indent=1))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
