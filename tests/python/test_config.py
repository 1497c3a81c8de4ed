"""Where a request goes and with which key: base_url, providers, environment, redirects, proxies, TLS, clocks."""

import loom
import pytest
from conftest import KEY, agent_for, ask, llm_for, output, python, run
from proxy import Proxy
from replies import HANG, Reply, chunk, json_reply, sse

from servers import MockServer

# ---- base_url


@pytest.mark.parametrize(
    "written", ["{}/v1", "  {}/v1\n", "{}/v1/", "{}/v1//", "{}/v1/chat/completions", "{}/v1/chat/completions/"]
)
def test_base_url_is_normalised(server, written):
    run(agent_for(server, base_url=written.format(server.origin)).run("hi"))
    assert [chat.target for chat in server.chats] == ["/v1/chat/completions"]


@pytest.mark.parametrize(
    "written", ["{}/v1?api-version=2&x=", "{}/v1/?api-version=2&x=", "{}/v1/chat/completions?api-version=2&x="]
)
def test_the_query_stays_on_every_request(server, written):
    run(agent_for(server, base_url=written.format(server.origin), model=None).run("hi"))
    assert [request.path for request in server.requests] == ["/v1/models", "/v1/chat/completions"]
    assert [request.query for request in server.requests] == [{"api-version": "2", "x": ""}] * 2


def test_a_path_of_its_own_is_kept(server):
    answer = server.handler.answer("ok", False, {})
    server.handler = lambda request: answer if request.path == "/api/paas/v4/chat/completions" else json_reply({}, 404)
    assert run(agent_for(server, base_url=server.origin + "/api/paas/v4").run("hi")).content == "ok"
    assert [request.path for request in server.requests] == ["/api/paas/v4/chat/completions"]


def test_a_missing_v1_is_found_after_a_404(server):
    agent = agent_for(server, base_url=server.origin)
    assert [run(agent.run("hi")).content for _ in range(2)] == ["echo: hi"] * 2
    assert [chat.path for chat in server.chats] == ["/chat/completions", "/v1/chat/completions", "/v1/chat/completions"]


@pytest.mark.parametrize(
    ("written", "fix"),
    [("localhost:8000/v1", "http://localhost:8000/v1"), ("your-service.com/v1", "https://your-service.com/v1")],
)
def test_a_missing_scheme_shows_the_fix(written, fix):
    with pytest.raises(loom.ConfigurationError) as caught:
        loom.agent(llm="custom", base_url=written, model="m")
    assert caught.value.kind == "config" and fix in str(caught.value)


@pytest.mark.parametrize(
    "written", ["ftp://localhost/v1", "ws://localhost/v1", "file:///v1", "", "   ", "http://", "https:///v1"]
)
def test_what_is_no_http_url_is_refused(written):
    with pytest.raises(loom.ConfigurationError, match="base_url"):
        loom.agent(llm="custom", base_url=written, model="m")


def test_credentials_in_the_url_do_not_show(server):
    try:
        shown = repr(llm_for(server, api_key=None, base_url=server.url.replace("//", "//me:hidden@")))
    except loom.ConfigurationError as refused:
        shown = str(refused)
    assert "hidden" not in shown and "127.0.0.1" in shown


@pytest.mark.parametrize("make", [lambda url: loom.agent(url), lambda url: loom.agent(llm=url)])
def test_an_address_in_another_place_is_told_its_own(make):
    with pytest.raises(loom.ConfigurationError, match="base_url=") as caught:
        make("http://localhost:8000/v1?key=hidden")
    assert "hidden" not in str(caught.value)


def test_an_unknown_name_says_which_endpoints_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(loom.ConfigurationError, match=r"no loom\.toml with endpoints was found"):
        loom.agent(llm="offize")
    file = tmp_path / "loom.toml"
    file.write_text("[endpoints.office]\nmodel = 'm'\n[endpoints.typed]\nbase_url = 'http://h/v1'\napi_key = '$KEY'\n")
    with pytest.raises(loom.ConfigurationError, match=r"the endpoints of loom\.toml are office, typed"):
        loom.agent(llm="offize")
    with pytest.raises(loom.ConfigurationError, match='endpoint "office" has neither base_url nor provider'):
        loom.agent(llm="office")
    with pytest.raises(loom.ConfigurationError, match=r'write \{ env = "KEY" \}'):
        loom.agent(llm="typed")


