"""LLMs: the interface, the built-in one, and its presets for the known providers."""

from __future__ import annotations

import os
from typing import Any

from . import _loom
from ._adapter import Adapter
from ._httpx import is_client as _is_client
from .auth import resolve as _resolve_auth
from .errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    import httpx

    from ._ledger import LedgerEntry
    from ._timeout import Timeout
    from .auth import Key


class BaseLLM:
    """What an LLM is to an agent. Subclass it, or write a class with the same ``stream``, for whatever is not
    OpenAI-compatible.

    ``stream`` is an async generator (or returns an async iterator) of dicts::

        {"type": "content_delta", "content": str}
        {"type": "reasoning_delta", "content": str}
        {"type": "tool_calls", "tool_calls": [{"id": str, "name": str, "arguments": dict}]}
        {"type": "usage", "prompt_tokens": int, "completion_tokens": int, "total_tokens": int}
        {"type": "finish", "finish_reason": str}

    It ends with ``finish``; a stream that just ends counts as finished for a reason that is not known. Events of any
    other type are passed on.
    """

    @property
    def model_name(self) -> str:
        """The model's name; empty while it is not known."""
        return ""

    @property
    def context_window(self) -> int | None:
        """How many tokens the model's context holds, as far as that is known."""
        return None

    @property
    def ledger(self) -> list[LedgerEntry]:
        """What was bridged in all calls so far; empty for an LLM that keeps none."""
        return []

    def stream(
        self,
        messages: Sequence[Any],
        tools: Sequence[Mapping[str, Any]] | None = None,
        response_format: Mapping[str, Any] | None = None,
        tool_choice: Any = None,
        **params: Any,
    ) -> AsyncIterator[dict[str, Any]]:
        """Starts a call.

        Args:
            messages: dicts in OpenAI's form.
            tools: tools in OpenAI's form (``{"type": "function", "function": {…}}``).
            response_format: ``{"type": "json_object"}`` or ``{"type": "json_schema", …}``.
            tool_choice: ``"auto"``, ``"none"``, ``"required"``, a tool's name, or OpenAI's dict.
            **params: further request parameters.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement stream()")

    async def generate(
        self,
        messages: Sequence[Any],
        tools: Sequence[Mapping[str, Any]] | None = None,
        response_format: Mapping[str, Any] | None = None,
        tool_choice: Any = None,
        **params: Any,
    ) -> _loom.Completion:
        """Runs a call to its end and returns the sum of its events. Arguments as in ``stream``."""
        collector = _loom.Collector()
        async for event in open_stream(
            self,
            _loom.message_dicts(messages),
            tools=tools,
            response_format=response_format,
            tool_choice=tool_choice,
            **params,
        ):
            collector.add(event)
        return collector.completion()


async def open_stream(llm: Any, messages: Any, **arguments: Any) -> AsyncGenerator[dict[str, Any], None]:
    """The events of any LLM, whether its ``stream`` is an async generator or a coroutine that returns one."""
    events = llm.stream(messages, **{name: value for name, value in arguments.items() if value is not None})
    if hasattr(events, "__await__") and not hasattr(events, "__aiter__"):
        events = await events
    try:
        async for event in events:
            yield event
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


class NativeLLM(BaseLLM):
    """An LLM that the Rust core asks by itself: a ``UnifiedLLM`` or a ``Pool``."""

    _native: _loom.Llm

    @property
    def model_name(self) -> str:
        """The model's name; empty while it is to be found by asking the endpoint."""
        return self._native.model_name

    @property
    def context_window(self) -> int | None:
        """How many tokens the model's context holds, as far as the server has said it: in its list of models, where
        that was read, or in a refusal of what was too long. Nothing is asked to find out."""
        return self._native.context_window

    def stream(
        self,
        messages: Any,
        tools: Sequence[Any] | None = None,
        response_format: Mapping[str, Any] | None = None,
        tool_choice: Any = None,
        **params: Any,
    ) -> _loom.EventStream:
        """Starts a call and returns its events as an async iterator. Nothing is sent until it is asked for the first.

        Leaving the loop early, ``aclose()`` or dropping it closes the connection.

        Args:
            messages: a str, a ``Message``, a dict, or a list of those; or a list of texts and parts (``loom.Image``).
            tools: tools as dicts in OpenAI's form, or made by ``@loom.tool``.
            response_format: ``{"type": "json_object"}`` or ``{"type": "json_schema", …}``.
            tool_choice: ``"auto"``, ``"none"``, ``"required"``, a tool's name, or OpenAI's dict.
            **params: request parameters for this call; ``extra_headers`` (None as a value leaves one out),
                ``extra_query`` and ``extra_body`` add to what is sent.

        Raises:
            LLMError: from the iterator; ``partial`` holds what had arrived.
        """
        return self._native.stream(messages, tools, response_format, tool_choice, params)

    async def generate(
        self,
        messages: Any,
        tools: Sequence[Any] | None = None,
        response_format: Mapping[str, Any] | None = None,
        tool_choice: Any = None,
        **params: Any,
    ) -> _loom.Completion:
        """Asks for a whole answer. Arguments as in ``stream``.

        Raises:
            LLMError: of kind ``bad_response`` also if the model wrote tool arguments that are no JSON object.
        """
        return await self._native.generate(messages, tools, response_format, tool_choice, params)


