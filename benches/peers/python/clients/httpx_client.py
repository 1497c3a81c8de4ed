"""The floor: httpx, request bodies made beforehand, bytes read and counted, nothing decoded."""

import json

import httpx
from client import STREAMED, Answer, messages

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Peer:
    def __init__(self, case, url):
        self.client = httpx.AsyncClient(
            timeout=600, limits=httpx.Limits(max_connections=10_000, max_keepalive_connections=10_000)
        )
        self.url = f"{url}/chat/completions"
        self.streamed = case in STREAMED
        self.length = None
        calls = int(case.removeprefix("agent-")) if case.startswith("agent-") else 0
        history = messages(case)
        self.bodies = []
        for at in range(calls + 1):
            body = {"model": "m", "messages": history}
            if self.streamed:
                body.update(stream=True, stream_options={"include_usage": True})
            if calls:
                body["tools"] = [TOOL]
            self.bodies.append(json.dumps(body).encode())
            call = {
                "id": f"call_{at}",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
            }
            history = [
                *history,
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": f"call_{at}", "content": "sunny in Paris"},
            ]

    async def call(self):
        answer = Answer()
        length = 0
        headers = {"content-type": "application/json"}
        for body in self.bodies:
            if self.streamed:
                async with self.client.stream("POST", self.url, content=body, headers=headers) as response:
                    response.raise_for_status()
                    async for piece in response.aiter_bytes():
                        if answer.first is None:
                            answer.add("x")
                        length += len(piece)
            else:
                response = await self.client.post(self.url, content=body, headers=headers)
                length += len(response.raise_for_status().content)
        if self.length not in (None, length):
            raise SystemExit(f"{length} bytes, and {self.length} before")
        self.length = length
        return answer

    def check(self, answer, expected):
        return self.length > len(expected)
