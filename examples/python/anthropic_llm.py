"""An adapter for what is not OpenAI-like: Anthropic's Messages API, streamed, with tools. Needs httpx.

Run it with: ANTHROPIC_API_KEY=… python anthropic_llm.py [BASE_URL]
"""

import json
import os
import sys

import httpx
import loom

FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


class MessagesLLM(loom.BaseLLM):
    model_name = "claude-sonnet-4-5"

    def __init__(self, api_key, base_url="https://api.anthropic.com", **params):
        self.client = httpx.AsyncClient(base_url=base_url, timeout=httpx.Timeout(600, connect=5))
        self.headers = {"x-api-key": api_key, "anthropic-version": "2023-06-01"}
        self.params = {"model": self.model_name, "max_tokens": 1024, **params}

    async def stream(self, messages, tools=None, response_format=None, tool_choice=None, **params):
        body = {**self.params, **params, "messages": turns(messages), "stream": True}
        system = "\n\n".join(m["content"] for m in messages if m["role"] in ("system", "developer"))
        body.update({"system": system} if system else {})
        if tools:
            functions = [tool["function"] for tool in tools]
            body["tools"] = [
                {"name": f["name"], "description": f.get("description", ""), "input_schema": f["parameters"]}
                for f in functions
            ]
        calls, usage, finish = {}, {}, None
        async with self.client.stream("POST", "/v1/messages", json=body, headers=self.headers) as response:
            if response.status_code != 200:
                text = (await response.aread()).decode()
                kind = loom.errors.AuthenticationError if response.status_code == 401 else loom.LLMError
                raise kind(text, status_code=response.status_code, retryable=response.status_code in (429, 529))
            async for line in response.aiter_lines():
                if not line.startswith("data:"):
                    continue
                event = json.loads(line[5:])
                usage.update(event.get("usage") or event.get("message", {}).get("usage") or {})
                delta, block = event.get("delta", {}), event.get("content_block", {})
                if event["type"] == "error":
                    raise loom.LLMError(event["error"]["message"], retryable=True)
                if block.get("type") == "tool_use":
                    calls[event["index"]] = {"id": block["id"], "name": block["name"], "arguments": ""}
                elif delta.get("type") == "text_delta":
                    yield {"type": "content_delta", "content": delta["text"]}
                elif delta.get("type") == "thinking_delta":
                    yield {"type": "reasoning_delta", "content": delta["thinking"]}
                elif delta.get("type") == "input_json_delta":
                    calls[event["index"]]["arguments"] += delta["partial_json"]
                finish = delta.get("stop_reason") or finish
        if finish is None:
            raise loom.errors.StreamInterruptedError("the stream ended without a stop reason", retryable=True)
        if calls:
            done = [{**call, "arguments": json.loads(call["arguments"] or "{}")} for call in calls.values()]
            yield {"type": "tool_calls", "tool_calls": done}
        prompt, answer = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
        yield {"type": "usage", "prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
        yield {"type": "finish", "finish_reason": FINISH.get(finish, finish)}


def turns(messages):
    """OpenAI's messages as Anthropic's: tool calls and results are blocks, and results stand in the user's turn."""
    found = []
    for message in messages:
        role, blocks = message["role"], [{"type": "text", "text": message["content"]}] if message.get("content") else []
        if role in ("system", "developer"):
            continue
        if role == "tool":
            role = "user"
            blocks = [{"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]}]
        for call in message.get("tool_calls", []):
            arguments = json.loads(call["function"]["arguments"])
            blocks.append({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": arguments})
        if found and found[-1]["role"] == role:
            found[-1]["content"] += blocks
        else:
            found.append({"role": role, "content": blocks})
    return found


@loom.tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny, 21 degrees celsius in {city}"


if __name__ == "__main__":
    llm = MessagesLLM(os.environ.get("ANTHROPIC_API_KEY", ""), *sys.argv[1:2])
    agent = loom.agent(llm=llm, tools=[weather], system_prompt="Be brief.")
    answer = agent.run_sync("What is the weather in Paris?")
    print(answer.content, answer.usage)
