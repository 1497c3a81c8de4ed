"""What the tests share: the mock server, the proxy, the private CA, a clean environment, and short helpers."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
import trustme
from proxy import Proxy

from servers import MockServer

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-test-0123456789"  #: the key that `agent_for` gives; tests look for it where it must not be
SPEC_PORTS = (8000, 11434, 1234, 5000)  #: the localhost ports that docs/custom-base-url.zh.md names
FOREIGN = re.compile(r"^(OPENAI|LOOM|AZURE|OLLAMA)_|_API_KEY$|_BASE_URL$|_PROXY$", re.IGNORECASE)


# A run in the background (nohup, `&` in a script) ignores ctrl-c, and its children would inherit that; the tests send
# it to them. What is handled here is reset to the default in them.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def clean_environment() -> dict[str, str]:
    """This process's environment without keys, proxies and certificate settings of the machine."""
    kept = {name: value for name, value in os.environ.items() if not FOREIGN.search(name)}
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUEST_METHOD"):
        kept.pop(name, None)
    return {**kept, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}


@pytest.fixture(autouse=True)
def no_foreign_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees a key or a proxy of the machine that it runs on."""
    for name in list(os.environ):
        if FOREIGN.search(name):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[MockServer]:
    """A mock server of the test's own, on a free port."""
    with MockServer() as running:
        yield running


@pytest.fixture
def other_server() -> Iterator[MockServer]:
    """A second one, which is another origin."""
    with MockServer() as running:
        yield running


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The private CA's certificate, for SSL_CERT_FILE."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="session")
def _spec_server() -> Iterator[Any]:
    # Another run of these tests on the same machine may hold the ports: it is waited for.
    patience = time.monotonic() + 180
    while True:
        try:
            running: Any = MockServer(ports=SPEC_PORTS)
            break
        except OSError as error:
            if time.monotonic() > patience:
                yield error
                return
            time.sleep(0.5)
    with running:
        yield running


@pytest.fixture
def spec_server(_spec_server: Any) -> MockServer:
    """One mock server on exactly the localhost ports of the spec page."""
    if isinstance(_spec_server, OSError):
        pytest.fail(str(_spec_server), pytrace=False)
    _spec_server.reset()
    return _spec_server  # type: ignore[no-any-return]


@pytest.fixture
def proxy(spec_server: MockServer, ca: trustme.CA) -> Iterator[Proxy]:
    """A proxy that plays every https host, in front of `spec_server`."""
    with Proxy(spec_server, ca) as running:
        yield running


# ---- Helpers, imported by name


def run(awaitable: Awaitable[Any], timeout: float = 20) -> Any:
    """asyncio.run with a limit, so that a hang is a failure."""

    async def limited() -> Any:
        return await asyncio.wait_for(awaitable, timeout)

    return asyncio.run(limited())


async def collect(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]


def agent_for(server: MockServer, **options: Any) -> Any:
    """An agent on the mock server: custom provider, key KEY, model "m"."""
    import loom

    return loom.agent(**{"llm": "custom", "base_url": server.url, "api_key": KEY, "model": "m", **options})


def llm_for(server: MockServer, **options: Any) -> Any:
    """The same as a UnifiedLLM."""
    from loom.builtin import UnifiedLLM

    return UnifiedLLM(**{"provider": "custom", "base_url": server.url, "api_key": KEY, "model": "m", **options})


def ask(text: str = "ping") -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def texts(events: list[dict[str, Any]]) -> str:
    """The text that a stream's events carry."""
    return "".join(event["content"] for event in events if event["type"] == "content_delta")


def python(
    source: str, cwd: Any, timeout: float = 20, env: Optional[dict[str, str]] = None, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Runs a source text in a Python process of its own, in `cwd`, with a clean environment plus `variables`."""
    environment = {**clean_environment(), **(env or {}), **variables}
    return subprocess.run(
        [sys.executable, "-c", source],
        cwd=str(cwd),
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
    )


def output(source: str, cwd: Any, **variables: str) -> str:
    """The stdout of `python(...)`, which must succeed and print nothing to stderr."""
    done = python(source, cwd, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
