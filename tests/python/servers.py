"""A mock of an OpenAI-compatible server, under the full control of a test.

Owns: an HTTP/1.1 server on threads (one per connection, blocking sockets, standard library only), over TCP or TLS, on
free or on fixed ports, and the record of what arrived. What it answers is in replies.py.

Promises:
- Every request is on record (`server.requests`) before its reply begins, and says how its reply ended (`outcome`).
- A reply goes out piece by piece, exactly as written.
- A client that goes away is noticed at once: during a pause, a wait and between two pieces.
- `server.stop()` ends every thread and closes every socket.
"""

import contextlib
import errno
import itertools
import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Callable, Optional, Union

from replies import CLOSE, HANG, RESET, Answer, EchoChat, Handler, Reply, Request

REASONS = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}


class ClientGone(Exception):
    """The client closed the connection before the reply was complete."""


class ServerDone(Exception):
    """The script (CLOSE, RESET) or `stop()` ends the connection."""


class Connection:
    """One accepted socket: reads request heads and bodies, writes pieces, notices that the client went away."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self.sock = sock
        self.stopping = stopping
        self.buffer = b""

    def read_head(self) -> Optional[tuple[str, str, dict[str, str]]]:
        """Method, target and headers of the next request; None when the client has closed."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._receive():
                return None
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        method, target, _version = lines[0].split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            key = name.strip().lower()
            headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
        return method, target, headers

    def read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self._exactly(int(headers.get("content-length", 0)))
        body = b""
        while True:
            size = int(self._line().split(b";")[0], 16)
            body += self._exactly(size)
            self._line()
            if size == 0:
                return body

    def send(self, data: bytes, request: Optional[Request] = None) -> None:
        for start in range(0, len(data), 16384):
            self.look(0)
            part = data[start : start + 16384]
            try:
                self.sock.sendall(part)
            except OSError as gone:
                raise ServerDone() if self.stopping.is_set() else ClientGone() from gone
            if request is not None:
                request.bytes_sent += len(part)

    def look(self, seconds: float) -> None:
        """Watches for the client's close for so long; bytes that arrive early (pipelining) are kept."""
        end = time.monotonic() + seconds
        while True:
            left = max(0.0, end - time.monotonic())
            if self.stopping.is_set():
                raise ServerDone()
            if select.select([self.sock], [], [], min(left, 0.02))[0] and not self._receive():
                raise ServerDone() if self.stopping.is_set() else ClientGone()
            if left <= 0:
                return

    def wait(self, what: Any) -> None:
        """A pause, an Event, or HANG."""
        if isinstance(what, threading.Event):
            while not what.is_set():
                self.look(0.005)
        elif what == HANG:
            while True:
                self.look(1)
        elif what:
            self.look(what)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def shutdown(self) -> None:
        """Wakes the thread that is blocked on the socket, which close() would not do."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self.shutdown()
        self.sock.close()

    def _receive(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except (ssl.SSLWantReadError, BlockingIOError):
            return True
        except OSError:
            return False
        self.buffer += data
        return bool(data)

    def _exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            if not self._receive():
                raise ClientGone()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            if not self._receive():
                raise ClientGone()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line


PATIENCE = 60.0  #: seconds that a port is waited for


def _bind(sock: socket.socket, port: int) -> None:
    """Another run of the tests on this machine may hold a port for a while: it is waited for."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return sock.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Listener:
    """Accepts on some ports and runs `serve_socket` on a thread per connection. Base of MockServer and Proxy."""

    def __init__(self, ports: Sequence[int] = (0,)) -> None:
        self.stopping = threading.Event()
        self.changed = threading.Condition()
        self.open: dict[int, Connection] = {}
        self.accepted = 0
        self._numbers = itertools.count(1)
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        try:
            for port in ports:
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                self._sockets.append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _bind(sock, port)
                sock.listen(512)
        except OSError as error:
            for sock in self._sockets:
                sock.close()
            raise OSError(error.errno, f"port {port} on 127.0.0.1 is needed by the tests but taken: {error}") from error
        self.ports = [sock.getsockname()[1] for sock in self._sockets]
        for sock, port in zip(self._sockets, self.ports):
            self._start(self._accept, sock, port)

    @property
    def port(self) -> int:
        return self.ports[0]

    def serve_socket(self, connection: Connection, number: int, port: int) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self.stopping.set()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for connection in list(self.open.values()):
            connection.shutdown()
        for thread in list(self._threads):
            thread.join(5)

    def wait_until(self, condition: Callable[[], Any], timeout: float = 5.0) -> bool:
        """True as soon as `condition()` holds; False when it still does not after `timeout` seconds."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                return False
            with self.changed:
                self.changed.wait(0.01)
        return True

    def wait_all_closed(self, timeout: float = 5.0) -> bool:
        """True as soon as no connection is open."""
        return self.wait_until(lambda: not self.open, timeout)

    def __enter__(self) -> "Any":
        return self

    def __exit__(self, *_exc: Any) -> None:
        self.stop()

    def _notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, sock: socket.socket, port: int) -> None:
        while not self.stopping.is_set():
            try:
                client, _address = sock.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._run, client, next(self._numbers), port)

    def _run(self, client: socket.socket, number: int, port: int) -> None:
        connection = Connection(client, self.stopping)
        self.open[number] = connection
        self.accepted += 1
        self._notify()
        try:
            if not self.stopping.is_set():
                self.serve_socket(connection, number, port)
        except (ClientGone, ServerDone, OSError):
            pass
        finally:
            connection.close()
            del self.open[number]
            self._threads.remove(threading.current_thread())
            self._notify()


class MockServer(Listener):
    """The server. `script(...)` queues answers, used once each and in order; after them `handler` answers (EchoChat).

    `tls` is a trustme.CA: the server then speaks TLS with a certificate from it for localhost and 127.0.0.1.
    """

    def __init__(self, handler: Optional[Handler] = None, ports: Sequence[int] = (0,), tls: Any = None) -> None:
        self.handler: Handler = handler or EchoChat()
        self.requests: list[Request] = []
        self._script: deque[Any] = deque()
        self._tls = tls_context(tls, "localhost", "127.0.0.1") if tls is not None else None
        super().__init__(ports)

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base_url to give to Loom."""
        return self.origin + "/v1"

    @property
    def chats(self) -> list[Request]:
        """The chat requests alone, without those for /models."""
        return [request for request in self.requests if request.is_chat]

    def script(self, *answers: Union[Answer, Handler]) -> None:
        """Queues answers to chat requests: a Reply, HANG/CLOSE/RESET (no head then), or a function of the request."""
        self._script.extend(answers)

    def reset(self) -> None:
        """Forgets requests, script, handler and the count of connections: for a server that several tests share."""
        self._script.clear()
        self.requests.clear()
        self.accepted = 0
        self.handler = EchoChat()

    def serve_socket(self, connection: Connection, number: int, port: int) -> None:
        if self._tls is not None:
            connection.sock = self._tls.wrap_socket(connection.sock, server_side=True)
        self.serve(connection, number, port, "https" if self._tls else "http")

    def serve(
        self, connection: Connection, number: int, port: int, scheme: str, via: Optional[str] = None, head: Any = None
    ) -> None:
        """Answers requests until a side closes. The proxy calls it too, with the host that the client asked for."""
        while True:
            head = head or connection.read_head()
            if head is None:
                return
            method, target, headers = head
            body = connection.read_body(headers)
            request = Request(method, target, headers, body, number, port, scheme, via)
            self.requests.append(request)
            self._notify()
            answer = self._script.popleft() if self._script and request.is_chat else self.handler
            if callable(answer):
                answer = answer(request)
            try:
                keep = send_reply(connection, answer, request)
                request.outcome = "sent"
            except ClientGone:
                request.outcome = "client_closed"
                raise
            except ServerDone:
                request.outcome = "server_closed"
                raise
            finally:
                self._notify()
            if not keep or headers.get("connection", "").lower() == "close":
                return
            head = None


