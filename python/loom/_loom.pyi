"""Types of the extension module. Not for direct use: everything public is in ``loom``."""

import builtins
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, final

from typing_extensions import disjoint_base

from ._ledger import LedgerEntry

__all__ = [
    "Collector",
    "Completion",
    "EmulatedServer",
    "EventStream",
    "Llm",
    "McpServer",
    "Message",
    "Options",
    "Partial",
    "Request",
    "Run",
    "Session",
    "Stats",
    "ToolCall",
    "Tools",
    "Usage",
    "__version__",
    "check_tool_name",
    "cli_main",
    "emulate",
    "emulators",
    "is_running",
    "ledger_rules",
    "limited",
    "message_dicts",
    "offered_names",
    "providers",
    "register_provider",
    "resolve_part",
]
__version__: str

@final
class McpServer:
    """An MCP server; connected when it is first asked for something."""

    def __new__(
        cls,
        command: Any = None,
        url: str | None = None,
        env: dict[str, str] | None = None,
        cwd: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        prefix: str | None = None,
        name: str | None = None,
    ) -> McpServer: ...
    @staticmethod
    def named(name: str, file: Any = None) -> McpServer: ...
    @property
    def name(self) -> str: ...
    def is_current(self) -> bool: ...
    def connect(self) -> Awaitable[None]: ...
    def tools(self) -> Awaitable[list[tuple[str, str, dict[str, Any], str]]]: ...
    def call(self, tool: str, arguments: dict[str, Any]) -> Awaitable[tuple[Any, bool]]: ...
    def close(self) -> Awaitable[None]: ...

