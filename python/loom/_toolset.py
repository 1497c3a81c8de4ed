"""The tools of an agent: those that it was given, and those that its MCP servers have at the time."""

from __future__ import annotations

import sys
from typing import Any

from . import _loom
from ._tools import Tool
from .errors import ToolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def _is_server(item: Any) -> bool:
    """Whether it is an MCP server. Where there is one, its module has been loaded."""
    module = sys.modules.get("loom._mcp")
    return module is not None and isinstance(item, module.MCPServer)


class Offer:
    """What a turn of a run offers."""

    __slots__ = ("by_name", "specs")

    def __init__(self, by_name: dict[str, Tool], specs: _loom.Tools) -> None:
        self.by_name = by_name
        self.specs = specs


class Toolset:
    """The tools on offer, by the names they are offered under.

    Args:
        tools: tools, plain functions, agents and MCP servers.
        in_prompt: they are described in the prompt, whatever the endpoint can do.

    Raises:
        ToolError: something is no tool, or two share a name.
    """

    def __init__(self, tools: Iterable[Any] | None, *, in_prompt: bool = False) -> None:
        if isinstance(tools, Tool) or _is_server(tools) or callable(tools):
            raise ToolError("tools is a list: write tools=[…]")
        given = list(tools or ())
        self._in_prompt = in_prompt
        self._servers = [item for item in given if _is_server(item)]
        self._own = [_made(item) for item in given if not _is_server(item)]
        self._listed: list[list[Tool] | None] = []
        self._take(self._own)

    @property
    def by_name(self) -> dict[str, Tool]:
        """The tools by the names they are offered under, as of now."""
        return self._offer.by_name

    def _take(self, tools: list[Tool]) -> None:
        try:
            names = _loom.offered_names([(tool.name, tool.origin) for tool in tools])
        except ValueError as error:
            raise ToolError(str(error)) from None
        schemas = [tool.to_schema() for tool in tools]
        for name, schema in zip(names, schemas):
            schema["function"]["name"] = name
        self._offer = Offer(dict(zip(names, tools)), _loom.Tools(schemas, self._in_prompt))

    async def now(self) -> Offer:
        """The tools on offer now; asks the servers whose tools may have changed, and connects to those that are not
        connected.

        Raises:
            ToolError: one of them cannot be used.
        """
        if not self._servers:
            return self._offer
        listed = [server.listed for server in self._servers]
        if any(tools is None for tools in listed):
            import asyncio

            listed = list(await asyncio.gather(*(server.list_tools() for server in self._servers)))
        if listed != self._listed:
            self._listed = listed
            self._take([*self._own, *(tool for tools in listed for tool in tools or ())])
        return self._offer


def _made(item: Any) -> Tool:
    if isinstance(item, Tool):
        item.check_offer()
        return item
    if hasattr(item, "as_tool"):
        raise ToolError(f"{item!r} is an agent: offer it by agent.as_tool(name=…, description=…)")
    return _made(Tool(item))
