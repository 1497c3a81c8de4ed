"""The real server that ``LOOM_TEST_SERVER`` names, started by ``servers/servers.sh``."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "servers" / "servers.sh"
WITHOUT_TOOLS = "-no-tools"  #: behind a server's name: without the flags for them


@dataclass(frozen=True)
class RealServer:
    """A server and what it can do. What it cannot do is tested, too: Loom must say so."""

    name: str
    base_url: str
    api_key: str
    model: str

    @property
    def forces_tools(self) -> bool:
        """Holds ``tool_choice="required"`` by a grammar."""
        return self.name in ("llama-server", "vllm", "litellm")

    @property
    def has_json(self) -> bool:
        """Holds an answer to a schema by a grammar, in a field of its own or in ``response_format``."""
        return self.forces_tools or self.name == "llama-cpp-python"

    @property
    def checks_keys(self) -> bool:
        return self.name != "transformers"


def started(name: str) -> RealServer:
    """The server, once it answers."""
    software = name.removesuffix(WITHOUT_TOOLS)
    environment = os.environ | ({} if software == name else {"LOOM_VLLM_TOOLS": ""})
    done = subprocess.run([SCRIPT, "start", software], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    shown = dict(field.split("=", 1) for field in done.stdout.split())
    return RealServer(name, shown["base_url"], shown["api_key"], shown["model"])


@pytest.fixture(scope="session")
def server() -> RealServer:
    return started(os.environ["LOOM_TEST_SERVER"])
