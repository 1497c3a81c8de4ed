"""An emulated server beside the real one of its name: the same requests, and the shapes of the answers compared.

The real answers are recorded (tests/corpus/captures) or those of a server that runs now (tests/servers). What the real
one said becomes the script of the emulator, so that only how it is said can differ. Which servers, what is left out
and where they differ on purpose stands in tests/corpus/emulators.json. The same from Rust:
crates/loom-testkit/tests/emulators.
"""

from __future__ import annotations

import http.client
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loom.testing import emulate

ROOT = Path(__file__).resolve().parents[2]
CAPTURES = ROOT / "tests" / "corpus" / "captures"
LIST = json.loads((ROOT / "tests" / "corpus" / "emulators.json").read_text(encoding="utf-8"))
KEY = "sk-test"  #: the key that the recorded servers asked for

HEADERS = ("content-type", "server", "x-request-id", "openai-processing-ms", "retry-after")
EXACT_HEADERS = ("content-type", "server")  #: of these the value counts, not only that there is one
WORDS = (
    "object",
    "type",
    "owned_by",
    "role",
    "param",
    "code",
    "finish_reason",
)  #: texts that are words of the protocol
MESSAGES = ("message", "detail", "error")  #: fields that hold an error's words


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: str

    def send(self, origin: str) -> Answer:
        url = urlsplit(origin)
        connection = http.client.HTTPConnection(str(url.hostname), url.port or 80, timeout=120)
        connection.request(self.method, self.path, self.body.encode() or None, self.headers)
        answer = connection.getresponse()
        try:
            body = answer.read()
        except http.client.IncompleteRead as cut:
            body = cut.partial
        connection.close()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, headers, body.decode("utf-8", "replace"))


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def events(self) -> list[str]:
        return [line[5:].strip() for line in self.body.splitlines() if line.startswith("data:")]

    def chunks(self) -> list[Any]:
        return [json.loads(data) for data in self.events() if data.startswith("{")]

    def whole(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def cases(folder: str) -> list[Path]:
    return [file for file in sorted((CAPTURES / folder).glob("*.txt")) if file.stem not in LIST["left_out"]]


def recorded(file: Path) -> tuple[Request, Answer]:
    """An exchange as curl showed it."""
    curl, _, answer = file.read_bytes().decode("utf-8", "replace").split("\n", 2)
    words = shlex.split(curl)
    after = lambda flag: [words[at + 1] for at, word in enumerate(words) if word == flag]  # noqa: E731
    url = urlsplit(next(word for word in words if word.startswith("http://")))
    headers = dict(line.split(": ", 1) for line in after("-H"))
    request = Request(after("-X")[0], url.path, headers, "".join(after("-d")))
    head, _, body = answer.partition("\r\n\r\n")
    first, *lines = head.splitlines()
    pairs = (line.split(":", 1) for line in lines)
    return request, Answer(
        int(first.split()[1]), {name.lower(): value.strip() for name, value in pairs}, body.removesuffix("\n")
    )


def said(answer: Answer) -> list[Any]:
    """A script of what the real server said."""
    whole = answer.whole()
    content, reason, stopped = "", None, False
    calls: dict[int, dict[str, str]] = {}
    for chunk in [whole] if isinstance(whole, dict) else answer.chunks():
        for choice in chunk.get("choices") or []:
            if choice.get("index") != 0:
                continue
            message = choice.get("delta", choice.get("message", {}))
            content += message.get("content") or ""
            reason = choice.get("finish_reason") or reason
            stopped |= isinstance(choice.get("stop_reason"), str)
            for at, call in enumerate(message.get("tool_calls") or []):
                kept = calls.setdefault(call.get("index", at), {"name": "", "arguments": ""})
                kept["name"] = call["function"].get("name") or kept["name"]
                kept["arguments"] += call["function"].get("arguments") or ""
    if reason is None:
        return []
    if reason == "stop" and stopped:
        reason = "stop_sequence"
    elif reason != "length":
        # With calls it is left to the emulator, which knows its server's word for it.
        reason = None if calls else "stop"
    return [{"content": content, "tool_calls": list(calls.values()), "finish_reason": reason}]


def emulated(name: str, model: str, case: str, request: Request, real: Answer) -> Answer:
    """What the emulator answers to the same request when it says the same."""
    context = 500 if case.startswith("too_long") else 2048
    with emulate(name, api_key=KEY, models=[model], context=context, script=said(real)) as server:
        return request.send(server.origin)


def differences(real: Answer, emulated: Answer) -> list[str]:
    """How the shapes of two answers differ."""
    pairs: list[tuple[str, Any, Any]] = [("status", real.status, emulated.status)]
    for name in HEADERS:
        shown = (answer.headers.get(name) for answer in (real, emulated))
        pairs.append((name, *(value if name in EXACT_HEADERS else value is not None for value in shown)))
    if real.is_stream and emulated.is_stream:
        pairs.append(("chunks, each kind once", chunk_shapes(real), chunk_shapes(emulated)))
        pairs.append(("[DONE]", real.events()[-1:] == ["[DONE]"], emulated.events()[-1:] == ["[DONE]"]))
        style = re.compile(r"^data: \{", re.MULTILINE)
        pairs.append(("data: and a blank", bool(style.search(real.body)), bool(style.search(emulated.body))))
    else:
        pairs.append(("body", body_shape(real), body_shape(emulated)))
    return [f"{what}\n    real     {one}\n    emulated {other}" for what, one, other in pairs if one != other]


def body_shape(answer: Answer) -> Any:
    whole = answer.whole()
    return answer.body if whole is None else shape(whole, "", answer.status >= 400)


def chunk_shapes(answer: Answer) -> list[str]:
    shapes = (json.dumps(shape(chunk, "", False), sort_keys=True) for chunk in answer.chunks())
    return list(dict.fromkeys(shapes))


def shape(value: Any, key: str, is_error: bool) -> Any:
    """Keys and types; of lists, each kind of item once."""
    if isinstance(value, dict):
        return {name: shape(item, name, is_error) for name, item in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(item, key, is_error), sort_keys=True) for item in value})
    if key == "finish_reason" and value in ("stop", "length"):
        return "stop or length"  # which of the two depends on what the model said
    if isinstance(value, str) and is_error and key in MESSAGES:
        # Counts are the model's; what a validator goes on to say is its own.
        return re.sub(r"\d+(\.\d+)?", "#", value.split("validation error")[0])
    if key in WORDS and not isinstance(value, bool):
        return value
    return value if value is None else type(value).__name__.replace("float", "int")
