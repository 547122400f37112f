"""How often a password, a code or a client's secret may be tried, also across a restart.

Times are those of the monotonic clock, and ages in the database: a wall clock that is wrong after a reboot must
neither end a wait nor prolong it for long. The time that the hub was stopped does not count.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from hub.errors import StorageError, TooMany
from hub.net.proxy_protocol import subscriber_of
from plugins.users.user_store import digest

if TYPE_CHECKING:
    from hub.storage import Row, Storage, Transaction

#: Failures until an account has to wait, and seconds of waiting (docs.blynk.io, Limits).
FAILURES, WAIT = 5, 600.0
#: At one account from all addresses together, and from one address at all accounts: users behind one router are many.
FAILURES_OF_ACCOUNT = 100
FAILURES_OF_ADDRESS = 50
#: Counts remembered; the oldest is forgotten for a new one.
REMEMBERED = 30_000
#: What an account keeps the addresses of, how many, and how many accounts do.
_LOGINS = ("login", "client")
ADDRESSES_OF_ACCOUNT, ACCOUNTS = 20, 110_000
#: Seconds between two writes of what has changed.
SAVE_EVERY = 5.0


@attrs.frozen
class Attempt:
    """One try, counted as failed until it has `succeeded`."""

    _succeeded: Callable[[], None]
    _uncounted: Callable[[], None]

    def uncounted(self) -> None:
        """It was neither right nor wrong: all counts are as they were before it."""
        self._uncounted()

    def succeeded(self) -> None:
        """It was right: its count begins anew, the others lose this failure, and the account knows the address."""
        self._succeeded()


class Throttle:
    """Counts failures by account and address, by account, and by address, and lets none of them have too many."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        #: Failures and when the last was, oldest first.
        self._failures: OrderedDict[bytes, tuple[int, float]] = OrderedDict()
        #: The addresses that each account was logged in to from, oldest first.
        self._addresses: OrderedDict[bytes, list[bytes]] = OrderedDict()
        self._unsaved_failures: set[bytes] = set()
        self._unsaved_accounts: set[bytes] = set()

    def attempt(self, kind: str, account: str, address: str) -> Attempt:
        """Count a try before it is made, so that many at once count too. Raises `TooMany`.

        An account has its own count at each address. What others do elsewhere makes an address wait only as long as
        the account was never logged in to from there, so that a stranger cannot lock a user out (OWASP ASVS 2.2.1).
        Of IPv6 a whole /64 is one address.
        """
        now, place = time.monotonic(), subscriber_of(address)
        own, whole, place_key = (digest(repr(key)) for key in ((kind, account, place), (kind, account), place))
        limits = {own: FAILURES, whole: FAILURES_OF_ACCOUNT, place_key: FAILURES_OF_ADDRESS}
        known = place_key in self._addresses.get(whole, ())
        for key, most in limits.items():
            count, last = self._failures.get(key, (0, 0.0))
            if count >= most and now < last + WAIT and not (known and key is whole):
                raise TooMany("There were too many failed attempts.", last + WAIT - now)
        for key in limits:
            count, last = self._failures.pop(key, (0, now))
            self._set(key, 1 if now > last + WAIT else count + 1, now)
        while len(self._failures) > REMEMBERED:
            self._unsaved_failures.add(self._failures.popitem(last=False)[0])

        def succeeded() -> None:
            self._failures.pop(own, None)
            self._unsaved_failures.add(own)
            give_back(whole, place_key)
            if kind in _LOGINS:
                self._remember(whole, place_key)

        def give_back(*keys: bytes) -> None:
            for key in keys:
                if found := self._failures.get(key):
                    self._set(key, found[0] - 1, found[1])

        return Attempt(succeeded, lambda: give_back(*limits))

    def _set(self, key: bytes, count: int, last: float) -> None:
        self._failures[key] = count, last
        self._unsaved_failures.add(key)

    def _remember(self, account: bytes, address: bytes) -> None:
        addresses = self._addresses.setdefault(account, [])
        if addresses[-1:] == [address]:
            return
        if address in addresses:
            addresses.remove(address)
        addresses.append(address)
        del addresses[:-ADDRESSES_OF_ACCOUNT]
        self._unsaved_accounts.add(account)
        while len(self._addresses) > ACCOUNTS:
            self._unsaved_accounts.add(self._addresses.popitem(last=False)[0])

    def forget(self, kind: str, account: str) -> None:
        """An account is no more: nor are the addresses that it was used from."""
        whole = digest(repr((kind, account)))
        self._addresses.pop(whole, None)
        self._unsaved_accounts.add(whole)

    # -- across a restart -----------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read what was counted before the hub was stopped."""

        async def read(tx: Transaction) -> tuple[list[Row], list[Row]]:
            failures = await tx.fetch_all("SELECT key, count, age FROM users_failures ORDER BY age DESC")
            return failures, await tx.fetch_all("SELECT account, address FROM users_addresses ORDER BY id")

        failures, addresses = await self._storage.read(read)
        now = time.monotonic()
        for key, count, age in failures:
            self._failures[bytes(key)] = count, now - age
        for account, address in addresses:
            self._addresses.setdefault(bytes(account), []).append(bytes(address))

    async def run(self) -> None:
        """Write what has changed every few seconds, and at the end."""
        try:
            while True:
                await trio.sleep(SAVE_EVERY)
                await self.save()
        finally:
            with trio.CancelScope(shield=True):
                await self.save()

    async def save(self) -> None:
        """Write what has changed, and forget waits that are over. When it fails, the next time writes it."""
        now = time.monotonic()
        while self._failures and now > next(iter(self._failures.values()))[1] + WAIT:
            self._unsaved_failures.add(self._failures.popitem(last=False)[0])
        keys, accounts = self._unsaved_failures, self._unsaved_accounts
        if not keys and not accounts:
            return
        self._unsaved_failures, self._unsaved_accounts = set(), set()
        failures = [(key, count, now - last) for key in keys for count, last in [self._failures.get(key, (0, 0.0))]]
        addresses = [(account, one) for account in accounts for one in self._addresses.get(account, ())]

        async def write(tx: Transaction) -> None:
            for key in keys:
                await tx.execute("DELETE FROM users_failures WHERE key = ?", (key,))
            rows = [row for row in failures if row[1]]
            await tx.insert_many("users_failures", ("key", "count", "age"), rows)
            for account in accounts:
                await tx.execute("DELETE FROM users_addresses WHERE account = ?", (account,))
            await tx.insert_many("users_addresses", ("account", "address"), addresses)

        try:
            with suppress(StorageError):
                await self._storage.transaction(write)
                keys, accounts = set(), set()
        finally:
            self._unsaved_failures |= keys
            self._unsaved_accounts |= accounts
