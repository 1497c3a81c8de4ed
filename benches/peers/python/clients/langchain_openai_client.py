"""langchain-openai: the chat model. Its agent loop is another package (langgraph)."""

from client import STREAMED, Answer, messages
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI

CANNOT = ("agent-1", "agent-10")


class Peer:
    def __init__(self, case, url):
        self.llm = ChatOpenAI(base_url=url, api_key="sk-test", model="m", stream_usage=True)
        self.messages = [
            HumanMessage(message["content"]) if message["role"] == "user" else AIMessage(message["content"])
            for message in messages(case)
        ]
        self.streamed = case in STREAMED

    async def call(self):
        answer = Answer()
        if self.streamed:
            async for chunk in self.llm.astream(self.messages):
                answer.add(chunk.content)
        else:
            answer.text = (await self.llm.ainvoke(self.messages)).content
        return answer

    def check(self, answer, expected):
        return answer.whole() == expected