def send_reply(connection: Connection, answer: Answer, request: Request) -> bool:
    """Writes one answer; False when the connection has to be closed after it."""
    if isinstance(answer, str):
        answer = Reply([answer], framing="raw")
    connection.wait(answer.delay)
    headers = {"content-type": "application/json", **answer.headers}
    pieces: Iterable[Any] = answer.pieces
    if answer.framing == "length":
        pieces = [b"".join(pieces)]
        headers["content-length"] = str(len(pieces[0]))
    elif answer.framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    elif answer.framing == "close":
        headers["connection"] = "close"
    if answer.framing != "raw":
        lines = [
            f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Status')}",
            *(f"{k}: {v}" for k, v in headers.items()),
        ]
        connection.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
    chunked = answer.framing == "chunked"
    for piece in pieces:
        if isinstance(piece, bytes):
            if piece:
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece, request)
        elif piece == RESET:
            connection.reset()
            raise ServerDone()
        elif piece == CLOSE:
            raise ServerDone()
        else:
            connection.wait(piece)
    if chunked:
        connection.send(b"0\r\n\r\n")
    return answer.framing in ("length", "chunked")


def tls_context(ca: Any, *names: str) -> ssl.SSLContext:
    """A server's TLS context with a certificate for these names, issued by a trustme.CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    return context
