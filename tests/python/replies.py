"""What the mock server is asked and what it answers: requests, replies, the OpenAI format, and the echo chat.

A piece of a reply is bytes (sent as they are), a number (seconds of pause), a `threading.Event` (wait until it is set),
or one of HANG, CLOSE, RESET. No IO here.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union
from urllib.parse import parse_qsl, urlsplit

HANG = "hang"  #: say nothing more until the client leaves
CLOSE = "close"  #: close the connection here, in the middle of the reply
RESET = "reset"  #: abort the connection here (TCP RST)


@dataclass
class Request:
    """One request as it arrived. `via` is "host:port" when it came through the proxy."""

    method: str
    target: str
    headers: dict[str, str]  #: names in lower case; repeated ones joined with ", "
    body: bytes
    connection: int  #: number of the connection, from 1
    port: int  #: the local port that it came in on
    scheme: str = "http"
    via: Optional[str] = None
    outcome: Optional[str] = None  #: None while being answered, then "sent", "client_closed" or "server_closed"
    bytes_sent: int = 0  #: bytes of the reply that the kernel has taken so far

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.json["messages"]

    @property
    def authorization(self) -> Optional[str]:
        return self.headers.get("authorization")

    @property
    def is_chat(self) -> bool:
        return self.method == "POST" and self.path.endswith("/chat/completions")


@dataclass
class Reply:
    """What to answer. `framing`: "chunked", "length" (joins the pieces), "close" (the end of the connection ends the
    body) or "raw" (the pieces are the whole HTTP answer, head included)."""

    pieces: Iterable[Any] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    framing: str = "chunked"
    delay: Any = 0  #: seconds, or an Event, to wait before the head


Answer = Union[Reply, str]
Handler = Callable[[Request], Answer]


# ---- Answers in the OpenAI format


def json_reply(value: Any, status: int = 200, headers: Optional[dict[str, str]] = None) -> Reply:
    return Reply([json.dumps(value, ensure_ascii=False).encode()], status, headers or {}, framing="length")


def error_reply(
    status: int, message: str = "refused", headers: Optional[dict[str, str]] = None, **fields: Any
) -> Reply:
    """OpenAI's error envelope; `fields` are type, code, param."""
    return json_reply(
        {"error": {"message": message, "type": None, "param": None, "code": None, **fields}}, status, headers
    )


def event(value: Any) -> bytes:
    """One SSE event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def chunk(delta: Optional[dict[str, Any]] = None, finish: Optional[str] = None, **fields: Any) -> bytes:
    """One chunk of a streamed answer as an SSE event. `delta=None`: no choices (the usage chunk)."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "mock-model",
            "choices": choices,
            **fields,
        }
    )


def text_chunks(*texts: str) -> list[bytes]:
    """The beginning of a streamed answer: the role, then the texts. No end."""
    return [chunk({"role": "assistant", "content": ""}), *(chunk({"content": text}) for text in texts)]


def sse(*pieces: Any, headers: Optional[dict[str, str]] = None) -> Reply:
    """A stream of exactly these pieces."""
    return Reply(list(pieces), headers={"content-type": "text/event-stream", **(headers or {})})


def streamed(
    *texts: str, finish: str = "stop", usage: Optional[dict[str, Any]] = None, headers: Optional[dict[str, str]] = None
) -> Reply:
    """A whole streamed answer of these text deltas."""
    end = [chunk({}, finish), *([chunk(None, usage=usage)] if usage else []), DONE]
    return sse(*text_chunks(*texts), *end, headers=headers)


def whole(message: dict[str, Any], finish: str = "stop", **fields: Any) -> Reply:
    """A whole answer in one JSON body."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json_reply(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "mock-model",
            "choices": [choice],
            **fields,
        }
    )


def tool_calls(*calls: tuple[str, Any], stream: bool = True) -> Reply:
    """An answer that calls tools: (name, arguments) each, ids call_1, call_2, … A str goes out as it is."""
    entries = []
    for number, (name, arguments) in enumerate(calls, 1):
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        entries.append({"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": text}})
    if not stream:
        return whole({"content": None, "tool_calls": entries}, "tool_calls", usage=USAGE)
    pieces = [chunk({"role": "assistant", "content": None})]
    for index, entry in enumerate(entries):
        function = entry["function"]
        first, half = (
            {**entry, "index": index, "function": {**function, "arguments": ""}},
            len(function["arguments"]) // 2,
        )
        pieces.append(chunk({"tool_calls": [first]}))
        for part in (function["arguments"][:half], function["arguments"][half:]):
            pieces.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]}))
    return sse(*pieces, chunk({}, "tool_calls"), chunk(None, usage=USAGE), DONE)


def plain_text(content: Any) -> str:
    """A message's content, which may also be a list of parts."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])


class EchoChat:
    """The default handler: /v1/models, and a chat that answers "echo: <the last user message>".

    A line "call NAME JSON" in the user's message makes it call that tool (when tools are offered), each line one call
    of the same turn; its answer is then "tools: <result>, <result>".
    """

    def __init__(self, models: Sequence[str] = ("mock-model",)) -> None:
        self.models = list(models)

    def __call__(self, request: Request) -> Answer:
        if request.method == "GET" and request.path == "/v1/models":
            return json_reply(
                {
                    "object": "list",
                    "data": [{"id": m, "object": "model", "created": 1, "owned_by": "mock"} for m in self.models],
                }
            )
        if request.method != "POST" or request.path != "/v1/chat/completions":
            return error_reply(404, f"no such path: {request.method} {request.path}")
        body = request.json
        last = body["messages"][-1]
        stream = body.get("stream") is True
        if last["role"] == "tool":
            turn = itertools.takewhile(lambda message: message["role"] == "tool", reversed(body["messages"]))
            return self.answer("tools: " + ", ".join(reversed([plain_text(m["content"]) for m in turn])), stream, body)
        text = plain_text(last["content"])
        calls = [line.split(" ", 2)[1:] for line in text.splitlines() if line.startswith("call ")]
        if calls and body.get("tools"):
            return tool_calls(*((name, arguments) for name, arguments in calls), stream=stream)
        return self.answer(f"echo: {text}", stream, body)

    def answer(self, text: str, stream: bool, body: dict[str, Any]) -> Reply:
        if not stream:
            return whole({"content": text}, usage=USAGE)
        wants_usage = (body.get("stream_options") or {}).get("include_usage")
        return streamed(*(text[i : i + 4] for i in range(0, len(text), 4)), usage=USAGE if wants_usage else None)
