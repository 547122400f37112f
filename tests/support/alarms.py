"""The active alarms of a hub, as texts."""

from __future__ import annotations


def alarm_texts(hub):
    """The texts of all active alarms, joined by slashes."""
    return " / ".join(alarm.text for alarm in hub.active_alarms())
