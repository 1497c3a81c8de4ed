"""No request goes anywhere but to the configured endpoints: strace lists every address that a program asks."""

import re
import subprocess
import sys
from pathlib import Path

from programs import KEY, clean_environment, program
from replies import json_reply

from servers import MockServer

MAIN_PATHS = f"""
import asyncio, os, loom

@loom.tool
def weather(city: str) -> str:
    "The weather."
    return "sunny"

async def main():
    url = os.environ["ENDPOINT"]
    agent = loom.agent(llm="custom", base_url=url, api_key={KEY!r}, model="m", tools=[weather])
    await agent.run("hello")
    async for _ in agent.stream("hello"):
        pass
    llm = loom.UnifiedLLM(base_url=url, api_key=loom.auth.OAuth2(os.environ["TOKENS"] + "/token", "id", "secret"))
    await llm.models()
    await llm.generate("hello")
    for wrong in ("http://llm.invalid-name.test/v1", "http://127.0.0.1:9/v1"):
        try:
            await loom.UnifiedLLM(base_url=wrong, model="m", max_retries=0).generate("hello")
        except loom.LLMError:
            pass
    loom.providers()
    loom.agent(llm="openai", api_key={KEY!r})

asyncio.run(main())
"""


def asked(log):
    """Every address of a connect, sendto or sendmsg: "ADDRESS:PORT", or the path of a socket."""
    found = set(re.findall(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)', log))
    addresses = {f"{address}:{port}" for port, address in found}
    addresses |= {f"{a}:{p}" for p, a in re.findall(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"', log)}
    return addresses | set(re.findall(r'sun_path=@?"([^"]+)"', log))


def resolver():
    """The machine's own name servers: names are asked of them, and one name of the program's is not to be found."""
    servers = re.findall(r"^nameserver\s+(\S+)", Path("/etc/resolv.conf").read_text(encoding="utf-8"), re.MULTILINE)
    return {f"{server}:53" for server in servers}


def test_nobody_but_the_endpoints(tmp_path):
    strace = program("strace")
    log = tmp_path / "strace.log"
    tokens = json_reply({"access_token": "t", "expires_in": 3600})
    with MockServer() as server, MockServer(lambda request: tokens) as other:
        command = [strace, "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(log)]
        done = subprocess.run(
            [*command, sys.executable, "-c", MAIN_PATHS],
            cwd=tmp_path,
            env={**clean_environment(), "ENDPOINT": server.url, "TOKENS": other.url, "NO_PROXY": "*"},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        configured = {f"127.0.0.1:{server.port}", f"127.0.0.1:{other.port}", "127.0.0.1:9"}
        assert len(server.requests) >= 4 and len(other.requests) == 1
    seen = asked(log.read_text(encoding="utf-8"))
    assert configured <= seen, "strace saw the program's connections"
    # The C library asks its cache daemon and the name servers for the name that does not exist.
    others = {address for address in seen - configured - resolver() if not address.startswith("/var/run/nscd")}
    assert others == set(), f"Loom talked to {others}"


def test_the_command_asks_nobody_else_and_keeps_connections_alive(tmp_path):
    """The same from the shell, which is Rust alone; and the options of its sockets."""
    log = tmp_path / "strace.log"
    with MockServer() as server:
        command = [
            program("strace"),
            "-f",
            "-qq",
            "-e",
            "trace=connect,sendto,sendmsg,sendmmsg,setsockopt",
            "-o",
            str(log),
        ]
        done = subprocess.run(
            [
                *command,
                str(Path(sys.prefix) / "bin" / "loom"),
                "run",
                "hello",
                "--base-url",
                server.url,
                "--model",
                "m",
            ],
            cwd=tmp_path,
            env={**clean_environment(), "NO_PROXY": "*"},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        assert len(server.chats) == 1
    text = log.read_text(encoding="utf-8")
    assert asked(text) == {f"127.0.0.1:{server.port}"}
    assert "SO_KEEPALIVE, [1]" in text and "TCP_KEEPIDLE, [30]" in text and "TCP_NODELAY, [1]" in text
