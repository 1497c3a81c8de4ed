"""Loom: LLM agents on any OpenAI-compatible endpoint, given only its ``base_url``.

    import loom

    agent = loom.agent(llm="custom", base_url="http://localhost:8000/v1", model="Qwen/Qwen2-7B-Instruct")
    print(agent.run_sync("Introduce vLLM").content)

Importing uses no network, starts no thread and writes nothing.
"""

from __future__ import annotations

from typing import Any

from . import _import_hook, auth, errors
from ._agent import Agent, agent
from ._ledger import LedgerEntry
from ._llm import BaseLLM, UnifiedLLM, preset
from ._loom import Completion, Message, Run, Session, ToolCall, Usage, __version__, ledger_rules, providers
from ._parts import Audio, File, Image
from ._pool import Pool, PoolMember
from ._timeout import Timeout
from ._tools import Tool, ToolContext, tool
from .errors import *  # noqa: F403

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._adapter import Adapter
    from ._mcp import MCPServer

#: What few programs use is loaded when it is asked for: names and their modules.
_LATER = {"Adapter": "._adapter", "MCPServer": "._mcp"}

__all__ = [
    "Adapter",
    "Agent",
    "Audio",
    "BaseLLM",
    "Completion",
    "File",
    "Image",
    "LedgerEntry",
    "MCPServer",
    "Message",
    "Pool",
    "PoolMember",
    "Run",
    "Session",
    "Timeout",
    "Tool",
    "ToolCall",
    "ToolContext",
    "UnifiedLLM",
    "Usage",
    "__version__",
    "agent",
    "auth",
    "ledger_rules",
    "providers",
    "register_provider",
    "tool",
]
# `from loom import *` must not replace Python's own RecursionError.
__all__ += [name for name in errors.__all__ if name != "RecursionError"]


def register_provider(name: str, **fields: Any) -> None:
    """Adds a provider for this process, or replaces one of that name.

    Args:
        name: what users write as ``llm=``.
        **fields: ``base_url``, ``key_env`` and ``base_url_env`` (lists of variables), ``default_model``, ``aliases``,
            ``local`` (needs no key), ``auth`` (``"bearer"`` or ``{"header": "api-key"}``), ``profile`` (what it takes,
            as a dict), ``title``, ``docs``.

    Raises:
        ConfigurationError: the name is empty or the base URL cannot be read.
        TypeError: a field is unknown or of the wrong type.
    """
    from ._loom import register_provider

    register_provider({"name": name, **fields})


def __dir__() -> list[str]:
    return sorted([*__all__, "RecursionError", "builtin", "errors", *(entry["class"] for entry in providers())])


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from importlib import import_module

        globals()[name] = later = getattr(import_module(_LATER[name], __name__), name)
        return later
    found = preset(name)
    if found is None:
        raise AttributeError(f"module 'loom' has no attribute {name!r}")
    return found


_import_hook.install()
