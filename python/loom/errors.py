"""Loom's exceptions.

``LoomError`` is the root; ``LLMError`` is a failed model call, with one subclass for each ``kind``; ``AgentError`` is a
failed run.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._ledger import LedgerEntry
    from ._loom import Completion, Message, Run, ToolCall

__all__ = [
    "APIConnectionError",
    "APITimeoutError",
    "AgentError",
    "ApprovalRequiredError",
    "AuthenticationError",
    "BadRequestError",
    "BadResponseError",
    "ConfigurationError",
    "ContentFilterError",
    "ContextLengthError",
    "CostLimitError",
    "ExecutionError",
    "InternalServerError",
    "InvalidCallsError",
    "LLMError",
    "LimitError",
    "LoomError",
    "NotFoundError",
    "OutputError",
    "OverloadedError",
    "PermissionDeniedError",
    "QuotaExceededError",
    "RateLimitError",
    "RecursionError",
    "RepeatedCallError",
    "SessionError",
    "StreamInterruptedError",
    "TimeLimitError",
    "TokenLimitError",
    "ToolCallLimitError",
    "ToolChoiceError",
    "ToolError",
]


class LoomError(Exception):
    """The root of Loom's exceptions.

    Attributes:
        run: for an error that ended an agent's run: the run as it stood, which can be stored and resumed
            (``agent.run(error.run)``); else ``None``.
    """

    run: Run | None = None

    @property
    def transcript(self) -> list[Message]:
        """The conversation of the run up to the error; empty if there was none."""
        return [] if self.run is None else self.run.messages


class AgentError(LoomError):
    """A run failed for a reason other than the model call."""


class ApprovalRequiredError(AgentError):
    """The run waits for somebody's approval of tool calls.

    Decide on ``error.run`` (``approve``, ``deny``), at once or after it was stored, then ``agent.run(error.run)``.
    """

    @property
    def calls(self) -> list[ToolCall]:
        """The calls that wait, in the order of the model."""
        return [] if self.run is None else self.run.held


class ExecutionError(AgentError):
    """The run itself went wrong."""


class LimitError(ExecutionError):
    """A limit of the run was reached. Who resumes ``error.run`` with a higher one loses nothing.

    Attributes:
        partial: what had arrived of an answer when the time was up.
    """

    partial: Completion | None = None


class ToolCallLimitError(LimitError):
    """``max_tool_calls`` was reached."""


class TokenLimitError(LimitError):
    """``max_total_tokens`` was reached."""


class TimeLimitError(LimitError):
    """``max_seconds`` was reached."""


class CostLimitError(LimitError):
    """``max_cost`` was reached."""


class InvalidCallsError(LimitError):
    """The model made nothing but calls that cannot be executed, ``max_invalid_calls`` turns in a row."""


class RepeatedCallError(LimitError):
    """The model insisted on a call whose result it had, ``max_repeats`` times the same."""


class OutputError(ExecutionError):
    """The answer did not become what was asked for.

    Attributes:
        text: the last answer.
        problems: what does not fit in it: dicts with ``path`` (a JSON pointer) and ``message``.
    """

    text: str = ""
    problems: list[dict[str, str]] = []  # noqa: RUF012 (replaced, never changed)


class ToolChoiceError(ExecutionError):
    """The model did not call the tool that ``tool_choice`` names, though it was asked twice."""


class ToolError(AgentError):
    """A tool cannot be used as it is defined or given, an MCP server cannot be used, or a call failed of a tool whose
    failures end the run (``raise_errors``)."""


class RecursionError(AgentError):
    """The run took ``max_recursion_depth`` turns without an answer."""


class SessionError(LoomError):
    """A session cannot be read or kept. Nothing was changed by what failed.

    ``kind``: ``"foreign"`` (the file is something else), ``"corrupt"``, ``"newer"`` (written by a newer Loom),
    ``"locked"`` (by another process, for 10 s), ``"io"``, ``"not_found"``, ``"exists"`` (nothing is overwritten),
    ``"incomplete"`` (a tool call without its result) or ``"invalid"``.
    """

    def __init__(self, message: str = "", kind: str = "invalid") -> None:
        super().__init__(message)
        self.kind = kind


class LLMError(LoomError):
    """A model call failed. What is not known is ``None``.

    Attributes:
        kind: what went wrong, one of the keys of ``CLASS_OF_KIND``.
        message: one or two sentences, without the hint.
        link: for ``connection``, and for ``timeout`` while connecting: the link that failed, ``"name"``, ``"tcp"``,
            ``"proxy"`` or ``"tls"``.
        status_code: the HTTP status, or the one that an error inside a 200 names.
        retryable: whether the same request may succeed later.
        retry_after: seconds that the server asked to wait.
        request_id: the server's name for the request.
        url: what was called, without credentials.
        body: the refusal's body as it came, cut at 64 KiB.
        code: the server's own error code.
        param: the request parameter that the server names.
        context_limit: for ``context_length``: the tokens that the model can hold, where the server says it.
        requested_tokens: for ``context_length``: the tokens that the request comes to, where the server says it.
        partial: a ``Completion`` with what had arrived.
        hint: what to do.
        attempts: how many requests were sent; 0 when none was.
        ledger: what had been bridged before it failed, a list of ``LedgerEntry``.
        retries: the tries before the last one, as ``retry`` events: ``attempt``, ``reason``, ``message``,
            ``status_code`` and ``wait``, the seconds until the next.
    """

    kind: str = "server"

    def __init__(
        self,
        message: str = "",
        *,
        link: str | None = None,
        status_code: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        request_id: str | None = None,
        url: str | None = None,
        body: str | None = None,
        code: str | None = None,
        param: str | None = None,
        context_limit: int | None = None,
        requested_tokens: int | None = None,
        partial: Completion | None = None,
        hint: str | None = None,
        attempts: int = 0,
        ledger: list[LedgerEntry] | None = None,
        retries: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.link = link
        self.status_code = status_code
        self.retryable = retryable
        self.retry_after = retry_after
        self.request_id = request_id
        self.url = url
        self.body = body
        self.code = code
        self.param = param
        self.context_limit = context_limit
        self.requested_tokens = requested_tokens
        self.partial = partial
        self.hint = hint
        self.attempts = attempts
        self.ledger = ledger or []
        self.retries = retries or []

    def __str__(self) -> str:
        text = self.message
        if self.status_code is not None:
            text += f" [HTTP {self.status_code}]"
        if self.url:
            text += f" ({self.url})"
        if self.attempts > 1:
            text += f" after {self.attempts} attempts"
        if self.hint:
            text += f". Hint: {self.hint}"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, dict(self.__dict__)))


def _rebuild(cls: type[LLMError], message: str, fields: dict[str, Any]) -> LLMError:
    error = cls(message)
    error.__dict__.update(fields)
    return error


class ConfigurationError(LLMError):
    """The settings cannot work; found before anything was sent."""

    kind = "config"


class APIConnectionError(LLMError):
    """No connection: name, TCP, TLS or proxy."""

    kind = "connection"


class APITimeoutError(LLMError):
    """One of the clocks ran out: connect, first token, idle or total."""

    kind = "timeout"


class AuthenticationError(LLMError):
    """The key is missing or wrong."""

    kind = "auth"


class PermissionDeniedError(LLMError):
    """The key may not do this."""

    kind = "permission"


class NotFoundError(LLMError):
    """No such model or path."""

    kind = "not_found"


class BadRequestError(LLMError):
    """The request cannot become right by repeating it."""

    kind = "bad_request"


class ContextLengthError(LLMError):
    """The prompt is longer than the model's context."""

    kind = "context_length"


class ContentFilterError(LLMError):
    """The provider's filter stopped the prompt or the answer."""

    kind = "content_filter"


class RateLimitError(LLMError):
    """Too many requests; waiting cures it."""

    kind = "rate_limit"


class QuotaExceededError(LLMError):
    """Credit or plan is exhausted; waiting does not cure it."""

    kind = "quota"


class OverloadedError(LLMError):
    """The server is full or still loading its model."""

    kind = "overloaded"


class InternalServerError(LLMError):
    """The server failed."""

    kind = "server"


class StreamInterruptedError(LLMError):
    """The answer ended before it was complete; ``partial`` holds what had arrived."""

    kind = "stream_interrupted"


class BadResponseError(LLMError):
    """The answer is not the chat format, or holds what cannot be used."""

    kind = "bad_response"


CLASS_OF_KIND: dict[str, type[LLMError]] = {cls.kind: cls for cls in LLMError.__subclasses__()}
