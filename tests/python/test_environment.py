"""What the environment says about the way to an endpoint, and the errors when a link of that way fails.

In processes of their own, since proxies and certificates are read from the environment.
"""

import json
import socket

import pytest
from conftest import python
from proxy import Proxy
from replies import Reply

from servers import MockServer

ASK = """
import json
import loom
try:
    llm = loom.UnifiedLLM(base_url={url!r}, api_key="sk-secret-key", model="m", max_retries=0)
    print(json.dumps({{"content": loom.agent(llm=llm).run_sync("hi").content}}))
except loom.LLMError as error:
    names = ("kind", "link", "message", "hint", "status_code", "retryable")
    print(json.dumps({{name: getattr(error, name) for name in names}}))
"""


def ask(url, folder, **environment):
    done = python(ASK.format(url=url), folder, **environment)
    assert done.returncode == 0, done.stderr
    assert "word-of-proxy" not in done.stdout + done.stderr
    return json.loads(done.stdout)


def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# ---- The proxy is the link that failed, and is named


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_dead_proxy_is_named_and_not_the_target(tmp_path, scheme):
    proxy = f"127.0.0.1:{closed_port()}"
    error = ask(f"{scheme}://model.example:8000/v1", tmp_path, ALL_PROXY=f"http://me:word-of-proxy@{proxy}")
    assert error["kind"] == "connection" and error["link"] == "proxy"
    assert f"the proxy http://{proxy} (ALL_PROXY)" in error["message"] and "nothing listens there" in error["message"]
    assert "NO_PROXY" in error["hint"]


def test_a_proxy_before_a_server_on_this_machine_is_told_as_that(server, tmp_path):
    error = ask(server.url, tmp_path, HTTP_PROXY=f"http://127.0.0.1:{closed_port()}")
    assert error["link"] == "proxy" and "NO_PROXY=localhost,127.0.0.1" in error["hint"]
    assert server.requests == []


def test_a_proxy_with_an_unknown_name(tmp_path):
    error = ask("http://model.example/v1", tmp_path, http_proxy="http://no-such-proxy.invalid:3128")
    assert error["link"] == "proxy" and "no-such-proxy.invalid" in error["message"]
    assert "name cannot be resolved" in error["message"]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("given", "words"), [("", "wants credentials"), ("me:word-of-proxy@", "refuses the credentials")]
)
def test_a_proxy_that_answers_407(server, ca, ca_file, tmp_path, scheme, given, words):
    with Proxy(server, ca, credentials="other:word") as proxy:
        address = proxy.url.replace("//", f"//{given}")
        error = ask(f"{scheme}://model.example/v1", tmp_path, SSL_CERT_FILE=ca_file, ALL_PROXY=address)
    assert error["kind"] == "connection" and error["link"] == "proxy" and not error["retryable"]
    assert words in error["message"] and "407" in error["message"] and "user:password" in error["hint"]


def test_a_gateway_error_may_be_the_proxys(server, ca, tmp_path):
    server.handler = lambda request: Reply([b"<html><title>ERROR</title></html>"], 503, {}, "length")
    with Proxy(server, ca) as proxy:
        error = ask("http://model.example/v1", tmp_path, http_proxy=proxy.url)
    assert error["status_code"] == 503 and proxy.url in error["hint"]


# ---- What cannot be used is an error, not a direct connection


@pytest.mark.parametrize(
    "value", ["ftp://127.0.0.1:1", "http://", "http://127.0.0.1:99999", "http://me:word-of-proxy@:1"]
)
def test_a_malformed_proxy_is_an_error(server, tmp_path, value):
    error = ask(server.url, tmp_path, HTTP_PROXY=value)
    assert error["kind"] == "config" and "HTTP_PROXY" in error["message"] and "host:port" in error["hint"]
    assert server.requests == []


def test_a_malformed_proxy_for_another_scheme_does_not_matter(server, tmp_path):
    assert ask(server.url, tmp_path, HTTPS_PROXY="ftp://x")["content"] == "echo: hi"
    assert ask(server.url, tmp_path, HTTP_PROXY="ftp://x", NO_PROXY="127.0.0.0/8")["content"] == "echo: hi"


@pytest.mark.parametrize("list_of", ["*", "127.0.0.1", "a, 127.0.0.1:{port}", "127.0.0.0/8", "x 127.0.0.1 y"])
def test_no_proxy(server, tmp_path, list_of):
    environment = {"ALL_PROXY": f"http://127.0.0.1:{closed_port()}", "NO_PROXY": list_of.format(port=server.port)}
    assert ask(server.url, tmp_path, **environment)["content"] == "echo: hi"


@pytest.mark.parametrize("list_of", ["127.0.0.1:1", "127.0.0.2", "10.0.0.0/8", "27.0.0.1"])
def test_no_proxy_names_others(server, ca, tmp_path, list_of):
    with Proxy(server, ca) as proxy:
        assert ask(server.url, tmp_path, ALL_PROXY=proxy.url, NO_PROXY=list_of)["content"] == "echo: hi"
        assert proxy.targets == [f"127.0.0.1:{server.port}"]


# ---- Certificates


def test_certificates_that_the_environment_names_wrongly(ca, tmp_path):
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "garbage.pem").write_text("no certificate in here\n")
    with MockServer(tls=ca) as server:
        for name in ("", "empty.pem", "garbage.pem", "absent.pem"):
            value = str(tmp_path / name) if name else ""
            error = ask(server.url, tmp_path, SSL_CERT_FILE=value)
            assert error["kind"] == "config" and "SSL_CERT_FILE" in error["message"], name
        assert server.requests == []


def test_certificates_do_not_matter_without_tls(server, tmp_path):
    assert ask(server.url, tmp_path, SSL_CERT_FILE="")["content"] == "echo: hi"


def test_an_unknown_issuer_is_the_tls_link(ca, tmp_path):
    with MockServer(tls=ca) as server:
        error = ask(server.url, tmp_path)
    assert error["kind"] == "connection" and error["link"] == "tls" and "SSL_CERT_FILE" in error["hint"]


# ---- The other links


def test_the_links_without_a_proxy(tmp_path):
    port = closed_port()
    refused = ask(f"http://127.0.0.1:{port}/v1", tmp_path)
    assert refused["link"] == "tcp" and refused["message"] == f"nothing listens on 127.0.0.1:{port}"
    unknown = ask("http://no-such-host.invalid/v1", tmp_path)
    assert unknown["link"] == "name" and "no-such-host.invalid" in unknown["message"]


@pytest.mark.parametrize(
    ("port", "words"), [(11434, ["Ollama", "ollama serve"]), (30000, ["SGLang"]), (8000, ["vLLM", "FastChat"])]
)
def test_the_usual_server_of_a_port_is_named(tmp_path, port, words):
    with socket.socket() as sock:
        if sock.connect_ex(("127.0.0.1", port)) == 0:
            pytest.skip(f"something listens on {port}")
    hint = ask(f"http://127.0.0.1:{port}/v1", tmp_path)["hint"]
    assert all(word in hint for word in words), hint
