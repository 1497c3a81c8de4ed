"""How an endpoint is reached, from Python and from loom.toml: certificates, proxies, names, HTTP version."""

import ssl

import loom
import pytest
import trustme
from conftest import KEY, ask, llm_for, run
from proxy import Proxy

from servers import MockServer


@pytest.fixture
def tls_server(ca):
    with MockServer(tls=ca) as server:
        yield server


def call(server, **options):
    return run(llm_for(server, max_retries=0, **options).generate(ask()))


class TestTls:
    def test_a_bundle_of_ones_own(self, tls_server, ca_file):
        call(tls_server, verify=ca_file)
        with pytest.raises(loom.APIConnectionError, match="not trusted here") as caught:
            call(tls_server)
        assert "verify=" in caught.value.hint

    def test_the_names_that_a_certificate_has(self, ca_file, tls_server):
        base = f"https://llm.example:{tls_server.port}/v1"
        with pytest.raises(loom.APIConnectionError, match=r"for another host: localhost, 127\.0\.0\.1"):
            call(tls_server, base_url=base, resolve={"llm.example": "127.0.0.1"}, verify=ca_file)

    def test_verification_is_not_switched_off_by_accident(self, tls_server, caplog):
        with pytest.raises(loom.ConfigurationError, match="dangerously_skip_verify"):
            call(tls_server, verify=False)
        completion = call(tls_server, dangerously_skip_verify=True)
        assert "tls_not_verified" in [entry["rule"] for entry in completion.ledger]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"verify": "/no/such/file.pem"}, "cannot be read"),
            ({"verify": ssl.create_default_context()}, "http_client"),
            ({"cert": "/no/such/file.pem"}, "cannot be read"),
            ({"cert": ("/no/such/file.pem", "/no/such/key.pem")}, "cannot be read"),
            ({"min_tls_version": "1.1"}, "1.2"),
            ({"proxy": "ftp://user:sk-secret@h"}, "proxy"),
            ({"proxy": 7}, "proxy"),
            ({"resolve": {"h": "nonsense"}}, "IP address"),
        ],
    )
    def test_what_cannot_work_is_refused_at_once(self, tls_server, options, words):
        with pytest.raises(loom.ConfigurationError, match=words) as caught:
            call(tls_server, **options)
        assert "sk-secret" not in str(caught.value)


class TestProxy:
    def test_over_the_environment(self, server, ca, monkeypatch):
        with Proxy(server, ca) as mine, Proxy(server, ca) as environments:
            monkeypatch.setenv("HTTP_PROXY", environments.url)
            call(server)
            call(server, proxy=mine.url)
            call(server, proxy="direct")
            address = f"127.0.0.1:{server.port}"
            assert (mine.targets, environments.targets) == ([address], [address])
        assert len(server.requests) == 3

    def test_credentials(self, server, ca):
        with Proxy(server, ca, credentials="ada:p@ss") as proxy:
            call(server, proxy=proxy.url.replace("//", "//ada:p%40ss@"))
            with pytest.raises(loom.LLMError) as caught:
                call(server, proxy=proxy.url.replace("//", "//ada:wrong-secret@"))
        assert caught.value.status_code == 407 and "wrong-secret" not in repr(caught.value)

    def test_no_proxy_knows_hosts_suffixes_and_networks(self, server, ca, monkeypatch):
        with Proxy(server, ca) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            for exempt, through in [
                ("127.0.0.1", 0),
                ("127.0.0.0/8", 0),
                ("10.0.0.0/8", 1),
                ("*", 0),
                ("example.com,.local", 1),
            ]:
                proxy.reset()
                monkeypatch.setenv("NO_PROXY", exempt)
                call(server)
                assert len(proxy.targets) == through, exempt
            proxy.reset()
            monkeypatch.setenv("NO_PROXY", ".corp.example,llm.example")
            for host, through in [("a.corp.example", 0), ("llm.example", 0), ("other.example", 1)]:
                proxy.reset()
                call(server, base_url=f"http://{host}:{server.port}/v1", resolve={host: "127.0.0.1"})
                assert len(proxy.targets) == through, host


def test_a_name_gets_its_address(server):
    call(server, base_url=f"http://llm.corp:{server.port}/v1", resolve={"llm.corp": "127.0.0.1"})
    assert server.requests[0].headers["host"] == f"llm.corp:{server.port}"


def test_a_key_that_goes_out_unencrypted_is_warned_of_once(server, caplog):
    for _ in range(3):
        call(server, base_url=f"http://llm.example:{server.port}/v1", resolve={"llm.example": "127.0.0.1"})
    call(server)  # on this machine
    (warning,) = [record.getMessage() for record in caplog.records if "unencrypted" in record.getMessage()]
    assert f"http://llm.example:{server.port}" in warning and KEY not in caplog.text
    assert len(server.chats) == 4


def test_all_of_it_from_loom_toml(tls_server, ca_file, tmp_path, monkeypatch):
    client = trustme.CA().issue_cert("loom@example.com")
    pem = tmp_path / "client.pem"
    client.private_key_and_cert_chain_pem.write_to_path(str(pem))
    file = tmp_path / "loom.toml"
    file.write_text(
        f"""
        [endpoints.office]
        base_url = "https://127.0.0.1:{tls_server.port}/v1"
        model = "m"
        verify = "{ca_file}"
        cert = "{pem}"
        min_tls_version = "1.3"
        proxy = "direct"
        http2 = false
        resolve = {{ "llm.corp" = "127.0.0.1" }}
        [endpoints.careless]
        base_url = "https://127.0.0.1:{tls_server.port}/v1"
        model = "m"
        dangerously_skip_verify = true
        """,
        encoding="utf-8",
    )
    monkeypatch.setenv("LOOM_CONFIG", str(file))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    run(loom.agent(llm="office").run("hello"))
    monkeypatch.delenv("HTTPS_PROXY")
    answer = run(loom.agent(llm="careless").run("hello"))
    assert "tls_not_verified" in [entry["rule"] for entry in answer.ledger]
