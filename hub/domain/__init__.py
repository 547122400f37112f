"""The services of the platform, each with its SQL beside it. `hub.app.Hub` holds them; plugins use them there.

The names below are public: the services' types and values.
"""

from hub.domain.clock_repair import BackupMaker, DeviceValues, RepairJob, RepairPlan
from hub.domain.device_query import (
    DeviceQuery,
    Filter,
    LocationIndex,
    Predicate,
    QueryCompiler,
    TagIndex,
    permission_predicate,
)
from hub.domain.devices import NewDevice
from hub.domain.directory import Directory, DirectoryUser, PersonalData, UserDirectory
from hub.domain.display import DeviceDisplay, DisplayRule, format_value
from hub.domain.messages import Channel, Message, Messages, NoChannel, Recipient
from hub.domain.metadata import (
    AUTH_TOKEN,
    BUILT_IN,
    BY_DEVICE,
    BY_TOKEN,
    LAT_LON,
    LOCATION,
    NAME,
    OWNER,
    WrongValue,
    type_label,
)
from hub.domain.segments import Segment, Segments
from hub.domain.timeline import MAX_PAGE, UNKNOWN, TimelineFilter, TimelinePage
from hub.domain.tokens import WEAK_WARNING, is_token, is_weak
from hub.domain.units import UNITS, Conversion, Unit

__all__ = [
    "AUTH_TOKEN",
    "BUILT_IN",
    "BY_DEVICE",
    "BY_TOKEN",
    "LAT_LON",
    "LOCATION",
    "MAX_PAGE",
    "NAME",
    "OWNER",
    "UNITS",
    "UNKNOWN",
    "WEAK_WARNING",
    "BackupMaker",
    "Channel",
    "Conversion",
    "DeviceDisplay",
    "DeviceQuery",
    "DeviceValues",
    "Directory",
    "DirectoryUser",
    "DisplayRule",
    "Filter",
    "LocationIndex",
    "Message",
    "Messages",
    "NewDevice",
    "NoChannel",
    "PersonalData",
    "Predicate",
    "QueryCompiler",
    "Recipient",
    "RepairJob",
    "RepairPlan",
    "Segment",
    "Segments",
    "TagIndex",
    "TimelineFilter",
    "TimelinePage",
    "Unit",
    "UserDirectory",
    "WrongValue",
    "format_value",
    "is_token",
    "is_weak",
    "permission_predicate",
    "type_label",
]
