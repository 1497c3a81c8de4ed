"""What stands at the other end may do anything: bombs, bytes that drip for ever, odd redirects, proxies that lie.

Each call ends within its clocks in an error that says what was wrong, and no secret goes where it does not belong.
"""

import contextlib
import gzip
import json
import socket
import threading
import time

import loom
import pytest
from conftest import KEY, ask, llm_for, run
from replies import Reply, whole

ANSWER = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)


class Raw:
    """A server that reads a request's head and then does what `act(socket, head)` does."""

    def __init__(self, act):
        self._act, self.heads = act, []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._socket.accept()[0],), daemon=True).start()

    def _serve(self, connection):
        head = b""
        with contextlib.suppress(OSError), connection:
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            self.heads.append(head)
            self._act(connection, head)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()


def for_ever(piece, first=b"", every=0.02):
    def act(connection, _head):
        connection.sendall(first)
        while True:
            connection.sendall(piece)
            time.sleep(every)

    return act


def says(answer):
    def act(connection, _head):
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        # What is left unread would become a reset, which can take the answer with it.
        connection.settimeout(1)
        while connection.recv(65536):
            pass

    return act


def failure(server, **options):
    """The error of a call, which must not last."""
    started = time.monotonic()
    with pytest.raises(loom.LLMError) as caught:
        run(llm_for(server, **{"max_retries": 0, **options}).generate(ask()), timeout=15)
    assert time.monotonic() - started < 10
    error = caught.value
    assert KEY not in f"{error} {error!r} {error.hint} {error.body}"
    return error


# ---- Answers


def test_a_bomb_is_measured_by_what_comes_out_of_it(server):
    bomb = gzip.compress(b'{"choices": [{"message": {"content": "' + b"x" * 100_000_000, 1)
    assert len(bomb) < 1_000_000
    encoded = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    server.script(Reply([bomb], headers=encoded))
    error = failure(server, limits={"body_bytes": 1_000_000})
    assert error.kind == "bad_response" and "1000000 bytes" in str(error) and "body_bytes" in str(error)
    stream = gzip.compress(b"data: " + b"x" * 100_000_000, 1)
    server.script(Reply([stream], headers={**encoded, "Content-Type": "text/event-stream"}))
    error = failure(server, limits={"event_bytes": 1_000_000})
    assert error.kind == "bad_response" and "event_bytes" in str(error)
    server.script(Reply([bomb], status=500, headers=encoded))
    assert failure(server).kind == "server", "no more is read of a refusal than a message needs"
    server.script(Reply([b"\x1f\x8b no gzip"], headers=encoded))
    assert failure(server).kind in ("bad_response", "stream_interrupted")


