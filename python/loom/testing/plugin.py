"""The pytest plugin: emulated servers as fixtures. pytest finds it by itself once Loom is installed.

@pytest.mark.loom_server("vllm", script=["Sunny."])
def test_my_agent(loom_server):
    agent = loom.agent(llm="vllm", base_url=loom_server.base_url)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable

import pytest

if TYPE_CHECKING:
    from loom.testing import EmulatedServer


def pytest_configure(config: pytest.Config) -> None:
    """Makes the mark known."""
    line = "loom_server(name, **settings): which server loom_server is; the arguments of loom.testing.emulate"
    config.addinivalue_line("markers", line)


@pytest.fixture
def loom_emulate() -> Iterator[Callable[..., EmulatedServer]]:
    """Starts emulated servers, with the arguments of ``loom.testing.emulate``; the test's end closes them."""
    from loom.testing import emulate

    started: list[EmulatedServer] = []

    def start(*args: Any, **settings: Any) -> EmulatedServer:
        started.append(emulate(*args, **settings))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def loom_server(request: pytest.FixtureRequest, loom_emulate: Callable[..., EmulatedServer]) -> EmulatedServer:
    """The emulated server that the mark ``loom_server`` names; without one, OpenAI's."""
    mark = request.node.get_closest_marker("loom_server")
    return loom_emulate(*mark.args, **mark.kwargs) if mark else loom_emulate()
