"""How fast somebody may go."""

from __future__ import annotations


class TokenBucket:
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

    def owe(self) -> None:
        """Take one also when there is none."""
        self.tokens -= 1

    @property
    def wait(self) -> float:
        """Seconds until there is one again."""
        return max(0.0, (1 - self.tokens) / self._rate)


class DailyQuota:
    """How much each device may do in a day of UTC; counted since the start of the hub."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._day = 0
        self._count: dict[int, int] = {}

    def take(self, device: int, count: int, now: int) -> float | None:
        """Count it at ``now`` (milliseconds UTC); over the limit, the seconds until there is room again, uncounted."""
        day = now // 86_400_000
        if day != self._day:
            self._day, self._count = day, {}
        taken = self._count.get(device, 0)
        if taken + count > self.limit:
            return 86_400 - now // 1000 % 86_400
        self._count[device] = taken + count
        return None

    def give_back(self, device: int, count: int) -> None:
        """It came to nothing after all."""
        self._count[device] = max(0, self._count.get(device, 0) - count)