@pytest.mark.parametrize(
    "act",
    [
        for_ever(b"X-Header: a\r\n", b"HTTP/1.1 200 OK\r\n"),
        for_ever(b"a", b"HTTP/1.1 200 OK\r\nX-Header: ", 0.001),
        for_ever(b"HTTP/1.1 100 Continue\r\n\r\n"),
        for_ever(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", every=0.001),
        for_ever(b" ", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n"),
        for_ever(b"1\r\n \r\n", b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
    ids=["headers", "a header", "100", "103", "blanks", "a refusal"],
)
def test_what_drips_for_ever_ends_with_the_total_clock(act):
    with Raw(act) as server:
        error = failure(server, timeout=1.0)
        assert error.kind in ("timeout", "connection", "server", "bad_response"), error
        if error.kind == "timeout":
            assert "1 s (total)" in str(error)


def test_interim_answers_are_passed_by():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    with Raw(says(interim + OK)) as server:
        assert run(llm_for(server, max_retries=0).generate(ask())).content == "hi"
    with Raw(says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")) as server:
        assert failure(server, timeout=3.0).status_code == 101


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 5000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
    ],
    ids=["huge", "many", "two lengths", "negative", "huge chunk", "version", "no HTTP"],
)
def test_heads_that_cannot_be(head):
    with Raw(says(head)) as server:
        assert failure(server, timeout=5.0).kind in ("bad_response", "connection", "stream_interrupted")


@pytest.mark.parametrize(
    "advice",
    [
        "-1",
        "-99999999999",
        "1e400",
        "inf",
        "NaN",
        "99999999999999999999",
        "0",
        "",
        "\xff",
        "Thu, 01 Jan 1970 00:00:00 GMT",
    ],
)
def test_advice_that_cannot_be_followed_is_none(server, advice):
    """Neither a wait for ever nor no wait at all: the usual one, or an end."""
    busy = Reply([b"busy"], status=503, headers={"Retry-After": advice, "Retry-After-Ms": advice})
    server.script(busy, whole({"content": "hi"}))
    started = time.monotonic()
    with contextlib.suppress(loom.OverloadedError):
        run(llm_for(server, max_retries=1).generate(ask()), timeout=10)
    took = time.monotonic() - started
    assert took < 5 and (len(server.chats) == 1 or took > 0.3), took


# ---- Redirects


@pytest.mark.parametrize(
    "target",
    [
        "{other}/v1/chat/completions",
        "//127.0.0.1:{other_port}/v1/chat/completions",
        "http://127.0.0.1:{port}@127.0.0.1:{other_port}/v1/chat/completions",
        "http://127.0.0.1:{other_port}#@127.0.0.1:{port}/v1/chat/completions",
        "http://127.0.0.1:{other_port}\\@127.0.0.1:{port}/v1",
        "http://localhost:{port}/v1/chat/completions",
        "https://127.0.0.1:{port}/v1/chat/completions",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:application/json,{{}}",
        "http://[::1",
    ],
)
def test_no_redirect_leads_away(server, other_server, target):
    for status in (301, 302, 303, 307, 308):
        place = target.format(other=other_server.origin, other_port=other_server.port, port=server.port)
        server.script(Reply([b""], status=status, headers={"Location": place}))
        error = failure(server)
        assert error.kind == "bad_response" and error.status_code == status, error
    assert not other_server.chats and len(server.chats) == 5


def test_a_redirect_with_credentials_within_the_origin_does_not_change_the_key(server):
    place = f"http://eve:secret-of-eve@127.0.0.1:{server.port}/v1/chat/completions"
    server.script(Reply([b""], status=307, headers={"Location": place}), whole({"content": "hi"}))
    with contextlib.suppress(loom.LLMError):
        run(llm_for(server, max_retries=0).generate(ask()))
    assert {request.authorization for request in server.chats} == {f"Bearer {KEY}"}


def test_redirects_in_a_circle_end(server):
    place = {"Location": f"{server.url}/chat/completions"}
    server.script(*[Reply([b""], status=307, headers=place) for _ in range(10)])
    assert "circle" in str(failure(server)) and len(server.chats) == 4


# ---- Proxies

PASSWORD = "pass-of-the-proxy"


def through(proxy, **options):
    """The error of a call to a server behind a proxy, which shows no password."""
    url = f"http://ada:{PASSWORD}@127.0.0.1:{proxy.port}"
    settings = {"max_retries": 0, "base_url": "https://llm.example/v1", "api_key": KEY, "model": "m", "proxy": url}
    started = time.monotonic()
    with pytest.raises(loom.LLMError) as caught:
        run(loom.UnifiedLLM(**{**settings, **options}).generate(ask()), timeout=15)
    assert time.monotonic() - started < 10
    error = caught.value
    shown = f"{error} {error!r} {error.hint} {error.body}"
    assert PASSWORD not in shown and KEY not in shown
    assert all(KEY.encode() not in head for head in proxy.heads), "what is meant for the server is for the tunnel"
    return error


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html>Blocked by policy</html>", "refused to open"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://login.corp/\r\n\r\n", "refused to open"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Please log in</html>", "tls handshake"),
        (b"<html>", "proxy"),
        (b"", "proxy"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_000_000, "proxy"),
    ],
    ids=["407", "403", "302", "a page", "no HTTP", "nothing", "a huge head"],
)
def test_a_proxy_that_does_not_open_a_tunnel(answer, words):
    with Raw(says(answer)) as proxy:
        error = through(proxy, timeout=loom.Timeout(connect=3.0, total=6.0))
        assert error.kind in ("connection", "timeout") and words in str(error), error
        assert f"127.0.0.1:{proxy.port}" in str(error)


def test_a_proxy_that_says_nothing_trips_the_connect_clock():
    with Raw(for_ever(b"", every=0.1)) as proxy:
        error = through(proxy, timeout=loom.Timeout(connect=0.5))
        assert error.kind == "timeout" and "0.5 s (connect)" in str(error) and "proxy" in str(error), error
    with Raw(for_ever(b"X-A: b\r\n", b"HTTP/1.1 200 OK\r\n")) as proxy:
        error = through(proxy, timeout=loom.Timeout(connect=0.5))
        assert error.kind in ("timeout", "connection") and "proxy" in str(error), error


# ---- Tokens


def test_a_token_server_that_plays_tricks(server, other_server):
    def failing(answer, **more):
        server.script(answer)
        key = loom.auth.OAuth2(f"{server.origin}/token", "loom", "secret-of-the-client")
        with pytest.raises(loom.LLMError) as caught:
            run(
                loom.UnifiedLLM(base_url=other_server.url, model="m", api_key=key, max_retries=0, **more).generate(
                    ask()
                )
            )
        shown = f"{caught.value} {caught.value!r} {caught.value.body} {caught.value.hint}"
        assert "secret-of-the-client" not in shown and "token-0123456789" not in shown, shown
        assert not other_server.chats
        return caught.value

    token = json.dumps({"access_token": "token-0123456789\r\nX-Evil: 1", "expires_in": 5}).encode()
    assert failing(Reply([token])).kind in ("config", "auth")
    failing(Reply([b""], status=307, headers={"Location": f"{other_server.origin}/token"}))
    assert not [request for request in other_server.requests if "token" in request.path]
    failing(Reply([b"x" * 20_000_000]))
    failing(Reply([b'{"error": "secret-of-the-client token-0123456789"}'], status=400))


def test_nothing_of_an_llm_can_be_stored_with_its_key(server):
    """Not by pickling, copying, or looking at what it holds."""
    import copy
    import pickle

    llm = llm_for(server, default_headers={"X-Token": KEY}, default_query={"k": KEY})
    for look in (repr, str, vars, lambda llm: repr(llm._native)):
        assert KEY not in str(look(llm))
    for store in (pickle.dumps, copy.deepcopy):
        try:
            stored = store(llm)
        except TypeError as error:
            assert KEY not in str(error)
        else:
            assert not isinstance(stored, bytes) or KEY.encode() not in stored
    assert run(copy.copy(llm).generate(ask())).content == "echo: ping"
