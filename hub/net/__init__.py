"""The network: listeners, TLS, the PROXY protocol, wires, which are connections as protocols see them, and requests."""

from hub.net.listener import Served
from hub.net.outbound import Outbound, OutboundError, OutboundResponse, RetryPolicy, with_retries
from hub.net.proxy_protocol import client_address, subscriber_of
from hub.net.wire import Peer, Wire, WireProtocol

__all__ = [
    "Outbound",
    "OutboundError",
    "OutboundResponse",
    "Peer",
    "RetryPolicy",
    "Served",
    "Wire",
    "WireProtocol",
    "client_address",
    "subscriber_of",
    "with_retries",
]
