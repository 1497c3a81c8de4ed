"""The error tree, what makes which error, retries, and what arrived before a stream broke."""

import json
import socket
import time

import loom
import pytest
from conftest import KEY, agent_for, ask, collect, llm_for, run, texts
from loom.testing import emulate
from replies import CLOSE, RESET, Reply, chunk, error_reply, event, json_reply, sse, streamed, text_chunks

KINDS = {
    "config": loom.ConfigurationError,
    "connection": loom.APIConnectionError,
    "timeout": loom.APITimeoutError,
    "auth": loom.AuthenticationError,
    "permission": loom.PermissionDeniedError,
    "not_found": loom.NotFoundError,
    "bad_request": loom.BadRequestError,
    "context_length": loom.ContextLengthError,
    "content_filter": loom.ContentFilterError,
    "rate_limit": loom.RateLimitError,
    "quota": loom.QuotaExceededError,
    "overloaded": loom.OverloadedError,
    "server": loom.InternalServerError,
    "stream_interrupted": loom.StreamInterruptedError,
    "bad_response": loom.BadResponseError,
}


def failure(server, kind="", **options):
    """The error of one request. `kind` is checked together with the class that belongs to it."""
    with pytest.raises(loom.LLMError) as caught:
        run(llm_for(server, **options).generate(ask()))
    error = caught.value
    assert type(error) is KINDS[error.kind]
    if kind:
        assert error.kind == kind, error
    return error


# ---- The tree


def test_the_tree():
    assert issubclass(loom.LoomError, Exception)
    assert issubclass(loom.LLMError, loom.LoomError) and issubclass(loom.AgentError, loom.LoomError)
    for error in KINDS.values():
        assert issubclass(error, loom.LLMError)
    for error in (loom.ExecutionError, loom.ToolError, loom.RecursionError):
        assert issubclass(error, loom.AgentError)


# ---- What makes which error

CONTEXT = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."
ANSWERS = [
    (401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}, "auth"),
    (401, {"error": "Unauthorized"}, "auth"),
    (401, {"detail": "Invalid API key"}, "auth"),
    (403, {"error": {"message": "Country not supported"}}, "permission"),
    (404, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}, "not_found"),
    (400, {"error": {"message": "Invalid value for 'temperature'", "param": "temperature"}}, "bad_request"),
    (
        422,
        {"detail": [{"loc": ["body", "seed"], "msg": "Input should be an integer", "type": "int_type"}]},
        "bad_request",
    ),
    (400, {"error": {"message": CONTEXT, "code": "context_length_exceeded"}}, "context_length"),
    (400, {"object": "error", "message": CONTEXT, "type": "BadRequestError", "code": 40303}, "context_length"),
    (
        400,
        {
            "error": {
                "message": "request (2009 tokens) exceeds the available context size (512 tokens)",
                "type": "exceed_context_size_error",
            }
        },
        "context_length",
    ),
    (400, {"error": {"message": "The response was filtered", "code": "content_filter"}}, "content_filter"),
    (429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}, "rate_limit"),
    (429, {}, "rate_limit"),
    (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, "quota"),
    (402, {"error": {"message": "Insufficient Balance"}}, "quota"),
    (503, {"error": {"message": "Loading model", "type": "unavailable_error"}}, "overloaded"),
    (529, {"error": {"message": "Overloaded"}}, "overloaded"),
    (500, {"error": {"message": "Internal error"}}, "server"),
]


@pytest.mark.parametrize(("status", "body", "kind"), ANSWERS, ids=[f"{status}-{kind}" for status, _, kind in ANSWERS])
def test_statuses(server, status, body, kind):
    server.handler = lambda request: json_reply(body, status, {"x-request-id": "req-7"})
    error = failure(server, kind, max_retries=0)
    assert error.status_code == status and error.request_id == "req-7"
    assert error.url.startswith(server.origin) and isinstance(error.retryable, bool)
    assert error.retryable == (kind in ("rate_limit", "overloaded", "server"))
    said = body.get("error", body.get("detail", body.get("message")))
    if isinstance(said, dict):
        assert said["message"] in str(error)


