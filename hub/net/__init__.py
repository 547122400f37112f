"""The network: listeners, TLS, the PROXY protocol, and wires, which are connections as protocols see them."""

from hub.net.listener import Served
from hub.net.proxy_protocol import client_address, subscriber_of
from hub.net.wire import Peer, Wire, WireProtocol

__all__ = ["Peer", "Served", "Wire", "WireProtocol", "client_address", "subscriber_of"]
