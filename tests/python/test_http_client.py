"""`http_client`: requests through a user's httpx client, and that its own settings apply."""

import asyncio
import json

import httpx
import loom
import pytest
from conftest import KEY, ask, collect, llm_for, run, texts
from replies import HANG, RESET, Reply, error_reply, sse, text_chunks


def both(test):
    return pytest.mark.parametrize("make", [httpx.AsyncClient, httpx.Client], ids=["async", "sync"])(test)


async def close(client):
    if isinstance(client, httpx.AsyncClient):
        await client.aclose()
    else:
        client.close()


@both
def test_whole_and_streamed(server, make):
    async def main():
        client = make(headers={"x-team": "search"}, params={"tenant": "a"})
        llm = llm_for(server, http_client=client)
        whole = await llm.generate(ask())
        streamed = await collect(llm.stream(ask()))
        await llm.models()
        await close(client)
        return whole, streamed

    whole, streamed = run(main())
    assert whole.content == texts(streamed) != ""
    for request in server.requests:
        assert request.headers["x-team"] == "search" and request.authorization == f"Bearer {KEY}"


@both
def test_its_auth_flow_and_hooks_apply(server, make):
    seen = []

    class Token(httpx.Auth):
        def auth_flow(self, request):
            request.headers["authorization"] = "Hmac signed"
            response = yield request
            seen.append(response.status_code)

    async def main():
        async def async_hook(request):
            seen.append(request.url.path)

        hook = async_hook if make is httpx.AsyncClient else lambda request: seen.append(request.url.path)
        client = make(auth=Token(), event_hooks={"request": [hook]})
        await llm_for(server, api_key=None, http_client=client).generate(ask())
        await close(client)

    run(main())
    assert server.requests[0].authorization == "Hmac signed"
    assert sorted(map(str, seen)) == ["/v1/chat/completions", "200"]


def test_its_transport_answers(server):
    def handler(request):
        assert json.loads(request.content)["model"] == "m"
        return httpx.Response(200, json={"choices": [{"message": {"content": "canned"}, "finish_reason": "stop"}]})

    async def main():
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
            agent = loom.agent(llm="custom", base_url="http://llm.example/v1", model="m", http_client=client)
            return await agent.run("hello")

    assert run(main()).content == "canned"
    with httpx.Client(transport=httpx.MockTransport(handler)) as client:
        agent = loom.agent(llm="custom", base_url="http://llm.example/v1", model="m", http_client=client)
        assert agent.run_sync("hello").content == "canned"


@both
def test_errors_retries_and_redirects_are_looms(server, make):
    async def main(options, expected):
        client = make()
        try:
            with pytest.raises(loom.LLMError) as caught:
                await llm_for(server, http_client=client, **options).generate(ask())
            assert caught.value.kind == expected
            return caught.value
        finally:
            await close(client)

    server.handler = lambda request: error_reply(503, "busy", {"retry-after-ms": "1"})
    assert run(main({"max_retries": 2}, "overloaded")).attempts == 3
    server.reset()
    server.handler = lambda request: Reply([], 307, {"location": "http://elsewhere.example/v1"}, framing="length")
    assert "redirects to" in str(run(main({}, "bad_response")))
    assert len(server.requests) == 1
    error = run(main({"base_url": "http://127.0.0.1:9/v1", "max_retries": 0}, "connection"))
    assert "ConnectError" in str(error)


@both
def test_a_broken_stream_keeps_what_had_arrived(server, make):
    server.handler = lambda request: sse(*text_chunks("one ", "two"), 0.2, RESET)

    async def main():
        client = make()
        with pytest.raises(loom.LLMError) as caught:
            await collect(llm_for(server, http_client=client).stream(ask()))
        await close(client)
        return caught.value

    error = run(main())
    assert (error.kind, error.partial.content) == ("stream_interrupted", "one two")


def test_leaving_a_stream_closes_its_connection(server):
    server.handler = lambda request: sse(*text_chunks("one"), HANG)

    async def main():
        async with httpx.AsyncClient() as client:
            async with llm_for(server, http_client=client).stream(ask()) as events:
                async for event in events:
                    assert event["content"] == "one"
                    break
            for _ in range(500):
                if server.requests[0].outcome == "client_closed":
                    return
                await asyncio.sleep(0.01)

    run(main())
    assert server.requests[0].outcome == "client_closed"


def test_looms_clocks_rule_over_httpx_own_default(server):
    """httpx would give up after 5 s between two reads; Loom's idle clock is what counts."""
    server.handler = lambda request: sse(*text_chunks("one"), HANG)

    async def main():
        async with httpx.AsyncClient() as client:
            llm = llm_for(server, http_client=client, timeout=loom.Timeout(idle=0.2), max_retries=0)
            with pytest.raises(loom.LLMError, match="idle"):
                await collect(llm.stream(ask()))

    run(main())


def test_many_at_once(server):
    async def main():
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=50)) as client:
            llm = llm_for(server, http_client=client)
            return await asyncio.gather(*(collect(llm.stream(ask(f"hello {n}"))) for n in range(50)))

    answers = [texts(events) for events in run(main())]
    assert all(f"hello {n}" in answer for n, answer in enumerate(answers))


def test_what_is_no_client_or_contradicts_it_is_refused(server):
    with pytest.raises(loom.ConfigurationError, match="httpx"):
        llm_for(server, http_client=object())
    with httpx.Client() as client, pytest.raises(loom.ConfigurationError, match="http_client brings its own"):
        llm_for(server, http_client=client, proxy="http://proxy:3128")


@both
def test_a_closed_client_is_a_mistake_and_not_repeated(server, make):
    async def main():
        client = make()
        await close(client)
        with pytest.raises(loom.ConfigurationError, match="is closed") as caught:
            await llm_for(server, http_client=client, max_retries=2).generate(ask())
        return caught.value

    error = run(main())
    assert error.kind == "config" and not error.retryable and "keep it open" in error.hint and not server.requests
