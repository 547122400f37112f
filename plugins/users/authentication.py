"""Whom the credentials of a request belong to: tokens, keys, client secrets, and passwords at a login."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from hub import Forbidden, NotAuthenticated, Principal, Request, secret
from plugins.users.digests import digest
from plugins.users.model import ApiSession, User
from plugins.users.passwords import candidate_hashes

if TYPE_CHECKING:
    from hub import Hub
    from plugins.users.authorization import Authorization
    from plugins.users.credentials import Credentials
    from plugins.users.passwords import Passwords
    from plugins.users.roles import Roles
    from plugins.users.throttle import Throttle
    from plugins.users.totp import TwoFactor
    from plugins.users.user_store import UserStore

#: The same for an unknown address and a wrong password, so that addresses cannot be probed.
WRONG = "The email or the password is wrong."


@attrs.frozen(kw_only=True)
class Login:
    """``password``, or Blynk's hash of it; ``otp`` with a second factor: a one-time password or a recovery code.

    With ``cookie``, a page of the hub gets the refresh token as a cookie that no script can read.
    """

    email: str = secret()
    password: str | None = secret(default=None)
    password_hash: str | None = secret(default=None)
    otp: str | None = secret(default=None)
    cookie: bool = False


class Authentication:
    def __init__(
        self,
        hub: Hub,
        users: UserStore,
        roles: Roles,
        credentials: Credentials,
        authorization: Authorization,
        passwords: Passwords,
        two_factor: TwoFactor,
        throttle: Throttle,
    ) -> None:
        self._hub = hub
        self._users = users
        self._roles = roles
        self._credentials = credentials
        self._authorization = authorization
        self._passwords = passwords
        self._two_factor = two_factor
        self._throttle = throttle

    def authenticate_bearer(self, token: str) -> Principal | None:
        """Return the principal of an access token or API key; None when it is unknown or not valid any more.

        Raises `NotAuthenticated` for an access token that has expired.
        """
        hashed, now = digest(token), self._hub.clock.now()
        if session := self._credentials.session_by_access.get(hashed):
            if session.access_ends <= now:
                raise NotAuthenticated("The access token has expired.")
            session.used = now
            return self._session_principal(session)
        key = self._credentials.key_by_digest.get(hashed)
        user = None if key is None else self._users.by_id.get(key.user)
        if key is None or user is None or user.suspended or (key.expires is not None and key.expires <= now):
            return None
        key.used = now
        return Principal("user", user.id, user.org, user.email, key.scopes, f"key {key.id}")

    def authenticate_client(self, client_id: str, client_secret: str) -> Principal | None:
        """Return the principal of an OAuth2 client that authenticates with its id and secret, or None."""
        client = self._credentials.authenticate_client(client_id, client_secret)
        return None if client is None else Principal("client", client.id, client.org, client.name, None, "secret")

    def _session_principal(self, session: ApiSession) -> Principal | None:
        client = None if session.client is None else self._credentials.clients.get(session.client)
        if session.user is None:
            return None if client is None else Principal("client", client.id, client.org, client.name, None, session.id)
        user = self._users.by_id.get(session.user)
        if user is None or user.suspended or (client is None and session.client is not None):
            return None
        org = self._authorization.session_organization(user, session)
        if org is None:
            return None
        scopes = None if client is None else self._roles.grants(client.org, client.role)
        return Principal("user", user.id, org, user.email, scopes, session.id)

    def current_user(self, request: Request) -> User:
        """Return the user whose request it is, and make them its subject.

        Raises `NotAuthenticated` when it is not a user's; `Forbidden` when a key or an OAuth2 client wants to change
        something about its user.
        """
        principal = request.principal
        user = self._users.by_id.get(principal.id) if principal.kind == "user" else None  # type: ignore[arg-type]
        if user is None or self._authorization.grants(principal) == frozenset():
            raise NotAuthenticated("Only a user who is logged in can do this.")
        logged_in_directly = principal.scopes is None and isinstance(principal.session, int)
        if request.method != "GET" and not logged_in_directly:
            raise Forbidden("An API key or OAuth2 client cannot change its user's account: log in with the password.")
        request.subject, request.org = f"user {user.id}", user.org
        return user

    async def log_in(self, login: Login, address: str) -> User:
        """Return the user who logs in.

        Raises `NotAuthenticated`, `TooMany`, and `Forbidden` when the user is suspended.
        """
        email = login.email.strip().lower()[:254]
        attempt = self._throttle.attempt("login", email, address)
        user = self._users.by_email.get(email)
        hashes = candidate_hashes(email, login.password, login.password_hash)
        stored = None if user is None else user.password
        matching_hash = await self._passwords.first_match(hashes, stored)
        if matching_hash is None or user is None:
            self._hub.reject(address, "wrong email or password")
            raise NotAuthenticated(WRONG)
        if user.otp is not None:
            if not login.otp:
                # Clients that do not know of the second factor begin so: this is no guess.
                attempt.uncounted()
                raise NotAuthenticated("A one-time password is needed.")
            if not await self._two_factor.verify(user, user.otp, login.otp):
                self._hub.reject(address, "wrong one-time password")
                raise NotAuthenticated("The one-time password is wrong.")
        attempt.succeeded()
        if user.suspended:
            raise Forbidden("This account is suspended.")
        await self._users.change(user, last_login=self._hub.clock.now())
        if user.password != stored or user.suspended:
            # Another password was set, or the user was suspended, since the check.
            raise NotAuthenticated(WRONG)
        if matching_hash != hashes[0] and hashes[0]:
            await self._users.rehash(user, hashes[0])
        return user

    async def verify_password(self, user: User, password: str, request: Request) -> None:
        """Check the password that a logged-in user repeats for this request. Raises `Forbidden`, `TooMany`."""
        attempt = self._throttle.attempt("password", str(request.principal.session), request.address)
        hashes = candidate_hashes(user.email, password, None)
        if await self._passwords.first_match(hashes, user.password) is None:
            raise Forbidden("The password is wrong.")
        attempt.succeeded()
