"""MCP servers as tools: a real one over stdio and over HTTP, and ones that misbehave."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loom
import pytest
from conftest import agent_for, clean_environment, run
from replies import tool_calls

from servers import MockServer

REAL = [sys.executable, str(Path(__file__).parent / "mcp_servers" / "real.py")]


def results(server: MockServer) -> list[Any]:
    """What the model got to read of the tools."""
    return [message["content"] for message in server.chats[-1].messages if message["role"] == "tool"]


def offered(server: MockServer, chat: int = -1) -> list[str]:
    return [tool["function"]["name"] for tool in server.chats[chat].json["tools"]]


@pytest.fixture(scope="module")
def http_server() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([*REAL, str(port)], stderr=subprocess.DEVNULL, env=clean_environment())
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["stdio", "http"])
def place(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "stdio":
        return {"command": REAL}
    return {"url": request.getfixturevalue("http_server"), "headers": {"Authorization": "Bearer t"}}


def test_an_agent_uses_its_tools(server: MockServer, place: dict[str, Any]) -> None:
    server.script(
        tool_calls(("weather", {"place": {"city": "Paris"}, "days": 2}), ("add", {"a": 1, "b": 2}), ("fail", {})),
    )

    async def main() -> None:
        async with loom.MCPServer(**place) as real:
            assert real.name == "real"
            await agent_for(server, tools=[real]).run("go")

    run(main())
    assert offered(server)[:5] == ["weather", "add", "fail", "dot", "unlock"]
    weather, add, fail = results(server)
    assert (weather, add) == ("sunny in Paris, FR for 2 d", "3.0")
    assert fail.startswith("Error: ") and "Error executing tool fail" in fail


def test_pictures_are_shown_to_the_model(server: MockServer) -> None:
    server.script(tool_calls(("dot", {})))
    real = loom.MCPServer(REAL)

    async def main() -> None:
        await agent_for(server, tools=[real]).run("go")
        await real.close()

    run(main())
    last = server.chats[-1].messages[-1]
    assert last["role"] == "user"
    assert last["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")


def test_tools_that_come_later_are_offered_from_then_on(server: MockServer) -> None:
    server.script(tool_calls(("unlock", {})), tool_calls(("secret", {})))

    async def main() -> None:
        async with loom.MCPServer(REAL) as real:
            await agent_for(server, tools=[real]).run("go")

    run(main())
    assert "secret" not in offered(server, 0) and "secret" in offered(server)
    assert results(server) == ["unlocked", "open"]


def test_names_that_collide_get_the_servers_name(server: MockServer) -> None:
    @loom.tool
    def add(a: float, b: float) -> str:
        return "mine"

    async def main() -> None:
        async with loom.MCPServer(REAL, name="one") as one, loom.MCPServer(REAL, name="two") as two:
            agent = agent_for(server, tools=[add, one, two])
            server.script(tool_calls(("two_add", {"a": 1, "b": 1}), ("add", {"a": 1, "b": 1})))
            await agent.run("go")
            third = agent_for(server, tools=[loom.MCPServer(REAL, prefix="x")])
            await third.run("go")

    run(main())
    assert results(server) == []
    assert [name for name in offered(server, 0) if "add" in name] == ["add", "one_add", "two_add"]
    assert results_of(server, 1) == ["2.0", "mine"]
    assert set(offered(server)) >= {"x_add", "x_weather"}


def results_of(server: MockServer, chat: int) -> list[Any]:
    return [message["content"] for message in server.chats[chat].messages if message["role"] == "tool"]


def test_making_one_starts_nothing_and_says_what_cannot_work(tmp_path: Path) -> None:
    loom.MCPServer(["touch", str(tmp_path / "started")])
    assert not list(tmp_path.iterdir())
    for settings, why in [
        ({}, "a command or a url"),
        ({"command": "x", "url": "http://x"}, "a command or a url"),
        ({"url": "x"}, "no http"),
        ({"command": "it's"}, "quotes"),
        ({"url": "http://x", "env": {"A": "b"}}, "env"),
        ({"command": "x", "timeout": 0}, "0 s"),
    ]:
        with pytest.raises(loom.ConfigurationError, match=why):
            loom.MCPServer(**settings)


HOSTILE = {
    "dies": ("import sys; sys.exit('no database')", "no database"),
    "garbage": ("print('Hello!', flush=True); import time; time.sleep(60)", "'Hello!'|\"Hello!\""),
    "hangs": ("import time; time.sleep(60)", "within 1 s"),
    "endless": ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "16 MiB|within 1 s"),
}


@pytest.mark.parametrize("manner", HOSTILE)
def test_a_server_that_cannot_be_used_ends_the_run_and_is_quoted(server: MockServer, manner: str) -> None:
    source, why = HOSTILE[manner]
    agent = agent_for(server, tools=[loom.MCPServer([sys.executable, "-c", source], timeout=1)])
    before = time.monotonic()
    with pytest.raises(loom.ToolError, match=why):
        run(agent.run("go"))
    assert time.monotonic() - before < 10
    assert server.chats == []


def test_a_server_that_is_not_there(server: MockServer) -> None:
    with pytest.raises(loom.ToolError, match="no-such-program"):
        run(agent_for(server, tools=[loom.MCPServer("/no-such-program")]).run("go"))
    with pytest.raises(loom.ToolError, match=r"127\.0\.0\.1:9"):
        run(agent_for(server, tools=[loom.MCPServer(url="http://127.0.0.1:9/mcp")]).run("go"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills them when the program is killed")
@pytest.mark.parametrize("end", ["leaves", "killed"])
def test_the_process_ends_with_the_program(tmp_path: Path, end: str) -> None:
    # It ignores the end of its input, and would stay.
    stays = f"""
