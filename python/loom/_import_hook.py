"""Makes ``import loom, Message, tool`` work, as the documentation of Loom's predecessor writes it.

A finder of last resort: it stands at the end of ``sys.meta_path``, so a real module of that name always wins, and it
answers only code that has imported ``loom`` before. Nothing is installed under these names, and nothing stays in
``sys.modules``: a real module that appears later is found.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.abc import Loader as LoaderBase
    from types import FrameType, ModuleType
else:
    LoaderBase = object  # importlib.abc is slow to import

NAMES = ("Message", "tool")


class Finder:
    """Finds ``Message`` and ``tool`` for code that uses Loom."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name in NAMES and path is None and _importer_knows_loom(name):
            return PassingSpec(name, Loader(), origin="loom")
        return None


class PassingSpec(ModuleSpec):
    """A spec whose module leaves ``sys.modules`` once it is imported. The import system puts it there for the importer
    to take, and says that it is done by setting ``_initializing`` to False."""

    _busy = False

    @property
    def _initializing(self) -> bool:
        return self._busy

    @_initializing.setter
    def _initializing(self, value: bool) -> None:
        if self._busy and not value:
            sys.modules.pop(self.name, None)
        self._busy = value


class Loader(LoaderBase):
    """Puts what ``loom`` has under that name in the module's place."""

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        import loom

        name = module.__name__
        sys.modules[name] = getattr(loom, name)


def _importer_knows_loom(name: str) -> bool:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and _is_import_system(frame):
        if str(frame.f_locals.get("name")).startswith(f"{name}."):
            return False  # `import Message.part`: there is no such package
        frame = frame.f_back
    if frame is None:
        return False
    loom = sys.modules.get("loom")
    return any(scope.get("loom") is loom for scope in (frame.f_locals, frame.f_globals))


def _is_import_system(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    return package in ("importlib", "_frozen_importlib", "_frozen_importlib_external")


def install() -> None:
    """Adds the finder, once."""
    if Finder not in sys.meta_path:
        sys.meta_path.append(Finder)
