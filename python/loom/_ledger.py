"""The ledger: what Loom bridged between the format and a server, entry by entry."""

from __future__ import annotations

from typing import TypedDict


class LedgerEntry(TypedDict):
    """One leniency that was used.

    Keys:
        rule: the rule's name, one of ``loom.ledger_rules()``.
        what: what the rule does, in one sentence.
        where: what it was about: ``"answer.finish_reason"``, ``"request"``, ``"connection"``, …
        detail: what it was applied to, in short: the bytes or the name as they came, or what was done.
        event: which event of the stream it was first used on, from 1; ``None`` for what is not about one event.
        count: how often it was used.
    """

    rule: str
    what: str
    where: str
    detail: str
    event: int | None
    count: int
