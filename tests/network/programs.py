"""Finding, running and ending the programs that the tests need."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-secret-0123456789"
PASSWORD = "pr0xy-secret"
SEARCHED = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def program(name: str) -> str:
    """Where a program is. Without it a test is skipped, but not where `scripts/network.sh` has installed it."""
    found = shutil.which(name, path=SEARCHED)
    if found is None:
        if os.environ.get("LOOM_NETWORK_TESTS") == "required":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed: bash scripts/network.sh")
    return found


def clean_environment() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("python_conftest", ROOT / "tests" / "python" / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.clean_environment()  # type: ignore[no-any-return]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]  # type: ignore[no-any-return]


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a program until it listens, and ends it."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            for _ in range(400):
                if process.poll() is not None:
                    pytest.fail(f"{command[0]} ended: {process.stderr.read().decode()}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.05)
            else:
                pytest.fail(f"{command[0]} does not listen")
            yield process
        finally:
            process.terminate()
            process.wait(20)
