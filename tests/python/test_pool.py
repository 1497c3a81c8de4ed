"""Several endpoints as one, and limits on one."""

from __future__ import annotations

import asyncio
import pathlib
import time

import loom
import pytest
from conftest import run
from replies import error_reply, streamed, whole


def whole_of(text):
    return whole({"content": text})


def slow(text):
    reply = whole_of(text)
    reply.delay = 0.1
    return reply


def replica(server, **settings):
    return loom.UnifiedLLM(base_url=server.url, model="m", **settings)


DEAD = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}


def test_a_fallback_stands_in_and_the_ledger_says_so(server):
    server.script(whole_of("hi"))
    pool = loom.Pool([DEAD], fallbacks=[replica(server)])
    message = loom.agent(llm=pool).run_sync("hello")
    assert message.content == "hi"
    assert [entry["rule"] for entry in message.ledger] == ["failed_over"]
    first, second = pool.members
    assert (first["failures"], second["failures"], second["calls"], second["in_flight"]) == (1, 0, 1, 0)


def test_streams_and_calls_of_a_pool(server):
    server.script(streamed("a", "b"))
    server.script(whole_of("whole"))
    pool = loom.Pool([replica(server)])

    async def both():
        streamed_text = [event["content"] async for event in pool.stream("hi") if event["type"] == "content_delta"]
        return "".join(streamed_text), (await pool.generate("hi")).content

    assert run(both()) == ("ab", "whole")
    assert pool.model_name == "m" and repr(pool) == "Pool(#1 m)"


def test_what_no_member_can_cure_is_raised(server):
    server.script(error_reply(400, "messages must not be empty"))
    with pytest.raises(loom.BadRequestError):
        run(loom.Pool([replica(server)], fallbacks=[DEAD]).generate("hi"))


def test_members_with_weights_names_and_contexts(server):
    too_long = "This model's maximum context length is 4096 tokens. However, your messages resulted in 9000 tokens."
    server.script(error_reply(400, too_long))
    server.script(whole_of("read"))
    small = loom.PoolMember(replica(server), name="small", weight=2, context_window=4096)
    large = loom.PoolMember(replica(server), name="large", context_window=128_000)
    pool = loom.Pool([small], fallbacks=[large])
    completion = run(pool.generate("hi"))
    assert completion.content == "read" and completion.ledger[0]["detail"].startswith("small: context_length")


def test_a_pool_of_the_file(server, tmp_path, monkeypatch):
    server.script(whole_of("hi"))
    file = tmp_path / "loom.toml"
    file.write_text(
        f"""
[endpoints.a]
base_url = "http://127.0.0.1:1/v1"
model = "m"

[endpoints.b]
base_url = "{server.url}"
model = "m"
max_concurrency = 3

[pools.both]
members = [{{ endpoint = "a", weight = 1.5 }}]
fallbacks = ["b"]
failover_on = ["connection"]
cooldown = 1.0
"""
    )
    monkeypatch.setenv("LOOM_CONFIG", str(file))
    agent = loom.agent(llm="both", temperature=0.25)
    assert isinstance(agent.llm, loom.Pool) and agent.run_sync("hello").content == "hi"
    assert [member["name"] for member in agent.llm.members] == ["a", "b"]
    assert server.chats[0].json["temperature"] == 0.25
    with pytest.raises(loom.ConfigurationError, match="base_url cannot be given beside a pool"):
        loom.agent(llm="both", base_url="http://localhost/v1")
    pathlib.Path(file).write_text("[pools.broken]\nmembers = ['nowhere']\n")
    with pytest.raises(loom.ConfigurationError, match="nowhere"):
        loom.agent(llm="broken")


def test_a_call_ends_within_the_pools_timeout(server, tmp_path, monkeypatch):
    late = whole_of("late")
    late.delay = 60
    server.script(late, late, late)
    started = time.monotonic()
    with pytest.raises(loom.APITimeoutError, match=r"0\.3 s \(total\): #1 m: connection: .*#2 m had not answered"):
        run(loom.Pool([DEAD], fallbacks=[replica(server)], timeout=0.3).generate("hi"))
    file = tmp_path / "loom.toml"
    endpoint = f'[endpoints.a]\nbase_url = "{server.url}"\nmodel = "m"\n'
    file.write_text(endpoint + "[pools.one]\nmembers = ['a']\ntimeout = 0.3\n")
    monkeypatch.setenv("LOOM_CONFIG", str(file))
    for settings, words in [({}, "0.3 s"), ({"timeout": 0.2}, "0.2 s")]:
        with pytest.raises(loom.APITimeoutError, match=words):
            loom.agent(llm="one", **settings).run_sync("hi")
    assert time.monotonic() - started < 10
    # The members keep their own clocks beside it.
    server.script(late, whole_of("in time"))
    patient = endpoint.replace("[endpoints.a]", "[endpoints.b]")
    file.write_text(
        f"{endpoint}timeout = {{ first_token = 0.2 }}\n{patient}[pools.two]\nmembers = ['a']\nfallbacks = ['b']\n"
    )
    assert loom.agent(llm="two", timeout=8).run_sync("hi").content == "in time"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: loom.Pool([]), "replica"),
        (lambda: loom.Pool([], fallbacks=[DEAD]), "replica"),
        (lambda: loom.Pool([loom.PoolMember(DEAD, weight=0)]), "weight"),
        (lambda: loom.Pool([loom.PoolMember(DEAD, name="a"), loom.PoolMember(DEAD, name="a")]), "called"),
        (lambda: loom.Pool([object()]), "object"),
        (lambda: loom.Pool([DEAD], cooldown=-1), "cooldown"),
        (lambda: loom.Pool([DEAD], timeout=0), "timeout"),
        (lambda: loom.Pool([DEAD], max_retries=-1), "arguments"),
        (lambda: loom.Pool([DEAD], failover_on=["nope"]), "nope"),
        (lambda: loom.Pool([DEAD], failover_on="server"), "list of error kinds"),
        (lambda: loom.Pool([loom.PoolMember(DEAD, weight="x")]), "arguments"),
        (lambda: loom.UnifiedLLM(**DEAD, max_concurrency=0), "max_concurrency"),
        (lambda: loom.UnifiedLLM(**DEAD, tokens_per_minute=1.5), "tokens_per_minute"),
    ],
)
def test_what_makes_no_pool_is_refused(make, words):
    with pytest.raises(loom.ConfigurationError, match=words):
        make()


def test_calls_wait_for_their_turn_and_say_how_long(server):
    for _ in range(3):
        server.script(slow("hi"))
    llm = replica(server, max_concurrency=1)

    async def at_once():
        return await asyncio.gather(*(llm.generate("hi") for _ in range(3)))

    waited = sorted(completion.queue_seconds or 0.0 for completion in run(at_once()))
    assert waited[0] == 0.0 and waited[1] > 0.05 and waited[2] > 0.15
