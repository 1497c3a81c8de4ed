"""pydantic-ai: an agent, for calls and for runs with tools."""

from client import STREAMED, Answer, messages
from pydantic_ai import Agent
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


async def get_weather(city: str) -> str:
    """The weather in a city now."""
    return f"sunny in {city}"


class Peer:
    def __init__(self, case, url):
        model = OpenAIChatModel("m", provider=OpenAIProvider(base_url=url, api_key="sk-test"))
        self.agent = Agent(model, tools=[get_weather] if case.startswith("agent-") else [])
        *history, last = messages(case)
        self.prompt = last["content"]
        self.history = [
            ModelRequest(parts=[UserPromptPart(message["content"])])
            if message["role"] == "user"
            else ModelResponse(parts=[TextPart(message["content"])])
            for message in history
        ] or None
        self.streamed = case in STREAMED

    async def call(self):
        answer = Answer()
        if self.streamed:
            async with self.agent.run_stream(self.prompt, message_history=self.history) as run:
                async for delta in run.stream_text(delta=True, debounce_by=None):
                    answer.add(delta)
        else:
            answer.text = (await self.agent.run(self.prompt, message_history=self.history)).output
        return answer

    def check(self, answer, expected):
        return answer.whole() == expected
