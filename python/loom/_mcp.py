"""MCP servers as tools. The protocol and the processes are Rust's (``loom::mcp``)."""

from __future__ import annotations

from typing import Any

from . import _loom
from ._tools import Tool, ToolContext
from .errors import ToolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence


class MCPServer:
    """An MCP server, whose tools an agent offers: ``loom.agent(tools=[loom.MCPServer("uvx mcp-server-time")])``.

    Making it starts nothing. It is connected by the first run that needs it, and once more by a call that finds that it
    has ended; a call that was under way then is not repeated. It ends with ``close()``, at the end of ``async with``,
    when nobody holds it any more, or with the program. Several agents may share one.

    Args:
        command: the program to start and its arguments, as one text (split as a shell does; no shell runs) or a list.
        url: instead of a command, the address of a server that speaks streamable HTTP.
        env: variables for the process. It gets besides what it takes to find programs, files and the network (``PATH``,
            ``HOME``, proxies, …), and none of this program's keys.
        cwd: the folder that the process starts in.
        headers: headers of each request, such as ``{"Authorization": "Bearer …"}``.
        timeout: seconds that the start and each call may take.
        prefix: stands before the name of each tool, with ``_`` between. Without one, a tool that shares its name with
            another of the agent gets the server's name put before it.
        name: what the server is called. Default: what it calls itself.

    Raises:
        ConfigurationError: the settings cannot work.
    """

    def __init__(
        self,
        command: str | Sequence[str] | None = None,
        *,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        prefix: str | None = None,
        name: str | None = None,
    ) -> None:
        self._server = _loom.McpServer(
            command if command is None or isinstance(command, str) else list(command),
            url,
            None if env is None else dict(env),
            cwd,
            None if headers is None else dict(headers),
            timeout,
            prefix,
            name,
        )
        self._tools: list[Tool] | None = None

    @classmethod
    def named(cls, name: str, config: str | os.PathLike[str] | None = None) -> MCPServer:
        """The server of a section ``[mcp.NAME]`` of ``loom.toml``.

        Args:
            name: the section's.
            config: the file. Default: the one that ``LOOM_CONFIG`` names, or the user's own; one that merely lies in
                the working directory starts nothing.

        Raises:
            ConfigurationError: there is none, or it cannot work.
        """
        server = cls.__new__(cls)
        server._server = _loom.McpServer.named(name, config)
        server._tools = None
        return server

    @property
    def name(self) -> str:
        """The server's name; before it is connected, its command or URL unless one was given."""
        return self._server.name

    async def connect(self) -> MCPServer:
        """Connects, unless it is connected.

        Raises:
            ToolError: it cannot be started or reached, or does not answer in time.
        """
        await self._server.connect()
        return self

    @property
    def listed(self) -> list[Tool] | None:
        """The tools as they were listed last, if that still holds."""
        return self._tools if self._server.is_current() else None

    async def list_tools(self) -> list[Tool]:
        """The tools that it has now; connects first if need be.

        Raises:
            ToolError: it cannot be used.
        """
        tools = self.listed
        if tools is None:
            rows = await self._server.tools()
            origin = self.name
            self._tools = tools = [_ServerTool(self._server, origin, *row) for row in rows]
        return tools

    async def close(self) -> None:
        """Ends the connection and the process. A later call connects again."""
        await self._server.close()

    async def __aenter__(self) -> MCPServer:
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"MCPServer({self.name!r})"


class _ServerTool(Tool):
    """A tool of a server."""

    def __init__(
        self,
        server: _loom.McpServer,
        origin: str,
        name: str,
        description: str,
        parameters: dict[str, Any],
        remote: str,
    ) -> None:
        self.name = self.__name__ = name
        self.description = self.__doc__ = description
        self.parameters = parameters
        self.origin = origin
        self.function = self.invoke
        self._server = server
        self._remote = remote

    def check_offer(self) -> None:
        """It can be called as it is."""

    def __get__(self, instance: Any, owner: type | None = None) -> Tool:
        return self

    async def invoke(self, arguments: dict[str, Any], context: ToolContext[Any] | None = None) -> Any:
        """Calls it.

        Raises:
            ToolError: it failed, or the server did.
        """
        content, is_error = await self._server.call(self._remote, arguments)
        if is_error:
            raise ToolError(_text(content))
        if isinstance(content, str):
            return content
        return [part if part["type"] == "text" else _loom.resolve_part(part) for part in content]


def _text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text") or f"[{part['type']}]" for part in content)