import os, runpy, sys, threading, time
open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
try:
    sys.argv = ["real.py"]
    runpy.run_path({REAL[1]!r}, run_name="__main__")
finally:
    time.sleep(600)
"""
    program = f"""
import asyncio, loom, time
server = loom.MCPServer([{sys.executable!r}, "-c", {stays!r}])
asyncio.run(server.connect())
print("connected", flush=True)
if {end!r} == "killed":
    time.sleep(600)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=clean_environment()
    )
    assert process.stdout is not None and process.stdout.readline() == "connected\n"
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, 0)
    if end == "killed":
        process.send_signal(signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the server is still there")


def test_a_cancelled_call_is_told_to_the_server_and_harms_nothing(server: MockServer) -> None:
    async def main() -> None:
        async with loom.MCPServer(REAL) as real:
            (add,) = [tool for tool in await real.list_tools() if tool.name == "add"]
            task = asyncio.ensure_future(add.invoke({"a": 1, "b": 2}))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await add.invoke({"a": 1, "b": 2}) == "3.0"

    run(main())


@pytest.mark.parametrize("command", ["run", "chat"])
def test_the_shell_offers_them_and_ends_them(server: MockServer, tmp_path: Path, command: str) -> None:
    server.script(tool_calls(("add", {"a": 1, "b": 2})))
    words = [sys.executable, "-m", "loom", command, "--base-url", server.url, "--model", "m"]
    place = f"TOKEN=t {sys.executable} {REAL[1]}"
    done = subprocess.run(
        [*words, "--mcp", place, *(["How much is it?"] if command == "run" else [])],
        input="How much is it?\n" if command == "chat" else "",
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert results(server) == ["3.0"] and done.stdout.strip()

    wrong = subprocess.run(
        [*words, "--mcp", "no-such-program --flag", "--react", "hi"] if command == "run" else [*words, "--mcp", "it's"],
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_environment(),
    )
    assert wrong.returncode != 0 and ("no-such-program" in wrong.stderr or "quotes" in wrong.stderr)


def test_a_section_of_loom_toml_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOOM_CONFIG", raising=False)
    file = tmp_path / "loom.toml"
    file.write_text(f'[mcp.real]\ncommand = {REAL!r}\nprefix = "my"\n[mcp.none]\n')

    async def names() -> list[str]:
        async with loom.MCPServer.named("real", file) as real:
            assert real.name == "real"
            return [tool.name for tool in await real.list_tools()]

    assert run(names()) and all(name.startswith("my_") for name in run(names()))
    with pytest.raises(loom.ConfigurationError, match=r"has no section \[mcp.other\]"):
        loom.MCPServer.named("other", file)
    with pytest.raises(loom.ConfigurationError, match="a command or a url"):
        loom.MCPServer.named("none", file)
    # One that merely lies there starts nothing.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(loom.ConfigurationError, match="nobody has named"):
        loom.MCPServer.named("real")
