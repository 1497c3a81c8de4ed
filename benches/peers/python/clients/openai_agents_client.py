"""openai-agents: an agent, for calls and for runs with tools. Its tracing, which would call home, is off."""

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from client import STREAMED, Answer, messages
from openai import AsyncOpenAI

set_tracing_disabled(True)


@function_tool
async def get_weather(city: str) -> str:
    """The weather in a city now."""
    return f"sunny in {city}"


class Peer:
    def __init__(self, case, url):
        client = AsyncOpenAI(base_url=url, api_key="sk-test")
        model = OpenAIChatCompletionsModel(model="m", openai_client=client)
        self.agent = Agent(name="bench", model=model, tools=[get_weather] if case.startswith("agent-") else [])
        self.input = messages(case)
        self.streamed = case in STREAMED

    async def call(self):
        answer = Answer()
        if self.streamed:
            async for event in Runner.run_streamed(self.agent, self.input).stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    answer.add(event.data.delta)
        else:
            answer.text = (await Runner.run(self.agent, self.input, max_turns=20)).final_output
        return answer

    def check(self, answer, expected):
        return answer.whole() == expected
