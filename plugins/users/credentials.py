"""What people and programs present: sessions with their tokens, personal keys, programs. Of secrets only hashes."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from hub.errors import Conflict, NotAuthenticated, Rejected, StorageError
from hub.facts import RightsChanged
from hub.spellings import is_name, nfc
from hub.stamps import StampColumns
from hub.structuring import seconds
from plugins.users.model import Client, Key, Session, User
from plugins.users.user_store import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.app import Hub
    from hub.stamps import Correction
    from hub.storage import Transaction
    from plugins.users.service import Settings
    from plugins.users.user_store import People

#: Sessions of one user or program; the one that was not used for longest ends for a new one.
MAX_SESSIONS = 50
MAX_KEYS = 50
#: Ten years of milliseconds.
MAX_LASTS = 10 * 366 * 86_400_000
MAX_CLIENTS = 1_000
MAX_REDIRECTS = 11
#: Milliseconds that a program's access token lasts (docs.blynk.io, OAuth2 authorization).
PROGRAM_MS = 300_000
_SPEND = "INSERT INTO users_spent (hash, session, at) VALUES (?, ?, ?)"
_SESSION = "id, org, user, client, access, access_ends, refresh, refresh_ends, created, used, address, agent"


@attrs.frozen(kw_only=True)
class Tokens:
    """``expires_in`` is in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


def stamps(settings: Settings) -> list[StampColumns]:
    """The times in the tables of this plugin.

    An end tells when it was given by how long it is: a link's by the longest that links have.
    """
    access, refresh, *links = (
        int(seconds(text) * 1000) for text in (settings.access, settings.refresh, settings.invitation, settings.reset)
    )
    return [
        StampColumns("users", ("created", "last_login")),
        StampColumns("users_clients", ("created",)),
        StampColumns("users_sessions", ("created", "used")),
        StampColumns("users_sessions", ("refresh_ends",), stamp=f"refresh_ends - {refresh}"),
        StampColumns("users_sessions", ("access_ends",), stamp=f"access_ends - {access}"),
        StampColumns("users_spent", ("at",)),
        StampColumns("users_links", ("expires",), stamp=f"expires - {max(links)}"),
        # Before the column by which it goes is corrected.
        StampColumns("users_keys", ("expires",), stamp="created"),
        StampColumns("users_keys", ("created", "used")),
    ]