class UnifiedLLM(NativeLLM):
    """The LLM for every endpoint that speaks the OpenAI chat format. What is not set is not sent.

    Args:
        provider: ``"custom"``, ``"openai"``, ``"deepseek"``, … (``loom.providers()`` lists them), one that was
            registered, or an endpoint of ``loom.toml``. Default: ``"custom"`` with a ``base_url``, else ``"openai"``.
        api_key: the key; a function that returns it (sync or async), or ``(key, seconds)`` if it may be kept that
            long; or a ``Command``, ``OAuth2`` or ``Keys`` of ``loom.auth``. Default: the provider's environment
            variable, but only for the provider's own address or one that the environment names. Without a key no
            ``Authorization`` header is sent.
        base_url: such as ``"http://localhost:8000/v1"``. Default: the provider's.
        model: the model's name. Default: the provider's, or the one model that the endpoint serves.
        temperature: sampling temperature.
        max_tokens: the most tokens of an answer.
        timeout: seconds for the whole call, or a ``loom.Timeout``. Default: 5 s to connect, 600 s in all.
        max_retries: repetitions of a failed call before its first token. Default 2.
        max_concurrency: the most calls under way at once; further ones wait in the order in which they came.
        requests_per_minute: the most requests per minute; further ones wait.
        tokens_per_minute: the most tokens per minute, of prompts and answers together; further calls wait.
        default_headers: headers of each request; ``None`` as a value removes one that would be sent otherwise.
        default_query: query parameters of each request.
        extra_body: fields of each request's body; they win over Loom's own.
        auth: how the key is shown, such as ``loom.auth.Header("x-api-key")``. Default: as the provider wants it, else
            ``Authorization: Bearer``.
        sign: a function (sync or async) that is called as ``sign(method, url, headers, body)`` for each request and
            returns a dict of headers to add, for gateways that want a signature.
        strict: each leniency is an error instead of an entry in the ledger: ``BadResponseError`` for one in the answer,
            with the rule's name and what had arrived; the server's own refusal where Loom would have changed the
            request.
        drop_params: leave out parameters that the endpoint refuses (``temperature``, ``seed``, …) instead of failing;
            the ledger says which. Default False.
        profile: what the endpoint takes and how it spells it, such as ``{"system": "first", "tools": "prompt"}``; it
            wins over what Loom knows and learns. The fields are in docs/providers.md.
        limits: what an answer may hold at most: ``event_bytes`` (16 MiB), ``body_bytes`` (64 MiB), ``tool_calls``
            (512), ``json_depth`` (128), ``header_count`` (100), ``header_bytes`` (64 KiB).
        parse_text: whether thinking (``<think>`` and its relatives) and tool calls that a server leaves in the text
            are taken out of it. Default ``True``.
        verify: a PEM file with certificates of authorities to trust besides the system's.
        cert: the client's certificate and key: ``("client.pem", "client.key")``, or one PEM file with both.
        min_tls_version: ``"1.2"`` (default) or ``"1.3"``.
        dangerously_skip_verify: takes any certificate from anyone. Whoever is on the way can then read key and prompt;
            each call has it on its ledger.
        proxy: such as ``"http://user:password@proxy:3128"`` or ``"socks5h://proxy:1080"``; ``"direct"`` for none.
            Default: the environment's (``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``).
        resolve: addresses of names, instead of asking the resolver: ``{"llm.corp": "10.0.0.5"}``.
        http_client: an ``httpx.AsyncClient`` or ``httpx.Client`` that requests go through, with its auth flow, hooks,
            transport and proxies. It stays yours to close. An ``AsyncClient`` is used on the event loop of the call.
        adapter: translates for an API that is not OpenAI-like; see ``loom.Adapter``.
        http2: whether HTTP/2 is spoken with servers that offer it. Default True.
        **params: any further request parameter (``top_p``, ``stop``, ``seed``, …).

    Raises:
        ConfigurationError: the settings cannot work. No network is used to find out.
    """

    def __init__(
        self,
        provider: str | None = None,
        api_key: Key | None = None,
        base_url: str | None = None,
        model: str | None = None,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float | Timeout | None = None,
        max_retries: int | None = None,
        max_concurrency: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        default_headers: Mapping[str, str | None] | None = None,
        default_query: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        auth: Any = None,
        sign: Callable[[str, str, dict[str, str], bytes], Any] | None = None,
        strict: bool | None = None,
        drop_params: bool | None = None,
        profile: Mapping[str, Any] | None = None,
        limits: Mapping[str, int] | None = None,
        parse_text: bool | None = None,
        verify: str | os.PathLike[str] | bool | None = None,
        cert: str | os.PathLike[str] | tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        min_tls_version: str | None = None,
        dangerously_skip_verify: bool = False,
        proxy: str | None = None,
        resolve: Mapping[str, str] | None = None,
        http2: bool | None = None,
        http_client: httpx.AsyncClient | httpx.Client | None = None,
        adapter: Adapter | None = None,
        **params: Any,
    ) -> None:
        for name, value in (("provider", provider), ("base_url", base_url), ("model", model)):
            if value is not None and not isinstance(value, str):
                raise ConfigurationError(f"{name} is a str, not {type(value).__name__}")
        for name, number, least in (
            ("max_retries", max_retries, 0),
            ("max_concurrency", max_concurrency, 1),
            ("requests_per_minute", requests_per_minute, 1),
            ("tokens_per_minute", tokens_per_minute, 1),
        ):
            if number is not None and (not isinstance(number, int) or not least <= number < 2**32):
                raise ConfigurationError(f"{name} is a whole number from {least}, not {number!r}")
        if sign is not None and not callable(sign):
            raise ConfigurationError(f"sign is a function, not {type(sign).__name__}")
        if http_client is not None and not _is_client(http_client):
            raise ConfigurationError(
                f"http_client is an httpx.AsyncClient or httpx.Client, not {type(http_client).__name__}"
            )
        if adapter is not None and (isinstance(adapter, type) or not isinstance(adapter, Adapter)):
            raise ConfigurationError(f"adapter is an object of a subclass of loom.Adapter, not {adapter!r}")
        form, key = _resolve_auth(auth, api_key)
        if not isinstance(strict, (bool, type(None))):
            raise ConfigurationError(f"strict is True or False, not {strict!r}")
        params["temperature"] = temperature
        params["max_tokens"] = max_tokens
        self._native = _loom.Llm(
            provider=provider,
            api_key=key,
            base_url=base_url,
            model=model,
            timeout=timeout,
            max_retries=max_retries,
            max_concurrency=max_concurrency,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            default_headers=_dict("default_headers", default_headers),
            default_query=_dict("default_query", default_query),
            extra_body=_dict("extra_body", extra_body),
            strict=strict,
            drop_params=drop_params,
            profile=_dict("profile", profile),
            limits=_dict("limits", limits),
            parse_text=parse_text,
            params=params,
            auth=form,
            sign=sign,
            network=_network(
                verify=verify,
                cert=cert,
                min_tls_version=min_tls_version,
                dangerously_skip_verify=dangerously_skip_verify,
                proxy=proxy,
                resolve=resolve,
                http2=http2,
            ),
            http_client=http_client,
            adapter=adapter,
        )

    @property
    def base_url(self) -> str:
        """The base URL, brought to one form."""
        return self._native.base_url

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self._native.provider

    @property
    def ledger(self) -> list[LedgerEntry]:
        """What was bridged in all calls of this LLM: each entry once, with how often; of a rule with many details the
        newest. ``loom.ledger_rules()`` lists the rules."""
        return self._native.ledger

    def explain(self) -> dict[str, Any] | None:
        """The request that was sent last and how it went, for people; ``None`` before the first. The key and whatever
        else the headers and the query hold are left out.

        Returns:
            A dict: ``url``, ``attempts`` (requests sent for the call), ``request_id``, ``curl`` (a command that sends
            the same again, with ``$LOOM_API_KEY`` in the key's place), ``ledger``, and ``text``: all of it in plain
            words. Where calls overlap, it is the one that was sent last.
        """
        return self._native.explain()

    @property
    def server(self) -> str | None:
        """The software that answers at the endpoint (``"vllm"``, ``"ollama"``, ``"litellm"``, …), as far as its answers
        gave it away; None before the first answer, or where nothing does. Nothing is asked to find out."""
        return self._native.server

    async def models(self) -> list[str]:
        """The ids of the models that the endpoint serves."""
        return await self._native.models()

    def __repr__(self) -> str:
        fields = f"provider={self.provider!r}, base_url={self.base_url!r}, model={self.model_name!r}"
        return f"{type(self).__name__}({fields})"


