"""OAuth2 authorization codes, between a user's consent and the client that redeems them (RFC 6749, 4.1; RFC 7636).

A code is in memory until it is 60 seconds old. It is unused, then used: whatever becomes of its first use, it never
works again. The digest of a code that has opened a session also stays in ``users_spent``. A used code that the same
client presents again ends the session of its first use; when that session is just being opened (``replayed``), it is
ended as soon as it is open.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from hub import NotAuthenticated
from plugins.users.digests import digest

if TYPE_CHECKING:
    from hub import Clock
    from plugins.users.credentials import Credentials
    from plugins.users.model import RegisteredClient, Tokens, User
    from plugins.users.user_store import UserStore

#: Seconds in which a code must be redeemed.
LIFETIME = 60.0
#: Codes in memory; the oldest makes room for a new one.
MAX_CODES = 1_000
#: RFC 7636, 4.1: a code verifier.
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@attrs.define(eq=False)
class AuthorizationCode:
    """``challenge`` is None when the client asked without PKCE; ``expires`` is a monotonic time."""

    user: int
    client: str
    redirect: str
    challenge: str | None
    expires: float
    used: bool = False
    #: It was presented again, perhaps while its first use was opening a session.
    replayed: bool = False


class AuthorizationCodes:
    def __init__(self, users: UserStore, credentials: Credentials, clock: Clock) -> None:
        self._clock = clock
        self._users = users
        self._credentials = credentials
        #: By digest, the oldest first.
        self._codes: dict[bytes, AuthorizationCode] = {}

    def issue(self, user: User, client: RegisteredClient, redirect: str, challenge: str | None) -> str:
        """Return a new code with which the client can open a session that acts for the user."""
        now = self._clock.monotonic()
        self._codes = {hashed: code for hashed, code in self._codes.items() if code.expires > now}
        while len(self._codes) >= MAX_CODES:
            self._codes.pop(next(iter(self._codes)))
        text = secrets.token_urlsafe(32)
        self._codes[digest(text)] = AuthorizationCode(user.id, client.id, redirect, challenge, now + LIFETIME)
        return text

    async def redeem(self, client: RegisteredClient, params: Mapping[str, str], address: str, agent: str) -> Tokens:
        """Return the tokens for a code, given the client that has authenticated (RFC 6749, 4.1.3; RFC 7636, 4.6).

        A code of another client stays as it is. A code that is presented a second time ends the session of its first
        use. A code with a wrong redirect_uri or code_verifier stops working. Raises `NotAuthenticated`.
        """
        hashed = digest(params.get("code", ""))
        code = self._codes.get(hashed)
        if code is not None and code.client != client.id:
            raise NotAuthenticated("The code is for another client.")
        if code is None or code.used or code.expires <= self._clock.monotonic():
            if code is not None:
                code.replayed = True
            await self._credentials.revoke_replayed(hashed, client)
            raise NotAuthenticated("The code is not known, has been used, or is too old.")
        code.used = True
        user = self._verified_user(code, params)
        tokens = await self._credentials.open_session(
            user=user, client=client, address=address, agent=agent, spent=hashed
        )
        if code.replayed:
            await self._credentials.revoke_replayed(hashed, client)
            raise NotAuthenticated("The code has been used twice.")
        return tokens

    def _verified_user(self, code: AuthorizationCode, params: Mapping[str, str]) -> User:
        """Return the user of a code if the other parameters of the token request match. Raises `NotAuthenticated`."""
        verifier = params.get("code_verifier", "")
        if params.get("redirect_uri") != code.redirect:
            raise NotAuthenticated("The code is for another redirect_uri.")
        if code.challenge is None and verifier:
            # RFC 9700, 2.1.1: otherwise an attacker could take PKCE out of the authorization request.
            raise NotAuthenticated("The code was requested without a code_challenge: redeem it without code_verifier.")
        if code.challenge is not None:
            hashed = hashlib.sha256(verifier.encode("utf-8", "replace")).digest()
            challenge = base64.urlsafe_b64encode(hashed).rstrip(b"=")
            if _VERIFIER.fullmatch(verifier) is None or not hmac.compare_digest(challenge, code.challenge.encode()):
                raise NotAuthenticated("The code_verifier does not match the code_challenge.")
        user = self._users.by_id.get(code.user)
        if user is None or user.suspended:
            raise NotAuthenticated("The user or the client no longer exists.")
        return user
