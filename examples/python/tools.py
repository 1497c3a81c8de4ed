"""Tools: the model asks for a function, Loom calls it, the model answers with its result.

The server must be one that has tools:

    vllm serve Qwen/Qwen2.5-7B-Instruct --enable-auto-tool-choice --tool-call-parser hermes

Run it with: python tools.py [BASE_URL]
"""

import asyncio
import sys
from typing import Literal

import loom

BASE_URL = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000/v1"


@loom.tool
async def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> str:
    """The weather in a city now.

    Args:
        city: the city's name
        unit: of the temperature
    """
    await asyncio.sleep(0)  # a real tool asks a weather service here
    return f"sunny, 21 degrees {unit} in {city}"


agent = loom.agent(base_url=BASE_URL, tools=[get_weather])
print(agent.run_sync("How is the weather in Paris?").content)
