"""A small emulated server of Anthropic's Messages API: it calls the first tool it is offered, then tells the result."""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from replies import Answer, Reply, Request, json_reply


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def messages_api(request: Request) -> Answer:
    """Refuses what the real one refuses: a missing key or version, system messages amid the turns, roles in a row."""

    def refused(status: int, kind: str, message: str) -> Reply:
        return json_reply({"type": "error", "error": {"type": kind, "message": message}}, status)

    if request.path != "/v1/messages":
        return refused(404, "not_found_error", request.path)
    if request.headers.get("x-api-key") != "sk-ant-test":
        return refused(401, "authentication_error", "invalid x-api-key")
    if "anthropic-version" not in request.headers:
        return refused(400, "invalid_request_error", "anthropic-version: header is required")
    body = request.json
    roles = [message["role"] for message in body["messages"]]
    if set(roles) - {"user", "assistant"} or any(a == b for a, b in zip(roles, roles[1:])):
        return refused(400, "invalid_request_error", f"messages: roles {roles}")
    if "max_tokens" not in body or body.get("system") != "Be brief.":
        return refused(400, "invalid_request_error", "max_tokens and system are required here")
    last = body["messages"][-1]["content"][-1]
    pieces = [_event("message_start", message={"role": "assistant", "usage": {"input_tokens": 7, "output_tokens": 1}})]
    pieces.append(b'event: ping\ndata: {"type": "ping"}\n\n')
    if last["type"] == "tool_result":
        called = body["messages"][-2]["content"][-1]
        if (called["id"], called["input"]) != (last["tool_use_id"], {"city": "Paris"}):
            return refused(400, "invalid_request_error", f"unexpected tool_use_id in {last}")
        block, stop = {"type": "text", "text": ""}, "end_turn"
        deltas = [{"type": "text_delta", "text": text} for text in ("It is ", last["content"], ".")]
    else:
        schema = body["tools"][0]
        if schema["input_schema"]["type"] != "object":
            return refused(400, "invalid_request_error", "tools.0.input_schema")
        block, stop = {"type": "tool_use", "id": "toolu_1", "name": schema["name"], "input": {}}, "tool_use"
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", '{"city": ', '"Paris"}')]
    pieces.append(_event("content_block_start", index=0, content_block=block))
    pieces += [_event("content_block_delta", index=0, delta=delta) for delta in deltas]
    pieces.append(_event("content_block_stop", index=0))
    pieces.append(_event("message_delta", delta={"stop_reason": stop}, usage={"output_tokens": 5}))
    pieces.append(_event("message_stop"))
    return Reply(pieces, headers={"content-type": "text/event-stream"})
