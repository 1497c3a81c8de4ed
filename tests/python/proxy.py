"""An HTTP proxy for tests: it records where a client wanted to go, and nothing ever leaves the machine.

Owns three ways to treat a request:
- CONNECT, intercepted (the default): the proxy ends TLS with a certificate for the asked host from the private CA and
  hands the decrypted requests to the mock server, which records them with `via="host:port"`.
- CONNECT, tunnelled (`tunnel=(host, port)`): the bytes are passed to that address unread.
- Absolute form (`GET http://host/path`): handed to the mock server, `via="host:port"`.

With `credentials="user:password"` a request without them is refused with 407.
"""

import base64
import select
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import urlsplit

from replies import Request

from servers import Connection, Listener, MockServer, tls_context


@dataclass
class Target:
    """What a client asked the proxy for."""

    kind: str  #: "connect" or "forward"
    address: str  #: "host:port"
    headers: dict[str, str]  #: of the CONNECT or of the forwarded request, names in lower case


class Proxy(Listener):
    def __init__(
        self, server: MockServer, ca: Any, tunnel: Optional[tuple[str, int]] = None, credentials: Optional[str] = None
    ) -> None:
        self.server = server
        self.tunnel = tunnel
        self.asked: list[Target] = []
        self._ca = ca
        self._credentials = credentials
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        super().__init__()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        """Each "host:port" that was asked for, in order."""
        return [target.address for target in self.asked]

    @property
    def requests(self) -> list[Request]:
        """What the mock server received through this proxy."""
        return [request for request in self.server.requests if request.via is not None]

    def reset(self) -> None:
        self.asked.clear()

    def serve_socket(self, connection: Connection, number: int, port: int) -> None:
        head = connection.read_head()
        if head is None:
            return
        method, target, headers = head
        if method == "CONNECT":
            address = target
        else:
            url = urlsplit(target)
            address = f"{url.hostname}:{url.port or 80}"
        self.asked.append(Target("connect" if method == "CONNECT" else "forward", address, headers))
        self._notify()
        if not self._allowed(headers):
            connection.send(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b'proxy-authenticate: Basic realm="mock"\r\ncontent-length: 0\r\n\r\n'
            )
        elif method != "CONNECT":
            self.server.serve(connection, number, port, "http", via=address, head=head)
        elif self.tunnel is not None:
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._relay(connection.sock)
        else:
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            connection.sock = self._context(address.rpartition(":")[0]).wrap_socket(connection.sock, server_side=True)
            self.server.serve(connection, number, port, "https", via=address)

    def _allowed(self, headers: dict[str, str]) -> bool:
        if self._credentials is None:
            return True
        return headers.get("proxy-authorization") == "Basic " + base64.b64encode(self._credentials.encode()).decode()

    def _context(self, host: str) -> ssl.SSLContext:
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = tls_context(self._ca, host)
            return self._contexts[host]

    def _relay(self, client: socket.socket) -> None:
        assert self.tunnel is not None
        with socket.create_connection(self.tunnel, timeout=5) as upstream:
            other = {client: upstream, upstream: client}
            while not self.stopping.is_set():
                for sock in select.select(list(other), [], [], 0.05)[0]:
                    data = sock.recv(65536)
                    if not data:
                        return
                    other[sock].sendall(data)
