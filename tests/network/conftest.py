"""The programs that the tests run: nginx, tinyproxy, microsocks; each on ports of its own, ended with the test."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

import trustme  # noqa: E402
from servers import MockServer  # noqa: E402

KEY = "sk-secret-0123456789"
PASSWORD = "pr0xy-secret"
SEARCHED = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def program(name: str) -> str:
    """Where a program is. Without it a test is skipped, but not where `scripts/network.sh` has installed it."""
    found = shutil.which(name, path=SEARCHED)
    if found is None:
        if os.environ.get("LOOM_NETWORK_TESTS") == "required":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed: bash scripts/network.sh")
    return found


def clean_environment() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("python_conftest", ROOT / "tests" / "python" / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.clean_environment()  # type: ignore[no-any-return]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]  # type: ignore[no-any-return]


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a program until it listens, and ends it."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            for _ in range(400):
                if process.poll() is not None:
                    pytest.fail(f"{command[0]} ended: {process.stderr.read().decode()}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.05)
            else:
                pytest.fail(f"{command[0]} does not listen")
            yield process
        finally:
            process.terminate()
            process.wait(20)


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