class Credentials:
    """All that opens something, by what it is called and by the hash of its secret."""

    def __init__(self, hub: Hub, people: People, access_ms: int, refresh_ms: int) -> None:
        self._hub = hub
        self._people = people
        self._access_ms = access_ms
        self._refresh_ms = refresh_ms
        self.sessions: dict[int, Session] = {}
        self.keys: dict[int, Key] = {}
        self.clients: dict[str, Client] = {}
        self.by_access: dict[bytes, Session] = {}
        self._by_refresh: dict[bytes, Session] = {}
        self.by_key: dict[bytes, Key] = {}
        self._used_saved = hub.clock.now()

    async def load(self) -> None:
        # Also sessions that seem to have ended: the clock may be wrong, and is asked when one is used.
        async def read(tx: Transaction) -> tuple[list[Any], list[Any], list[Any]]:
            sessions = await tx.fetch_all(f"SELECT {_SESSION} FROM users_sessions")
            keys = await tx.fetch_all("SELECT id, user, name, hash, scopes, expires, created, used FROM users_keys")
            clients = await tx.fetch_all("SELECT id, name, org, role, hash, created, redirects FROM users_clients")
            return sessions, keys, clients

        sessions, keys, clients = await self._hub.storage.read(read)
        for row in sessions:
            self._keep(Session(**dict(zip(_SESSION.split(", "), row, strict=True))))
        for number, user, name, hash_, scopes, expires, created, used in keys:
            only = None if scopes is None else frozenset(json.loads(scopes))
            key = Key(id=number, user=user, name=name, hash=hash_, scopes=only, expires=expires, created=created)
            key.used = used
            self._keep_key(key)
        for number, name, org, role, hash_, created, redirects in clients:
            self.clients[number] = Client(
                id=number,
                name=name,
                org=org,
                role=role,
                hash=hash_,
                created=created,
                redirects=tuple(json.loads(redirects)),
            )

    async def open(
        self,
        *,
        user: User | None = None,
        client: Client | None = None,
        address: str,
        agent: str,
        spent: bytes | None = None,
    ) -> Tokens:
        """A new session for a user or a program.

        ``spent`` is the digest of the authorization code it is opened for: see `replayed`. Raises `NotAuthenticated`
        when the user or the client is gone.
        """
        now = self._hub.clock.now()
        tokens, hashes = self._new_tokens(program=client is not None)
        org = user.org if user is not None else client.org if client is not None else 0
        session = Session(
            id=0,
            org=org,
            user=None if user is None else user.id,
            client=None if client is None else client.id,
            created=now,
            used=now,
            address=address[:64],
            agent=agent[:200],
            **hashes,
        )
        mine = [one for one in self.sessions.values() if (one.user, one.client) == (session.user, session.client)]
        past = self._hub.clock.deletable_before
        ended = sorted(mine, key=lambda one: one.used)[: max(0, len(mine) - MAX_SESSIONS + 1)]

        async def write(tx: Transaction) -> int:
            await tx.execute("DELETE FROM users_sessions WHERE refresh_ends <= ?", (past,))
            await tx.execute("DELETE FROM users_spent WHERE at <= ?", (past - self._refresh_ms,))
            for one in ended:
                await tx.execute("DELETE FROM users_sessions WHERE id = ?", (one.id,))
            names = _SESSION.split(", ")[1:]
            number = await tx.execute(
                f"INSERT INTO users_sessions ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                tuple(getattr(session, name) for name in names),
            )
            if spent is not None:
                await tx.execute(_SPEND, (spent, number, now))
            return number

        proven = None if user is None else user.password
        try:
            session.id = await self._hub.storage.transaction(write)
        except Conflict as error:
            raise NotAuthenticated("The user or the client no longer exists.") from error
        self._forget([*ended, *(one for one in self.sessions.values() if one.refresh_ends <= past)])
        if ended:
            self._hub.emit(RightsChanged())
        self._keep(session)
        gone = user is not None and (self._people.by_id.get(user.id) is not user or user.suspended)
        gone = gone or (client is not None and client.id not in self.clients)
        if gone or (user is not None and user.password != proven):
            # Thrown out, or with another password, while this was written.
            await self.end([session])
            raise NotAuthenticated("The session has ended.")
        return tokens

    def _new_tokens(self, *, program: bool) -> tuple[Tokens, dict[str, Any]]:
        now = self._hub.clock.now()
        lifetime = PROGRAM_MS if program else self._access_ms
        tokens = Tokens(
            access_token=secrets.token_urlsafe(32),
            refresh_token=secrets.token_urlsafe(32),
            expires_in=lifetime // 1000,
        )
        return tokens, {
            "access": digest(tokens.access_token),
            "access_ends": now + lifetime,
            "refresh": digest(tokens.refresh_token),
            "refresh_ends": now + self._refresh_ms,
        }

    async def refresh(self, token: str, *, client: Client | None) -> tuple[Session, Tokens]:
        """The next tokens of a session: of the OAuth client that has authenticated, or of a user without one.

        A spent token ends its session, since somebody has a copy. A token of another client is refused and stays
        what it is (RFC 6749, 6). Raises `NotAuthenticated`.
        """
        hashed, now = digest(token), self._hub.clock.now()
        session = self._by_refresh.get(hashed)
        user = None if session is None or session.user is None else self._people.by_id.get(session.user)
        if session is None or session.refresh_ends <= now or (user is not None and user.suspended):
            await self.replayed(hashed, client)
            raise NotAuthenticated("The refresh token is not known, or has been used.")
        if session.client != (client and client.id):
            raise NotAuthenticated("The refresh token is of another client.")
        tokens, hashes = self._new_tokens(program=client is not None)

        async def write(tx: Transaction) -> None:
            await tx.execute(_SPEND, (hashed, session.id, now))
            columns = ", ".join(f"{name} = ?" for name in (*hashes, "used"))
            await tx.execute(f"UPDATE users_sessions SET {columns} WHERE id = ?", (*hashes.values(), now, session.id))

        # Not by somebody else meanwhile; as before when the disk does not take it.
        self._drop(session)
        try:
            await self._hub.storage.transaction(write)
        except BaseException:
            if session.id in self.sessions:
                self._keep(session)
            raise
        if session.id not in self.sessions:
            raise NotAuthenticated("The session has ended.")
        for name, value in hashes.items():
            setattr(session, name, value)
        session.used = now
        self._keep(session)
        return session, tokens

    async def replayed(self, hashed: bytes, client: Client | None) -> None:
        """End the session whose spent refresh token or authorization code a client presents again, if it is its own.

        RFC 6749, 4.1.2 and 10.4. ``hashed`` is the `digest` of what was presented; None is no client.
        """

        async def read(tx: Transaction) -> Any:
            return await tx.fetch_one("SELECT session FROM users_spent WHERE hash = ?", (hashed,))

        row = await self._hub.storage.read(read)
        session = None if row is None else self.sessions.get(row[0])
        if session is not None and session.client == (client and client.id):
            self._hub.reject(session.address, "a refresh token or code was used twice; its session has ended")
            await self.end([session])

    async def save_used(self) -> None:
        """Write when sessions and keys were last used, those that were since this was called before."""
        sessions = [(one.used, one.id) for one in self.sessions.values() if one.used > self._used_saved]
        keys = [(key.used, key.id) for key in self.keys.values() if key.used and key.used > self._used_saved]

        async def write(tx: Transaction) -> None:
            for table, rows in (("users_sessions", sessions), ("users_keys", keys)):
                for row in rows:
                    await tx.execute(f"UPDATE {table} SET used = ? WHERE id = ?", row)

        if sessions or keys:
            await self._hub.storage.transaction(write)
            self._used_saved = max(used for used, _ in sessions + keys)

    def correct_stamps(self, correction: Correction) -> None:
        """Correct in memory what `stamps` corrects in the database."""
        if not correction.is_about(None):
            return
        corrected, ends = correction.corrected, correction.corrected_end
        for user in self._people.by_id.values():
            user.created, user.last_login = corrected(user.created), user.last_login and corrected(user.last_login)
        for client in self.clients.values():
            client.created = corrected(client.created)
        for session in self.sessions.values():
            session.created, session.used = corrected(session.created), corrected(session.used)
            session.refresh_ends = ends(session.refresh_ends, session.refresh_ends - self._refresh_ms)
            session.access_ends = ends(session.access_ends, session.access_ends - self._access_ms)
        for key in self.keys.values():
            key.expires = key.expires and ends(key.expires, key.created)
            key.created, key.used = corrected(key.created), key.used and corrected(key.used)
        self._used_saved = min(self._used_saved, correction.cutoff)

    async def act_in(self, session: Session, org: int) -> None:
        """Let a session act in another organization (docs.blynk.io, Switch to sub-organizations)."""

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE users_sessions SET org = ? WHERE id = ?", (org, session.id))

        await self._hub.storage.transaction(write)
        session.org = org
        self._hub.emit(RightsChanged())

    async def end(self, sessions: list[Session]) -> None:
        """End sessions, and whatever is open for them."""

        async def write(tx: Transaction) -> None:
            for session in sessions:
                await tx.execute("DELETE FROM users_sessions WHERE id = ?", (session.id,))

        # At once: who is thrown out must not do more while the disk turns.
        self._forget(sessions)
        self._hub.emit(RightsChanged())
        try:
            await self._hub.storage.transaction(write)
        except StorageError:
            # Else a second attempt would find nothing to end, and a restart bring them back.
            for session in sessions:
                self._keep(session)
            raise

    def organization_gone(self, org: int) -> None:
        """The sessions of an organization that is no more are gone with it."""
        self._forget([session for session in self.sessions.values() if session.org == org])

    def of_user(self, user: int) -> list[Session]:
        now = self._hub.clock.now()
        return [one for one in self.sessions.values() if one.user == user and one.refresh_ends > now]

    def _keep(self, session: Session) -> None:
        self.sessions[session.id] = self.by_access[session.access] = self._by_refresh[session.refresh] = session

    def _drop(self, session: Session) -> None:
        self.by_access.pop(session.access, None)
        self._by_refresh.pop(session.refresh, None)

    def _forget(self, sessions: list[Session]) -> None:
        for session in sessions:
            self.sessions.pop(session.id, None)
            self._drop(session)

    async def add_key(self, user: User, name: str, scopes: frozenset[str] | None, lasts: int | None) -> tuple[Key, str]:
        """A personal key and its secret, which is shown only now. Raises `Rejected`."""
        name = nfc(name)
        if not is_name(name, 60):
            raise Rejected("a key's name must have 1 to 60 printable characters")
        if sum(key.user == user.id for key in self.keys.values()) >= MAX_KEYS:
            raise Rejected(f"a user can have at most {MAX_KEYS} keys")
        now, secret = self._hub.clock.now(), "pwk_" + secrets.token_urlsafe(32)
        if lasts is not None and not 0 < lasts < MAX_LASTS:
            raise Rejected("lasts must be more than 0 and at most ten years of milliseconds")
        expires = None if lasts is None else now + lasts
        key = Key(id=0, user=user.id, name=name, hash=digest(secret), scopes=scopes, expires=expires, created=now)

        async def write(tx: Transaction) -> int:
            return await tx.execute(
                "INSERT INTO users_keys (user, name, hash, scopes, expires, created) VALUES (?, ?, ?, ?, ?, ?)",
                (user.id, name, key.hash, None if scopes is None else json.dumps(sorted(scopes)), expires, now),
            )

        key.id = await self._hub.storage.transaction(write)
        self._keep_key(key)
        return key, secret

    def _keep_key(self, key: Key) -> None:
        self.keys[key.id] = self.by_key[key.hash] = key

    async def remove_key(self, key: Key) -> None:
        self.keys.pop(key.id, None)
        self.by_key.pop(key.hash, None)
        self._hub.emit(RightsChanged())

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM users_keys WHERE id = ?", (key.id,))

        try:
            await self._hub.storage.transaction(write)
        except StorageError:
            self._keep_key(key)
            raise

    async def shut_out(self, user: User) -> None:
        """End all by which somebody is in: whoever has their password now starts anew."""
        await self.end(self.of_user(user.id))
        for key in [key for key in self.keys.values() if key.user == user.id]:
            await self.remove_key(key)

    async def add_client(self, name: str, org: int, role: int, redirects: Sequence[str]) -> tuple[Client, str]:
        """A program and its secret, which is shown only now. Raises `Rejected`."""
        if len(redirects) > MAX_REDIRECTS:
            raise Rejected(f"a program must have at most {MAX_REDIRECTS} redirects")
        if wrong := [one for one in redirects if not is_redirect(one)]:
            raise Rejected(
                f"redirects: {wrong[0][:100]!r} must be an https address, one of this machine, or an app's own"
            )
        name = nfc(name)
        if not is_name(name, 64):
            raise Rejected("a program's name must have 1 to 64 printable characters")
        if len(self.clients) >= MAX_CLIENTS:
            raise Rejected(f"there are at most {MAX_CLIENTS} programs")
        secret, now = secrets.token_urlsafe(32), self._hub.clock.now()
        client = Client(
            id="oa2-client-id_" + secrets.token_urlsafe(24),
            name=name,
            org=org,
            role=role,
            hash=digest(secret),
            created=now,
            redirects=tuple(redirects),
        )

        async def write(tx: Transaction) -> None:
            sql = (
                "INSERT INTO users_clients (id, name, org, role, hash, created, redirects) VALUES (?, ?, ?, ?, ?, ?, ?)"
            )
            await tx.execute(sql, (client.id, name, org, role, client.hash, now, json.dumps(redirects)))

        await self._hub.storage.transaction(write)
        self.clients[client.id] = client
        return client, secret

    def client_of(self, number: str, secret: str) -> Client | None:
        """The program with that id and secret; takes as long for an id that is not known."""
        client = self.clients.get(number)
        right = secrets.compare_digest(bytes(32) if client is None else client.hash, digest(secret))
        return client if right else None

    async def remove_client(self, client: Client) -> None:
        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM users_clients WHERE id = ?", (client.id,))

        await self._hub.storage.transaction(write)
        self.clients.pop(client.id, None)
        self._forget([session for session in self.sessions.values() if session.client == client.id])
        self._hub.emit(RightsChanged())

    def replaced(self, role: int, instead: int) -> None:
        """A role is gone, and another has taken its place."""
        for user in self._people.by_id.values():
            user.role = instead if user.role == role else user.role
        for client in self.clients.values():
            client.role = instead if client.role == role else client.role

    def gone(self, user: User) -> None:
        """Somebody is no more: nothing of theirs opens anything."""
        self._forget(self.of_user(user.id))
        for key in [key for key in self.keys.values() if key.user == user.id]:
            self.keys.pop(key.id)
            self.by_key.pop(key.hash)


