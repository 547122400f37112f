"""The deadlines of connections, before a protocol has them and after."""

from __future__ import annotations

import attrs


@attrs.frozen
class NetTimeouts:
    """Seconds that a connection may take before a protocol has it, and to take what it is sent."""

    #: To send the first bytes, and to finish a TLS handshake.
    first_bytes: float = 15.0
    handshake: float = 15.0
    #: To send the first bytes, for a connection over the limit.
    rejection: float = 1.0
    #: To finish sending, for a rejected client.
    linger: float = 1.0
    #: To take some of the pending output, and to take its rest when the connection ends.
    stall: float = 30.0
    flush: float = 2.0
    #: Between two looks at the files of the certificate.
    certificate_check: float = 10.0


DEFAULT_TIMEOUTS = NetTimeouts()
