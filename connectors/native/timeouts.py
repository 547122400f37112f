"""The deadlines and periods of native connections."""

from __future__ import annotations

import attrs


@attrs.frozen
class NativeTimeouts:
    """Seconds; `connectors.native.session` has the theory of operation."""

    #: For a login, from the first byte on.
    login: float = 15.0
    #: That pushes wait for the info frame: some clients never send one.
    info: float = 2.0
    #: That a device has to answer a ping.
    ping: float = 5.0
    #: Between two sends to a client that reads one frame per read (blynklib 0.2.6).
    spacing: float = 0.06
    #: Between two searches for silent connections.
    sweep: float = 2.0
    #: A device over its rate: for which it is not read, between two answers about it, until it is disconnected, and
    #: after which exceeding the rate counts as a new flood.
    flood_pause: float = 0.5
    flood_answer: float = 60.0
    flood_patience: float = 10.0
    flood_forgotten: float = 2.0
    #: Between two checks, while storage is full, whether the connection has been closed.
    full_check: float = 2.0