def test_a_word_is_no_temperature():
    with pytest.raises(loom.ConfigurationError, match='temperature is a number, not "hot"'):
        loom.agent(base_url="http://localhost:8000/v1", temperature="hot")


# ---- Providers


def test_custom_needs_a_base_url():
    with pytest.raises(loom.ConfigurationError, match="base_url"):
        loom.agent(llm="custom", api_key="k", model="m")


@pytest.mark.parametrize(
    ("written", "meant"), [("opnai", "openai"), ("deepseak", "deepseek"), ("olama", "ollama"), ("OpenAI-", "openai")]
)
def test_an_unknown_provider_names_the_nearest(written, meant):
    for make in (lambda: loom.agent(llm=written), lambda: loom.agent(llm={"provider": written, "model": "m"})):
        with pytest.raises(loom.ConfigurationError) as caught:
            make()
        assert written in str(caught.value) and meant in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "port"), [("vllm", 8000), ("ollama", 11434), ("lmstudio", 1234), ("textgen", 5000), ("fastchat", 8000)]
)
def test_local_providers_know_their_port_and_need_no_key(spec_server, provider, port):
    assert run(loom.agent(llm=provider).run("hi")).content == "echo: hi"
    (chat,) = spec_server.chats
    assert (chat.port, chat.path, chat.authorization, chat.json["model"]) == (
        port,
        "/v1/chat/completions",
        None,
        "mock-model",
    )


# ---- Keys


def test_no_key_no_header(server):
    run(agent_for(server, api_key=None).run("hi"))
    assert server.chats[0].authorization is None


@pytest.mark.parametrize("provider", ["custom", "openai"])
def test_the_openai_key_of_the_environment_is_not_sent_to_a_base_url_of_the_code(server, monkeypatch, provider):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    run(loom.agent(llm=provider, base_url=server.url, model="m").run("hi"))
    assert server.chats and "sk-environment" not in str(server.requests)


