"""The real server that ``LOOM_TEST_SERVER`` names, started by ``servers/servers.sh``."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
        """Holds ``response_format`` by a grammar."""
        return self.forces_tools

    @property
    def checks_keys(self) -> bool:
        return self.name != "transformers"


@pytest.fixture(scope="session")
def server() -> RealServer:
    name = os.environ["LOOM_TEST_SERVER"]
    script = ROOT / "servers" / "servers.sh"
    started = subprocess.run([script, "start", name], check=True, stdout=subprocess.PIPE, text=True)
    shown = dict(field.split("=", 1) for field in started.stdout.split())
    return RealServer(name, shown["base_url"], shown["api_key"], shown["model"])
