"""People and programs: who they are and what they present."""

from __future__ import annotations

from typing import Literal

import attrs

from hub.spellings import nfc

#: The roles that every hub has; others count from here.
ADMIN, STAFF, USER = 1, 2, 3
#: Seconds without a login after which an account is inactive (docs.blynk.io, Users: a month).
INACTIVE_AFTER_MS = 30 * 86_400_000

State = Literal["pending", "active", "inactive", "suspended"]


@attrs.frozen(kw_only=True)
class Address:
    full_address: str = ""
    city: str = ""
    country: str = ""
    state: str = ""
    zip: str = ""


@attrs.frozen(kw_only=True)
class Profile:
    """What somebody says of themselves."""

    nickname: str = ""
    phone: str = ""
    title: str = ""
    locale: str = ""
    timezone: str = ""
    units: Literal["default", "metric", "imperial"] = "default"
    address: Address = Address()


@attrs.define(kw_only=True, eq=False)
class User:
    """``password`` is the PHC string of Argon2id; None until one is set. Times are milliseconds UTC."""

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
    #: Secret of the one-time passwords, as base32; None while there is no second factor.
    otp: str | None = attrs.field(default=None, repr=False)
    #: The step of the last one-time password that was used.
    otp_step: int = 0
    profile: Profile = Profile()

    def state(self, now: int) -> State:
        if self.suspended:
            return "suspended"
        if self.last_login is None and self.password is None:
            return "pending"
        return "inactive" if now - (self.last_login or self.created) > INACTIVE_AFTER_MS else "active"


@attrs.define(kw_only=True, eq=False)
class Session:
    """A login: access and refresh tokens follow each other in it until it ends.

    ``user`` or ``client`` is whose it is, with both a user's by way of a program; ``org`` is where they act.
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


@attrs.define(kw_only=True, eq=False)
class Key:
    """A personal API key: its user's rights, or no more than ``scopes`` of them."""

    id: int
    user: int
    name: str = attrs.field(converter=nfc)
    hash: bytes = attrs.field(repr=False)
    scopes: frozenset[str] | None = None
    expires: int | None = None
    created: int = 0
    used: int | None = None


@attrs.define(kw_only=True, eq=False)
class Client:
    """A program of an organization, with a role in it (docs.blynk.io, OAuth2 authorization).

    ``redirects`` are the addresses to which people who let it act for them may be sent back.
    """

    id: str
    name: str = attrs.field(converter=nfc)
    org: int
    role: int
    hash: bytes = attrs.field(repr=False)
    created: int = 0
    redirects: tuple[str, ...] = ()
