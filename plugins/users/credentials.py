"""The credentials of the API: sessions with their tokens, personal API keys, and OAuth2 clients.

All of them are in memory and in the database. Of secrets there are only digests.

A session has one access token and one refresh token at a time. Its refresh token can be used once, for the next pair;
the digests of spent ones stay in ``users_spent``. A session ends when its spent refresh token, or the authorization
code that it was opened for, is presented again, since that must have been copied; but for some seconds a user's last
spent token gets the same pair again (see `refresh_grace`). A session also ends by logout, by expiry of its refresh
token, for a newer session of the same user or client beyond `MAX_SESSIONS`, and with its user, client or organization.
"""

from __future__ import annotations

import json
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub import Conflict, NotAuthenticated, Rejected, RightsChanged, StampColumns, StorageError
from hub.parsing.spellings import is_name, nfc
from plugins.users.digests import digest
from plugins.users.model import ApiKey, ApiSession, RegisteredClient, Tokens, User
from plugins.users.redirect_uris import is_redirect_uri
from plugins.users.refresh_grace import GRACE, RecentExchanges

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from hub import Correction, Hub, Transaction
    from plugins.users.settings import Settings
    from plugins.users.user_store import UserStore

#: Sessions of one user or client; the least recently used ends when there is one more.
MAX_SESSIONS = 50
MAX_KEYS = 50
#: Ten years in milliseconds.
MAX_KEY_LIFETIME_MS = 10 * 366 * 86_400_000
MAX_CLIENTS = 1_000
MAX_REDIRECTS = 11
#: Milliseconds until a client's access token expires (docs.blynk.io, Platform API, Authentication).
CLIENT_ACCESS_MS = 86_400_000
_INSERT_SPENT = "INSERT INTO users_spent (hash, session, at) VALUES (?, ?, ?)"
_SESSION_FIELDS = "id org user client access access_ends refresh refresh_ends created used address agent".split()
_SESSION_COLUMNS = ["user_id" if field == "user" else field for field in _SESSION_FIELDS]


def stamp_columns(settings: Settings) -> list[StampColumns]:
    """Return the columns of this plugin's tables that hold times.

    For a time of expiry, when it was set follows from the lifetime; for a link's, from the longest lifetime of links.
    """
    access, refresh = settings.milliseconds("access"), settings.milliseconds("refresh")
    access_of_session = f"(CASE WHEN client IS NULL THEN {access} ELSE {CLIENT_ACCESS_MS} END)"
    longest_link = max(settings.milliseconds("invitation"), settings.milliseconds("reset"))
    return [
        StampColumns("users", ("created", "last_login")),
        StampColumns("users_clients", ("created",)),
        StampColumns("users_sessions", ("created", "used")),
        StampColumns("users_sessions", ("refresh_ends",), stamp=f"refresh_ends - {refresh}"),
        StampColumns("users_sessions", ("access_ends",), stamp=f"access_ends - {access_of_session}"),
        StampColumns("users_spent", ("at",)),
        StampColumns("users_links", ("expires",), stamp=f"expires - {longest_link}"),
        # Before `created` is corrected, since it goes by that column.
        StampColumns("users_keys", ("expires",), stamp="created"),
        StampColumns("users_keys", ("created", "used")),
    ]


