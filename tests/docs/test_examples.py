"""The programs in examples/python, run as a user runs them, against a mock server."""

import subprocess
import sys

import pytest
from test_blocks import ROOT, AnyService, _clean_environment

from servers import MockServer

EXAMPLES = ROOT / "examples" / "python"
PRINTED = {
    "tools.py": "tools: sunny, 21 degrees celsius in Paris\n",
    "stream.py": "echo: Tell me a story\n[stop; Usage(prompt_tokens=7, completion_tokens=5, total_tokens=12)]\n",
    "own_llm.py": "You said: Hello!\n",
    "errors.py": "echo: Hello!\n",
}


def run(name: str, base_url: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), base_url],
        env=_clean_environment(),
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
    with MockServer(AnyService()) as server:
        assert run(name, server.url) == PRINTED[name]


def test_errors_are_told():
    from replies import error_reply

    with MockServer(lambda request: error_reply(404, "The model `no-such-model` does not exist.")) as server:
        told = run("errors.py", server.url)
    assert "does not have this: The model `no-such-model` does not exist." in told and "loom models" in told
    assert run("errors.py", "http://127.0.0.1:9/v1").startswith("The server cannot be reached: nothing listens")
