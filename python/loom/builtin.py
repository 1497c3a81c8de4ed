"""The LLMs that come with Loom: ``UnifiedLLM`` and a preset of it for each provider (``DeepSeekLLM``, …)."""

from __future__ import annotations

from ._llm import BaseLLM, UnifiedLLM, preset

__all__ = ["BaseLLM", "UnifiedLLM"]


def __getattr__(name: str) -> type[UnifiedLLM]:
    found = preset(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    from ._loom import providers

    return [*globals(), *(provider["class"] for provider in providers())]
