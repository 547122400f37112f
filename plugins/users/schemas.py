"""The JSON objects of users, organizations, roles and OAuth2 clients in the API. Times are milliseconds UTC."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import attrs

from hub import OrganizationType
from plugins.users.model import Address, ApiSession, RegisteredClient

T = TypeVar("T")
#: Systems of units by their names in the API.
UnitSystem = Literal["METRIC", "IMPERIAL"]


#: Names of a profile's fields, by their names in the bodies of requests.
_PROFILE_FIELDS = {
    "nick_name": "nickname",
    "phone_number": "phone",
    "tz": "timezone",
    "time_zone": "timezone",
    "title": "title",
    "locale": "locale",
    "units": "units",
    "address": "address",
}


def extend(cls: type[T], base: Any, **fields: Any) -> T:
    """Return an instance of ``cls`` with the fields of ``base`` and further ones."""
    return cls(**attrs.asdict(base, recurse=False), **fields)


def profile_fields(body: Any) -> dict[str, Any]:
    """Return the fields of a `Profile` that a body sets, without those that are left out."""
    return {field: value for name, field in _PROFILE_FIELDS.items() if (value := getattr(body, name, None)) is not None}


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
    """``link`` is the page where the user sets a password, null if it was mailed to the user, to ``mailed_to``."""

    link: str | None = attrs.field(repr=False)
    mailed_to: str | None


@attrs.frozen(kw_only=True)
class UserProfile(UserObject):
    """``units`` is the system in which the user sees values: default, metric or imperial."""

    units: str
    address: Address


@attrs.frozen(kw_only=True)
class Myself(UserObject):
    """``permissions`` are those of the user in the organization that they act in."""

    permissions: list[str]


@attrs.frozen(kw_only=True)
class CurrentRole:
    """``permissions`` are those of the user in the organization that they act in."""

    id: int
    name: str
    permissions: list[str]


@attrs.frozen(kw_only=True)
class CurrentUser:
    """The current user in the form of Blynk's API: ``role`` is an object, ``org_name`` the name of ``org_id``."""

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
    """The tokens of OAuth2; ``expires_in`` is in seconds. ``refresh_token`` is null when it is sent as a cookie."""

    access_token: str = attrs.field(repr=False, metadata={"name": "access_token"})
    refresh_token: str | None = attrs.field(repr=False, metadata={"name": "refresh_token"})
    expires_in: int = attrs.field(metadata={"name": "expires_in"})
    user: UserObject


@attrs.frozen(kw_only=True)
class PageLink:
    """``link`` is the page where the user sets a password, null if it was mailed to the user, to ``mailed_to``."""

    link: str | None = attrs.field(repr=False, default=None)
    mailed_to: str | None = None


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
    """The session that the request itself belongs to has ``this``."""

    this: bool


@attrs.frozen(kw_only=True)
class KeyObject:
    """``user`` is an e-mail address; ``scopes`` are the permissions that the key is limited to."""

    id: int
    user: str
    name: str
    scopes: list[str] | None
    expires: int | None
    created_at: int
    used_at: int | None


@attrs.frozen(kw_only=True)
class MadeKey(KeyObject):
    """``key`` cannot be read later."""

    key: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class SecondFactor:
    """For an authenticator app: ``url`` is the text for a QR code."""

    secret: str = attrs.field(repr=False)
    url: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class RecoveryCodes:
    recovery_codes: list[str] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class OrganizationObject:
    """``templates`` are those enabled in it, null is all; ``devices`` and ``users`` count those that belong to it.

    ``last_modified_ts`` is when it was changed last, null if it was not changed since the hub records that.

    ``unit_system`` and ``unit_overrides`` (by group) apply to its users who have not chosen units themselves.
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
    address: Address
    last_modified_ts: int | None
    devices: int
    users: int


@attrs.frozen(kw_only=True)
class RoleObject:
    """``users`` counts those who have the role, in the organization and below."""

    id: int
    name: str
    users: int
    permissions: list[str]


@attrs.frozen(kw_only=True)
class PermissionObject:
    """``own`` is the permission that is enough for one's own devices; ``root``: only in the root organization."""

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
    """``client_secret`` cannot be read later."""

    client_secret: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class OAuthClient:
    """An OAuth2 client in the form of Blynk's API; ``secret`` cannot be read later."""

    org_id: int
    name: str
    client_id: str
    secret: str = attrs.field(repr=False)
    redirect_urls: list[str]


def session_object(session: ApiSession) -> SessionObject:
    return SessionObject(
        id=session.id,
        org_id=session.org,
        created_at=session.created,
        used_at=session.used,
        address=session.address,
        agent=session.agent,
    )


def client_object(client: RegisteredClient) -> ClientObject:
    return ClientObject(
        client_id=client.id,
        name=client.name,
        org_id=client.org,
        role_id=client.role,
        redirects=list(client.redirects),
        created_at=client.created,
    )
