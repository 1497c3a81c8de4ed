"""litellm. Its price list comes from the package and not from the network."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from client import STREAMED, Answer, messages

CANNOT = ("agent-1", "agent-10")


class Peer:
    def __init__(self, case, url):
        self.arguments = {
            "model": "openai/m",
            "api_base": url,
            "api_key": "sk-test",
            "messages": messages(case),
        }
        self.streamed = case in STREAMED

    async def call(self):
        answer = Answer()
        if self.streamed:
            chunks = await litellm.acompletion(**self.arguments, stream=True, stream_options={"include_usage": True})
            async for chunk in chunks:
                if chunk.choices:
                    answer.add(chunk.choices[0].delta.content)
        else:
            response = await litellm.acompletion(**self.arguments)
            answer.text = response.choices[0].message.content
        return answer

    def check(self, answer, expected):
        return answer.whole() == expected
