"""How fast somebody may go."""

from __future__ import annotations


class Bucket:
    """A token bucket: ``rate`` per second over a longer time, ``burst`` at once. Times are monotonic seconds."""

    __slots__ = ("_at", "_burst", "_rate", "tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._at = now
        self.tokens = burst

    def refill(self, now: float) -> None:
        self.tokens = min(self._burst, self.tokens + (now - self._at) * self._rate)
        self._at = now

    def take(self) -> bool:
        """Take one; False when there is none."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    @property
    def wait(self) -> float:
        """Seconds until there is one again."""
        return max(0.0, (1 - self.tokens) / self._rate)
