"""Agents: a model, tools, and the loop between them. The loop's rules are in Rust (``_loom.Run``); this drives it."""

from __future__ import annotations

from typing import Any

from . import _loom, _observer
from ._llm import NativeLLM, UnifiedLLM
from ._pool import named_llm
from ._toolset import Toolset
from .errors import ConfigurationError, StreamInterruptedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping

    from ._output import OutputType
    from ._tools import Tool

    Input = str | _loom.Run | _loom.Message | Mapping[str, Any] | Iterable[str | _loom.Message | Mapping[str, Any]]


class Agent:
    """An agent: a model, tools, and the loop between them. ``loom.agent(…)`` makes one.

    Making it uses no network. Runs share nothing, so any number can go on at once.

    Args:
        name: the agent's name.
        llm: a provider's name (``"custom"``, ``"openai"``, …), an endpoint or pool of ``loom.toml``, a dict of
            ``UnifiedLLM``'s arguments (it is not changed), or an LLM object.
        api_key: the key; see ``UnifiedLLM``.
        base_url: the endpoint's address, such as ``"http://localhost:8000/v1"``.
        model: the model's name.
        system_prompt: instructions that stand before each conversation.
        tools: functions made tools by ``@loom.tool``, plain functions, MCP servers (``loom.MCPServer``), and other
            agents by ``as_tool``.
        react_mode: the tools are described in the prompt and the calls found in the answer's text, whatever the
            endpoint can do. Without it this is done where an endpoint has no tool calls. An LLM that is written in
            Python is not affected.
        max_parallel_tools: how many calls of one turn run at the same time; 1: one after another.
        max_recursion_depth: how often the model may be asked in one run.
        max_tool_calls: how many tool calls one run may execute. Default: any number.
        max_total_tokens: how many tokens one run may use, prompts and answers of all turns together, before the model
            is asked again. Where the server does not count, four bytes are taken for one, which the ledger says.
        max_seconds: how long one run may take, without the time it waits for approval.
        max_cost: what one run may cost by ``prices``.
        prices: what a million tokens cost: ``{"input": 0.5, "output": 1.5, "cached_input": 0.1}``, in any currency.
        max_invalid_calls: how many turns in a row may hold nothing but calls that cannot be executed.
        max_repeats: how often the same call may yield the same result before it is not executed any more; 0: ever.
        tool_choice: how the model may use the tools until it has called one: ``"auto"``, ``"none"``, ``"required"``
            or a tool's name. Held to even where the server passes over it: the model is asked once more in words.
        context_policy: what is done when a conversation becomes longer than the model's context: ``"keep"`` (nothing:
            it is a ``ContextLengthError``; the default without a session), ``"trim"`` (old turns are left out of what
            is sent; the default in a session) or ``"summarize"`` (and a summary that the model writes stands for them).
        context_window: how many tokens the model's context holds, so that this is done before the server refuses.
            Default: what the server has said of it, in its list of models or in a refusal.
        output_type: what the answer is: a pydantic model, dataclass, TypedDict, enum, ``Literal``, ``list[…]`` or
            another type, or a JSON schema as a dict. The answer's ``parsed`` is a value of it.
        output_retries: how often the model is told what does not fit in its answer and asked again.
        event_handler: called with each event of a run, as ``Agent.stream`` yields them. An async one runs beside the
            run, which waits for it at its end, 5 s at most; a sync one is called at once and should be quick. Its
            failures are logged and do not harm the run.
        **llm_options: further arguments of ``UnifiedLLM`` (``temperature``, ``max_tokens``, ``timeout``, …). Given
            beside a dict, they win over its entries.

    Raises:
        ConfigurationError: the settings cannot work.
        ToolError: a tool cannot be used.
    """

    _watched_by: _observer.Observer | None = None

    def __init__(
        self,
        name: str = "assistant",
        llm: Any = None,
        *,
        api_key: Any = None,
        base_url: str | None = None,
        model: str | None = None,
        system_prompt: str | None = None,
        tools: Iterable[Any] | None = None,
        react_mode: bool = False,
        max_parallel_tools: int = 8,
        max_recursion_depth: int = 20,
        max_tool_calls: int | None = None,
        max_total_tokens: int | None = None,
        max_seconds: float | None = None,
        max_cost: float | None = None,
        prices: Mapping[str, float] | None = None,
        max_invalid_calls: int = 3,
        max_repeats: int = 3,
        tool_choice: Any = None,
        context_policy: str | None = None,
        context_window: int | None = None,
        output_type: Any = None,
        output_retries: int = 2,
        event_handler: Callable[[dict[str, Any]], Any] | None = None,
        **llm_options: Any,
    ) -> None:
        if "://" in name:
            raise ConfigurationError(
                "the first argument is the agent's name, and an address was given: give that as base_url=…"
            )
        for limit, number, least in (
            ("max_recursion_depth", max_recursion_depth, 1),
            ("max_parallel_tools", max_parallel_tools, 1),
            ("max_tool_calls", max_tool_calls, 0),
            ("max_total_tokens", max_total_tokens, 1),
            ("context_window", context_window, 1),
            ("max_invalid_calls", max_invalid_calls, 0),
            ("max_repeats", max_repeats, 0),
            ("output_retries", output_retries, 0),
        ):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < least):
                raise ConfigurationError(f"{limit} is a whole number from {least}, not {number!r}")
        self.name = name
        self.llm = _make_llm(llm, {"api_key": api_key, "base_url": base_url, "model": model, **llm_options})
        self.system_prompt = system_prompt
        self.max_recursion_depth = max_recursion_depth
        self.event_handler = event_handler
        self.max_parallel_tools = max_parallel_tools
        self._toolset = Toolset(tools, in_prompt=bool(react_mode))
        self._limits = {
            "max_turns": max_recursion_depth,
            "max_tool_calls": max_tool_calls,
            "max_total_tokens": max_total_tokens,
            "max_seconds": max_seconds,
            "max_cost": max_cost,
            "prices": None if prices is None else dict(prices),
            "max_invalid_calls": max_invalid_calls,
            "max_repeats": max_repeats,
        }
        self._tool_choice, self._context = tool_choice, (context_policy, context_window)
        self._output_retries = output_retries
        self._asked = self._ask_for(output_type)
        self._stats = _loom.Stats()
        self._driver: Any = None

    @property
    def tools(self) -> list[Tool]:
        """The tools on offer; those of an MCP server once it is connected."""
        return list(self._toolset.by_name.values())

    def get_stats(self) -> dict[str, Any]:
        """What this agent has done so far, in all runs that have ended: ``runs``, ``failed``, ``paused``, ``turns``,
        ``tool_calls``, ``tool_errors``, ``prompt_tokens``, ``completion_tokens`` (as far as the servers counted) and
        ``seconds``."""
        return self._stats.to_dict()

    def _ask_for(self, output_type: Any) -> tuple[_loom.Options, OutputType | None]:
        if output_type is None:
            return self._options(None), None
        from ._output import OutputType

        output = OutputType(output_type)
        return self._options((output.name, output.schema, self._output_retries)), output

    def _options(self, output: tuple[str, Any, int] | None) -> _loom.Options:
        strict = isinstance(self.llm, NativeLLM) and self.llm._native.is_strict
        return _loom.Options(self._limits, self._tool_choice, output, *self._context, strict)

    async def run(
        self,
        message: Input,
        *,
        output_type: Any = None,
        deps: Any = None,
        session: _loom.Session | None = None,
        extra_headers: Mapping[str, str | None] | None = None,
        extra_query: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> _loom.Message:
        """Runs to the answer.

        Args:
            message: what the user says: a text, or a list of texts and parts
                (``["What is this?", loom.Image("cat.png")]``); or a whole conversation as a list of messages. It is
                not changed. Or a ``Run`` that was paused or has failed, to go on with it within this agent's limits.
            output_type: what the answer is, instead of the agent's own ``output_type``.
            deps: anything that the run's tools shall have: ``ToolContext.deps``.
            session: starts from what was said there, and adds what is said now, in one piece when the run ends; of a
                run that fails what is complete, never a call without its results.
            extra_headers: headers of each model call of this run; a value of None leaves one out.
            extra_query: query parameters of each model call of this run.
            extra_body: fields of the body of each model call of this run; they win over all others.

        Returns:
            The answer, with ``content``, ``parsed`` (the value of its type), ``usage`` (of the whole run),
            ``finish_reason`` and ``reasoning``.

        Raises:
            LLMError: a model call failed; ``partial`` holds what had arrived.
            ApprovalRequiredError: calls wait for approval.
            RecursionError: no answer after ``max_recursion_depth`` turns.
            LimitError: another limit was reached.
            ToolError: an MCP server cannot be used, or a call failed of a tool with ``raise_errors``.
            OutputError: the answer did not become what was asked for; ``text`` and ``problems`` say how.

            Each of them holds the run as it stood (``error.run``, ``error.transcript``).
        """
        answer: _loom.Message | None = None
        extra = {"extra_headers": extra_headers, "extra_query": extra_query, "extra_body": extra_body}
        deltas = self.event_handler is not None
        async for event in self._events(message, output_type, deps, session, extra, deltas=deltas):
            if event["type"] == "finish":
                answer = event["message"]
        assert answer is not None  # the machine ends with an answer or raises
        return answer

    def run_sync(
        self,
        message: Input,
        *,
        output_type: Any = None,
        deps: Any = None,
        session: _loom.Session | None = None,
        extra_headers: Mapping[str, str | None] | None = None,
        extra_query: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> _loom.Message:
        """``run`` for scripts and notebooks: waits for the answer, also where an event loop is running already."""
        import asyncio

        run = self.run(
            message,
            output_type=output_type,
            deps=deps,
            session=session,
            extra_headers=extra_headers,
            extra_query=extra_query,
            extra_body=extra_body,
        )
        if asyncio._get_running_loop() is None:
            return asyncio.run(run)
        # The running loop cannot be waited for from inside itself, so the run gets a loop and a thread of its own.
        from ._sync import run_in_thread

        return run_in_thread(run, asyncio.current_task())

    def stream(
        self,
        message: Input,
        *,
        output_type: Any = None,
        deps: Any = None,
        session: _loom.Session | None = None,
        extra_headers: Mapping[str, str | None] | None = None,
        extra_query: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> _RunEvents:
        """Runs and reports what happens, as an async iterator of dicts.

        Types, in order: ``run_start``; for each turn ``model_request``, then ``retry`` where a try failed,
        ``reasoning_delta`` and ``content_delta`` (``content``), with an output type ``partial`` (``value``: the JSON so
        far, which only grows and is not checked yet), ``tool_calls``, ``usage``, ``adaptation`` (``ledger``:
        what was bridged), and per tool ``tool_start`` (``id``, ``name``, ``arguments``) and ``tool_end`` (``id``,
        ``name``, ``content``, ``is_error``; without a start for a call that was not executed); last, once, ``finish``
        (``finish_reason``, ``message``), or ``approval_required`` (``tool_calls``) and its error.

        ``context_compacted`` says that old turns are no longer sent: ``policy``, ``reason``, ``removed_turns``,
        ``removed_messages``, ``context_limit``, ``tokens_before``, ``tokens_after``, ``summary``, ``error``.

        Leaving the loop early ends the run and closes its connection.
        """
        extra = {"extra_headers": extra_headers, "extra_query": extra_query, "extra_body": extra_body}
        return _RunEvents(self._events(message, output_type, deps, session, extra, deltas=True))

    def as_tool(self, *, name: str, description: str, **options: Any) -> Tool:
        """The agent as a tool that another one may call: with a message, to which it answers by a run of its own. That
        run gets the ``deps`` of the calling run, and nothing of its conversation.

        Args:
            name: what the model calls it.
            description: what it can do.
            **options: as ``loom.tool`` takes them.
        """
        from ._tools import Tool, ToolContext

        async def ask(message: str, context: ToolContext[Any]) -> Any:
            return (await self.run(message, deps=context.deps)).text

        ask.__annotations__ = {"message": str, "context": ToolContext}
        tool = Tool(ask, name=name, description=description, **options)
        tool.parameters["properties"]["message"]["description"] = "What is asked of it, with all that it needs to know"
        return tool

    def _events(
        self,
        message: Input,
        output_type: Any,
        deps: Any,
        session: _loom.Session | None,
        extra: dict[str, Any],
        *,
        deltas: bool,
    ) -> AsyncGenerator[dict[str, Any], None]:
        if self._driver is None:
            from ._drive import Driver

            self._driver = Driver(self)
        events = self._driver.events(message, output_type, deps, session, extra, deltas)
        if self.event_handler is not None:
            from . import _listen

            events = _listen.told(self.event_handler, events)
        # A run that a tool of a watched run begins is watched, too.
        observer = self._watched_by or _observer.current.get()
        return events if observer is None else observer.run(self, events)

    def __repr__(self) -> str:
        return f"Agent(name={self.name!r}, llm={self.llm!r}, tools={list(self._toolset.by_name)!r})"


class _RunEvents:
    """The events of a run. As an async generator; but where a wait for an event was cancelled (``asyncio.wait_for``),
    which ends the run, asking for the next is an error and not the end."""

    __slots__ = ("_events", "_over")

    def __init__(self, events: AsyncGenerator[dict[str, Any], None]) -> None:
        self._events = events
        self._over = False

    def __aiter__(self) -> _RunEvents:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self._over:
            self._over = False
            raise StreamInterruptedError(
                "the run has ended, because a wait for its next event was cancelled",
                hint="asyncio.wait_for on one event cancels the whole run: use timeout=loom.Timeout(first_token=…, "
                "idle=…) instead",
            )
        try:
            return await self._events.__anext__()
        except BaseException as error:
            self._over = type(error).__name__ == "CancelledError"
            raise

    async def aclose(self) -> None:
        """Ends the run and closes its connection."""
        self._over = False
        await self._events.aclose()


def _make_llm(llm: Any, options: dict[str, Any]) -> Any:
    """The LLM of an agent: from a provider's name, a dict of settings, or the object itself."""
    given = {name: value for name, value in options.items() if value is not None}
    if llm is None or isinstance(llm, str):
        return named_llm(llm, given)
    if isinstance(llm, dict):
        return UnifiedLLM(**{**llm, **given})
    if hasattr(llm, "stream") and not isinstance(llm, type):
        if given:
            names = ", ".join(given)
            raise ConfigurationError(
                f"{names} was given beside an LLM object, which has its own settings",
                hint="set it where the LLM object is made",
            )
        return llm
    raise ConfigurationError(f"llm is a provider's name, a dict of settings, or an object with stream(), not {llm!r}")


agent = Agent
