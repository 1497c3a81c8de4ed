"""Credentials from Python: `api_key`, `auth`, `sign`, and that none of them shows."""

import asyncio
import base64
import contextvars
import pickle
import time

import loom
import pytest
from conftest import ask, llm_for, run
from loom.auth import Basic, Bearer, Command, Header, Keys, NoAuth, OAuth2, Query
from replies import EchoChat, error_reply, json_reply

SECRET = "sk-secret-0123456789"


def keys_seen(server):
    return [request.authorization for request in server.requests]


def call(server, **options):
    options.setdefault("api_key", None)
    return run(llm_for(server, **options).generate(ask()))


class TestForms:
    @pytest.mark.parametrize(
        ("auth", "name", "value"),
        [
            (Bearer(SECRET), "authorization", f"Bearer {SECRET}"),
            (Header("x-api-key", SECRET), "x-api-key", SECRET),
            (Header("Authorization", SECRET, prefix="Token "), "authorization", f"Token {SECRET}"),
            (Basic("ada", SECRET), "authorization", "Basic " + base64.b64encode(f"ada:{SECRET}".encode()).decode()),
            (("ada", SECRET), "authorization", "Basic " + base64.b64encode(f"ada:{SECRET}".encode()).decode()),
            (NoAuth(), "authorization", None),
        ],
    )
    def test_headers(self, server, auth, name, value):
        call(server, auth=auth)
        assert server.requests[0].headers.get(name) == value

    def test_query(self, server):
        call(server, auth=Query("key", SECRET))
        assert server.requests[0].query == {"key": SECRET} and server.requests[0].authorization is None

    def test_the_key_may_come_from_api_key(self, server):
        call(server, auth=Header("api-key"), api_key=SECRET)
        call(server, auth={"header": "api-key"}, api_key=lambda: SECRET)
        call(server, api_key=Header("api-key", SECRET))
        assert [request.headers["api-key"] for request in server.requests] == [SECRET] * 3

    def test_as_an_agents_argument(self, server):
        agent = loom.agent(llm="custom", base_url=server.url, model="m", auth=Header("x-api-key", SECRET))
        run(agent.run("hello"))
        assert server.requests[0].headers["x-api-key"] == SECRET

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ({"api_key": 7}, "api_key"),
            ({"auth": 7}, "loom.auth"),
            ({"auth": "digest"}, "auth is"),
            ({"auth": Header("x-a", SECRET), "api_key": SECRET}, "give one"),
            ({"auth": Keys([SECRET])}, "api_key"),
            ({"auth": Header("x\r\ny", SECRET)}, "header"),
            ({"auth": Header("x-a", SECRET + "\n\u4e2d")}, "characters"),
            ({"auth": Basic("a:b", SECRET)}, "user"),
            ({"sign": 7}, "sign"),
        ],
    )
    def test_what_cannot_work_is_refused(self, server, options, word):
        with pytest.raises((loom.ConfigurationError, TypeError), match=word) as caught:
            call(server, **options)
        assert SECRET not in str(caught.value)


class TestFunctions:
    def test_sync_and_async_and_with_an_expiry(self, server):
        asked = []

        def plain():
            asked.append("plain")
            return SECRET

        async def slow():
            await asyncio.sleep(0.01)
            asked.append("slow")
            return f"{SECRET}-async", 3600

        async def twice(key):
            llm = llm_for(server, api_key=key)
            await llm.generate(ask())
            await llm.generate(ask())
            return [event async for event in llm.stream(ask())]

        run(twice(plain))
        run(twice(slow))
        assert asked == ["plain"] * 3 + ["slow"], "with an expiry a token is kept"
        assert keys_seen(server) == [f"Bearer {SECRET}"] * 3 + [f"Bearer {SECRET}-async"] * 3

    @pytest.mark.parametrize(
        "token",
        [
            {"token": SECRET, "expires_in": 60},
            {"access_token": SECRET, "expires_in": "3600"},
            (SECRET, 3600),
            type("AccessToken", (), {"token": SECRET, "expires_on": time.time() + 3600})(),
        ],
        ids=["dict", "oauth", "pair", "azure"],
    )
    def test_forms_of_a_token(self, server, token):
        asked = []
        llm = llm_for(server, api_key=lambda: asked.append(1) or token)

        async def twice():
            await llm.generate(ask())
            await llm.generate(ask())

        run(twice())
        assert keys_seen(server) == [f"Bearer {SECRET}"] * 2 and len(asked) == 1

    def test_a_refused_token_is_renewed_once(self, server):
        server.handler = lambda request: (
            EchoChat()(request) if request.authorization == "Bearer token-2" else error_reply(401, "expired")
        )
        tokens = iter(["token-1", "token-2", "token-3"])
        completion = call(server, api_key=lambda: (next(tokens), 3600))
        assert keys_seen(server) == ["Bearer token-1", "Bearer token-2"]
        assert [entry["rule"] for entry in completion.ledger] == ["key_replaced"]

    def test_it_runs_where_the_caller_is(self, server):
        """A coroutine runs on the caller's loop with its context; a function that blocks does not block the loop."""
        variable = contextvars.ContextVar("variable", default="unset")
        seen = {}

        async def fetch():
            seen["loop"] = asyncio.get_running_loop()
            seen["variable"] = variable.get()
            return SECRET

        def block():
            time.sleep(0.3)
            return SECRET

        async def main():
            variable.set("set")
            await llm_for(server, api_key=fetch).generate(ask())
            assert seen == {"loop": asyncio.get_running_loop(), "variable": "set"}
            call = asyncio.ensure_future(llm_for(server, api_key=block).generate(ask()))
            ticks = 0
            while not call.done():
                await asyncio.sleep(0.01)
                ticks += 1
            assert ticks > 5

        run(main())

    def test_failures_are_told(self, server):
        def broken():
            raise ValueError("the vault is sealed")

        async def cancelled():
            raise asyncio.CancelledError

        for key, words in [
            (broken, "ValueError: the vault is sealed"),
            (cancelled, "CancelledError"),
            (lambda: None, "must return a str"),
            (lambda: "", "empty"),
        ]:
            with pytest.raises(loom.LLMError, match=words):
                call(server, api_key=key)
        assert server.requests == []

    def test_a_cancelled_call_cancels_the_function(self, server):
        ended = []

        async def main():
            started = asyncio.Event()

            async def fetch():
                started.set()
                try:
                    await asyncio.sleep(60)
                finally:
                    ended.append(True)

            call = asyncio.ensure_future(llm_for(server, api_key=fetch).generate(ask()))
            await started.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            while not ended:
                await asyncio.sleep(0.01)

        run(main())

    def test_run_sync(self, server):
        async def fetch():
            return SECRET

        agent = loom.agent(llm="custom", base_url=server.url, model="m", api_key=fetch)
        assert agent.run_sync("hello").content
        assert keys_seen(server) == [f"Bearer {SECRET}"]


