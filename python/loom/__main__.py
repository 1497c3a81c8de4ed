"""The command ``loom``, also as ``python -m loom``."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Runs the command line program."""
    from ._loom import cli_main

    # Ctrl-C is the program's to handle, as it is in the stand-alone binary.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(cli_main(["loom", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
