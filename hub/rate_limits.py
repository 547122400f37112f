"""Rate limits: token buckets, and quotas of a day."""

from __future__ import annotations


class TokenBucket:
    """A rate limit of ``rate`` per second in the long run and ``burst`` at once. Times are monotonic seconds."""

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
        """Take a token; False when there is none."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def take_on_credit(self) -> None:
        """Take a token that may not be there yet: the next ones are late."""
        self.tokens -= 1

    @property
    def wait(self) -> float:
        """Seconds until there is a token again."""
        return max(0.0, (1 - self.tokens) / self._rate)


class DailyQuota:
    """A quota of each device for a day of UTC, counted in memory since the start of the hub."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._day = 0
        self._count: dict[int, int] = {}

    def take(self, device: int, count: int, now: int) -> float | None:
        """Take ``count`` at ``now`` (milliseconds UTC); return None, or the seconds until the next day if exceeded."""
        day = now // 86_400_000
        if day != self._day:
            self._day, self._count = day, {}
        used = self._count.get(device, 0)
        if used + count > self.limit:
            return 86_400 - now // 1000 % 86_400
        self._count[device] = used + count
        return None

    def give_back(self, device: int, count: int) -> None:
        """Return ``count`` that was taken for something that failed."""
        self._count[device] = max(0, self._count.get(device, 0) - count)
