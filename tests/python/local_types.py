"""Types whose annotations are texts, some of them known only within a function. For ``test_types``."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import loom
from typing_extensions import NotRequired

if TYPE_CHECKING:
    from nowhere import Nowhere


class Place(TypedDict):
    city: str
    since: NotRequired[datetime.date]


@dataclass
class Lost:
    where: Nowhere


def tool_of_a_local_class() -> Any:
    @dataclass
    class Here:
        city: str

    @loom.tool
    def look(place: Here, other: Here | None = None) -> str:
        """Looks."""
        return place.city

    return look


def ask(agent: Any) -> Any:
    @dataclass
    class Inner:
        city: str

    @dataclass
    class Outer:
        places: list[Inner]

    return agent.run_sync("Where?", output_type=Outer).parsed
