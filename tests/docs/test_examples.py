"""The programs in examples/python, run as a user runs them, against a mock server."""

import subprocess
import sys

import pytest
from messages_api import messages_api
from test_blocks import ROOT, AnyService, _clean_environment

from servers import MockServer

EXAMPLES = ROOT / "examples" / "python"
PRINTED = {
    "tools.py": "tools: sunny, 21 degrees celsius in Paris\n",
    "stream.py": "echo: Tell me a story\n[stop; Usage(prompt_tokens=7, completion_tokens=5, total_tokens=12)]\n",
    "own_llm.py": "You said: Hello!\n",
    "errors.py": "echo: Hello!\n",
    "anthropic_llm.py": "It is sunny, 21 degrees celsius in Paris. "
    "Usage(prompt_tokens=14, completion_tokens=10, total_tokens=24)\n",
}


#: What each example talks to, where it is not an OpenAI-compatible server.
OTHERS = {"anthropic_llm.py": messages_api}


def run(name: str, base_url: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), base_url],
        env={**_clean_environment(), "ANTHROPIC_API_KEY": "sk-ant-test"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_no_example_is_left_out():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_example(name):
    with MockServer(OTHERS.get(name, AnyService())) as server:
        assert run(name, server.url) == PRINTED[name]


def test_a_refusal_of_the_messages_api_is_an_error():
    """The adapter's error is an LLM error with its status, and a wrong key is of the kind that it is elsewhere."""
    source = f"""
import asyncio, sys
sys.path.insert(0, {str(EXAMPLES)!r})
import loom
from anthropic_llm import messages_llm
try:
    asyncio.run(messages_llm("wrong", sys.argv[1]).generate("Hello!"))
except loom.LLMError as error:
    print(error.kind, error.status_code)
"""
    with MockServer(messages_api) as server:
        command = [sys.executable, "-c", source, server.url]
        done = subprocess.run(command, env=_clean_environment(), capture_output=True, encoding="utf-8", timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "auth 401\n")


def test_errors_are_told():
    from replies import error_reply

    with MockServer(lambda request: error_reply(404, "The model `no-such-model` does not exist.")) as server:
        told = run("errors.py", server.url)
    assert "does not have this: The model `no-such-model` does not exist." in told and "loom models" in told
    assert run("errors.py", "http://127.0.0.1:9/v1").startswith("The server cannot be reached: nothing listens")
