"""A session of a device that has no transport."""

from __future__ import annotations


class RecordingSession:
    """Records what the hub sends to the device, and the reasons for which it closes the session."""

    via = "test"
    address = "127.0.0.1"
    token = ""

    def __init__(self, hub, device):
        self.hub, self.device = hub, device
        self.sent, self.closed = [], []

    def connect(self):
        """Log the device in; returns the session."""
        self.hub.sessions.connected(self)
        return self

    def send(self, command):
        self.sent.append(command)

    def close(self, reason):
        self.closed.append(reason)
        self.hub.sessions.disconnected(self, reason)
