"""Rejects fixed ports, in the process of the tests and in every Python program that they start.

Two runs of the tests, or a hub in use on the same machine, must not meet on a port. A socket may bind port 0, or a port
that the system has chosen for an earlier socket of the tests: a hub that starts again listens where it did.
"""

from __future__ import annotations

import os
import sys

#: The environment variable with the ports that the system has chosen, newest last.
CHOSEN = "PINWHEEL_TESTS_PORTS"
#: Ports that are remembered; the environment of a program is bounded.
REMEMBERED = 1_000
#: The numbers of AF_INET and AF_INET6: importing `socket` would slow every command down.
FAMILIES = (2, 10, 23, 30)

#: Addresses that were rejected in this process.
rejected: list[tuple] = []


class FixedPort(Exception):
    """A test, or a program that it started, binds a port that the system has not chosen."""


def remember(port):
    """Allow a port that the system has chosen, here and in programs that are started from now on."""
    ports = [*os.environ.get(CHOSEN, "").split(), str(port)]
    os.environ[CHOSEN] = " ".join(ports[-REMEMBERED:])


def _check(event, arguments):
    if event != "socket.bind":
        return
    sock, address = arguments
    if sock.family not in FAMILIES or not address[1] or str(address[1]) in os.environ.get(CHOSEN, "").split():
        return
    rejected.append(address)
    raise FixedPort(f"{address[0]}:{address[1]} is a fixed port: tests listen on port 0")


def install():
    """Check this process, and Python programs that it starts, which import `sitecustomize` beside this module."""
    import socket

    def bind(self, address):
        super(socket.socket, self).bind(address)
        if self.family in FAMILIES and not address[1]:
            remember(self.getsockname()[1])

    socket.socket.bind = bind
    folder = os.path.dirname(__file__)
    if folder not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))


def unguarded():
    """The environment for a program in its own network namespace, where no port can be in use."""
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [folder for folder in folders if folder != os.path.dirname(__file__)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(others)}


sys.addaudithook(_check)
