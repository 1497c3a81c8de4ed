"""A server made with the package ``mcp``: over stdio, or over HTTP at the port that is given."""

import sys

from mcp.server.mcpserver import Context, Image, MCPServer
from pydantic import BaseModel

server = MCPServer("real")


class Place(BaseModel):
    city: str
    country: str = "FR"


@server.tool()
def weather(place: Place, days: int = 1) -> str:
    """The weather somewhere."""
    return f"sunny in {place.city}, {place.country} for {days} d"


@server.tool()
def add(a: float, b: float) -> float:
    return a + b


@server.tool()
def fail() -> str:
    raise ValueError("no such place")


@server.tool()
def dot() -> Image:
    return Image(data=b"\x89PNG\r\n\x1a\n....", format="png")


@server.tool()
async def unlock(ctx: Context) -> str:
    server.add_tool(lambda: "open", name="secret", description="A tool that was not there before")
    await ctx.session.send_tool_list_changed()
    return "unlocked"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