def test_openai_takes_url_and_key_from_the_environment_together(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    run(loom.agent(llm="openai", model="m").run("hi"))
    assert [chat.authorization for chat in server.chats] == ["Bearer sk-environment"]


def test_the_key_of_the_code_wins(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    run(loom.agent(llm="openai", api_key=KEY, model="m").run("hi"))
    assert server.chats[0].authorization == f"Bearer {KEY}"


def test_the_url_of_the_environment_is_not_for_custom(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    with pytest.raises(loom.ConfigurationError, match="base_url"):
        loom.agent(llm="custom", model="m")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_key_does_not_follow_a_redirect_to_another_origin(server, other_server, status):
    server.handler = lambda request: Reply(
        status=status, headers={"location": other_server.url + "/chat/completions"}, framing="length"
    )
    try:
        run(agent_for(server, default_headers={"x-api-key": KEY}).run("hi"))
    except loom.LLMError as error:
        assert other_server.origin in str(error), "the error says where the redirect leads"
    assert KEY not in str(other_server.requests)


def test_a_redirect_within_the_origin_is_followed(server):
    echo = server.handler
    moved = Reply(status=307, headers={"location": "/v1/chat/completions"}, framing="length")
    server.handler = lambda request: moved if request.path.startswith("/old") else echo(request)
    assert run(agent_for(server, base_url=server.origin + "/old").run("hi")).content == "echo: hi"
    assert server.chats[-1].authorization == f"Bearer {KEY}"


# ---- Proxies and certificates: in processes of their own, since both are read from the environment

ASK = """
import loom
print(loom.agent(llm="custom", base_url={url!r}, api_key="k", model="m", max_retries=0).run_sync("hi").content)
"""


def test_ssl_cert_file(ca, ca_file, tmp_path):
    with MockServer(tls=ca) as server:
        assert output(ASK.format(url=server.url), tmp_path, SSL_CERT_FILE=ca_file) == "echo: hi\n"


def test_a_certificate_of_an_unknown_ca_is_refused(ca, tmp_path):
    with MockServer(tls=ca) as server:
        done = python(ASK.format(url=server.url), tmp_path)
        assert done.returncode == 1 and "APIConnectionError" in done.stderr and "certificate" in done.stderr.lower()
        assert server.requests == []


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxy_for_http(server, ca, tmp_path, variable):
    with Proxy(server, ca) as proxy:
        assert output(ASK.format(url="http://model.internal/v1"), tmp_path, **{variable: proxy.url}) == "echo: hi\n"
        assert set(proxy.targets) == {"model.internal:80"}


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_proxy_for_https(server, ca, ca_file, tmp_path, variable):
    with Proxy(server, ca) as proxy:
        said = output(
            ASK.format(url="https://model.example/v1"), tmp_path, SSL_CERT_FILE=ca_file, **{variable: proxy.url}
        )
        assert said == "echo: hi\n" and set(proxy.targets) == {"model.example:443"}


def test_proxy_with_credentials(server, ca, ca_file, tmp_path):
    with Proxy(server, ca, credentials="me:secret") as proxy:
        address = proxy.url.replace("//", "//me:secret@")
        assert (
            output(ASK.format(url="https://model.example/v1"), tmp_path, SSL_CERT_FILE=ca_file, HTTPS_PROXY=address)
            == "echo: hi\n"
        )
        refused = python(
            ASK.format(url="https://model.example/v1"), tmp_path, SSL_CERT_FILE=ca_file, HTTPS_PROXY=proxy.url
        )
        assert refused.returncode == 1 and "proxy" in refused.stderr.lower() and "secret" not in refused.stderr


def test_no_proxy(server, ca, tmp_path):
    with Proxy(server, ca) as proxy:
        output(
            ASK.format(url=server.url),
            tmp_path,
            http_proxy=proxy.url,
            ALL_PROXY=proxy.url,
            NO_PROXY="127.0.0.1,localhost",
        )
        assert proxy.targets == [] and len(server.chats) == 1


# ---- Clocks


def timed_out(server, **clocks):
    with pytest.raises(loom.APITimeoutError) as caught:
        run(llm_for(server, timeout=loom.Timeout(**clocks), max_retries=0).generate(ask()))
    assert caught.value.kind == "timeout"
    assert server.wait_until(lambda: server.chats[0].outcome == "client_closed", 1)
    return caught.value


def test_the_first_token_has_a_clock(server):
    server.script(HANG)
    assert "first" in str(timed_out(server, first_token=0.2))


def test_keep_alives_are_not_a_first_token(server):
    server.script(sse(*[b": keep-alive\n\n", 0.05] * 100))
    assert "first" in str(timed_out(server, first_token=0.2))


def test_the_gap_between_tokens_has_a_clock(server):
    server.script(sse(chunk({"content": "Hel"}), *[b": keep-alive\n\n", 0.05] * 100))
    error = timed_out(server, idle=0.2)
    assert "idle" in str(error) and getattr(error.partial, "content", error.partial) == "Hel"


def test_the_whole_has_a_clock(server):
    server.script(sse(*[chunk({"content": "x"}), 0.05] * 100))
    assert "total" in str(timed_out(server, total=0.3))


def test_a_plain_number_limits_the_whole(server):
    server.script(HANG)
    with pytest.raises(loom.APITimeoutError):
        run(agent_for(server, timeout=0.2, max_retries=0).run("hi"))


def test_a_slow_answer_within_the_limits_is_fine(server):
    server.script(sse(0.2, chunk({"content": "a"}), 0.2, chunk({"content": "b"}, "stop")))
    llm = llm_for(server, timeout=loom.Timeout(connect=1, first_token=1, idle=1, total=5))
    assert run(llm.generate(ask())).content == "ab"


@pytest.mark.parametrize("name", ["profile", "limits", "extra_body", "default_headers", "default_query"])
@pytest.mark.parametrize("value", [3, "qwen", ["a"], {1: "a"}])
def test_a_setting_that_is_no_dict_is_named(server, name, value):
    with pytest.raises(loom.ConfigurationError, match=name):
        llm_for(server, **{name: value})
