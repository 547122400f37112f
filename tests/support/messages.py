"""Messages to send through a hub."""

from __future__ import annotations

from hub.domain import Message, Recipient

FIELDS = {"organization": "acme", "role": "User", "time": "2026-07-01T12:00:00+00:00"}
#: The state of each mail, oldest first.
STATES = "SELECT address, state, attempts, error FROM notify_mails ORDER BY id"


def message_to(address, *, urgent=False, **fields):
    return Message("transfer", Recipient(address), FIELDS | fields, urgent=urgent)
