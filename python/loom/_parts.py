"""Parts of a message beside text: images, audio, files."""

from __future__ import annotations

import os
from typing import Any, Union

Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview]


class _Part(dict[str, Any]):
    """A part of a message; a dict, so that it can be stored as JSON."""

    _type = ""

    def __init__(self, source: Source, **fields: str | None) -> None:
        super().__init__(type=self._type)
        if isinstance(source, (bytes, bytearray, memoryview)):
            from base64 import b64encode

            self["data"] = b64encode(bytes(source)).decode("ascii")
        else:
            text = os.fspath(source)
            is_url = isinstance(source, str) and text.startswith(("http://", "https://", "data:"))
            self["url" if is_url else "path"] = text
        self.update((name, value) for name, value in fields.items() if value is not None)

    def __reduce__(self) -> Any:
        return (dict, (dict(self),))


class Image(_Part):
    """An image for a message: ``loom.Message("user", ["What is this?", loom.Image("cat.png")])``.

    Args:
        source: a path, a URL (``http``, ``https``, ``data``), or bytes. A path is read when the message is sent; a URL
            is loaded by the server, which may refuse to.
        media_type: such as ``"image/png"``. Default: told by the bytes.
        detail: ``"low"``, ``"high"`` or ``"auto"``, where the server knows it.
    """

    _type = "image"

    def __init__(self, source: Source, *, media_type: str | None = None, detail: str | None = None) -> None:
        super().__init__(source, media_type=media_type, detail=detail)


class Audio(_Part):
    """Audio for a message.

    Args:
        source: a path, a URL, or bytes.
        format: such as ``"wav"`` or ``"mp3"``. Default: told by the bytes.
    """

    _type = "audio"

    def __init__(self, source: Source, *, format: str | None = None) -> None:
        super().__init__(source, format=format)


class File(_Part):
    """A file for a message, a PDF mostly.

    Args:
        source: a path, a URL, or bytes.
        filename: the name that the model sees. Default: the path's.
        media_type: such as ``"application/pdf"``. Default: told by the bytes or the name.
    """

    _type = "file"

    def __init__(self, source: Source, *, filename: str | None = None, media_type: str | None = None) -> None:
        super().__init__(source, filename=filename, media_type=media_type)