@final
class EmulatedServer:
    """A server that runs until it is closed or dropped."""

    @property
    def base_url(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def models(self) -> list[str]: ...
    def requests(self) -> list[tuple[str, str, list[tuple[str, str]], bytes]]:
        """What it got: method, target, headers, body."""

    def close(self) -> None:
        """Frees the port."""

def emulate(
    name: str,
    api_key: str | None,
    models: Sequence[str],
    script: Sequence[Any] | None,
    context: int | None,
    token_delay: float,
    port: int,
) -> EmulatedServer:
    """Starts a server."""

def emulators() -> list[tuple[str, str]]:
    """Names and titles of the servers."""

@disjoint_base
class Message:
    """One message. Immutable.

    Args:
        role: ``"system"``, ``"developer"``, ``"user"``, ``"assistant"`` or ``"tool"``.
        content: a text, or a list of texts and parts: ``loom.Image``, ``loom.Audio``, ``loom.File``, or dicts in
            OpenAI's form.
        name: the speaker's name.
        tool_calls: for an assistant: the calls it made, as ``ToolCall`` or dicts.
        tool_call_id: for a tool: the call this answers.
        reasoning: for an assistant: what it thought; kept, not sent.
        **extra: fields that Loom does not know; sent as they are.

    Raises:
        ValueError: the role is none of those.
    """

    def __new__(
        cls,
        role: str,
        content: str | Sequence[Mapping[str, Any]] | None = None,
        *,
        name: str | None = None,
        tool_calls: Sequence[ToolCall | Mapping[str, Any]] | None = None,
        tool_call_id: str | None = None,
        reasoning: str | None = None,
        **extra: Any,
    ) -> Message: ...
    @property
    def role(self) -> str: ...
    @property
    def content(self) -> Any:
        """A str; a list of parts; or None for an assistant that only calls tools."""
    @property
    def text(self) -> str:
        """The text of the content; empty when there is none."""
    @property
    def name(self) -> str | None: ...
    @property
    def tool_calls(self) -> list[ToolCall]: ...
    @property
    def tool_call_id(self) -> str | None: ...
    @property
    def reasoning(self) -> str | None: ...
    @property
    def refusal(self) -> str | None:
        """What the model said when it refused."""
    @property
    def usage(self) -> Usage | None:
        """Tokens used: on an agent's answer by the whole run. None when the server did not say."""
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def request_id(self) -> str | None: ...
    @property
    def ledger(self) -> list[LedgerEntry]:
        """What was bridged for this answer; on an agent's answer, in the whole run."""
    @property
    def parsed(self) -> Any:
        """The value of an answer that had to fit a schema, else None."""
    def _with_parsed(self, typed: Any) -> Message: ...
    def to_dict(self) -> dict[str, Any]:
        """The message in OpenAI's form, with usage and the like where they are known."""
    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Message:
        """The message of such a dict."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __lt__(self, other: object, /) -> bool: ...
    def __le__(self, other: object, /) -> bool: ...
    def __gt__(self, other: object, /) -> bool: ...
    def __ge__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Usage:
    """Tokens used, as the server counted them. What it did not say is None, never 0."""

    def __new__(
        cls,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        total_tokens: int | None = None,
        cached_tokens: int | None = None,
        reasoning_tokens: int | None = None,
    ) -> Usage: ...
    @property
    def prompt_tokens(self) -> int | None: ...
    @property
    def completion_tokens(self) -> int | None: ...
    @property
    def total_tokens(self) -> int | None: ...
    @property
    def cached_tokens(self) -> int | None: ...
    @property
    def reasoning_tokens(self) -> int | None: ...
    def to_dict(self) -> dict[str, int | None]: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class ToolCall:
    """A call that the model made."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments; empty when they are invalid."""
    @property
    def arguments_text(self) -> str:
        """The arguments as the model wrote them."""
    @property
    def invalid(self) -> str | None:
        """Why the arguments cannot be used, or None."""
    def to_dict(self) -> dict[str, Any]:
        """``{"id", "name", "arguments"}``."""
    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ToolCall:
        """The call of such a dict, or of OpenAI's nested form."""
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Completion:
    """A whole answer."""

    @property
    def content(self) -> str: ...
    @property
    def reasoning(self) -> str | None: ...
    @property
    def refusal(self) -> str | None: ...
    @property
    def tool_calls(self) -> list[ToolCall]: ...
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def usage(self) -> Usage | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def id(self) -> str | None: ...
    @property
    def request_id(self) -> str | None: ...
    @property
    def queue_seconds(self) -> float | None:
        """Seconds that the call waited for its turn under ``max_concurrency`` and the like; None when it did not."""
    @property
    def ledger(self) -> list[LedgerEntry]:
        """What was bridged for this answer."""
    def to_message(self) -> Message:
        """The completion as an assistant message."""
    def events(self) -> list[dict[str, Any]]:
        """The events whose sum this is, but for the finish."""
    def to_dict(self) -> dict[str, Any]: ...
    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Completion:
        """The completion of such a dict."""
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Collector:
    """Sums up the event dicts of an LLM."""

    def __new__(cls) -> Collector: ...
    def add(self, event: dict[str, Any]) -> None: ...
    def completion(self) -> Completion: ...
    def partial(self) -> Completion: ...

@final
class EventStream(AsyncIterator[dict[str, Any]]):
    """The events of a call, as an async iterator of dicts."""

    def __aiter__(self) -> EventStream: ...
    def __anext__(self) -> Awaitable[dict[str, Any]]: ...
    def __aenter__(self) -> Awaitable[EventStream]: ...
    def __aexit__(self, *_args: Any) -> Awaitable[None]: ...
    def aclose(self) -> Awaitable[None]:
        """Ends the call and closes its connection."""
    def completion(self) -> Completion:
        """The sum of the events that have arrived."""

@final
class Llm:
    """The built-in LLM."""

    def __new__(
        cls,
        provider: str | None = None,
        api_key: Any = None,
        base_url: str | None = None,
        model: str | None = None,
        timeout: Any = None,
        max_retries: int | None = None,
        default_headers: dict[str, Any] | None = None,
        default_query: dict[str, Any] | None = None,
        extra_body: dict[str, Any] | None = None,
        limits: dict[str, int] | None = None,
        parse_text: bool | None = None,
        strict: bool | None = None,
        drop_params: bool | None = None,
        profile: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        auth: Any = None,
        sign: Any = None,
        network: dict[str, Any] | None = None,
        http_client: Any = None,
        max_concurrency: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        adapter: Any = None,
    ) -> Llm: ...
    @staticmethod
    def pool(
        members: list[tuple[Llm, str | None, float, bool, int | None]],
        sticky: bool,
        failover_on: list[str] | None = None,
        max_retries: int | None = None,
        max_failures: int | None = None,
        cooldown: float | None = None,
        timeout: float | None = None,
    ) -> Llm: ...
    def members(self) -> list[dict[str, Any]] | None: ...
    @property
    def model_name(self) -> str: ...
    @property
    def context_window(self) -> int | None: ...
    @property
    def is_strict(self) -> bool: ...
    @property
    def base_url(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def server(self) -> str | None: ...
    @property
    def ledger(self) -> list[LedgerEntry]: ...
    def explain(self) -> dict[str, Any] | None: ...
    def stream(
        self,
        messages: Any,
        tools: Any = None,
        response_format: Any = None,
        tool_choice: Any = None,
        params: dict[str, Any] | None = None,
        deltas: bool = True,
        batched: bool = False,
    ) -> EventStream: ...
    def generate(
        self,
        messages: Any,
        tools: Any = None,
        response_format: Any = None,
        tool_choice: Any = None,
        params: dict[str, Any] | None = None,
        checked: bool = True,
    ) -> Awaitable[Completion]: ...
    def models(self) -> Awaitable[list[str]]: ...

@final
class Tools:
    """The tools of an agent, read once."""

    def __new__(cls, tools: Any, in_prompt: bool = False) -> Tools: ...
    def to_list(self) -> list[dict[str, Any]]: ...
    def __len__(self) -> int: ...

@final
class Options:
    """What the runs of an agent are asked for, read and checked once."""

    def __new__(
        cls,
        limits: dict[str, Any],
        tool_choice: Any = None,
        output: tuple[str, Any, int] | None = None,
        context_policy: str | None = None,
        context_window: int | None = None,
        strict: bool = False,
    ) -> Options: ...

@final
class Stats:
    """What an agent has done so far."""

    def __new__(cls) -> Stats: ...
    def add(self, outcome: str, run: Run) -> None: ...
    def to_dict(self) -> dict[str, Any]: ...

@final
class Request:
    """What the model shall be asked."""

    def arguments(self) -> tuple[list[dict[str, Any]], dict[str, Any]]: ...

@final
class Partial:
    """JSON that is still being written."""

    def push(self, text: str) -> Any:
        """Adds text, and returns the value so far, if it has grown."""

@final
class Run:
    """A run: the conversation so far, and where it stands. It can be stored and resumed elsewhere."""

    def __new__(cls, messages: Any, system_prompt: str | None, options: Options) -> Run: ...
    @classmethod
    def from_json(cls, text: str) -> Run:
        """A run that was stored by ``to_json``, in Python or in Rust.

        Raises:
            ExecutionError: it is none, or one of a later version of Loom.
        """

    def partial(self) -> Partial | None:
        """What is there of the answer's value while it is written; ``None`` if any text is an answer."""

    def to_json(self) -> str:
        """The run as JSON, to be stored. It holds the conversation, and no keys."""

    def __copy__(self) -> Run: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    @property
    def turns(self) -> int:
        """How often the model was asked."""

    @property
    def is_done(self) -> bool:
        """Whether it has ended with an answer."""

    @property
    def messages(self) -> list[Message]:
        """The whole conversation so far."""

    @property
    def new_messages(self) -> list[Message]:
        """What the run has added to the conversation."""

    @property
    def used(self) -> dict[str, Any]:
        """What it has used: ``turns``, ``tool_calls``, ``tool_errors``, ``tokens``, ``cost``, ``seconds``."""

    @property
    def ledger(self) -> list[LedgerEntry]:
        """What was bridged in all turns."""

    @property
    def held(self) -> list[ToolCall]:
        """The calls that wait for approval, in the order of the model."""

    def approve(self, id: str | None = None) -> None:
        """Approves the call with that id, or all that wait.

        Raises:
            ExecutionError: none waits under that id.
        """

    def deny(self, id: str | None = None, reason: str = "") -> None:
        """Denies the call with that id, or all that wait. The model is told the reason and goes on.

        Raises:
            ExecutionError: none waits under that id.
        """

    def is_approved(self, id: str) -> bool: ...
    def start(
        self, tools: Tools, options: Options, llm: Any = None, extra: dict[str, Any] | None = None
    ) -> tuple[str, Any]: ...
    def completion(self, completion: Completion) -> tuple[str, Any]: ...
    def open_session(self, session: Session, offset: int, model: str) -> Awaitable[None]: ...
    def keep(self, session: Session, model: str) -> Awaitable[None]: ...
    def keep_now(self, session: Session, model: str) -> None: ...
    def overflowed(self, context_limit: int | None, requested_tokens: int | None) -> tuple[str, Any] | None: ...
    def summary(self, summary: Completion | str) -> tuple[str, Any]: ...
    def refuse(self, why: str) -> tuple[str, Any]: ...
    def hold(self, ids: list[str]) -> tuple[str, Any]: ...
    def set_tools(self, tools: Tools) -> None: ...
    def tool_results(self, results: list[tuple[str, Any, bool]]) -> tuple[str, Any]: ...
    def reports(self) -> list[dict[str, Any]]: ...
    def time_left(self) -> float | None: ...
    def out_of_time(self, partial: Completion | None = None) -> None: ...

@final
class Session:
    """A conversation that is kept: ``Session()`` in memory, ``Session.open(…)`` in an SQLite file.

    Methods of a session in a file read or write that file: that takes about a millisecond, and up to 10 s while another
    process writes. The interpreter is not held meanwhile.
    """

    def __new__(cls) -> Session: ...
    @staticmethod
    def open(path: str | PathLike[str], id: str | None = None) -> Session:
        """The session ``id`` of a file, which several processes may use at once; without an id a new session.

        Neither needs to be there yet: the first change makes them, the file for the user alone.

        Raises:
            SessionError: the file is something else, damaged, or written by a newer Loom. It is left as it is.
        """

    @staticmethod
    def list(path: str | PathLike[str]) -> builtins.list[dict[str, Any]]:
        """The sessions of a file, the one that was changed last first: ``id``, ``title``, ``metadata``, ``parent``,
        ``created_at``, ``updated_at`` (seconds since 1970), ``message_count``. Empty if there is no such file."""

    @staticmethod
    def from_json(text: str, path: str | PathLike[str] | None = None, id: str | None = None) -> Session:
        """Reads what ``to_json`` wrote, or a JSON list of messages: in memory, or into the file ``path`` under its own
        id or another one.

        Raises:
            SessionError: it is neither, or the file has a session of that id.
        """

    def to_json(self) -> str:
        """The whole session."""

    @property
    def id(self) -> str: ...
    @property
    def path(self) -> Path | None:
        """The file; None for a session in memory."""
    @property
    def title(self) -> str | None:
        """A name for people."""
    @title.setter
    def title(self, title: str | None) -> None: ...
    @property
    def metadata(self) -> dict[str, Any]:
        """Whatever the program keeps with it. A copy: assign to change it."""
    @metadata.setter
    def metadata(self, metadata: dict[str, Any]) -> None: ...
    @property
    def info(self) -> dict[str, Any]:
        """What ``Session.list`` says of it."""
    @property
    def messages(self) -> builtins.list[Message]:
        """The messages, oldest first."""
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def append(self, messages: Any) -> None:
        """Adds a message or several, in any form that ``agent.run`` takes, as one block.

        Raises:
            SessionError: they would separate a tool call from its result.
        """

    def clear(self) -> None:
        """Removes the messages; id, title and metadata stay."""
    def delete(self) -> bool:
        """Deletes the session; False if it was not there."""
    def fork(self, new_id: str | None = None, *, at: int | None = None) -> Session:
        """A new session at the same place that begins as a copy of this one.

        Args:
            new_id: its id; made if none is given.
            at: how many messages it takes over; all by default.

        Raises:
            SessionError: the id is taken, or ``at`` would separate a tool call from its result.
        """

    def __reduce__(self) -> tuple[Any, ...]: ...

def providers() -> list[dict[str, Any]]:
    """The providers that are known by name."""

def check_tool_name(name: str) -> str | None:
    """Why this cannot be the name of a tool, or None."""

def resolve_part(part: dict[str, Any]) -> dict[str, Any]: ...
def limited(content: Any, limit: int) -> Any: ...
def offered_names(tools: list[tuple[str, str | None]]) -> list[str]: ...
def ledger_rules() -> list[dict[str, str]]: ...
def register_provider(fields: dict[str, Any]) -> None: ...
def cli_main(args: Sequence[str]) -> int: ...
def is_running() -> bool: ...
def message_dicts(messages: Any) -> list[dict[str, Any]]:
    """Messages in any form that agents take, as OpenAI's dicts."""
