"""An adapter for what is not OpenAI-like: Anthropic's Messages API, streamed, with tools, pictures and thinking.

Run it with: ANTHROPIC_API_KEY=… python anthropic_llm.py [BASE_URL]
"""

import json
import os
import sys

import loom


class Messages(loom.Adapter):
    path = "messages"
    profile = {"system": "first", "alternate_roles": True, "tool_choice": "auto", "response_format": "prompt"}

    def request(self, body):
        turns = body.pop("messages")
        if turns[0]["role"] == "system":
            body["system"] = turns.pop(0)["content"]
        functions = [tool["function"] for tool in body.pop("tools", [])]
        if functions:
            body["tools"] = [{"input_schema": function.pop("parameters"), **function} for function in functions]
        return {"max_tokens": 4096, **body, "messages": [turn(message) for message in turns]}

    def chunk(self, event):
        block, delta = event.get("content_block", {}), event.get("delta", {})
        said, call = {}, {"index": event.get("index")}
        if block.get("type") == "tool_use":
            said["tool_calls"] = [{**call, "id": block["id"], "function": {"name": block["name"], "arguments": ""}}]
        elif "partial_json" in delta:
            said["tool_calls"] = [{**call, "function": {"arguments": delta["partial_json"]}}]
        elif "thinking" in delta or "signature" in delta:
            said["reasoning_details"] = [{"text": delta.get("thinking", ""), "signature": delta.get("signature", "")}]
        elif "text" in delta:
            said["content"] = delta["text"]
        usage = event.get("usage") or event.get("message", {}).get("usage")
        return {"choices": [{"delta": said, "finish_reason": delta.get("stop_reason")}], "usage": usage}


def turn(message):
    content, thought = message.get("content") or [], message.get("reasoning_details", [])
    if message["role"] == "tool":
        result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content}
        return {"role": "user", "content": [result]}
    text, signature = ("".join(piece[key] for piece in thought) for key in ("text", "signature"))
    found = [{"type": "thinking", "thinking": text, "signature": signature}] if signature else []
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        if part["type"] == "image_url":
            url = part["image_url"]["url"]
            kind, _, data = url[len("data:") :].partition(";base64,")
            source = {"type": "base64", "media_type": kind, "data": data} if data else {"type": "url", "url": url}
            part = {"type": "image", "source": source}
        found.append(part)
    for call in message.get("tool_calls", []):
        name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
        found.append({"type": "tool_use", "id": call["id"], "name": name, "input": arguments})
    return {"role": message["role"], "content": found}


def messages_llm(api_key, base_url="https://api.anthropic.com/v1", model="claude-sonnet-4-5", **settings):
    settings.update(auth=loom.auth.Header("x-api-key"), default_headers={"anthropic-version": "2023-06-01"})
    return loom.UnifiedLLM("custom", api_key, base_url, model, adapter=Messages(), **settings)


@loom.tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny, 21 degrees celsius in {city}"


if __name__ == "__main__":
    llm = messages_llm(os.environ.get("ANTHROPIC_API_KEY", ""), *sys.argv[1:2])
    answer = loom.agent(llm=llm, tools=[weather], system_prompt="Be brief.").run_sync("What is the weather in Paris?")
    print(answer.content, answer.usage)
