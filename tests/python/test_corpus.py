"""The wire corpus (tests/corpus, see its README) through the Python package: the same files, the same results.

The decoder's own tests (every split of every body) are Rust's: crates/loom-agent/tests/corpus.
"""

import base64
import json
import time
from collections import deque
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any, Optional

import loom
import pytest
from conftest import run
from replies import CLOSE, HANG, RESET, Reply, Request

from servers import MockServer

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
FILES = sorted(CORPUS.glob("4.*.json"))
NOT_YET = json.loads((CORPUS / "not-yet.json").read_text("utf-8"))
ERROR_FIELDS = ("kind", "message", "status_code", "retryable", "retry_after", "request_id", "url", "body", "code")
ERROR_FIELDS += ("param", "hint", "attempts", "context_limit", "requested_tokens")
COMPLETION_FIELDS = ("content", "reasoning", "tool_calls", "finish_reason", "usage", "model", "id", "request_id")
COMPLETION_FIELDS += ("refusal",)


def cases() -> Iterator[Any]:
    for file in FILES:
        for case in json.loads(file.read_text("utf-8"))["cases"]:
            reason = NOT_YET.get(case["id"])
            # xfail_strict: a case that passes must leave the list.
            marks = [pytest.mark.xfail(reason=reason, raises=(AssertionError, loom.errors.LoomError))] if reason else []
            yield pytest.param(case, id=case["id"], marks=marks)


# ---- What is expected against what came


def differ(expected: Any, actual: Any, exact: bool, place: str) -> Optional[str]:
    """Where the two differ, or None. With `exact`, an object has no further keys."""
    wrong = f"{place}: expected {expected!r}, got {actual!r}"
    if isinstance(expected, dict) and any(key.startswith("$") for key in expected):
        return None if all(fits(name, wanted, actual) for name, wanted in expected.items()) else wrong
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            found = differ(value, actual.get(key), exact, f"{place}.{key}")
            if found:
                return found
        further = {key: value for key, value in actual.items() if value is not None and key not in expected}
        return f"{place}: not expected: {further}" if exact and further else None
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = enumerate(zip(expected, actual))
        return next(filter(None, (differ(one, other, exact, f"{place}[{at}]") for at, (one, other) in pairs)), None)
    same_kind = isinstance(expected, bool) == isinstance(actual, bool)
    return None if same_kind and expected == actual else wrong


def fits(name: str, wanted: Any, actual: Any) -> bool:
    text = actual if isinstance(actual, str) else json.dumps(actual, ensure_ascii=False, separators=(",", ":"))
    words = [word.lower() for word in (wanted if isinstance(wanted, list) else [wanted]) if isinstance(word, str)]
    if name == "$any":
        return actual is not None
    if name == "$absent":
        return actual is None
    if name == "$contains":
        return all(word in text.lower() for word in words)
    if name == "$excludes":
        return not any(word in text.lower() for word in words)
    if name == "$json":
        return json.loads(text) == wanted
    if name == "$in":
        return any(differ(one, actual, True, "") is None for one in wanted)
    if name == "$length":
        return len(text.encode()) == wanted
    if name == "$near":
        return isinstance(actual, (int, float)) and abs(wanted - actual) <= 0.05 * abs(wanted) + 2
    raise AssertionError(f"unknown matcher {name}")


def must(expected: Any, actual: Any, exact: bool, place: str) -> None:
    found = differ(expected, actual, exact, place)
    assert found is None, found