def test_the_body_is_kept(server):
    server.script(error_reply(400, "bad seed", param="seed"))
    body = failure(server, "bad_request").body
    assert (body if isinstance(body, dict) else json.loads(body))["error"]["param"] == "seed"


@pytest.mark.parametrize("status", [401, 400, 404, 429, 500])
def test_the_key_is_in_no_error(server, status):
    server.handler = lambda request: error_reply(status, f"Incorrect key: {KEY}; you sent {request.authorization}")
    error = failure(server, max_retries=0)
    for text in (str(error), repr(error), repr(error.args), str(error.body), str(error.hint), str(error.url)):
        assert KEY not in text


def test_a_closed_port_is_a_connection_error(server):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    error = failure(server, "connection", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
    assert f"127.0.0.1:{port}" in str(error) and error.status_code is None and error.hint


def test_an_unknown_host_is_a_connection_error(server):
    error = failure(server, "connection", base_url="http://no-such-host.invalid/v1", max_retries=0)
    assert "no-such-host.invalid" in str(error)


def test_an_html_page_is_a_bad_response(server):
    server.handler = lambda request: Reply(
        [b"<html><title>Sign in</title></html>"], headers={"content-type": "text/html"}, framing="length"
    )
    assert "web page" in str(failure(server, "bad_response", max_retries=0))


@pytest.mark.parametrize("body", [b'{"choices": [{"mess', b"null", b"", b"surprise"])
def test_no_answer_in_the_body(server, body):
    server.handler = lambda request: Reply([body], framing="length")
    assert failure(server, max_retries=0).kind in ("bad_response", "stream_interrupted")


def test_an_error_inside_a_stream(server):
    server.script(sse(event({"error": {"message": "CUDA out of memory", "code": 500}})))
    assert "CUDA out of memory" in str(failure(server, max_retries=0))


# ---- Retries

SOON = {"retry-after-ms": "1"}


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_retried_twice(server, status):
    server.handler = lambda request: error_reply(status, "later", SOON)
    failure(server)
    assert len(server.chats) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_may_succeed(server, status):
    server.script(
        error_reply(status, "later", {"retry-after": "0"}), error_reply(status, "later", SOON), streamed("ok")
    )
    assert run(agent_for(server).run("hi")).content == "ok"
    assert len(server.chats) == 3
    assert len({chat.body for chat in server.chats}) == 1


@pytest.mark.parametrize(
    ("status", "fields"),
    [(400, {}), (401, {}), (403, {}), (422, {}), (429, {"code": "insufficient_quota"})],
    ids=["400", "401", "403", "422", "quota"],
)
def test_never_retried(server, status, fields):
    server.handler = lambda request: error_reply(status, "no", SOON, **fields)
    failure(server)
    assert len(server.chats) == 1


def test_a_payment_is_retried_only_when_the_server_says_when(server):
    server.script(error_reply(402, "no"))
    assert failure(server).attempts == 1
    server.handler = lambda request: error_reply(402, "no", SOON)
    assert failure(server).attempts == 3


LOADING = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}


def test_a_model_that_loads_is_waited_for_and_told(server):
    server.script(*[json_reply(LOADING, 503, SOON) for _ in range(4)], streamed("ok"))
    events = run(collect(agent_for(server, max_retries=1).stream("hi")))
    retries = [event for event in events if event["type"] == "retry"]
    assert [event["reason"] for event in retries] == ["loading"] * 4
    assert [event["attempt"] for event in retries] == [1, 2, 3, 4]
    assert events[-1]["message"].content == "ok"


def test_a_model_that_loads_for_too_long(server):
    server.handler = lambda request: json_reply(LOADING, 503)
    error = failure(server, "overloaded", timeout=loom.Timeout(loading=0.2))
    assert "loading" in error.hint and "Loading model" in str(error)


