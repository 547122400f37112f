"""What a hub has rejected."""

from __future__ import annotations


def rejection_reasons(hub):
    """The reasons of the recent rejections, oldest first."""
    return [rejection.reason for rejection in hub.rejections.recent]