def _dict(name: str, value: Any) -> dict[str, Any] | None:
    """A setting that is a mapping, as a dict."""
    if value is None:
        return None
    from collections.abc import Mapping

    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} is a dict, not {type(value).__name__}")
    for key in value:
        if not isinstance(key, str):
            raise ConfigurationError(f"{name}: its keys are texts, not {key!r}")
    return dict(value)


def _network(verify: Any, cert: Any, **settings: Any) -> dict[str, Any] | None:
    """How the endpoint is reached, as the extension module reads it; None if nothing is set."""
    if verify is False:
        raise ConfigurationError(
            "verify=False lets anyone on the way read the key and the prompt: give the authority's certificate, "
            'verify="/path/ca.pem". To take any certificate all the same: dangerously_skip_verify=True'
        )
    if verify is not None and verify is not True:
        settings["verify"] = _path("verify", verify)
    if cert is not None:
        settings["cert"] = [_path("cert", part) for part in cert] if isinstance(cert, tuple) else _path("cert", cert)
    proxy = settings["proxy"]
    if proxy is not None and not isinstance(proxy, str):
        raise ConfigurationError(f'proxy is a str, "direct" for none, not {type(proxy).__name__}')
    if settings["resolve"] is not None:
        settings["resolve"] = list(settings["resolve"].items())
    given = {name: value for name, value in settings.items() if value is not None and value is not False}
    if settings["http2"] is False:
        given["http2"] = False
    return given or None