class Credentials:
    """All sessions, keys and clients, by id and by the digest of their secret."""

    def __init__(self, hub: Hub, users: UserStore, access_ms: int, refresh_ms: int) -> None:
        self._hub = hub
        self._users = users
        self._access_ms = access_ms
        self._refresh_ms = refresh_ms
        self.sessions: dict[int, ApiSession] = {}
        self.keys: dict[int, ApiKey] = {}
        self.clients: dict[str, RegisteredClient] = {}
        self.session_by_access: dict[bytes, ApiSession] = {}
        self._session_by_refresh: dict[bytes, ApiSession] = {}
        self._recent_exchanges = RecentExchanges(hub.clock.monotonic)
        #: The refresh tokens that a request is about to exchange, by digest; the events are set when it has ended.
        self._refreshing: dict[bytes, trio.Event] = {}
        self.key_by_digest: dict[bytes, ApiKey] = {}
        #: The database has all uses of sessions and keys until this time.
        self._used_saved = hub.clock.now()

    async def load(self) -> None:
        # Expired sessions are loaded too: the clock may be wrong at a start, so it is asked at each use.
        async def read(tx: Transaction) -> tuple[list[Any], list[Any], list[Any]]:
            sessions = await tx.fetch_all(f"SELECT {', '.join(_SESSION_COLUMNS)} FROM users_sessions")
            keys = await tx.fetch_all("SELECT id, user_id, name, hash, scopes, expires, created, used FROM users_keys")
            clients = await tx.fetch_all("SELECT id, name, org, role, hash, created, redirects FROM users_clients")
            return sessions, keys, clients

        sessions, keys, clients = await self._hub.storage.read(read)
        for row in sessions:
            self._index_session(ApiSession(**dict(zip(_SESSION_FIELDS, row, strict=True))))
        for id_, user, name, hash_, scopes_json, expires, created, used in keys:
            scopes = None if scopes_json is None else frozenset(json.loads(scopes_json))
            self._index_key(
                ApiKey(
                    id=id_,
                    user=user,
                    name=name,
                    hash=hash_,
                    scopes=scopes,
                    expires=expires,
                    created=created,
                    used=used,
                )
            )
        for client_id, name, org, role, hash_, created, redirects in clients:
            self.clients[client_id] = RegisteredClient(
                id=client_id,
                name=name,
                org=org,
                role=role,
                hash=hash_,
                created=created,
                redirects=tuple(json.loads(redirects)),
            )

    # -- sessions -------------------------------------------------------------------------------------------------

    async def open_session(
        self,
        *,
        user: User | None = None,
        client: RegisteredClient | None = None,
        address: str,
        agent: str,
        spent: bytes | None = None,
    ) -> Tokens:
        """Open a session for a user, for a client, or for a client that acts for a user.

        ``spent`` is the digest of the authorization code that it is opened for: see `revoke_replayed`. Raises
        `NotAuthenticated` when the user or the client no longer exists.
        """
        now = self._hub.clock.now()
        tokens, token_columns = self._new_tokens(for_client=client is not None)
        org = user.org if user is not None else client.org if client is not None else 0
        session = ApiSession(
            id=0,
            org=org,
            user=None if user is None else user.id,
            client=None if client is None else client.id,
            created=now,
            used=now,
            address=address[:64],
            agent=agent[:200],
            **token_columns,
        )
        proven_password = None if user is None else user.password
        await self._insert_session(session, spent)
        is_invalid = user is not None and (self._users.by_id.get(user.id) is not user or user.suspended)
        is_invalid = is_invalid or (client is not None and client.id not in self.clients)
        if is_invalid or (user is not None and user.password != proven_password):
            # The user was deleted or suspended, or has another password, since the transaction began.
            await self.end([session])
            raise NotAuthenticated("The session has ended.")
        return tokens

    async def _insert_session(self, session: ApiSession, spent: bytes | None) -> None:
        """Write a session, which gets its id, and index it; delete expired and surplus ones.

        Raises `NotAuthenticated`.
        """
        owner = session.user, session.client
        siblings = [other for other in self.sessions.values() if (other.user, other.client) == owner]
        past = self._hub.clock.deletable_before
        surplus = sorted(siblings, key=lambda other: other.used)[: max(0, len(siblings) - MAX_SESSIONS + 1)]

        async def write(tx: Transaction) -> int:
            await tx.execute("DELETE FROM users_sessions WHERE refresh_ends <= ?", (past,))
            await tx.execute("DELETE FROM users_spent WHERE at <= ?", (past - self._refresh_ms,))
            for other in surplus:
                await tx.execute("DELETE FROM users_sessions WHERE id = ?", (other.id,))
            fields = zip(_SESSION_COLUMNS[1:], _SESSION_FIELDS[1:], strict=True)
            row = {column: getattr(session, field) for column, field in fields}
            session_id = await tx.insert("users_sessions", **row)
            if spent is not None:
                await tx.execute(_INSERT_SPENT, (spent, session_id, session.created))
            return session_id

        try:
            session.id = await self._hub.storage.transaction(write)
        except Conflict as error:
            raise NotAuthenticated("The user or the client no longer exists.") from error
        self._discard([*surplus, *(other for other in self.sessions.values() if other.refresh_ends <= past)])
        if surplus:
            self._hub.emit(RightsChanged())
        self._index_session(session)

    def _new_tokens(self, *, for_client: bool) -> tuple[Tokens, dict[str, Any]]:
        """Return new tokens, and the columns of a session that change with them."""
        now = self._hub.clock.now()
        lifetime = CLIENT_ACCESS_MS if for_client else self._access_ms
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

    async def refresh(self, token: str, *, client: RegisteredClient | None) -> tuple[ApiSession, Tokens]:
        """Replace the tokens of a session: of the OAuth2 client that has authenticated, or of a user without a client.

        A spent token ends its session, since it must have been copied; a user's last one only after its grace. A token
        of another client is rejected and stays valid (RFC 6749, 6). Raises `NotAuthenticated`.
        """
        hashed = digest(token)
        async with self._one_at_a_time(hashed):
            session = self._session_by_refresh.get(hashed)
            if session is None and client is None and (exchanged := await self._repeat_exchange(hashed)) is not None:
                return exchanged
            if session is None or not self._is_valid(session):
                await self.revoke_replayed(hashed, client)
                raise NotAuthenticated("The refresh token is not known, or has been used.")
            if session.client != (client and client.id):
                raise NotAuthenticated("The refresh token belongs to another client.")
            return session, await self._exchange(session)

    @asynccontextmanager
    async def _one_at_a_time(self, hashed: bytes) -> AsyncIterator[None]:
        """Let requests with the same refresh token wait for each other, so that the later ones find its exchange."""
        while (other := self._refreshing.get(hashed)) is not None:
            await other.wait()
        done = self._refreshing[hashed] = trio.Event()
        try:
            yield
        finally:
            del self._refreshing[hashed]
            done.set()

    def _is_valid(self, session: ApiSession) -> bool:
        """Whether a session's refresh token has not expired, and its user is not suspended."""
        user = None if session.user is None else self._users.by_id.get(session.user)
        return session.refresh_ends > self._hub.clock.now() and not (user is not None and user.suspended)

    async def _repeat_exchange(self, hashed: bytes) -> tuple[ApiSession, Tokens] | None:
        """Return a user's session and its present tokens for its last spent refresh token; None after the grace."""
        exchange = self._recent_exchanges.find(hashed)
        if exchange is None:
            return await self._resume_exchange(hashed)
        session, tokens = exchange.session, exchange.tokens
        is_last = self._session_by_refresh.get(digest(tokens.refresh_token)) is session
        if not is_last or not self._is_valid(session):
            return None
        left_ms = max(0, session.access_ends - self._hub.clock.now())
        return session, attrs.evolve(tokens, expires_in=left_ms // 1000)

    async def _resume_exchange(self, hashed: bytes) -> tuple[ApiSession, Tokens] | None:
        """Do the same after a restart: the present tokens are not in memory, so the session gets new ones."""

        async def read(tx: Transaction) -> Any:
            spent = await tx.fetch_one("SELECT session, at FROM users_spent WHERE hash = ?", (hashed,))
            if spent is None or await tx.fetch_one("SELECT 1 FROM users_spent WHERE session = ? AND at > ?", spent):
                return None
            return spent

        row = await self._hub.storage.read(read)
        session = None if row is None else self.sessions.get(row[0])
        if session is None or session.client is not None or not self._is_valid(session):
            return None
        grace = GRACE - (self._hub.clock.now() - row[1]) / 1000
        # The present refresh token is not indexed while another request exchanges it.
        if grace <= 0 or session.refresh not in self._session_by_refresh:
            return None
        tokens = await self._exchange(session)
        self._recent_exchanges.add(hashed, session, tokens, grace)
        return session, tokens

    async def _exchange(self, session: ApiSession) -> Tokens:
        """Replace the tokens of a session. Raises `NotAuthenticated` when it ends meanwhile."""
        spent, now = session.refresh, self._hub.clock.now()
        tokens, token_columns = self._new_tokens(for_client=session.client is not None)

        async def write(tx: Transaction) -> None:
            await tx.execute(_INSERT_SPENT, (spent, session.id, now))
            columns = ", ".join(f"{name} = ?" for name in (*token_columns, "used"))
            values = (*token_columns.values(), now, session.id)
            await tx.execute(f"UPDATE users_sessions SET {columns} WHERE id = ?", values)

        # Meanwhile no other request can use the old tokens; they are restored if the transaction fails.
        self._unindex_tokens(session)
        try:
            await self._hub.storage.transaction(write)
        except BaseException:
            if session.id in self.sessions:
                self._index_session(session)
            raise
        if session.id not in self.sessions:
            raise NotAuthenticated("The session has ended.")
        for name, value in token_columns.items():
            setattr(session, name, value)
        session.used = now
        self._index_session(session)
        if session.client is None:
            self._recent_exchanges.add(spent, session, tokens)
        return tokens

    async def revoke_replayed(self, hashed: bytes, client: RegisteredClient | None) -> None:
        """End the session whose spent refresh token or authorization code is presented again, if it is the client's.

        ``hashed`` is the digest of the token or code; ``client`` is None for a user without a client. RFC 6749, 4.1.2
        and 10.4.
        """

        async def read(tx: Transaction) -> Any:
            return await tx.fetch_one("SELECT session FROM users_spent WHERE hash = ?", (hashed,))

        row = await self._hub.storage.read(read)
        session = None if row is None else self.sessions.get(row[0])
        if session is not None and session.client == (client and client.id):
            self._hub.reject(session.address, "a refresh token or code was used twice; its session has ended")
            await self.end([session])

    async def switch_organization(self, session: ApiSession, org: int) -> None:
        """Let a session act in another organization (docs.blynk.io, Switch to sub-organizations)."""

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE users_sessions SET org = ? WHERE id = ?", (org, session.id))

        await self._hub.storage.transaction(write)
        session.org = org
        self._hub.emit(RightsChanged())

    async def end(self, sessions: list[ApiSession]) -> None:
        """End sessions; open streams of theirs are closed."""

        async def write(tx: Transaction) -> None:
            for session in sessions:
                await tx.execute("DELETE FROM users_sessions WHERE id = ?", (session.id,))

        # First in memory, so that their tokens stop working before the disk has it.
        self._discard(sessions)
        self._hub.emit(RightsChanged())
        try:
            await self._hub.storage.transaction(write)
        except StorageError:
            # Otherwise a second attempt would find nothing to end, and a restart would bring them back.
            for session in sessions:
                self._index_session(session)
            raise

    def sessions_of(self, user_id: int) -> list[ApiSession]:
        """Return the sessions of a user that have not expired."""
        now = self._hub.clock.now()
        return [session for session in self.sessions.values() if session.user == user_id and session.refresh_ends > now]

    def forget_organization(self, org: int) -> None:
        """Drop the sessions of an organization that has been deleted in the database."""
        self._discard([session for session in self.sessions.values() if session.org == org])

    def _index_session(self, session: ApiSession) -> None:
        self.sessions[session.id] = session
        self.session_by_access[session.access] = self._session_by_refresh[session.refresh] = session

    def _unindex_tokens(self, session: ApiSession) -> None:
        self.session_by_access.pop(session.access, None)
        self._session_by_refresh.pop(session.refresh, None)

    def _discard(self, sessions: list[ApiSession]) -> None:
        for session in sessions:
            self.sessions.pop(session.id, None)
            self._unindex_tokens(session)

    # -- keys -----------------------------------------------------------------------------------------------------

    async def add_key(
        self, user: User, name: str, scopes: frozenset[str] | None, lifetime_ms: int | None
    ) -> tuple[ApiKey, str]:
        """Add a personal API key; return it and its secret, which cannot be read later. Raises `Rejected`."""
        name = nfc(name)
        if not is_name(name, 60):
            raise Rejected("The name of an API key must have 1 to 60 printable characters.")
        if sum(key.user == user.id for key in self.keys.values()) >= MAX_KEYS:
            raise Rejected(f"A user can have at most {MAX_KEYS} API keys: revoke one first.")
        now, secret = self._hub.clock.now(), "pwk_" + secrets.token_urlsafe(32)
        if lifetime_ms is not None and not 0 < lifetime_ms < MAX_KEY_LIFETIME_MS:
            raise Rejected("lasts must be more than 0 and at most ten years, in milliseconds.")
        expires = None if lifetime_ms is None else now + lifetime_ms
        key = ApiKey(id=0, user=user.id, name=name, hash=digest(secret), scopes=scopes, expires=expires, created=now)

        async def write(tx: Transaction) -> int:
            return await tx.insert(
                "users_keys",
                user_id=user.id,
                name=name,
                hash=key.hash,
                scopes=None if scopes is None else json.dumps(sorted(scopes)),
                expires=expires,
                created=now,
            )

        key.id = await self._hub.storage.transaction(write)
        self._index_key(key)
        return key, secret

    def _index_key(self, key: ApiKey) -> None:
        self.keys[key.id] = self.key_by_digest[key.hash] = key

    def keys_of(self, user_id: int) -> list[ApiKey]:
        return [key for key in self.keys.values() if key.user == user_id]

    async def revoke_key(self, key: ApiKey) -> None:
        self.keys.pop(key.id, None)
        self.key_by_digest.pop(key.hash, None)
        self._hub.emit(RightsChanged())

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM users_keys WHERE id = ?", (key.id,))

        try:
            await self._hub.storage.transaction(write)
        except StorageError:
            self._index_key(key)
            raise

    # -- clients --------------------------------------------------------------------------------------------------

    async def add_client(
        self, name: str, org: int, role: int, redirects: Sequence[str]
    ) -> tuple[RegisteredClient, str]:
        """Add an OAuth2 client; return it and its secret, which cannot be read later. Raises `Rejected`."""
        if len(redirects) > MAX_REDIRECTS:
            raise Rejected(f"An OAuth2 client can have at most {MAX_REDIRECTS} redirects.")
        if unacceptable := [uri for uri in redirects if not is_redirect_uri(uri)]:
            raise Rejected(
                f"redirects: {unacceptable[0][:100]!r} must be an https address, an http address of this machine,"
                " or have an app's own scheme."
            )
        name = nfc(name)
        if not is_name(name, 64):
            raise Rejected("The name of an OAuth2 client must have 1 to 64 printable characters.")
        if len(self.clients) >= MAX_CLIENTS:
            raise Rejected(f"The hub can have at most {MAX_CLIENTS} OAuth2 clients: delete one first.")
        secret, now = secrets.token_urlsafe(32), self._hub.clock.now()
        client = RegisteredClient(
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

    def authenticate_client(self, client_id: str, secret: str) -> RegisteredClient | None:
        """Return the client with this id and secret, or None. Takes as long for an unknown id."""
        client = self.clients.get(client_id)
        matches = secrets.compare_digest(bytes(32) if client is None else client.hash, digest(secret))
        return client if matches else None

    async def remove_client(self, client: RegisteredClient) -> None:
        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM users_clients WHERE id = ?", (client.id,))

        await self._hub.storage.transaction(write)
        self.clients.pop(client.id, None)
        self._discard([session for session in self.sessions.values() if session.client == client.id])
        self._hub.emit(RightsChanged())

    def replace_role(self, role: int, replacement: int) -> None:
        """Replace a role in memory, as `Roles.remove` does in the database."""
        for client in self.clients.values():
            client.role = replacement if client.role == role else client.role

    # -- all of a user --------------------------------------------------------------------------------------------

    async def revoke_all(self, user: User) -> None:
        """End the sessions and revoke the keys of a user, so that only their password lets them in."""
        await self.end(self.sessions_of(user.id))
        for key in self.keys_of(user.id):
            await self.revoke_key(key)

    def forget_user(self, user: User) -> None:
        """Drop the sessions and keys of a user who has been deleted in the database."""
        self._discard(self.sessions_of(user.id))
        for key in self.keys_of(user.id):
            self.keys.pop(key.id)
            self.key_by_digest.pop(key.hash)

    # -- times ----------------------------------------------------------------------------------------------------

    async def save_last_used(self) -> None:
        """Write when sessions and keys were last used, if that was after the last call."""
        sessions = [(session.used, session.id) for session in self.sessions.values() if session.used > self._used_saved]
        keys = [(key.used, key.id) for key in self.keys.values() if key.used and key.used > self._used_saved]

        async def write(tx: Transaction) -> None:
            for table, rows in (("users_sessions", sessions), ("users_keys", keys)):
                for row in rows:
                    await tx.execute(f"UPDATE {table} SET used = ? WHERE id = ?", row)

        if sessions or keys:
            await self._hub.storage.transaction(write)
            self._used_saved = max(used for used, _ in sessions + keys)

    def correct_stamps(self, correction: Correction) -> None:
        """Correct in memory the times that a clock repair has corrected in the database."""
        if not correction.is_about(None):
            return
        corrected, ends = correction.corrected, correction.corrected_end
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
