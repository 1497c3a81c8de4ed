"""Loom against real network software, from Python, from `loom.toml` and from the shell."""

import asyncio
import subprocess
import sys
from pathlib import Path

import loom
import pytest
from programs import KEY, PASSWORD, clean_environment

COMMAND = Path(sys.prefix) / "bin" / "loom"


def ask(**options):
    """A whole answer and a streamed one."""
    llm = loom.UnifiedLLM(**{"provider": "custom", "api_key": KEY, "model": "m", "max_retries": 0, **options})

    async def both():
        completion = await llm.generate("ping")
        assert [event async for event in llm.stream("ping")][-1]["type"] == "finish"
        return completion

    return asyncio.run(asyncio.wait_for(both(), 30))


def shell(*arguments, **variables):
    command = [str(COMMAND), "run", "ping", "--model", "m", *arguments]
    environment = {**clean_environment(), **variables}
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=60)


class TestMutualTls:
    def test_from_python_the_file_and_the_shell(self, nginx, files, server, tmp_path, monkeypatch):
        url = f"https://127.0.0.1:{nginx.mutual}/v1"
        ask(base_url=url, verify=files.bundle, cert=(files.cert, files.key))
        configuration = tmp_path / "loom.toml"
        configuration.write_text(
            f'[endpoints.office]\nbase_url = "{url}"\nmodel = "m"\nverify = "{files.bundle}"\n'
            f'cert = ["{files.cert}", "{files.key}"]\nhttp2 = false\n',
            encoding="utf-8",
        )
        monkeypatch.setenv("LOOM_CONFIG", str(configuration))
        asyncio.run(loom.agent(llm="office").run("ping"))
        done = shell("--base-url", url, "--verify", files.bundle, "--cert", files.cert, "--cert-key", files.key)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert [line.split(" ", 1)[0] for line in nginx.protocols()] == ["HTTP/2.0", "HTTP/2.0", "HTTP/1.1", "HTTP/2.0"]
        assert all("trustme" in line for line in nginx.protocols()), "the client's certificate was seen"
        assert len(server.chats) == 4

    def test_without_a_certificate_the_error_says_so(self, nginx, files, server):
        for http2 in (True, False):
            with pytest.raises(loom.LLMError, match="SSL certificate") as caught:
                ask(base_url=f"https://127.0.0.1:{nginx.mutual}/v1", verify=files.bundle, http2=http2)
            assert "cert=" in caught.value.hint
        assert not server.chats

    def test_many_streams_share_one_connection(self, nginx, files):
        llm = loom.UnifiedLLM(
            base_url=f"https://127.0.0.1:{nginx.mutual}/v1",
            model="m",
            verify=files.bundle,
            cert=(files.cert, files.key),
        )

        async def many():
            async def one():
                return [event async for event in llm.stream("ping")][-1]["type"]

            return await asyncio.gather(*(one() for _ in range(200)))

        assert asyncio.run(asyncio.wait_for(many(), 60)) == ["finish"] * 200


class TestTls:
    def test_the_lowest_version(self, nginx, files):
        url = f"https://127.0.0.1:{nginx.old}/v1"
        ask(base_url=url, verify=files.bundle)
        with pytest.raises(loom.APIConnectionError, match="version of TLS"):
            ask(base_url=url, verify=files.bundle, min_tls_version="1.3")

    def test_a_name_with_its_address(self, nginx, files):
        url = f"https://llm.example:{nginx.old}/v1"
        ask(base_url=url, verify=files.bundle, resolve={"llm.example": "127.0.0.1"})


def test_a_unix_socket(nginx, server):
    socket = str(nginx.socket).replace("/", "%2F")
    ask(base_url=f"http+unix://{socket}/v1")
    done = shell("--base-url", f"http+unix://{socket}/v1")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert len(server.chats) == 3


class TestProxies:
    def test_http(self, tinyproxy, nginx, files, server, monkeypatch):
        proxy = f"http://ada:{PASSWORD}@{tinyproxy}"
        # tinyproxy closes a connection after its answer without having said so: the next request may meet that, and is
        # repeated.
        ask(base_url=server.url, proxy=proxy, max_retries=2)
        assert "tinyproxy" in server.chats[0].headers["via"]
        tls = {"base_url": f"https://127.0.0.1:{nginx.old}/v1", "verify": files.bundle}
        ask(**tls, proxy=proxy)
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        ask(**tls)
        done = shell("--base-url", server.url, "--proxy", "env:OFFICE_PROXY", OFFICE_PROXY=proxy)
        assert (done.returncode, done.stderr) == (0, ""), done

    @pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
    def test_socks(self, scheme, microsocks, nginx, files, server):
        proxy = f"{scheme}://ada:{PASSWORD}@{microsocks}"
        ask(base_url=server.url, proxy=proxy)
        ask(base_url=f"https://127.0.0.1:{nginx.old}/v1", verify=files.bundle, proxy=proxy)

    def test_a_wrong_password_is_told_and_not_shown(self, tinyproxy, microsocks, nginx, files, server):
        for proxy in (f"http://ada:wr0ng-secret@{tinyproxy}", f"socks5://ada:wr0ng-secret@{microsocks}"):
            for options in ({"base_url": server.url}, {"base_url": f"https://127.0.0.1:{nginx.old}/v1"}):
                with pytest.raises(loom.LLMError) as caught:
                    ask(**options, verify=files.bundle, proxy=proxy)
                assert "wr0ng" not in f"{caught.value} {caught.value!r} {caught.value.body}"
        assert not server.chats
