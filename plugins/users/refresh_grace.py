"""The tokens that refresh tokens were exchanged for within the last seconds.

A client may use a refresh token twice without meaning harm: two tabs with the same cookie refresh at once, or an answer
is lost with the connection. For `GRACE` seconds the last spent token of a session therefore gets the same answer again.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from plugins.users.model import ApiSession, Tokens

#: Seconds for which a spent refresh token gets the same answer.
GRACE = 30
#: Spent tokens that are remembered; for an older one the session gets new tokens.
MAX_REMEMBERED = 10_000


@attrs.frozen
class Exchange:
    """What a refresh token was exchanged for; ``until`` is the monotonic time in seconds at which its grace ends."""

    session: ApiSession
    tokens: Tokens
    until: float


class RecentExchanges:
    """The exchanges within their grace, by the digest of the spent token; older ones are dropped with the next."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._exchanges: dict[bytes, Exchange] = {}

    def add(self, spent: bytes, session: ApiSession, tokens: Tokens, grace: float = GRACE) -> None:
        now = self._monotonic()
        while self._exchanges:
            oldest = next(iter(self._exchanges))
            if self._exchanges[oldest].until > now and len(self._exchanges) < MAX_REMEMBERED:
                break
            del self._exchanges[oldest]
        self._exchanges[spent] = Exchange(session, tokens, now + grace)

    def find(self, spent: bytes) -> Exchange | None:
        """Return the exchange of a spent token, if its grace is not over."""
        exchange = self._exchanges.get(spent)
        return exchange if exchange is not None and exchange.until > self._monotonic() else None
