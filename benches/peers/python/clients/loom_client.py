"""Loom: an agent, for calls and for runs with tools."""

import loom
from client import QUESTION, STREAMED, Answer, messages


@loom.tool
async def get_weather(city: str) -> str:
    """The weather in a city now."""
    return f"sunny in {city}"


class Peer:
    def __init__(self, case, url):
        tools = [get_weather] if case.startswith("agent-") else None
        self.agent = loom.agent(base_url=url, api_key="sk-test", model="m", tools=tools)
        self.input = messages(case) if case == "history" else messages(case)[0]["content"]
        self.streamed = case in STREAMED
        assert case in ("history", "prompt") or self.input == QUESTION

    async def call(self):
        answer = Answer()
        if self.streamed:
            async for event in self.agent.stream(self.input):
                if event["type"] == "content_delta":
                    answer.add(event["content"])
        else:
            answer.text = (await self.agent.run(self.input)).content
        return answer

    def check(self, answer, expected):
        return answer.whole() == expected
