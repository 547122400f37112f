"""The deadlines of HTTP connections."""

from __future__ import annotations

import attrs


@attrs.frozen
class HttpTimeouts:
    """Seconds for a client."""

    #: For the header, once it has begun; for the body; and between two requests.
    header: float = 15.0
    body: float = 60.0
    idle: float = 75.0
    #: For a client that has closed its sending side, to read the rest of a stream.
    half_closed: float = 10.0
