"""The deadlines and periods of the history."""

from __future__ import annotations

import attrs


@attrs.frozen
class HistoryTimeouts:
    """Seconds; `hub.history.commit_log` has the theory of operation."""

    #: In which a commit collects values once somebody waits for it.
    window: float = 0.010
    #: For a commit, from the moment at which somebody waits for it.
    durable: float = 5.0
    #: Until a write that the disk refused is tried again.
    retry: float = 1.0
    #: From the start to the first pass that deletes expired chunks, and between two passes.
    expire_first: float = 3_600.0
    expire_every: float = 86_400.0


DEFAULT_TIMEOUTS = HistoryTimeouts()
