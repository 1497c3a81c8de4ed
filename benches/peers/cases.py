"""What is measured: the peers, the cases, and how often each is done."""

from __future__ import annotations

import dataclasses

#: The peers, the floor first. The floor reads bytes and decodes nothing.
PEERS = {
    "rust": ["bare", "loom", "async-openai", "genai", "rig"],
    "python": ["httpx", "loom", "openai", "langchain-openai", "openai-agents", "pydantic-ai", "litellm"],
}
FLOOR = {"rust": "bare", "python": "httpx"}
#: What users of a peer import before their first call.
IMPORTS = {
    "httpx": "import httpx",
    "loom": "import loom",
    "openai": "import openai",
    "langchain-openai": "import langchain_openai",
    "openai-agents": "import agents",
    "pydantic-ai": "import pydantic_ai, pydantic_ai.models.openai",
    "litellm": "import litellm",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One kind of work. ``calls`` is for the peers; what is fast does ten times as many, so that both take a while."""

    name: str
    title: str
    #: What the mock server is asked for.
    served: str
    #: "delta" or "call".
    per: str
    calls: dict[str, int]
    concurrency: int = 1
    #: Part of ``--quick``.
    quick: bool = False
    #: How long it takes does not depend on the client: more calls would only take longer.
    timed: bool = False
    #: Deltas of one answer.
    deltas: int = 256
    #: Memory is what counts.
    memory: bool = False
    #: Too long for one process that needs more than a core for it: left to Loom, the floor and these.
    peers: tuple[str, ...] = ()


CASES = [
    Case("each", "streamed, one write per delta", "each", "delta", {"rust": 100, "python": 8}, quick=True),
    Case("many", "streamed, 64 deltas per write", "many", "delta", {"rust": 100, "python": 8}, quick=True),
    Case("paced", "streamed, a delta every 2 ms", "paced", "delta", {"rust": 3, "python": 3}, quick=True, timed=True),
    Case("whole", "whole answer", "whole", "call", {"rust": 1000, "python": 50}, quick=True),
    Case("agent-1", "agent run with one tool call", "agent-1", "call", {"rust": 400, "python": 20}, quick=True),
    Case("agent-10", "agent run with ten tool calls", "agent-10", "call", {"rust": 40, "python": 3}),
    Case("prompt", "a prompt of 2 MB", "prompt", "call", {"rust": 10, "python": 3}),
    Case("history", "a history of 2,000 messages", "history", "call", {"rust": 20, "python": 2}),
    Case("at-64", "64 streams at a time", "concurrent", "delta", {"rust": 128, "python": 64}, 64, deltas=40),
    Case("at-1000", "1,000 streams at a time", "concurrent", "delta", {"rust": 1000, "python": 1000}, 1000, deltas=40,
         timed=True),
    Case("slow", "5,000 streams at a time, 20 deltas/s each", "slow", "delta", {"rust": 5000, "python": 5000}, 5000,
         deltas=40, timed=True, memory=True, peers=("async-openai", "genai", "openai")),
    Case("ttft", "time to first token, 64 streams", "ttft", "call", {"rust": 512, "python": 256}, 64, deltas=40,
         timed=True, peers=("async-openai", "genai", "rig", "openai")),
]  # fmt: skip