def merged(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adjacent deltas of one kind as one."""
    result: list[dict[str, Any]] = []
    for event in events:
        if result and "content" in event and result[-1]["type"] == event["type"]:
            result[-1] = {**event, "content": result[-1]["content"] + event["content"]}
        else:
            result.append(event)
    return result


def fields_of(completion: Any) -> dict[str, Any]:
    fields = {name: getattr(completion, name) for name in COMPLETION_FIELDS}
    fields["tool_calls"] = [call.to_dict() for call in completion.tool_calls]
    fields["usage"] = completion.usage and completion.usage.to_dict()
    return fields


def fields_of_error(error: loom.errors.LLMError) -> dict[str, Any]:
    fields = {name: getattr(error, name) for name in ERROR_FIELDS}
    fields["ledger"] = [entry["rule"] for entry in error.ledger]
    return {**fields, "partial": error.partial and fields_of(error.partial)}


# ---- The server's side


def reply_of(response: dict[str, Any], server: MockServer, other: MockServer) -> Reply:
    body = response.get("body", "")
    pieces: list[Any] = [bytes_of(piece) for piece in (body if isinstance(body, list) else [body])]
    headers = {name: fill(value, server, other) for name, value in response.get("headers", {}).items()}
    end = response.get("end", "clean")
    streams = end != "clean" or headers.get("content-type", "").startswith("text/event-stream")
    framing = response.get("framing") or ("chunked" if streams else "length")
    status, delay = response.get("status", 200), response.get("delay", 0)
    # What was written must arrive before the reset overtakes it.
    pieces += {"clean": [], "cut": [CLOSE], "reset": [0.05, RESET], "hang": [HANG]}[end]
    if "content-type" not in {name.lower() for name in headers}:
        # The mock server would add one.
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if framing == "chunked" and end == "clean":
            written = [b"%x\r\n%s\r\n" % (len(piece), piece) if isinstance(piece, bytes) else piece for piece in pieces]
            pieces, head = [*(piece for piece in written if piece != b"0\r\n\r\n"), b"0\r\n\r\n"], head + CHUNKED
        elif end == "clean":
            head += f"content-length: {len(b''.join(pieces))}\r\n"
        head = f"HTTP/1.1 {status} Status\r\n{head}connection: close\r\n\r\n"
        return Reply([head.encode("latin-1"), *pieces], framing="raw", delay=delay)
    return Reply(pieces, status, headers, framing, delay)


CHUNKED = "transfer-encoding: chunked\r\n"


def bytes_of(piece: Any) -> Any:
    if isinstance(piece, str):
        return piece.encode()
    if "base64" in piece:
        return base64.b64decode(piece["base64"])
    if "repeat" in piece:
        return piece["text"].encode() * piece["repeat"]
    return piece["wait"]


def fill(text: str, server: MockServer, other: MockServer) -> str:
    date = formatdate(time.time() + 30, usegmt=True)
    return text.replace("{origin}", server.origin).replace("{other}", other.origin).replace("{date+30}", date)


# ---- Loom's side


def llm_of(settings: dict[str, Any], server: MockServer, other: MockServer) -> Any:
    known = {"provider", "model", "api_key", "base_url", "max_retries", "timeout", "headers", "query", "extra_body"}
    known.add("strict")
    known |= {"limits", "parse_text"}
    unknown = settings.keys() - known
    assert not unknown, f"Loom has no setting {unknown} yet"
    options = {"model": "m", "max_retries": 0, "base_url": "{origin}/v1", **settings}
    options["base_url"] = fill(options["base_url"], server, other)
    options["default_headers"] = options.pop("headers", None)
    options["default_query"] = options.pop("query", None)
    if isinstance(options.get("timeout"), dict):
        options["timeout"] = loom.Timeout(**options["timeout"])
    return loom.UnifiedLLM(**options)


def messages_of(request: dict[str, Any], last: Any) -> list[Any]:
    messages: list[Any] = []
    for message in request.get("messages", [{"role": "user", "content": "Hi"}]):
        if "$answer" in message:
            messages.append(last.to_message())
        elif isinstance(message.get("tool_call_id"), dict):
            call = last.tool_calls[message["tool_call_id"]["$call"]]
            messages.append({**message, "tool_call_id": call.id})
        else:
            messages.append(message)
    return messages


def call_arguments(request: dict[str, Any]) -> dict[str, Any]:
    tools = [{key: value for key, value in tool.items() if key != "returns"} for tool in request.get("tools", [])]
    arguments = {"tools": tools or None, **request.get("params", {})}
    arguments["tool_choice"] = request.get("tool_choice")
    arguments["response_format"] = request.get("response_format")
    return {name: value for name, value in arguments.items() if value is not None}


class Outcome:
    """What a call came to."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.completion: Any = None
        self.error: Any = None


async def chat(llm: Any, request: dict[str, Any], last: Any) -> Outcome:
    outcome = Outcome()
    messages, arguments = messages_of(request, last), call_arguments(request)
    try:
        if request.get("stream", True):
            stream = llm.stream(messages, **arguments)
            async for event in stream:
                outcome.events.append(event)
            outcome.completion = stream.completion()
        else:
            outcome.completion = await llm.generate(messages, **arguments)
    except loom.errors.LLMError as error:
        outcome.error = error
    return outcome


async def agent(llm: Any, request: dict[str, Any], expect: dict[str, Any]) -> Outcome:
    outcome, executed = Outcome(), []

    def tool_of(tool: dict[str, Any]) -> loom.Tool:
        name = tool["function"]["name"]

        async def call(a: Optional[int] = None) -> str:
            executed.append([name, {} if a is None else {"a": a}])
            return tool["returns"]

        return loom.Tool(call, name=name, parameters=tool["function"]["parameters"])

    made = loom.agent(llm=llm, tools=[tool_of(tool) for tool in request["tools"]], max_recursion_depth=4)
    try:
        answer = await made.run(messages_of(request, None))
        must(expect.get("text"), answer.content, True, "text")
    except loom.errors.LLMError as error:
        outcome.error = error
    must(expect.get("executed", []), executed, True, "executed")
    return outcome


def check(expect: dict[str, Any], request: dict[str, Any], outcome: Outcome) -> None:
    if outcome.error is not None:
        assert expect.get("error") is not None, f"failed: {fields_of_error(outcome.error)}"
        must(expect["error"], fields_of_error(outcome.error), False, "error")
    else:
        assert expect.get("error") is None, f"no error, but {expect['error']} is expected"
        rules = {entry["rule"] for entry in outcome.completion.ledger} if outcome.completion else set()
        if expect.get("ledger", []) is not None:
            assert sorted(rules) == sorted(expect.get("ledger", []))
    shown = f"{outcome.error!r}{outcome.error and fields_of_error(outcome.error)}{outcome.events}"
    assert not [secret for secret in expect.get("secrets", []) if secret in shown]
    if "events" in expect and request.get("stream", True):
        events = [{key: value for key, value in event.items() if key != "ledger"} for event in outcome.events]
        must(expect["events"], events if expect.get("unmerged") else merged(events), True, "events")
    if "completion" in expect:
        must(expect["completion"], fields_of(outcome.completion), False, "completion")


def check_sent(expect: dict[str, Any], requests: list[Request], responses: int) -> None:
    assert len(requests) == expect.get("attempts", responses)
    for request, facts in zip(requests, expect.get("sent", [])):
        path, _, query = request.target.partition("?")
        actual = {"method": request.method, "path": path, "query": query, "headers": request.headers}
        text = request.body.decode()
        must(facts, {**actual, "body_text": text, "body": json.loads(text) if text else None}, False, "sent")


@pytest.mark.parametrize("case", list(cases()))
def test_case(case: dict[str, Any]) -> None:
    replies: deque[Reply] = deque()

    def next_reply(_request: Request) -> Reply:
        return replies.popleft() if replies else Reply([b"the case has no further response"], 418, framing="length")

    with MockServer(next_reply) as server, MockServer(next_reply) as other:
        llm = llm_of(case.get("request", {}).get("settings", {}), server, other)
        last: Any = None
        for step in [case, *case.get("then", [])]:
            request, expect = step.get("request", {}), step["expect"]
            time.sleep(request.get("pause", 0))
            before, started = len(server.requests), time.monotonic()
            replies.clear()
            replies.extend(reply_of(response, server, other) for response in step["responses"])
            if request.get("call") == "models":
                outcome = Outcome()
                try:
                    must(expect.get("models"), run(llm.models()), True, "models")
                except loom.errors.LLMError as error:
                    outcome.error = error
            elif request.get("call") == "agent":
                outcome = run(agent(llm, request, expect), 40)
            else:
                outcome = run(chat(llm, request, last), 40)
                last = outcome.completion
            least, most = expect.get("seconds", (0, 40))
            assert least <= time.monotonic() - started <= most
            check(expect, request, outcome)
            check_sent(expect, server.requests[before:], len(step["responses"]))
            assert expect.get("connections") in (None, server.accepted)
            assert expect.get("other_requests") in (None, len(other.requests))
