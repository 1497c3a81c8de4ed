"""An LLM of your own, for what does not speak the OpenAI format. No server is needed.

A subclass of ``loom.BaseLLM`` writes ``stream``; ``generate`` and the agent's tool loop come with it.

Run it with: python own_llm.py
"""

import loom


class Echo(loom.BaseLLM):
    model_name = "echo"

    async def stream(self, messages, tools=None, response_format=None, tool_choice=None, **params):
        yield {"type": "content_delta", "content": f"You said: {messages[-1]['content']}"}
        yield {"type": "finish", "finish_reason": "stop"}


agent = loom.agent("parrot", llm=Echo())
print(agent.run_sync("Hello!").content)
