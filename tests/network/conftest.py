"""The programs that the tests run: nginx, tinyproxy, microsocks; each on ports of its own, ended with the test."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from programs import PASSWORD, ROOT, clean_environment, free_port, program, running

sys.path.insert(0, str(ROOT / "tests" / "python"))

import trustme

from servers import MockServer


@pytest.fixture(autouse=True)
def no_foreign_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = clean_environment()
    for name in set(os.environ) - set(kept):
        monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer() as upstream:
        yield upstream


@dataclass
class Files:
    """Certificates: the authority's, a client's with its key."""

    ca: Any
    bundle: str
    cert: str
    key: str


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    client = ca.issue_cert("loom@example.com")
    client.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    client.private_key_pem.write_to_path(str(folder / "client.key"))
    return Files(ca, str(folder / "ca.pem"), str(folder / "client.pem"), str(folder / "client.key"))


@dataclass
class Nginx:
    """nginx in front of the mock server: mTLS with HTTP/2, TLS 1.2 alone, and a Unix socket."""

    mutual: int
    old: int
    socket: Path
    log: Path

    def protocols(self) -> list[str]:
        """The HTTP version and the client's name of each request so far."""
        return self.log.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def nginx(server: MockServer, files: Files, tmp_path: Path) -> Iterator[Nginx]:
    binary = program("nginx")
    certificate = files.ca.issue_cert("llm.example", "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "server.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    ends = Nginx(free_port(), free_port(), tmp_path / "llm.sock", tmp_path / "access.log")
    (tmp_path / "nginx.conf").write_text(
        f"""
        daemon off; pid {tmp_path}/nginx.pid; error_log stderr; worker_processes 1;
        {"user root;" if os.geteuid() == 0 else ""}
        events {{ worker_connections 512; }}
        http {{
          log_format protocol '$server_protocol $ssl_client_s_dn';
          access_log {ends.log} protocol;
          client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path}; fastcgi_temp_path {tmp_path};
          uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};
          ssl_certificate {tmp_path}/server.pem; ssl_certificate_key {tmp_path}/server.key;
          proxy_http_version 1.1; proxy_buffering off;
          server {{
            listen 127.0.0.1:{ends.mutual} ssl http2;
            ssl_client_certificate {files.bundle}; ssl_verify_client on;
            location / {{ proxy_pass http://127.0.0.1:{server.port}; }}
          }}
          server {{
            listen 127.0.0.1:{ends.old} ssl; ssl_protocols TLSv1.2;
            location / {{ proxy_pass http://127.0.0.1:{server.port}; }}
          }}
          server {{ listen unix:{ends.socket}; location / {{ proxy_pass http://127.0.0.1:{server.port}; }} }}
        }}
        """,
        encoding="utf-8",
    )
    with running([binary, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")], ends.old):
        yield ends


@pytest.fixture
def tinyproxy(tmp_path: Path) -> Iterator[str]:
    """An HTTP proxy that wants the user `ada` and PASSWORD; "127.0.0.1:PORT"."""
    binary, port = program("tinyproxy"), free_port()
    configuration = tmp_path / "tinyproxy.conf"
    configuration.write_text(
        f"Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nBasicAuth ada {PASSWORD}\nMaxClients 100\n",
        encoding="utf-8",
    )
    with running([binary, "-d", "-c", str(configuration)], port):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def microsocks() -> Iterator[str]:
    """A SOCKS proxy with the same user and password."""
    binary, port = program("microsocks"), free_port()
    with running([binary, "-i", "127.0.0.1", "-p", str(port), "-u", "ada", "-P", PASSWORD], port):
        yield f"127.0.0.1:{port}"
