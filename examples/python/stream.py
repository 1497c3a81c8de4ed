"""A streamed answer, and what an agent does on the way to it.

Any server will do: vllm serve Qwen/Qwen2-7B-Instruct --port 8000

Run it with: python stream.py [BASE_URL]
"""

import asyncio
import sys

import loom

BASE_URL = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000/v1"


async def main() -> None:
    agent = loom.agent(base_url=BASE_URL)
    async for event in agent.stream("Tell me a story"):
        if event["type"] == "content_delta":
            print(event["content"], end="", flush=True)
        elif event["type"] == "finish":
            print(f"\n[{event['finish_reason']}; {event['message'].usage}]")


asyncio.run(main())