def test_retries_are_events_and_on_the_error(server):
    server.handler = lambda request: error_reply(503, "later", SOON)
    events = []

    async def ask_once():
        async for came in llm_for(server).stream(ask()):
            events.append(came)

    with pytest.raises(loom.OverloadedError) as caught:
        run(ask_once())
    assert [event["type"] for event in events] == ["retry", "retry"]
    assert [event["attempt"] for event in events] == [1, 2]
    first = events[0]
    assert (first["reason"], first["status_code"], first["message"]) == ("overloaded", 503, "later") and first[
        "wait"
    ] > 0
    assert [{**retry, "type": "retry"} for retry in caught.value.retries] == events


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (1, 2), (4, 5)])
def test_max_retries(server, retries, requests):
    server.handler = lambda request: error_reply(503, "later", SOON)
    failure(server, max_retries=retries)
    assert len(server.chats) == requests


def test_retry_after_is_waited_for_and_reported(server):
    server.script(
        error_reply(429, "later", {"retry-after": "0.3"}),
        streamed("ok"),
        error_reply(429, "later", {"retry-after": "7"}),
    )
    started = time.monotonic()
    run(llm_for(server).generate(ask()))
    assert 0.3 <= time.monotonic() - started < 2
    assert failure(server, "rate_limit", max_retries=0).retry_after == 7


def test_the_server_may_forbid_or_ask_for_a_retry(server):
    server.script(error_reply(503, "no", {**SOON, "x-should-retry": "false"}))
    failure(server)
    assert len(server.chats) == 1
    server.script(error_reply(400, "yes", {**SOON, "x-should-retry": "true"}), streamed("ok"))
    assert run(llm_for(server).generate(ask())).content == "ok"


def test_a_very_long_retry_after_is_not_waited_for(server):
    server.script(error_reply(429, "tomorrow", {"retry-after": "86400"}))
    assert failure(server, "rate_limit").retry_after == 86400
    assert len(server.chats) == 1


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_connection_that_breaks_before_the_answer_is_retried(server, end):
    server.script(end, streamed("ok"))
    assert run(llm_for(server).generate(ask())).content == "ok"
    assert len(server.chats) == 2


# ---- Broken streams


@pytest.mark.parametrize("end", [CLOSE, RESET, None], ids=["close", "reset", "end"])
def test_a_cut_stream_carries_what_had_arrived(server, end):
    server.script(sse(*text_chunks("Hel", "lo"), 0.05, *([end] if end else [])))
    error = failure(server, "stream_interrupted")
    assert partial(error) == "Hello"
    assert len(server.chats) == 1, "never retried after the first token"


def test_a_cut_stream_yields_its_text_first(server):
    server.script(sse(*text_chunks("Hel", "lo"), 0.05, CLOSE))

    async def reads():
        got = []
        with pytest.raises(loom.StreamInterruptedError):
            async for one in llm_for(server).stream(ask()):
                got.append(one)
        return got

    assert texts(run(reads())) == "Hello"


def test_an_error_in_the_middle_of_a_stream_carries_what_had_arrived(server):
    server.script(sse(*text_chunks("Hel", "lo"), event({"error": {"message": "engine died", "code": 500}})))
    error = failure(server)
    assert "engine died" in str(error) and partial(error) == "Hello"


def test_a_cut_stream_in_an_agent(server):
    server.script(sse(*text_chunks("Hel", "lo"), 0.05, CLOSE))
    with pytest.raises(loom.StreamInterruptedError) as caught:
        run(agent_for(server).run("hi"))
    assert partial(caught.value) == "Hello"
    server.script(sse(*text_chunks("Hel", "lo"), 0.05, CLOSE))
    with pytest.raises(loom.StreamInterruptedError):
        run(collect(agent_for(server).stream("hi")))


def test_a_finish_reason_without_done_is_a_whole_answer(server):
    server.script(sse(*text_chunks("Hello"), chunk({}, "stop")))
    assert run(llm_for(server).generate(ask())).content == "Hello"


def partial(error):
    """The text that had arrived."""
    return getattr(error.partial, "content", error.partial)


def test_an_empty_stream_says_what_it_may_mean():
    with emulate("llama-cpp-python", context=50) as server:
        llm = loom.UnifiedLLM(base_url=server.base_url, model=server.models[0], max_retries=0)
        with pytest.raises(loom.BadResponseError, match="empty answer") as caught:
            run(collect(llm.stream("word " * 200)))
        assert "longer than the model's context" in caught.value.hint
        with pytest.raises(loom.ContextLengthError):
            run(llm.generate("word " * 200))
