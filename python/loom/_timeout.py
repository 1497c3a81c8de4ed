"""The limits on waiting."""

from __future__ import annotations


class Timeout:
    """Limits on waiting, in seconds; ``None`` means no limit of its own.

    Args:
        connect: until the connection stands, TLS included.
        first_token: from the request to the first token. None by default: a local model may read a long prompt for
            minutes.
        idle: between two payloads; keep-alives do not count.
        loading: for a model that the server says it is still loading; the tries meanwhile are no retries. With
            ``max_retries=0`` it is not waited for.
        total: the whole call, retries and their waits included.
    """

    __slots__ = ("connect", "first_token", "idle", "loading", "total")

    def __init__(
        self,
        *,
        connect: float | None = 5.0,
        first_token: float | None = None,
        idle: float | None = None,
        loading: float | None = 300.0,
        total: float | None = 600.0,
    ) -> None:
        self.connect = connect
        self.first_token = first_token
        self.idle = idle
        self.loading = loading
        self.total = total

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Timeout({fields})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Timeout):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__slots__))
