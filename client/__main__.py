"""The ``pinwheel`` script. It handles Ctrl-C from its first lines on, and ``--version`` without importing the hub."""

from __future__ import annotations

import signal

from hub.terminal.interrupts import leave

# Ctrl-C ends the process at once while modules are imported: there is nothing to clean up yet.
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
        # Ignore Ctrl-C while the interpreter shuts down: it would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
