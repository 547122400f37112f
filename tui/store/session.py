"""A user's session with a hub: the login, what is known of the hub, and the link that keeps it true.

============  ========================================  =============================================================
state         the store                                 left for
============  ========================================  =============================================================
logged in     follows the stream; between two           logged out by `log_out`, or when the hub ends the session
              connections its values are stale
logged out    keeps what it knows, all of it stale      never: the next login is another `Session`
============  ========================================  =============================================================

A right may be lost at any time: when the hub refuses a call, the profile is fetched again, and the screen rebuilds its
menu from it. A hub that was restored from a backup has other devices under the same ids: then everything is dropped.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TypeVar

import attrs

from client import Call
from client.aio import AsyncRemote, RefreshTokens
from client.errors import Forbidden, NotAuthenticated, NotFound, RequestError
from client.http_messages import Address
from client.operations import Myself, get_profile, post_devices_search, post_logout
from tui.store.certificates import pinned_context
from tui.store.devices import Devices
from tui.store.history import History
from tui.store.hubs import HubFileError, Hubs, KnownHub
from tui.store.stream import Feed
from tui.store.values import Key, Ticker, Values
from tui.store.writes import Writes

T = TypeVar("T")

#: Seconds between two fetches of the profile after refused calls.
PROFILE_PAUSE = 2.0


class StoredToken(RefreshTokens):
    """The refresh token of a hub in the file of hubs, which other consoles with the same session use too.

    If the file cannot be used, the session goes on with the token in memory, and ``problem`` is the reason.
    """

    def __init__(self, hubs: Hubs, known: KnownHub, *, is_new: bool) -> None:
        self._hubs = hubs
        self._known = known
        self._is_new = is_new
        self._token = known.refresh_token
        self.problem = ""

    async def load(self) -> str:
        with suppress(HubFileError):
            known = await asyncio.to_thread(self._hubs.find, self._known.url)
            # Of a new session, the file does not have the token yet.
            if known is not None and known.refresh_token and not self._is_new:
                self._token = known.refresh_token
        return self._token

    async def store(self, token: str) -> None:
        self._token = token
        try:
            if self._is_new:
                await asyncio.to_thread(self._hubs.remember, attrs.evolve(self._known, refresh_token=token))
                self._is_new = False
            else:
                await asyncio.to_thread(self._hubs.replace_token, self._known.url, token)
            self.problem = ""
        except HubFileError as error:
            self.problem = str(error)


class Session:
    """A hub whose user is logged in. Make it with `log_in`, `resume` or `with_key`, `run` it, and `aclose` it.

    ``profile`` is None for a key that is no user's. ``on_profile`` is called when it has changed, ``on_problem`` with a
    sentence for the user, ``on_draw`` four times a second with the values that have changed.
    """

    def __init__(self, remote: AsyncRemote, profile: Myself | None, tokens: StoredToken | None = None) -> None:
        self.remote = remote
        self.profile = profile
        self._tokens = tokens
        self._ended: NotAuthenticated | None = None
        self.on_profile: Callable[[], None] = lambda: None
        self.on_problem: Callable[[str], None] = lambda _: None
        self.on_draw: Callable[[set[Key]], None] = lambda _: None
        self.values = Values()
        self.devices = Devices(self, self.values, self.drop)
        self.history = History(self)
        self.writes = Writes(self, self.values, self._write_failed)
        self.feed = Feed(remote, self.values, self.devices, self.writes, self.history)
        self.feed.on_reset = self.drop
        self.feed.on_problem = self._report
        self._ticker = Ticker(self.values, self._draw)
        self._profile_task: asyncio.Task[None] | None = None

    @classmethod
    async def log_in(
        cls, hubs: Hubs, url: str, email: str, password: str, otp: str | None = None, certificate: str = ""
    ) -> Self:
        """Log in, and remember the hub. ``certificate`` is the SHA-256 that the user trusts, "" for the system's CAs.

        Raises `RequestError`. If the hub cannot be remembered, `problem` is the reason.
        """
        url = canonical_url(url)
        tokens = StoredToken(hubs, KnownHub(url, email, "", certificate), is_new=True)
        remote = AsyncRemote(url, tls=_tls(certificate), refresh_tokens=tokens)
        try:
            await remote.login(email, password, otp)
            profile = await remote(get_profile())
        except BaseException:
            await remote.aclose()
            raise
        return cls(remote, profile, tokens)

    @classmethod
    async def resume(cls, hubs: Hubs, known: KnownHub) -> Self:
        """Go on with the session of a remembered hub. Raises `RequestError`: `NotAuthenticated` if it has ended."""
        tokens = StoredToken(hubs, known, is_new=False)
        remote = AsyncRemote(known.url, tls=_tls(known.certificate), refresh_tokens=tokens)
        try:
            profile = await remote(get_profile())
        except BaseException:
            await remote.aclose()
            raise
        return cls(remote, profile, tokens)

    @classmethod
    async def with_key(cls, url: str, key: str, certificate: str = "") -> Self:
        """Use an API key, or the key of a hub on this machine. Raises `RequestError`."""
        remote = AsyncRemote(url, key, _tls(certificate))
        try:
            return cls(remote, await _profile(remote))
        except BaseException:
            await remote.aclose()
            raise

    @property
    def is_logged_in(self) -> bool:
        """Whether the hub has not ended the session, as far as is known."""
        return self._ended is None

    @property
    def problem(self) -> str:
        """Why the hub is not remembered; "" if it is."""
        return self._tokens.problem if self._tokens else ""

    def may(self, permission: str) -> bool:
        """Whether the user has a permission in their organization; the hub decides on each call nevertheless."""
        return self.profile is None or permission in self.profile["permissions"]

    async def __call__(self, call: Call[T]) -> T:
        """Execute a call. Raises `RequestError`."""
        try:
            return await self.remote(call)
        except (NotAuthenticated, Forbidden):
            # Some routes answer so to a wrong password: the profile tells whether the session has ended.
            self.refetch_profile()
            raise

    async def run(self) -> None:
        """Keep the store true until `aclose`. Raises `NotAuthenticated` when the hub has ended the session, `Forbidden`
        when the user may see no devices, or another `RequestError`.
        """
        ticking = asyncio.create_task(self._ticker.run())
        try:
            await self.feed.run()
        except NotAuthenticated as error:
            self._ended = error
            raise
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
            # The last draw: nothing is live any more.
            self._ticker.tick()
        if self._ended is not None:
            raise self._ended

    def drop(self) -> None:
        """Drop everything that is known of the hub, and subscribe again."""
        self.values.clear()
        self.devices.clear()
        self.history.clear()
        self.writes.clear()
        self.feed.renew()

    def refetch_profile(self) -> None:
        """Fetch the profile again: a right was lost, or another organization chosen. Several at once are one."""
        if self._profile_task is None or self._profile_task.done():
            self._profile_task = asyncio.create_task(self._fetch_profile())

    async def _fetch_profile(self) -> None:
        try:
            profile = await _profile(self.remote)
        except NotAuthenticated as error:
            self._ended = error
            await self.feed.aclose()
        except RequestError as error:
            self.on_problem(str(error))
        else:
            if profile != self.profile:
                self.profile = profile
                # The user may see other devices now.
                self.devices.outdate()
                self.on_profile()
        await asyncio.sleep(PROFILE_PAUSE)

    def _report(self, sentence: str) -> None:
        self.on_problem(sentence)

    def _draw(self, keys: set[Key]) -> None:
        self.on_draw(keys)

    def _write_failed(self, key: Key, error: RequestError) -> None:
        if isinstance(error, NotFound):
            self.devices.mark_gone(key[0])

    async def log_out(self, hubs: Hubs) -> None:
        """End the session at the hub, and forget its token, also if the hub does not answer. Raises `HubFileError`."""
        await self.writes.aclose()
        with suppress(RequestError):
            await self.remote(post_logout())
        await self.aclose()
        await asyncio.to_thread(hubs.replace_token, _url(self.remote.address), "")

    async def aclose(self) -> None:
        """Release pressed buttons, end `run`, and close all connections."""
        await self.writes.aclose()
        await self.feed.aclose()
        await self.devices.aclose()
        await self.history.aclose()
        if self._profile_task is not None:
            self._profile_task.cancel()
            await asyncio.wait([self._profile_task])
        await self.remote.aclose()


async def _profile(remote: AsyncRemote) -> Myself | None:
    """Return the user's profile; None for a key that is no user's. Raises `RequestError`."""
    try:
        return await remote(get_profile())
    except NotAuthenticated:
        # The hub answers so to a key without a user as well. Any other call tells whether it knows the key.
        await remote(post_devices_search(size=1))
        return None


def canonical_url(url: str) -> str:
    """Return the address of a hub as it is remembered. Raises `Rejected`."""
    return _url(Address.parse(url))


def _url(address: Address) -> str:
    return f"{'https' if address.is_secure else 'http'}://{address.authority}{address.path_prefix}"


def _tls(certificate: str) -> ssl.SSLContext | None:
    return pinned_context(certificate) if certificate else None
