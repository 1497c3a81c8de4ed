"""The mock server and the proxy themselves, seen by a plain client: what the other tests take for granted."""

import http.client
import json
import socket
import ssl
import threading
import time
import urllib.request

import pytest
import trustme
from conftest import SPEC_PORTS
from proxy import Proxy
from replies import CLOSE, HANG, RESET, USAGE, Reply, chunk, json_reply, sse, tool_calls

import servers
from servers import MockServer

CHAT = "/v1/chat/completions"


def post(client, body, path=CHAT, headers=None):
    client.request("POST", path, json.dumps(body), {"content-type": "application/json", **(headers or {})})
    return client.getresponse()


def user(text, **fields):
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


@pytest.fixture
def connect():
    """Opens clients, plain or TLS, and closes them in the end."""
    clients = []

    def open_client(port, host="127.0.0.1", cafile=None, tls=False):
        kind = http.client.HTTPSConnection if tls or cafile else http.client.HTTPConnection
        options = {"context": ssl.create_default_context(cafile=cafile)} if tls or cafile else {}
        clients.append(kind(host, port, timeout=5, **options))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
def client(server, connect):
    return connect(server.port)


def events(response):
    lines = response.read().decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line[len("data: ") :]) for line in lines[:-2]]


def test_echoes_whole(server, client):
    answer = json.load(post(client, user("hi")))
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "echo: hi"}
    assert answer["usage"] == USAGE


def test_echoes_streamed(server, client):
    got = events(post(client, user("hello", stream=True, stream_options={"include_usage": True})))
    deltas = [choice["delta"] for one in got for choice in one["choices"]]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content", "") for delta in deltas) == "echo: hello"
    assert got[-2]["choices"][0]["finish_reason"] == "stop"
    assert got[-1]["choices"] == [] and got[-1]["usage"] == USAGE


@pytest.mark.parametrize("stream", [False, True])
def test_calls_tools_and_then_answers(server, client, stream):
    text = 'call add {"a": 1}\ncall now {}'
    response = post(client, user(text, stream=stream, tools=[{"type": "function"}]))
    if stream:
        parts = [call for one in events(response) for c in one["choices"] for call in c["delta"].get("tool_calls", [])]
        arguments = "".join(part["function"]["arguments"] for part in parts if part["index"] == 0)
    else:
        arguments = json.load(response)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"a": 1}
    body = user(text, tools=[{"type": "function"}])
    body["messages"] += [{"role": "tool", "content": "1"}, {"role": "tool", "content": "noon"}]
    assert json.load(post(client, body))["choices"][0]["message"]["content"] == "tools: 1, noon"


def test_records_requests_and_connections(server, client):
    post(client, user("a"), CHAT + "?v=1", {"X-A": "b"}).read()
    client.request("GET", "/v1/models")
    assert json.load(client.getresponse())["data"][0]["id"] == "mock-model"
    first, second = server.requests
    assert (first.method, first.path, first.query, first.headers["x-a"]) == ("POST", CHAT, {"v": "1"}, "b")
    assert first.json == user("a") and first.outcome == "sent"
    assert first.connection == second.connection == 1 and len(server.open) == 1
    client.close()
    assert server.wait_all_closed()


def test_script_comes_first_and_models_do_not_use_it_up(server, client):
    server.script(
        json_reply({"n": 1}, 503, {"retry-after": "1"}), lambda request: json_reply({"n": request.json["model"]})
    )
    client.request("GET", "/v1/models")
    assert client.getresponse().read()
    refused = post(client, user("a"))
    assert (refused.status, refused.headers["retry-after"], json.load(refused)) == (503, "1", {"n": 1})
    assert json.load(post(client, user("a"))) == {"n": "m"}
    assert "echo" in json.load(post(client, user("a")))["choices"][0]["message"]["content"]


def test_pieces_arrive_as_written_and_an_event_holds_them_back(server, client):
    gate = threading.Event()
    server.script(sse(b"data: 1\n\n", gate, 0.05, b"data: 2\n\n"))
    response = post(client, user("a"))
    assert response.read1(100) == b"data: 1\n\n"
    started = time.monotonic()
    gate.set()
    assert response.read1(100) == b"data: 2\n\n" and time.monotonic() - started >= 0.04
    assert response.read() == b""


@pytest.mark.parametrize(("end", "error"), [(CLOSE, http.client.IncompleteRead), (RESET, ConnectionResetError)])
def test_ends_early(server, client, end, error):
    gate = threading.Event()
    server.script(sse(chunk({"content": "x"}), gate, end))
    response = post(client, user("a"))
    assert b"x" in response.read1(1000)
    gate.set()
    with pytest.raises(error):
        response.read()
    assert server.wait_all_closed() and server.requests[0].outcome == "server_closed"


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_ends_before_the_head(server, client, end):
    server.script(end)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        post(client, user("a"))