class TestSources:
    def test_command(self, server):
        call(server, api_key=Command(f"echo {SECRET}"))
        assert keys_seen(server) == [f"Bearer {SECRET}"]

    def test_keys(self, server):
        server.handler = lambda request: (
            EchoChat()(request) if request.authorization == "Bearer sk-3" else error_reply(429, "slow down")
        )
        call(server, api_key=["sk-1", Command("echo sk-2"), lambda: "sk-3"])
        assert keys_seen(server) == ["Bearer sk-1", "Bearer sk-2", "Bearer sk-3"]

    def test_oauth2(self, server, other_server):
        other_server.handler = lambda request: json_reply({"access_token": "oauth-token", "expires_in": 3600})
        client = OAuth2(f"{other_server.url}/token", "id", SECRET, scope="chat", audience="llm")
        llm = llm_for(server, api_key=client)
        run(llm.generate(ask()))
        run(llm.generate(ask()))
        assert keys_seen(server) == ["Bearer oauth-token"] * 2
        (asked,) = other_server.requests
        assert asked.body == b"grant_type=client_credentials&audience=llm&scope=chat"

    def test_from_loom_toml(self, server, other_server, tmp_path, monkeypatch):
        other_server.handler = lambda request: json_reply({"access_token": "oauth-token", "expires_in": 3600})
        file = tmp_path / "loom.toml"
        file.write_text(
            f"""
            [endpoints.header]
            base_url = "{server.url}"
            model = "m"
            api_key = "{SECRET}"
            auth = {{ header = "x-api-key" }}
            [endpoints.oauth2]
            base_url = "{server.url}"
            model = "m"
            [endpoints.oauth2.api_key.oauth2]
            token_url = "{other_server.url}/token"
            client_id = "id"
            client_secret = {{ env = "CLIENT_SECRET" }}
            fields = {{ audience = "llm" }}
            [endpoints.several]
            base_url = "{server.url}"
            model = "m"
            api_key = [{{ command = "echo sk-from-command" }}, "sk-2"]
            """,
            encoding="utf-8",
        )
        monkeypatch.setenv("LOOM_CONFIG", str(file))
        monkeypatch.setenv("CLIENT_SECRET", SECRET)
        for name in ("header", "oauth2", "several"):
            run(loom.agent(llm=name).run("hello"))
        assert server.requests[0].headers["x-api-key"] == SECRET
        assert keys_seen(server) == [None, "Bearer oauth-token", "Bearer sk-from-command"]


class TestSigning:
    def test_sync_and_async(self, server):
        def sign(method, url, headers, body):
            assert url == f"{server.url}/chat/completions" and headers["authorization"] == f"Bearer {SECRET}"
            return {"x-signature": f"{method} {len(body)}", "user-agent": None}

        async def sign_later(method, url, headers, body):
            await asyncio.sleep(0)
            return {"x-signature": f"{method} {len(body)} later"}

        for function, end in ((sign, ""), (sign_later, " later")):
            call(server, api_key=SECRET, sign=function)
            request = server.requests[-1]
            assert request.headers["x-signature"] == f"POST {len(request.body)}{end}"
        assert "user-agent" not in server.requests[0].headers

    def test_failures(self, server):
        for function, words in [(lambda *_: 1 / 0, "ZeroDivisionError"), (lambda *_: 7, "dict of headers")]:
            with pytest.raises(loom.LLMError, match=words):
                call(server, sign=function)
        assert server.requests == []


def test_nothing_prints_a_key():
    values = [
        Bearer(SECRET),
        Header("x-api-key", SECRET),
        Basic("ada", SECRET),
        Query("key", SECRET),
        Command(f"echo {SECRET}"),
        OAuth2("https://h/token", "id", SECRET),
        Keys([SECRET]),
    ]
    for value in values:
        assert SECRET not in f"{value!r} {value} {vars(value) if hasattr(value, '__dict__') else ''}"
        with pytest.raises(TypeError):
            pickle.dumps(value)


def test_a_function_that_fails_is_no_refusal_of_the_endpoint(server):
    def token():
        raise OSError("the vault is sealed")

    with pytest.raises(loom.ConfigurationError, match="OSError: the vault is sealed") as caught:
        call(server, api_key=token)
    assert "the function's own" in caught.value.hint and not server.requests


def test_the_curl_command_leaves_basic_authentication_to_curl(server):
    llm = llm_for(server, api_key=None, auth=Basic("ada", SECRET))
    run(llm.generate(ask()))
    assert "-u 'ada:'\"$LOOM_API_KEY\"" in llm.explain()["curl"]
