"""The nouns of the platform, in Blynk's words. Plain values without behaviour that needs the hub."""

from hub.model.commands import (
    AppConnected as AppConnected,
)
from hub.model.commands import (
    Command as Command,
)
from hub.model.commands import (
    Reboot as Reboot,
)
from hub.model.commands import (
    Reconfigure as Reconfigure,
)
from hub.model.commands import (
    Redirect as Redirect,
)
from hub.model.commands import (
    SetDatastream as SetDatastream,
)
from hub.model.commands import (
    SetMetadata as SetMetadata,
)
from hub.model.dashboards import (
    Dashboard as Dashboard,
)
from hub.model.dashboards import (
    DashboardKind as DashboardKind,
)
from hub.model.dashboards import (
    Header as Header,
)
from hub.model.dashboards import (
    HeaderButton as HeaderButton,
)
from hub.model.dashboards import (
    HeaderWidget as HeaderWidget,
)
from hub.model.dashboards import (
    MobileDashboard as MobileDashboard,
)
from hub.model.dashboards import (
    MobilePage as MobilePage,
)
from hub.model.dashboards import (
    Tab as Tab,
)
from hub.model.dashboards import (
    Tile as Tile,
)
from hub.model.dashboards import (
    TileType as TileType,
)
from hub.model.dashboards import (
    Widget as Widget,
)
from hub.model.devices import (
    HARDWARE as HARDWARE,
)
from hub.model.devices import (
    Comment as Comment,
)
from hub.model.devices import (
    Device as Device,
)
from hub.model.devices import (
    DeviceDatastream as DeviceDatastream,
)
from hub.model.devices import (
    Organization as Organization,
)
from hub.model.devices import (
    OrganizationType as OrganizationType,
)
from hub.model.devices import (
    TimelineEvent as TimelineEvent,
)
from hub.model.principals import (
    LOCAL as LOCAL,
)
from hub.model.principals import (
    NOBODY as NOBODY,
)
from hub.model.principals import (
    REDACTED_NAME as REDACTED_NAME,
)
from hub.model.principals import (
    ROOT_ORG as ROOT_ORG,
)
from hub.model.principals import (
    SYSTEM as SYSTEM,
)
from hub.model.principals import (
    VIEW_DEVICES as VIEW_DEVICES,
)
from hub.model.principals import (
    Change as Change,
)
from hub.model.principals import (
    Credentials as Credentials,
)
from hub.model.principals import (
    Hello as Hello,
)
from hub.model.principals import (
    IsAllowed as IsAllowed,
)
from hub.model.principals import (
    Owned as Owned,
)
from hub.model.principals import (
    Principal as Principal,
)
from hub.model.templates import (
    GROUP as GROUP,
)
from hub.model.templates import (
    OFFLINE as OFFLINE,
)
from hub.model.templates import (
    ONLINE as ONLINE,
)
from hub.model.templates import (
    Datastream as Datastream,
)
from hub.model.templates import (
    DataType as DataType,
)
from hub.model.templates import (
    EventKind as EventKind,
)
from hub.model.templates import (
    EventType as EventType,
)
from hub.model.templates import (
    Expire as Expire,
)
from hub.model.templates import (
    Exposure as Exposure,
)
from hub.model.templates import (
    ExposureType as ExposureType,
)
from hub.model.templates import (
    Guides as Guides,
)
from hub.model.templates import (
    HistoryMode as HistoryMode,
)
from hub.model.templates import (
    Lifecycle as Lifecycle,
)
from hub.model.templates import (
    MetadataField as MetadataField,
)
from hub.model.templates import (
    Notifications as Notifications,
)
from hub.model.templates import (
    OfflineSettings as OfflineSettings,
)
from hub.model.templates import (
    Scalar as Scalar,
)
from hub.model.templates import (
    Show as Show,
)
from hub.model.templates import (
    Status as Status,
)
from hub.model.templates import (
    StatusSettings as StatusSettings,
)
from hub.model.templates import (
    System as System,
)
from hub.model.templates import (
    Template as Template,
)
from hub.model.templates import (
    UserInteraction as UserInteraction,
)
from hub.model.templates import (
    Value as Value,
)
from hub.model.templates import (
    WidgetLock as WidgetLock,
)