@pytest.mark.parametrize("answer", [HANG, sse(chunk({"content": "x"}), HANG)])
def test_notices_that_the_client_left(server, client, answer):
    server.script(answer)
    client.request("POST", CHAT, json.dumps(user("a")))
    assert server.wait_until(lambda: server.requests)
    time.sleep(0.05)
    client.close()
    assert server.wait_all_closed(1) and server.requests[0].outcome == "client_closed"


def test_a_client_that_does_not_read_blocks_the_server(server, client):
    server.script(sse(*[b"x" * 65536] * 800))
    client.request("POST", CHAT, json.dumps(user("a")))
    assert server.wait_until(lambda: server.requests and server.requests[0].bytes_sent)
    time.sleep(0.3)
    stuck = server.requests[0].bytes_sent
    assert stuck < 20_000_000
    client.close()
    assert server.wait_all_closed(1) and server.requests[0].outcome == "client_closed"


def test_framings(server, connect):
    server.script(
        Reply([b"ab", b"c"], framing="length"),
        Reply([b"ab", b"c"], framing="close"),
        Reply([b"HTTP/1.1 200 OK\r\n\r\nabc"], framing="raw"),
    )
    for _ in range(3):
        assert post(connect(server.port), user("a")).read() == b"abc"


def test_stop_ends_what_hangs(connect):
    server = MockServer()
    client = connect(server.port)
    server.script(HANG)
    client.request("POST", CHAT, json.dumps(user("a")))
    assert server.wait_until(lambda: server.requests)
    server.stop()
    assert not server.open and server.requests[0].outcome == "server_closed"
    with pytest.raises(OSError):
        client.getresponse()


def test_a_taken_port_is_named(server, monkeypatch):
    monkeypatch.setattr(servers, "PATIENCE", 0.2)
    with pytest.raises(OSError, match=rf"port {server.port} .* taken"):
        MockServer(ports=[server.port])


def test_fixed_ports(spec_server, connect):
    for port in SPEC_PORTS:
        client = connect(port, "localhost")
        assert post(client, user("hi")).status == 200
        client.close()
    assert [request.port for request in spec_server.requests] == list(SPEC_PORTS)


def test_tls(ca, ca_file, connect):
    with MockServer(tls=ca) as server:
        client = connect(server.port, "localhost", ca_file)
        assert post(client, user("hi")).status == 200
        assert server.requests[0].scheme == "https"
        client.close()
        assert server.wait_all_closed()
        stranger = connect(server.port, "localhost", tls=True)
        with pytest.raises(ssl.SSLCertVerificationError):
            post(stranger, user("hi"))


@pytest.mark.parametrize("host", ["your-service.com", "llm.yourcompany.internal"])
def test_proxy_plays_any_https_host(proxy, ca_file, host, connect):
    client = connect(proxy.port, cafile=ca_file)
    client.set_tunnel(host, 443)
    for text in ("one", "two"):
        answer = json.load(post(client, user(text), headers={"Authorization": "Bearer k"}))
        assert answer["choices"][0]["message"]["content"] == f"echo: {text}"
    assert proxy.targets == [f"{host}:443"]
    assert [(r.via, r.scheme, r.path, r.authorization) for r in proxy.requests] == [
        (f"{host}:443", "https", CHAT, "Bearer k")
    ] * 2
    client.close()
    assert proxy.wait_all_closed()


def test_proxy_forwards_absolute_form(proxy):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy.url}))
    with opener.open("http://nowhere.example:81/v1/models?a=b", timeout=5) as response:
        assert json.load(response)["object"] == "list"
    assert proxy.targets == ["nowhere.example:81"] and proxy.asked[0].kind == "forward"
    assert (proxy.requests[0].path, proxy.requests[0].query) == ("/v1/models", {"a": "b"})


def test_proxy_tunnels(ca, ca_file, connect):
    with MockServer(tls=ca) as server, Proxy(server, ca, tunnel=("127.0.0.1", server.port)) as proxy:
        client = connect(proxy.port, cafile=ca_file)
        client.set_tunnel("localhost", 9443)
        assert post(client, user("hi")).status == 200
        assert proxy.targets == ["localhost:9443"] and server.requests[0].via is None
        client.close()
        assert server.wait_all_closed()


def test_proxy_asks_for_credentials(server, connect):
    with Proxy(server, trustme.CA(), credentials="me:secret") as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as sock:
            sock.sendall(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 407 ")
        client = connect(proxy.port)
        client.request("GET", "http://a.example/v1/models", headers={"Proxy-Authorization": "Basic bWU6c2VjcmV0"})
        assert client.getresponse().status == 200
        client.close()


def test_tool_call_arguments_can_be_broken_on_purpose(server, client):
    server.script(tool_calls(("f", '{"a": '), stream=False))
    answer = json.load(post(client, user("a")))
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"a": '
