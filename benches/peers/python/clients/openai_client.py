"""openai-python."""

import openai
from client import STREAMED, Answer, messages

CANNOT = ("agent-1", "agent-10")


class Peer:
    def __init__(self, case, url):
        limits = openai._constants.DEFAULT_CONNECTION_LIMITS
        if case == "slow":
            limits = type(limits)(max_connections=10_000, max_keepalive_connections=10_000)
        http = openai.DefaultAsyncHttpxClient(limits=limits)
        self.client = openai.AsyncOpenAI(base_url=url, api_key="sk-test", http_client=http)
        self.messages = messages(case)
        self.streamed = case in STREAMED

    async def call(self):
        answer = Answer()
        if self.streamed:
            chunks = await self.client.chat.completions.create(
                model="m", messages=self.messages, stream=True, stream_options={"include_usage": True}
            )
            async for chunk in chunks:
                if chunk.choices:
                    answer.add(chunk.choices[0].delta.content)
        else:
            response = await self.client.chat.completions.create(model="m", messages=self.messages)
            answer.text = response.choices[0].message.content
        return answer

    def check(self, answer, expected):
        return answer.whole() == expected
