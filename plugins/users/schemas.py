"""What people, organizations, roles and programs look like to clients of the API. Times are ms UTC."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import attrs

from hub.model import OrganizationType
from plugins.users.model import Address

T = TypeVar("T")
#: What the API calls the systems of units.
UnitSystem = Literal["METRIC", "IMPERIAL"]


def more(cls: type[T], base: Any, **fields: Any) -> T:
    """What ``base`` says, and more, as the class that adds to its own."""
    return cls(**attrs.asdict(base, recurse=False), **fields)


def said_of(body: Any) -> dict[str, Any]:
    """What a body says of a person, as `Profile` names it; what is left out is not there."""
    return {name: value for of, name in _SAID.items() if (value := getattr(body, of, None)) is not None}


#: What the API calls what is in a `Profile`.
_SAID = {
    "nick_name": "nickname",
    "phone_number": "phone",
    "tz": "timezone",
    "time_zone": "timezone",
    "title": "title",
    "locale": "locale",
    "units": "units",
    "address": "address",
}


@attrs.frozen(kw_only=True)
class UserObject:
    """``status`` is Pending, Active, Inactive or Suspended; ``role`` is the name of ``role_id``, ``tz`` a time zone."""

    id: int
    email: str
    name: str
    title: str
    nick_name: str
    phone_number: str
    org_id: int
    role_id: int
    role: str
    tz: str
    locale: str
    status: str
    is_dev: bool
    second_factor: bool
    registered_at: int
    last_logged_at: int | None


@attrs.frozen(kw_only=True)
class InvitedUser(UserObject):
    """``link`` is the page where they set their password."""

    link: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class UserProfile(UserObject):
    """``units`` is the system in which they see values: default, metric or imperial."""

    units: str
    address: Address


@attrs.frozen(kw_only=True)
class Myself(UserObject):
    """``permissions`` is what one may in the organization one acts in."""

    permissions: list[str]


@attrs.frozen(kw_only=True)
class CurrentRole:
    """``permissions`` are those of the asking user in the organization that they act in."""

    id: int
    name: str
    permissions: list[str]


@attrs.frozen(kw_only=True)
class CurrentUser:
    """The asking user as Blynk's API has them: ``role`` is an object, ``org_name`` the name of ``org_id``."""

    id: int
    email: str
    name: str
    title: str
    nick_name: str
    phone_number: str
    role: CurrentRole
    org_id: int
    org_name: str
    tz: str
    locale: str
    status: str
    is_dev: bool
    registered_at: int
    last_logged_at: int | None
    address: Address


@attrs.frozen(kw_only=True)
class LoggedIn:
    """Tokens are OAuth2's; ``expires_in`` is in seconds."""

    access_token: str = attrs.field(repr=False, metadata={"name": "access_token"})
    refresh_token: str = attrs.field(repr=False, metadata={"name": "refresh_token"})
    expires_in: int = attrs.field(metadata={"name": "expires_in"})
    user: UserObject


@attrs.frozen(kw_only=True)
class PageLink:
    """The page where somebody sets a password."""

    link: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class SessionObject:
    id: int
    org_id: int
    created_at: int
    used_at: int
    address: str
    agent: str


@attrs.frozen(kw_only=True)
class MySession(SessionObject):
    """One is ``this`` session, which asks."""

    this: bool


@attrs.frozen(kw_only=True)
class KeyObject:
    """``user`` is an address; ``scopes`` are permissions that it is limited to."""

    id: int
    user: str
    name: str
    scopes: list[str] | None
    expires: int | None
    created_at: int
    used_at: int | None


@attrs.frozen(kw_only=True)
class MadeKey(KeyObject):
    """``key`` is shown only here."""

    key: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class SecondFactor:
    """For an authenticator app: ``url`` is what a QR code would have."""

    secret: str = attrs.field(repr=False)
    url: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class RecoveryCodes:
    recovery_codes: list[str] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class OrganizationObject:
    """``templates`` are those enabled in it, None is all; ``devices`` and ``users`` how many are its own.

    ``unit_system`` and ``unit_overrides`` (by group) are how its people see values who have not chosen for themselves.
    """

    id: int
    name: str
    parent_organization_id: int | None
    type: OrganizationType
    description: str
    tz: str | None
    phone_number: str
    templates: list[str] | None
    quotas: dict[str, int]
    unit_system: UnitSystem | None
    unit_overrides: dict[str, str]
    devices: int
    users: int


@attrs.frozen(kw_only=True)
class RoleObject:
    """``users`` is how many have it, in an organization and below."""

    id: int
    name: str
    users: int
    permissions: list[str]


@attrs.frozen(kw_only=True)
class PermissionObject:
    """``own`` is the permission that does for a device of one's own; ``root``: only in the root organization."""

    id: str
    label: str
    own: str | None
    root: bool


@attrs.frozen(kw_only=True)
class ClientObject:
    client_id: str
    name: str
    org_id: int
    role_id: int
    redirects: list[str]
    created_at: int


@attrs.frozen(kw_only=True)
class MadeClient(ClientObject):
    """``client_secret`` is shown only here."""

    client_secret: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class OAuthClient:
    """An OAuth2 client as Blynk's API has it; ``secret`` is shown only here."""

    org_id: int
    name: str
    client_id: str
    secret: str = attrs.field(repr=False)
    redirect_urls: list[str]
