"""Users and OAuth2 clients, and the sessions and keys that they authenticate with. Times are milliseconds UTC."""

from __future__ import annotations

from typing import Literal

import attrs

from hub.parsing.spellings import nfc

#: Ids of the roles that every hub has; the ids of added roles follow.
ADMIN, STAFF, USER = 1, 2, 3
#: Milliseconds without a login after which an account counts as inactive (docs.blynk.io, Users: a month).
INACTIVE_AFTER_MS = 30 * 86_400_000

AccountStatus = Literal["pending", "active", "inactive", "suspended"]


@attrs.frozen(kw_only=True)
class Address:
    full_address: str = ""
    city: str = ""
    country: str = ""
    state: str = ""
    zip: str = ""


@attrs.frozen(kw_only=True)
class Profile:
    """The optional personal data and preferences of a user."""

    nickname: str = ""
    phone: str = ""
    title: str = ""
    locale: str = ""
    timezone: str = ""
    units: Literal["default", "metric", "imperial"] = "default"
    address: Address = Address()


@attrs.define(kw_only=True, eq=False)
class User:
    """An account. ``password`` is the PHC string of Argon2id, or None until a password is set."""

    id: int
    org: int
    email: str
    name: str = attrs.field(converter=nfc, default="")
    role: int = USER
    password: str | None = attrs.field(default=None, repr=False)
    created: int = 0
    last_login: int | None = None
    suspended: bool = False
    developer: bool = False
    #: Secret of the one-time passwords in base32, or None without a second factor.
    otp: str | None = attrs.field(default=None, repr=False)
    #: Time step of the last one-time password that was accepted.
    otp_step: int = 0
    profile: Profile = Profile()

    def status(self, now: int) -> AccountStatus:
        if self.suspended:
            return "suspended"
        if self.last_login is None and self.password is None:
            return "pending"
        return "inactive" if now - (self.last_login or self.created) > INACTIVE_AFTER_MS else "active"


@attrs.define(kw_only=True, eq=False)
class ApiSession:
    """A login to the API, which lasts until it is ended or its refresh token expires.

    It has one access token and one refresh token at a time; refreshing replaces both. ``access`` and ``refresh`` are
    their digests, ``access_ends`` and ``refresh_ends`` the times at which they expire. ``user`` is set in the session
    of a user, ``client`` in that of an OAuth2 client, and both when the client acts for the user. ``org`` is the
    organization in which the session acts.
    """

    id: int
    org: int
    user: int | None = None
    client: str | None = None
    access: bytes = attrs.field(repr=False)
    access_ends: int
    refresh: bytes = attrs.field(repr=False)
    refresh_ends: int
    created: int
    used: int
    address: str = ""
    agent: str = ""


@attrs.frozen(kw_only=True)
class Tokens:
    """The tokens of a session; ``expires_in`` is the access token's remaining lifetime in seconds."""

    access_token: str = attrs.field(repr=False)
    refresh_token: str = attrs.field(repr=False)
    expires_in: int


@attrs.define(kw_only=True, eq=False)
class ApiKey:
    """A personal API key: it has its user's permissions, limited to ``scopes`` if they are set."""

    id: int
    user: int
    name: str = attrs.field(converter=nfc)
    hash: bytes = attrs.field(repr=False)
    scopes: frozenset[str] | None = None
    expires: int | None = None
    created: int = 0
    used: int | None = None


@attrs.define(kw_only=True, eq=False)
class RegisteredClient:
    """An OAuth2 client of an organization, with a role in it (docs.blynk.io, OAuth2 authorization).

    ``redirects`` are the redirect URIs that the client may ask a user's browser to be sent back to.
    """

    id: str
    name: str = attrs.field(converter=nfc)
    org: int
    role: int
    hash: bytes = attrs.field(repr=False)
    created: int = 0
    redirects: tuple[str, ...] = ()
