"""What was to be reached, what was found, and by how much it was missed. Why is in docs/performance.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Target:
    what: str
    #: How the value is read from the result; a KeyError means that its case was not run or not finished.
    found: Callable[[dict[str, Any]], float]
    limit: float
    unit: str = ""
    #: Whether the value should be at least the limit, and not at most.
    at_least: bool = False

    def row(self, result: dict[str, Any]) -> str | None:
        try:
            value = self.found(result)
        except KeyError:
            return None
        met = value >= self.limit if self.at_least else value <= self.limit
        short = (self.limit / value if self.at_least else value / self.limit) - 1
        state = "met" if met else f"**missed** by {short:.1%}"
        sign = "≥" if self.at_least else "≤"
        return f"| {self.what} | {sign} {self.limit:g}{self.unit} | {value:,.2f}{self.unit} | {state} |"


def _over_loom(language: str, case: str, peer: str) -> Callable[[dict[str, Any]], float]:
    """How many times Loom's CPU time a peer takes."""
    return lambda result: (
        result["cases"][language][case][peer]["cpu_us"] / result["cases"][language][case]["loom"]["cpu_us"]
    )


def _over_floor(case: str) -> Callable[[dict[str, Any]], float]:
    """Loom's CPU time over that of the bare client in Rust."""
    return lambda result: 1 / _over_loom("rust", case, "bare")(result)


def _later(key: str) -> Callable[[dict[str, Any]], float]:
    """How much later than with the bare client in Rust the first token is there, in ms."""
    return lambda result: result["cases"]["rust"]["ttft"]["loom"][key] - result["cases"]["rust"]["ttft"]["bare"][key]


def _memory(language: str) -> Callable[[dict[str, Any]], float]:
    return lambda result: result["cases"][language]["slow"]["loom"]["memory_kib"]


TARGETS = [
    Target("Rust, CPU per streamed delta over the bare client's, one write each", _over_floor("each"), 1.8, "×"),
    Target("Rust, CPU per streamed delta over the bare client's, 64 per write", _over_floor("many"), 1.8, "×"),
    Target("Rust, CPU per whole call over the bare client's", _over_floor("whole"), 1.4, "×"),
    Target("Python, CPU per delta, openai over Loom", _over_loom("python", "each", "openai"), 30, "×", True),
    Target("Python, CPU per delta, pydantic-ai over Loom", _over_loom("python", "each", "pydantic-ai"), 80, "×", True),
    Target("Python, CPU per whole call, openai over Loom", _over_loom("python", "whole", "openai"), 12, "×", True),
    Target("Python, CPU per agent run, openai-agents over Loom", _over_loom("python", "agent-1", "openai-agents"), 20,
           "×", True),
    Target("Python, CPU per agent run, pydantic-ai over Loom", _over_loom("python", "agent-1", "pydantic-ai"), 20,
           "×", True),
    Target("`import loom`, CPU over bare Python", lambda result: result["imports"]["loom"]["cpu_ms"], 25, " ms"),
    Target("`import loom`, memory over bare Python", lambda result: result["imports"]["loom"]["memory_mib"], 8, " MiB"),
    Target("memory per slow stream, Rust", _memory("rust"), 24, " KiB"),
    Target("memory per slow stream, Python", _memory("python"), 32, " KiB"),
    Target("first token over the bare client's, 64 streams, p50", _later("first_p50_ms"), 0.1, " ms"),
    Target("first token over the bare client's, 64 streams, p99", _later("first_p99_ms"), 1, " ms"),
    Target("wheel", lambda result: result["sizes"]["loom"]["wheel_mib"] * 1.048576, 8, " MB"),
    Target("command line program", lambda result: result["sizes"]["loom"]["binary_mib"] * 1.048576, 12, " MB"),
]  # fmt: skip


def table(result: dict[str, Any]) -> list[str]:
    rows = [row for target in TARGETS if (row := target.row(result))]
    head = ["### Targets", "", "| what | target | found | |", "|---|---|---|---|"]
    return [*head, *rows, ""] if rows else []
