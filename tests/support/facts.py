"""Facts that a hub emits."""

from __future__ import annotations


def collect_facts(hub, *kinds):
    """Subscribe to kinds of facts; returns the list to which they are appended."""
    facts = []
    for kind in kinds:
        hub.subscribe(kind, facts.append)
    return facts
