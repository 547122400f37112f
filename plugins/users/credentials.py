"""What people and programs present: sessions with their tokens, personal keys, programs. Of secrets only hashes."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from hub.errors import Conflict, NotAuthenticated, Rejected, StorageError
from hub.facts import RightsChanged
from plugins.users.model import Client, Key, Session, User
from plugins.users.people import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.app import Hub
    from hub.storage import Transaction
    from plugins.users.people import People

#: Sessions of one user or program; the one that was not used for longest ends for a new one.
MAX_SESSIONS = 50
MAX_KEYS = 50
#: Ten years of milliseconds.
MAX_LASTS = 10 * 366 * 86_400_000
MAX_CLIENTS = 1_000
MAX_REDIRECTS = 11
#: Milliseconds that a program's access token lasts (docs.blynk.io, OAuth2 authorization).
PROGRAM_MS = 300_000
_SESSION = "id, org, user, client, access, access_ends, refresh, refresh_ends, created, used, address, agent"


@attrs.frozen(kw_only=True)
class Tokens:
    """``expires_in`` is in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


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

    async def open(self, *, user: User | None = None, client: Client | None = None, address: str, agent: str) -> Tokens:
        """A new session for a user or a program."""
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
            return await tx.execute(
                f"INSERT INTO users_sessions ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                tuple(getattr(session, name) for name in names),
            )

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

    async def refresh(self, token: str, *, program: bool) -> tuple[Session, Tokens]:
        """Refresh a session, of a ``program`` or of somebody without one.

        A spent token ends its session, since somebody has a copy. Raises `NotAuthenticated`.
        """
        hashed, now = digest(token), self._hub.clock.now()
        session = self._by_refresh.get(hashed)
        user = None if session is None or session.user is None else self._people.by_id.get(session.user)
        if session is None or session.refresh_ends <= now or (user is not None and user.suspended):
            await self._spent(hashed)
            raise NotAuthenticated("The refresh token is not known, or has been used.")
        if program != (session.client is not None):
            raise NotAuthenticated("The refresh token is for another way in.")
        tokens, hashes = self._new_tokens(program=program)

        async def write(tx: Transaction) -> None:
            await tx.execute("INSERT INTO users_spent (hash, session, at) VALUES (?, ?, ?)", (hashed, session.id, now))
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

    async def _spent(self, hashed: bytes) -> None:
        async def read(tx: Transaction) -> Any:
            return await tx.fetch_one("SELECT session FROM users_spent WHERE hash = ?", (hashed,))

        row = await self._hub.storage.read(read)
        if row is not None and (session := self.sessions.get(row[0])):
            self._hub.refuse(session.address, "a refresh token was used twice; its session has ended")
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
        if not 1 <= len(name) <= 60 or not name.isprintable():
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
            raise Rejected(f"a program can have at most {MAX_REDIRECTS} redirects")
        if wrong := [one for one in redirects if not _is_redirect(one)]:
            raise Rejected(
                f"redirects: {wrong[0][:100]!r} must be an https address, one of this machine, or an app's own"
            )
        if not 1 <= len(name) <= 64 or not name.isprintable():
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
        """The program with that id and secret."""
        client = self.clients.get(number)
        return client if client is not None and secrets.compare_digest(client.hash, digest(secret)) else None

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


def _is_redirect(address: str) -> bool:
    """Whether somebody may be sent there: RFC 8252 has loopback addresses and apps' own schemes, with a dot."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if len(address) > 500 or parts.fragment or not address.isascii() or not address.isprintable() or " " in address:
        return False
    if parts.scheme == "https":
        return bool(parts.hostname)
    return "." in parts.scheme or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))