def _path(name: str, value: Any) -> str:
    try:
        return os.fsdecode(value)
    except TypeError:
        raise ConfigurationError(
            f"{name} is a path to a PEM file, not {type(value).__name__}. To use an ssl.SSLContext, pass an "
            "httpx client with it as http_client"
        ) from None


def preset(name: str) -> type[UnifiedLLM] | None:
    """The class that presets a provider (``DeepSeekLLM``, …), made from the provider's data; ``None`` if none has
    that name."""
    if not name.endswith("LLM"):
        return None
    found = _PRESETS.get(name)
    if found is None:
        for provider in _loom.providers():
            if provider["class"] == name:
                found = _PRESETS[name] = _make_preset(name, provider["name"], provider["title"])
    return found


_PRESETS: dict[str, type[UnifiedLLM]] = {}


def _make_preset(name: str, provider: str, title: str) -> type[UnifiedLLM]:
    def __init__(self: UnifiedLLM, api_key: Key | None = None, model: str | None = None, **settings: Any) -> None:
        UnifiedLLM.__init__(self, provider, api_key, model=model, **settings)

    doc = f"``UnifiedLLM`` for {title}: ``UnifiedLLM(provider={provider!r}, …)``."
    return type(name, (UnifiedLLM,), {"__init__": __init__, "__doc__": doc, "__module__": "loom.builtin"})
