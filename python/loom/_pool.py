"""Several LLMs as one."""

from __future__ import annotations

from typing import Any

from . import _loom
from ._llm import NativeLLM, UnifiedLLM
from .errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class PoolMember:
    """An LLM in a pool, with what the pool shall know of it.

    Args:
        llm: a provider's name, an endpoint of ``loom.toml``, a dict of ``UnifiedLLM``'s arguments, a ``UnifiedLLM`` or
            a ``Pool``.
        name: what errors, the ledger and ``Pool.members`` call it. Default: its place and model.
        weight: how much of the load it takes, against the other members' weights.
        context_window: the model's context in tokens. A prompt that is too long for one member goes to one whose
            context is larger.
    """

    def __init__(
        self,
        llm: Any,
        *,
        name: str | None = None,
        weight: float = 1.0,
        context_window: int | None = None,
    ) -> None:
        if llm is None or isinstance(llm, str):
            llm = named_llm(llm, {})
        elif isinstance(llm, dict):
            llm = UnifiedLLM(**llm)
        if not isinstance(llm, NativeLLM) or type(llm).stream is not NativeLLM.stream:
            raise ConfigurationError(
                f"a member of a pool is a UnifiedLLM, a Pool, a name or a dict of settings, not {type(llm).__name__}"
            )
        self.llm = llm
        self.name = name
        self.weight = weight
        self.context_window = context_window


class Pool(NativeLLM):
    """Several LLMs as one: replicas share the load, fallbacks stand in when all replicas fail.

    A call goes to the replica with the fewest calls under way for its weight. If a member fails before the first token
    in a way that another may not, the next one is asked at once; the ledger says so. A member that fails again and
    again is left alone for a while.

    Args:
        replicas: LLMs as ``PoolMember`` takes them, or ``PoolMember``s.
        fallbacks: LLMs that are asked, in this order, only when all replicas have failed or are left alone.
        sticky: whether a conversation goes back to the member that answered it before, whose server may have its
            beginning in a cache; not if that one has far more to do than another.
        failover_on: the error kinds on which another member is asked. Default: all but ``bad_request``,
            ``content_filter`` and ``bad_response``. ``context_length`` always leads to a member with a larger
            ``context_window``, ``config`` never to another.
        max_retries: how often all members are asked once more when each has failed. The members' own ``max_retries``
            do not count in a pool. Default 2.
        max_failures: after so many failures in a row a member is left alone. Default 3.
        cooldown: seconds that it is left alone before one call tries it again; doubled while that fails. Default 5.
        timeout: seconds that a whole call may take: all members that are asked, their queues and the waits between
            them. The members' own clocks each hold for one try of theirs. ``None``: no limit.

    Raises:
        ConfigurationError: the settings cannot work. No network is used to find out.
    """

    def __init__(
        self,
        replicas: Iterable[Any],
        *,
        fallbacks: Iterable[Any] = (),
        sticky: bool = True,
        failover_on: Iterable[str] | None = None,
        max_retries: int | None = None,
        max_failures: int | None = None,
        cooldown: float | None = None,
        timeout: float | None = 600.0,
    ) -> None:
        members = [(_member(given), False) for given in replicas]
        members += [(_member(given), True) for given in fallbacks]
        if isinstance(failover_on, str):
            raise ConfigurationError(f"failover_on is a list of error kinds, not {failover_on!r}")
        try:
            self._native = _loom.Llm.pool(
                [
                    (member.llm._native, member.name, member.weight, is_fallback, member.context_window)
                    for member, is_fallback in members
                ],
                sticky,
                failover_on=None if failover_on is None else list(failover_on),
                max_retries=max_retries,
                max_failures=max_failures,
                cooldown=cooldown,
                timeout=timeout,
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigurationError(f"a pool cannot be made of these arguments: {error}") from None

    @property
    def members(self) -> list[dict[str, Any]]:
        """How the members are doing: dicts with ``name``, ``state`` (``"available"``, ``"left_alone"`` or
        ``"on_trial"``), ``in_flight`` and ``calls`` (numbers of calls), ``failures`` (since its last success)."""
        return self._native.members() or []

    def __repr__(self) -> str:
        return f"Pool({', '.join(member['name'] for member in self.members)})"


def _member(given: Any) -> PoolMember:
    return given if isinstance(given, PoolMember) else PoolMember(given)


def named_llm(name: str | None, settings: dict[str, Any]) -> NativeLLM:
    """The LLM of a provider or an endpoint of ``loom.toml``, or a pool of that file."""
    llm = UnifiedLLM(name, **settings)
    if llm._native.members() is None:
        return llm
    pool = Pool.__new__(Pool)
    pool._native = llm._native
    return pool
