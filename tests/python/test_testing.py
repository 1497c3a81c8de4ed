"""loom.testing: emulated servers in the process, and as fixtures of pytest."""

import json
import subprocess
import sys
import urllib.request

import loom
import pytest
from conftest import clean_environment, output, run
from loom.testing import emulate, emulators


def post(url, body, headers=()):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json", **dict(headers)}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        return answer.status, dict(answer.headers), answer.read()


def chat(text="Hi", **fields):
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


def test_any_client_gets_the_manners_of_the_server():
    with emulate("tgi") as server:
        status, headers, body = post(server.base_url + "/chat/completions", chat(stream=True))
    assert status == 200 and headers["content-type"] == "text/event-stream"
    assert body.startswith(b'data:{"object":"chat.completion.chunk","id":""') and body.endswith(b"data:[DONE]\n\n")


def test_requests_are_kept_as_they_came():
    with emulate("azure", api_key="k", models=["d"]) as server:
        url = f"{server.origin}/openai/deployments/d/chat/completions?api-version=1"
        post(url, chat("漢字"), {"api-key": "k", "X-Odd": "a b"}.items())
        (request,) = server.requests
    assert (request.method, request.path, request.query) == (
        "POST",
        "/openai/deployments/d/chat/completions",
        "api-version=1",
    )
    assert request.header("x-odd") == "a b" and request.header("missing") is None
    assert request.json()["messages"][0]["content"] == "漢字"
    assert server.requests == [request], "they are there after the end, too"


def test_a_script_and_settings():
    script = ["Bonjour", {"tool_calls": [{"name": "f", "arguments": {"a": 1}}]}, {"status": 418, "message": "no"}]
    with emulate("vllm", api_key="sk-x", models=["a", "b"], script=script, context=50) as server:
        llm = loom.UnifiedLLM("vllm", base_url=server.base_url, api_key="sk-x", model="a", max_retries=0)
        assert server.models == ["a", "b"] and server.name == "vllm"
        assert run(llm.generate("Hi")).content == "Bonjour"
        call = run(llm.generate("Hi", tools=[{"type": "function", "function": {"name": "f"}}])).tool_calls[0]
        assert call.name == "f" and call.arguments == {"a": 1}
        with pytest.raises(loom.LLMError, match="no"):
            run(llm.generate("Hi"))
        with pytest.raises(loom.ContextLengthError):
            run(llm.generate("word " * 60))
    assert "http" in repr(server)


def test_the_port_is_free_again():
    with emulate() as server:
        port = int(server.origin.rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)):
            emulate(port=port)
    emulate("groq", port=port).close()
    server.close()  # twice is no mistake


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"'?vllama'?.*sglang"):
        emulate("vllama")
    with pytest.raises(ValueError, match=r"turn 1 .*'contents'"):
        emulate(script=["a", {"contents": "b"}])
    with pytest.raises(TypeError, match="list"):
        emulate(script="text")
    with pytest.raises(ValueError, match="badproxy takes only a port"):
        emulate("badproxy", api_key="k")
    with pytest.raises(ValueError, match="token_delay"):
        emulate(token_delay=-1)


def test_the_names_are_those_of_the_command_line():
    from loom._loom import cli_main

    listed = subprocess.run([sys.executable, "-m", "loom", "emulate"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(emulators())
    assert callable(cli_main)


def test_badproxy_breaks_what_it_is_told_to():
    with emulate("badproxy") as server:
        assert "bad-gateway" in server.models
        llm = loom.UnifiedLLM("custom", base_url=server.base_url, model="429-ms*1", max_retries=2)
        assert run(llm.generate("Hi")).content.startswith("You said")
        assert len(server.requests) == 2


@pytest.mark.loom_server("ollama", models=["qwen3"])
def test_the_fixture_is_the_server_of_the_mark(loom_server, loom_emulate):
    assert loom_server.name == "ollama" and loom_server.models == ["qwen3"]
    other = loom_emulate("kimi")
    assert other.base_url != loom_server.base_url
    agent = loom.agent(llm="ollama", base_url=loom_server.base_url)
    assert agent.run_sync("Hi").model == "qwen3"


def test_the_plugin_is_found_by_pytest(tmp_path):
    (tmp_path / "test_user.py").write_text(
        "import pytest\n\n"
        "servers = []\n\n"
        "@pytest.mark.loom_server('mistral')\n"
        "def test_marked(loom_server):\n"
        "    servers.append(loom_server)\n"
        "    assert loom_server.name == 'mistral'\n\n"
        "def test_plain(loom_server):\n"
        "    assert loom_server.name == 'openai'\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--strict-markers",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean_environment(), timeout=120)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr


def test_loom_does_not_need_pytest(tmp_path):
    source = "import sys; sys.modules['pytest'] = None; import loom.testing; print(len(loom.testing.emulators()) > 25)"
    assert output(source, tmp_path).strip() == "True"
