"""How a key is shown to an endpoint, and where it comes from.

``auth=`` says how a key is shown: ``Bearer``, ``Header``, ``Basic``, ``Query``, ``NoAuth``. ``api_key=`` says where it
comes from: a str, a function (sync or async), a ``Command``, an ``OAuth2`` client, or several as ``Keys``. Any goes
with any; the first argument of the forms may also name the key itself::

    loom.agent(llm="custom", base_url=url, auth=loom.auth.Header("x-api-key", "..."))
    loom.agent(llm="custom", base_url=url, auth=loom.auth.Header("x-api-key"), api_key=fetch_key)

None of these objects shows a key when it is printed.
"""

from __future__ import annotations

from typing import Any

from .errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Union

    #: A key, or where it comes from. A function returns a str, ``(str, seconds)``, or a dict with ``token`` and
    #: ``expires_in``; or an awaitable of one of those.
    Key = Union[str, Callable[[], Any], "Command", "OAuth2", "Keys", Iterable[Any]]

__all__ = ["Basic", "Bearer", "Command", "Header", "Keys", "NoAuth", "OAuth2", "Query"]


class _Form:
    """A way to show a key, and the key if it was given with it."""

    __slots__ = ("_form", "_key")
    _form: Any
    _key: Any

    def __init__(self, form: Any, key: Any = None) -> None:
        self._form = form
        self._key = key

    def __repr__(self) -> str:
        return f"loom.auth.{type(self).__name__}(…)"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a credential is not pickled: it would stand in the file")


class Bearer(_Form):
    """``Authorization: Bearer KEY``: the default."""

    __slots__ = ()

    def __init__(self, key: Key | None = None) -> None:
        super().__init__("bearer", key)


class Header(_Form):
    """The key in a header of its own (``api-key``, ``x-api-key``), behind a prefix if there is one (``"Token "``)."""

    __slots__ = ()

    def __init__(self, name: str, key: Key | None = None, *, prefix: str = "") -> None:
        super().__init__({"header": name, "prefix": prefix}, key)


class Basic(_Form):
    """``Authorization: Basic …``. The password may be any kind of key."""

    __slots__ = ()

    def __init__(self, user: str, password: Key | None = None) -> None:
        super().__init__({"basic": user}, password)


class Query(_Form):
    """The key as a query parameter of this name."""

    __slots__ = ()

    def __init__(self, name: str, key: Key | None = None) -> None:
        super().__init__({"query": name}, key)


class NoAuth(_Form):
    """No key is sent, even if there is one in the environment."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("none")


class _Source:
    """Where a key comes from, as the extension module reads it."""

    __slots__ = ("_source",)
    _source: tuple[str, Any]

    def __repr__(self) -> str:
        return f"loom.auth.{type(self).__name__}(…)"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a credential is not pickled: it would stand in the file")


class Command(_Source):
    """A shell command that prints the key, or ``{"token": …, "expires_in": seconds}``.

    It runs before the first call, when the token expires, and once more when the endpoint refuses the key with 401.
    """

    __slots__ = ()

    def __init__(self, command: str) -> None:
        self._source = ("command", command)


class OAuth2(_Source):
    """The client credentials of an OAuth2 server, which gives tokens for them.

    Args:
        token_url: such as ``"https://login.example.com/oauth2/token"``.
        client_id: the client's id.
        client_secret: the client's secret.
        scope: what the token shall be good for; several scopes are parted by blanks.
        **fields: further fields of the token request (``audience=``, ``resource=``).
    """

    __slots__ = ()

    def __init__(
        self, token_url: str, client_id: str, client_secret: str, *, scope: str | None = None, **fields: str
    ) -> None:
        if scope is not None:
            fields["scope"] = scope
        self._source = ("oauth2", (token_url, client_id, client_secret, fields))


class Keys(_Source):
    """Several keys. The first is used until the endpoint refuses it (401, 429, quota); then the next."""

    __slots__ = ()

    def __init__(self, keys: Iterable[Key]) -> None:
        self._source = ("keys", [_native(key) for key in keys])
        if not self._source[1]:
            raise ConfigurationError("loom.auth.Keys needs at least one key")


def _native(key: Any) -> Any:
    """A key as the extension module reads it: a str, a function, or a tuple of a kind and its parts."""
    if key is None or isinstance(key, str):
        return key
    if isinstance(key, _Source):
        return key._source
    if isinstance(key, (list, tuple)):
        return Keys(key)._source
    if callable(key):
        return key
    get = getattr(key, "get_secret_value", None)  # pydantic's SecretStr
    if get is not None:
        return _native(get())
    raise ConfigurationError(
        f"api_key is a str, a function that returns one, or a value of loom.auth, not {type(key).__name__}"
    )


def resolve(auth: Any, api_key: Any) -> tuple[Any, Any]:
    """The form and the key, as the extension module reads them."""
    if isinstance(api_key, _Form):
        if auth is not None:
            raise ConfigurationError("api_key and auth both say how the key is shown: give one")
        auth, api_key = api_key, None
    if isinstance(auth, tuple) and len(auth) == 2:  # as httpx and requests have it
        auth = Basic(*auth)
    if isinstance(auth, _Form):
        if auth._key is not None and api_key is not None:
            raise ConfigurationError("both api_key and auth hold a key: give one")
        return auth._form, _native(api_key if auth._key is None else auth._key)
    if isinstance(auth, _Source):
        raise ConfigurationError(f"{auth!r} says where a key comes from: give it as api_key")
    if auth is None or isinstance(auth, (str, dict)):
        return auth, _native(api_key)
    raise ConfigurationError(
        f"auth is a value of loom.auth, not {type(auth).__name__}. To use httpx's own flow, pass an httpx client "
        "with it as http_client"
    )