#: RFC 3986's characters but the fragment's, without what would be taken for another directive or header of ours.
_URI = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,=%-]{1,500}")
#: RFC 8252, 7.1: an app's own scheme is a domain name in reverse order.
_APP_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
#: Schemes of which a look-alike with a dot would be taken for an app's own.
_SCRIPTS = ("javascript", "vbscript", "data", "livescript", "blob", "file", "about", "view-source")
#: A host name, or an address: what may stand in a Content-Security-Policy.
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]*:[0-9a-f:.]*")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_redirect(address: str) -> bool:
    """Whether an address may be a client's redirect_uri: an absolute URI without fragment (RFC 6749, 3.1.2).

    It is https with a host, http on this machine, or an app's own scheme in RFC 8252's form. A user name or password
    in it would show another host than the one it leads to.
    """
    try:
        parts = urlsplit(address)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError:
        return False
    if _URI.fullmatch(address) is None or "@" in parts.netloc or not port_is_number:
        return False
    if parts.scheme in ("https", "http"):
        host = parts.hostname or ""
        return bool(_HOST.fullmatch(host)) and (parts.scheme == "https" or host in _LOOPBACK)
    return _APP_SCHEME.fullmatch(parts.scheme) is not None and parts.scheme.partition(".")[0] not in _SCRIPTS
