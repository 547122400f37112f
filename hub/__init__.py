"""What plugins and connectors may import: ``from hub import Hub, ValueWritten, hookimpl``.

A name is public if the module that it is imported from lists it in ``__all__``: this one, the packages `hub.api`,
`hub.domain`, `hub.history`, `hub.net`, `hub.storage`, `hub.datadir` and `hub.templates`, and the modules
`hub.datadir.blobs`, `hub.parsing.spellings`, `hub.parsing.structuring`, `hub.parsing.timezones`, `hub.schedules`,
`hub.terminal.interrupts`, `hub.terminal.printing` and `hub.values`. Everything else may change.

The names here are loaded when they are used, so that a command which needs one of them starts without the others.
"""

from __future__ import annotations

import importlib

# As `typing.TYPE_CHECKING`; but typing takes longer to load than all of this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The public names by the module that defines them. ``__init__.pyi`` has the same for type checkers.
_NAMES = {
    "hub.domain.alarms": "Alarm",
    "hub.api": (
        "AUTHENTICATED DEVICE LARGE_BODY PUBLIC Created Download File Panel PanelAction PanelColumn Permission "
        "Request Response Route Socket SocketRoute Stream secret"
    ),
    "hub.app": "Hub",
    "hub.clock": "Clock",
    "hub.config": "Config MailSection config_of load on_this_machine",
    "hub.errors": (
        "MAX_PROBLEMS ConfigError Conflict Forbidden HubError NotAuthenticated NotFound Outdated Rejected "
        "RequestError StartupError StorageError TooMany Unavailable UnknownPin WrongType first_of "
        "first_problems translate"
    ),
    "hub.facts": (
        "AlarmCleared AlarmRaised ChangeMade ClockRepaired DataErased DeviceAdded DeviceChanged "
        "DeviceConnected DeviceDeleted DeviceDisconnected DeviceInfo EventChanged EventLogged EventResolved "
        "Fact MetadataChanged OrganizationChanged PluginFailed PropertyChanged Refused RightsChanged "
        "StatusChanged StorageTrouble TemplateChanged TemplateDeleted ValueCleared ValueExpired ValueSet "
        "ValueUnconfirmed ValueWritten WireFrame"
    ),
    "hub.hookspecs": "HOOK_VERSION hookimpl",
    "hub.model": (
        "GROUP HARDWARE LOCAL NOBODY OFFLINE ONLINE REDACTED_NAME ROOT_ORG SYSTEM AppConnected Change Command "
        "Comment Credentials Dashboard DashboardKind DataType Datastream Device DeviceDatastream EventKind "
        "EventType Expire Exposure ExposureType Guides Header HeaderButton HeaderWidget Hello HistoryMode Lifecycle "
        "MetadataField MobileDashboard MobilePage Notifications OfflineSettings Organization OrganizationType Owned "
        "Principal Reboot Reconfigure Redirect Scalar SetDatastream SetMetadata Show Status StatusSettings System Tab "
        "Template Tile TileType TimelineEvent UserInteraction Value Widget WidgetLock"
    ),
    "hub.net": "Peer Wire WireProtocol",
    "hub.plugin": "Failure FailureKind Plugin",
    "hub.rate_limits": "DailyQuota TokenBucket",
    "hub.run": "running",
    "hub.sessions": "Session",
    "hub.storage.stamp_correction": "Correction StampColumns",
    "hub.storage": "Migration Transaction",
    "hub.timers": "Timers",
    "hub.uplinks": "MAX_IMPORT",
    "hub.writes": "Write",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOME)  # noqa: PLE0605 - pinned by a test


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hub' has no public name {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
