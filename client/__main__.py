"""The ``pinwheel`` script. Ctrl-C is answered from its first lines on, and ``--version`` without loading a hub."""

from __future__ import annotations

import signal

from hub.interrupts import leave

# While modules are loaded nothing has begun that would have to be ended.
signal.signal(signal.SIGINT, leave)


def main() -> None:
    """Run the command of ``sys.argv``, and exit with its code (see `client.cli.run`)."""
    import sys

    if sys.argv[1:] == ["--version"]:
        from hub.version import installed

        print(installed())  # noqa: T201 - its purpose
        return
    from client import cli

    try:
        sys.exit(cli.run(sys.argv[1:]))
    finally:
        # The end of the interpreter cannot be interrupted without a traceback, and takes a moment.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
