"""What a plugin may import: ``from hub import hookimpl, Route, ValueWritten``. Everything else may change.

Names are loaded when they are used, so that a command which needs one does not pay for all.
"""

from __future__ import annotations

import importlib

# As in typing, which takes longer to load than all of this: a command is to answer Ctrl-C soon.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HOMES = {
    "hub.app": ("Credentials", "Hub"),
    "hub.errors": (
        "Conflict",
        "Forbidden",
        "HubError",
        "NotAuthenticated",
        "NotFound",
        "Rejected",
        "RequestError",
        "StorageError",
        "TooMany",
        "Unavailable",
    ),
    "hub.facts": (
        "AlarmCleared",
        "AlarmRaised",
        "ChangeMade",
        "ClockRepaired",
        "DataErased",
        "DeviceAdded",
        "DeviceChanged",
        "DeviceConnected",
        "DeviceDeleted",
        "DeviceDisconnected",
        "DeviceInfo",
        "EventChanged",
        "EventLogged",
        "EventResolved",
        "Fact",
        "MetadataChanged",
        "OrganizationChanged",
        "PluginFailed",
        "PropertyChanged",
        "Refused",
        "RightsChanged",
        "StatusChanged",
        "StorageTrouble",
        "TemplateChanged",
        "TemplateDeleted",
        "ValueCleared",
        "ValueExpired",
        "ValueSet",
        "ValueWritten",
    ),
    "hub.hookspecs": ("HOOK_VERSION", "hookimpl"),
    "hub.net.wire": ("Peer", "Wire", "WireProtocol"),
    "hub.model": (
        "SYSTEM",
        "AppConnected",
        "Datastream",
        "Device",
        "EventType",
        "MetadataField",
        "Organization",
        "Principal",
        "Reboot",
        "Reconfigure",
        "Redirect",
        "SetDatastream",
        "SetMetadata",
        "Template",
        "TimelineEvent",
        "Value",
    ),
    "hub.api.routes": (
        "DEVICE",
        "KNOWN",
        "LARGE_BODY",
        "PUBLIC",
        "Change",
        "Created",
        "File",
        "Permission",
        "Request",
        "Response",
        "Route",
        "Socket",
        "SocketRoute",
        "Stream",
        "secret",
    ),
    "hub.stamps": ("StampColumns",),
    "hub.storage": ("Migration", "Transaction"),
    "hub.writes": ("Write",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)  # noqa: PLE0605 - pinned by a test


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hub' has no public name {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
