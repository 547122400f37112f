"""Who acts: principals, their credentials, and what they changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

#: The id of the root organization.
ROOT_ORG = 1


class Owned(Protocol):
    """A thing that belongs to an organization, and may be a user's own in it."""

    @property
    def org(self) -> int:
        """Its organization's id."""

    def is_of(self, user: int | str) -> bool:
        """Whether it is the user's own."""


@attrs.frozen
class Principal:
    """An authenticated actor. ``kind`` is ``local`` (the commands on this machine), ``device``, or a plugin's own.

    ``org`` is the organization that it acts in. ``scopes`` limit it to these permissions; ``session`` identifies the
    session or key that ends when its access is revoked.
    """

    kind: str
    id: int | str = ""
    org: int = ROOT_ORG
    label: str = ""
    scopes: frozenset[str] | None = None
    session: int | str = ""

    @property
    def actor_id(self) -> str:
        """The identity for records: "user 3", without a name, which is erased with the user."""
        return f"{self.kind} {self.id}".strip()


#: The permission to see a device: without it, the device does not exist for a principal.
VIEW_DEVICES = "org_devices.view"


class IsAllowed(Protocol):
    """Function that checks a permission: on a device, in an organization, or with neither of them anywhere."""

    def __call__(
        self, principal: Principal, permission: str, device: Owned | None = None, org: int | None = None
    ) -> bool: ...


#: The holder of the key in ``<data>/local.key``, who has every permission.
LOCAL = Principal("local", label="local key")
#: The name of an actor whose name the asker may not see.
REDACTED_NAME = "somebody else"
#: A request without credentials.
NOBODY = Principal("nobody")
#: The hub itself.
SYSTEM = Principal("system", label="hub")


@attrs.frozen
class Credentials:
    """What a client presents: ``kind`` is "bearer", "client" for an OAuth2 client's id and secret, or a plugin's own.

    ``name`` is the user name or id that goes with the secret, if any.
    """

    kind: str
    secret: str = attrs.field(repr=False)
    address: str = ""
    name: str = ""


@attrs.frozen(kw_only=True)
class Hello:
    """A login with a token that no device has yet, as far as its transport knows it.

    ``via`` is "native", "mqtt", "http", or the name of a plugin's transport; ``info`` is what the device has reported
    before it logged in, by the keys of `HARDWARE` ("tmpl" is the id of its template). None of the hub's own transports
    learns anything of it by then.
    """

    via: str
    address: str = ""
    tls: bool = False
    info: Mapping[str, str] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class Change:
    """A change that a request made, for the audit. ``at`` is milliseconds UTC; ``details`` are free of secrets.

    ``org`` is the organization in whose audit it is recorded, ``subject`` what was changed ("device 7").
    """

    at: int
    principal: Principal
    address: str
    org: int
    action: str
    subject: str
    details: dict[str, Any]


# Commands to a connected device. Transports translate them; a command that a transport cannot express is dropped.
