"""Throttling of failed attempts at passwords, codes and client secrets, also across a restart.

Each attempt counts as a failure in three counters (of the account at the address, of the account, of the address)
until it turns out to be right. A counter that has reached its limit rejects attempts until `WAIT` seconds after its
last failure; the first failure after that starts it at one again.

Times are those of the monotonic clock, and ages in the database: a wall clock that is wrong after a reboot must
neither end a wait nor prolong it for long. The time during which the hub is stopped does not count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from hub import StorageError, TooMany
from hub.net import subscriber_of
from plugins.users.digests import digest

if TYPE_CHECKING:
    from hub import Clock, Transaction
    from hub.storage import Row, Storage

#: Failures of one account at one address until it has to wait, and seconds of waiting (docs.blynk.io, Limits).
FAILURES, WAIT = 5, 600.0
#: Failures of one account at all addresses together.
FAILURES_OF_ACCOUNT = 100
#: Failures of one address at all accounts together: many users may share a router.
FAILURES_OF_ADDRESS = 50
#: Counters in memory; the one with the oldest failure makes room for a new one.
REMEMBERED = 30_000
#: Kinds of attempts after which the address counts as known to the account.
_LOGINS = ("login", "client")
#: Known addresses of one account, and accounts that have known addresses.
ADDRESSES_OF_ACCOUNT, ACCOUNTS = 20, 110_000
#: Seconds between two writes of changed counters and addresses.
SAVE_EVERY = 5.0


@attrs.frozen
class Attempt:
    """An attempt, which counts as failed until `succeeded` or `uncounted` is called."""

    _succeeded: Callable[[], None]
    _uncounted: Callable[[], None]

    def uncounted(self) -> None:
        """Take the failure back: the attempt was neither right nor wrong."""
        self._uncounted()

    def succeeded(self) -> None:
        """Take the failure back, reset the account's counter at the address, and remember the address of a login."""
        self._succeeded()


class Throttle:
    """Counters of failures by account and address, by account, and by address; all of them have limits."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        #: Number of failures and time of the last one, by counter; the oldest first.
        self._failures: OrderedDict[bytes, tuple[int, float]] = OrderedDict()
        #: The addresses from which each account has logged in, the oldest first.
        self._addresses: OrderedDict[bytes, list[bytes]] = OrderedDict()
        self._unsaved_failures: set[bytes] = set()
        self._unsaved_accounts: set[bytes] = set()

    def attempt(self, kind: str, account: str, address: str) -> Attempt:
        """Count an attempt before it is made, so that concurrent ones count too. Raises `TooMany`.

        The limit of an account at all addresses does not apply at addresses from which it has logged in, so that a
        stranger elsewhere cannot lock a user out (OWASP ASVS 2.2.1). An IPv6 /64 counts as one address.
        """
        now, subscriber = self._clock.monotonic(), subscriber_of(address)
        account_at_address, account_key, address_key = (
            digest(repr(key)) for key in ((kind, account, subscriber), (kind, account), subscriber)
        )
        limits = {account_at_address: FAILURES, account_key: FAILURES_OF_ACCOUNT, address_key: FAILURES_OF_ADDRESS}
        is_known_address = address_key in self._addresses.get(account_key, ())
        for key, limit in limits.items():
            count, last = self._failures.get(key, (0, 0.0))
            if count >= limit and now < last + WAIT and not (is_known_address and key is account_key):
                raise TooMany("There were too many failed attempts.", last + WAIT - now)
        for key in limits:
            count, last = self._failures.pop(key, (0, now))
            self._set(key, 1 if now > last + WAIT else count + 1, now)
        while len(self._failures) > REMEMBERED:
            self._unsaved_failures.add(self._failures.popitem(last=False)[0])

        def succeeded() -> None:
            self._failures.pop(account_at_address, None)
            self._unsaved_failures.add(account_at_address)
            take_back(account_key, address_key)
            if kind in _LOGINS:
                self._remember(account_key, address_key)

        def take_back(*keys: bytes) -> None:
            for key in keys:
                if counter := self._failures.get(key):
                    count, last = counter
                    self._set(key, count - 1, last)

        return Attempt(succeeded, lambda: take_back(*limits))

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
        """Forget the addresses from which a deleted account has logged in."""
        account_key = digest(repr((kind, account)))
        self._addresses.pop(account_key, None)
        self._unsaved_accounts.add(account_key)

    # -- across a restart -----------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read the counters and addresses of the hub's last run."""

        async def read(tx: Transaction) -> tuple[list[Row], list[Row]]:
            failures = await tx.fetch_all("SELECT key, count, age FROM users_failures ORDER BY age DESC")
            return failures, await tx.fetch_all("SELECT account, address FROM users_addresses ORDER BY id")

        failures, addresses = await self._storage.read(read)
        now = self._clock.monotonic()
        for key, count, age in failures:
            self._failures[bytes(key)] = count, now - age
        for account, address in addresses:
            self._addresses.setdefault(bytes(account), []).append(bytes(address))

    async def run(self) -> None:
        """Write changes every few seconds, and when cancelled."""
        try:
            while True:
                await trio.sleep(SAVE_EVERY)
                await self.save()
        finally:
            with trio.CancelScope(shield=True):
                await self.save()

    async def save(self) -> None:
        """Write changes, and forget waits that are over. When writing fails, the next call repeats it."""
        now = self._clock.monotonic()
        while self._failures and now > next(iter(self._failures.values()))[1] + WAIT:
            self._unsaved_failures.add(self._failures.popitem(last=False)[0])
        keys, accounts = self._unsaved_failures, self._unsaved_accounts
        if not keys and not accounts:
            return
        self._unsaved_failures, self._unsaved_accounts = set(), set()
        failures = [(key, count, now - last) for key in keys for count, last in [self._failures.get(key, (0, 0.0))]]
        addresses = [(account, address) for account in accounts for address in self._addresses.get(account, ())]

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
