"""The deadlines and periods of MQTT connections."""

from __future__ import annotations

import attrs


@attrs.frozen
class MqttTimeouts:
    """Seconds; `connectors.mqtt.connection` has the theory of operation."""

    #: Until the client must have sent CONNECT, from the start of the connection on.
    connect: float = 10.0
    #: That a device has to acknowledge a ping.
    ping: float = 5.0
    #: Between two searches for silent connections.
    sweep: float = 2.0
    #: Of one sleep while a device over its rate is not read, and between two reports about it.
    pause: float = 5.0
    flood_report: float = 60.0
    #: In which takeovers of one key are counted, and that one waits at most.
    takeover_window: float = 60.0
    takeover_delay: float = 30.0
