"""Every Python block of docs/custom-base-url.zh.md, unchanged, in a process of its own, on the hosts it names.

The https hosts are played by a proxy that ends TLS with a private CA, the localhost ports by a mock server on exactly
these ports. Each block runs as it is (what it prints, what it leaves behind, what it sends) and, when it only makes an
agent or an LLM, once more followed by a driver that uses what it made (what that sends).
"""

import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any, Optional

import pytest
from conftest import ROOT, clean_environment
from replies import error_reply

PAGE = ROOT / "docs" / "custom-base-url.zh.md"
BLOCKS: list[bytes] = re.findall(rb"^```python\n(.*?)^```", PAGE.read_bytes(), re.DOTALL | re.MULTILINE)

RUN_AGENT = b"""
async def _drive():
    print((await agent.run("ping")).content)
import asyncio as _a
_a.run(_drive())
"""
RUN_LLM = b"""
async def _drive():
    print((await llm.generate([{"role": "user", "content": "ping"}])).content)
import asyncio as _a
_a.run(_drive())
"""
# The first block makes two agents under one name: keep both.
KEEP_AGENTS = b"""
import loom as _loom
_made, _agent = [], _loom.agent
_loom.agent = lambda *args, **kwargs: _made.append(_agent(*args, **kwargs)) or _made[-1]
"""
RUN_KEPT_AGENTS = b"for agent in _made:" + RUN_AGENT.replace(b"\n", b"\n    ")


@dataclass
class Sent:
    """What one call has to send. `host` is "name:port", as asked of the proxy, or "localhost:port"."""

    host: str
    key: str
    model: Optional[str]  #: None: the page names none, any will do
    text: str = "ping"
    sampling: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


SAMPLING = {"temperature": 0.7, "max_tokens": 2000}
SERVICE = "your-service.com:443"

# What each block sends: by itself when it has a main(), else with this driver before and after it.
AGENT, LLM, KEPT = (b"", RUN_AGENT), (b"", RUN_LLM), (KEEP_AGENTS, RUN_KEPT_AGENTS)
EXPECTED: list[tuple[str, Optional[tuple[bytes, bytes]], list[Sent]]] = [
    (
        "known-provider",
        KEPT,
        [Sent("your-proxy.com:443", "sk-...", None), Sent("your-deepseek-proxy.com:443", "sk-...", None)],
    ),
    ("custom", AGENT, [Sent(SERVICE, "your-api-key", "your-model-name")]),
    ("vllm", None, [Sent("localhost:8000", "EMPTY", "Qwen/Qwen2-7B-Instruct", "介绍一下 vLLM")]),
    ("ollama", None, [Sent("localhost:11434", "EMPTY", "qwen:7b", "你好")]),
    ("fastchat", AGENT, [Sent("localhost:8000", "EMPTY", "vicuna-7b")]),
    ("lmstudio", AGENT, [Sent("localhost:1234", "lm-studio", "local-model")]),
    ("textgen", AGENT, [Sent("localhost:5000", "EMPTY", "your-model")]),
    ("openai-proxy", AGENT, [Sent("api.openai-proxy.com:443", "sk-...", None)]),
    ("internal", AGENT, [Sent("llm.yourcompany.internal:443", "your-internal-key", "company-gpt-model")]),
    ("unified-llm", AGENT, [Sent(SERVICE, "your-key", "your-model", sampling=SAMPLING)]),
    ("dict", AGENT, [Sent(SERVICE, "your-key", "your-model", sampling=SAMPLING)]),
    ("verify", None, [Sent(SERVICE, "your-key", "your-model", "Hello!")]),
    ("headers", LLM, [Sent(SERVICE, "your-key", "your-model", headers={"x-custom-header": "value"})]),
]
CASES = [pytest.param(block, driver, sent, id=name) for block, (name, driver, sent) in zip(BLOCKS, EXPECTED)]
MAKERS = [pytest.param(*case.values[:1], id=case.id) for case in CASES if case.values[1]]
PRINTED = {"vllm": "echo: 介绍一下 vLLM\n", "ollama": "echo: 你好\n", "verify": "✅ 成功: echo: Hello!\n"}


@pytest.fixture
def run_source(tmp_path, proxy, ca_file):
    """Runs source bytes in a process of their own, in an empty folder, behind the proxy."""

    def run_it(source: bytes) -> "subprocess.CompletedProcess[str]":
        script, cwd = tmp_path / "block.py", tmp_path / "empty"
        script.write_bytes(source)
        cwd.mkdir()
        environment = {**clean_environment(), "HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": ca_file}
        done = subprocess.run(
            [sys.executable, str(script)], cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=30
        )
        assert list(cwd.iterdir()) == [], "the block left files behind"
        return done

    return run_it


def nulls(value: Any, path: str = "body") -> list[str]:
    """The paths of all nulls in a JSON value."""
    if value is None:
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in nulls(item, f"{path}.{key}")]


def check_sent(server: Any, proxy: Any, expected: list[Sent]) -> None:
    """What arrived is what is expected, there and nowhere else."""
    assert set(proxy.targets) == {sent.host for sent in expected if not sent.host.startswith("localhost")}
    assert len(server.chats) == len(expected)
    for request in server.requests:
        host = request.via or f"localhost:{request.port}"
        matching = [sent for sent in expected if sent.host == host]
        assert matching, f"sent to {host}"
        assert request.headers["host"] == host.replace(":443", "")
        assert request.authorization == f"Bearer {matching[0].key}"
        assert request.scheme == ("https" if request.via else "http")
        assert request.is_chat or (request.method, request.path) == ("GET", "/v1/models")
    for request, sent in zip(server.chats, expected):
        body = request.json
        assert request.target == "/v1/chat/completions"
        assert body["messages"] == [{"role": "user", "content": sent.text}]
        assert isinstance(body["model"], str) and body["model"] if sent.model is None else body["model"] == sent.model
        assert nulls(body) == []
        own = {name: body[name] for name in body if name not in ("model", "messages", "stream", "stream_options")}
        assert own == sent.sampling, "what the block did not set is not sent"
        assert sent.headers.items() <= request.headers.items()


def test_the_page_has_thirteen_blocks():
    assert len(BLOCKS) == len(EXPECTED) == PAGE.read_bytes().count(b"```python") == 13


@pytest.mark.parametrize("block", MAKERS)
def test_making_an_agent_prints_nothing_and_sends_nothing(run_source, spec_server, proxy, block):
    done = run_source(block)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert proxy.targets == [] and spec_server.requests == [] and spec_server.accepted == 0


@pytest.mark.parametrize(("block", "driver", "sent"), CASES)
def test_block(run_source, spec_server, proxy, request, block, driver, sent):
    before, after = driver or (b"", b"")
    done = run_source(before + block + after)
    answers = PRINTED.get(request.node.callspec.id, "echo: ping\n" * len(sent))
    assert (done.returncode, done.stderr, done.stdout) == (0, "", answers)
    check_sent(spec_server, proxy, sent)


def test_the_verify_block_says_what_is_wrong_without_the_key(run_source, spec_server, proxy):
    spec_server.handler = lambda request: error_reply(
        401, "Incorrect API key provided: your-key.", code="invalid_api_key"
    )
    (verify,) = [block for block in BLOCKS if "✅ 成功".encode() in block]
    done = run_source(verify)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("❌ 错误: ") and len(done.stdout) > 20
    assert "401" in done.stdout and "your-key" not in done.stdout
    assert len(spec_server.chats) == 1 and set(proxy.targets) == {SERVICE}
