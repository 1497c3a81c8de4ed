"""Makes what the benchmark needs, all of it in ``target/peers``: an environment for each Python peer from its lock
file, the Rust clients and the mock server, Loom's wheel and its command line program."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / "target" / "peers"


def say(text: str) -> None:
    sys.stderr.write(f"== {text}\n")
    sys.stderr.flush()


def call(*command: Any, **options: Any) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment.update(options.pop("environment", {}))
    subprocess.run([str(part) for part in command], check=True, env=environment, stdout=sys.stderr, **options)


def python_of(peer: str) -> pathlib.Path:
    """The interpreter of a peer's environment."""
    return WORK / "env" / peer / "bin" / "python"


def rust_program(name: str) -> pathlib.Path:
    return WORK / "rust" / "release" / name


def make(python: list[str], *, rust: bool) -> None:
    """Makes what is missing or out of date."""
    for peer in python:
        _environment(peer)
    say("the Rust clients and the mock server")
    # Not --locked: the peers stay as they are written down, but Loom's own dependencies may have changed.
    call("cargo", "build", "--release", "--quiet", "--target-dir", WORK / "rust", cwd=HERE / "rust")
    if rust:
        say("Loom's command line program")
        call("cargo", "build", "--release", "--quiet", "--locked", "-p", "loom-cli", cwd=ROOT)
    if "loom" in python:
        say("Loom's wheel")
        for old in (WORK / "wheel").glob("*.whl"):
            old.unlink()
        maturin = WORK / "env" / "loom" / "bin" / "maturin"
        call(maturin, "build", "--release", "--quiet", "--locked", "--out", WORK / "wheel", cwd=ROOT,
             environment={"VIRTUAL_ENV": str(WORK / "env" / "loom")})  # fmt: skip
        pip = [python_of("loom"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        call(*pip, "--force-reinstall", next((WORK / "wheel").glob("*.whl")))


def _environment(peer: str) -> None:
    lock = HERE / "python" / "locks" / f"{peer}.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = WORK / "env" / peer / "lock.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    say(f"the environment of {peer}")
    call(sys.executable, "-m", "venv", "--clear", WORK / "env" / peer)
    pip = [python_of(peer), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    call(*pip, "--no-deps", "--requirement", lock)
    stamp.write_text(digest)
