"""Fixtures of the network: a hub that a test configures, its certificate, and servers that outbound requests reach."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager

import pytest
import trio
from support.certificates import AdvancingClock, UserCertificate
from support.outbound import OK, RecordingServer

from hub.config import parse
from hub.run import running


@pytest.fixture
def start(tmp_path, hub_timeouts):
    """Starts a hub with some configuration; its data is in ``<tmp_path>/data``."""

    @asynccontextmanager
    async def started(toml, clock=None):
        config = parse(toml).with_data(str(tmp_path / "data"))
        async with running(config, clock=clock, timeouts=hub_timeouts) as hub:
            yield hub

    return started


@pytest.fixture
def certificate(tmp_path):
    """A user's certificate, signed by a CA of its own."""
    return UserCertificate(tmp_path / "certificate").issue()


@pytest.fixture
def advancing():
    """A clock that days are added to."""
    return AdvancingClock()


@pytest.fixture
def serve_streams(nursery):
    """Starts a server on this machine that calls a function with each connection; returns its port."""

    async def start(handler):
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handler, [listener])
        return listener.socket.getsockname()[1]

    return start


@pytest.fixture
async def serve(nursery):
    """Starts a server that sends some reply to each request, with TLS if it gets a context."""

    async def start(reply=OK, context=None):
        server = RecordingServer(reply)
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.port = listener.socket.getsockname()[1]
        if context is not None:
            context.sni_callback = lambda _connection, name, _context: server.names.append(name)
            listener = trio.SSLListener(listener, context, https_compatible=True)
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        return server

    return start


@pytest.fixture
def resolver(monkeypatch):
    """Addresses by name, a list of them for each lookup, of which the last is repeated; the lookups are in ``"lookups"``."""
    getaddrinfo_of_the_system, addresses_of, lookups = socket.getaddrinfo, {}, []

    def getaddrinfo(name, port, *args, **options):
        if name not in addresses_of:
            return getaddrinfo_of_the_system(name, port, *args, **options)
        lookups.append(name)
        addresses = addresses_of[name].pop(0) if len(addresses_of[name]) > 1 else addresses_of[name][0]
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    addresses_of["lookups"] = lookups
    return addresses_of
