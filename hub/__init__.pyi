# The names of __init__.py, for type checkers.

from hub.api import (
    AUTHENTICATED as AUTHENTICATED,
)
from hub.api import (
    DEVICE as DEVICE,
)
from hub.api import (
    LARGE_BODY as LARGE_BODY,
)
from hub.api import (
    PUBLIC as PUBLIC,
)
from hub.api import (
    Created as Created,
)
from hub.api import (
    Download as Download,
)
from hub.api import (
    File as File,
)
from hub.api import (
    Panel as Panel,
)
from hub.api import (
    PanelAction as PanelAction,
)
from hub.api import (
    PanelColumn as PanelColumn,
)
from hub.api import (
    Permission as Permission,
)
from hub.api import (
    Request as Request,
)
from hub.api import (
    Response as Response,
)
from hub.api import (
    Route as Route,
)
from hub.api import (
    Socket as Socket,
)
from hub.api import (
    SocketRoute as SocketRoute,
)
from hub.api import (
    Stream as Stream,
)
from hub.api import (
    secret as secret,
)
from hub.app import (
    Hub as Hub,
)
from hub.clock import (
    Clock as Clock,
)
from hub.config import (
    Config as Config,
)
from hub.config import (
    MailSection as MailSection,
)
from hub.config import (
    config_of as config_of,
)
from hub.config import (
    load as load,
)
from hub.config import (
    on_this_machine as on_this_machine,
)
from hub.domain.alarms import (
    Alarm as Alarm,
)
from hub.errors import (
    MAX_PROBLEMS as MAX_PROBLEMS,
)
from hub.errors import (
    ConfigError as ConfigError,
)
from hub.errors import (
    Conflict as Conflict,
)
from hub.errors import (
    Forbidden as Forbidden,
)
from hub.errors import (
    HubError as HubError,
)
from hub.errors import (
    NotAuthenticated as NotAuthenticated,
)
from hub.errors import (
    NotFound as NotFound,
)
from hub.errors import (
    Outdated as Outdated,
)
from hub.errors import (
    Rejected as Rejected,
)
from hub.errors import (
    RequestError as RequestError,
)
from hub.errors import (
    StartupError as StartupError,
)
from hub.errors import (
    StorageError as StorageError,
)
from hub.errors import (
    TooMany as TooMany,
)
from hub.errors import (
    Unavailable as Unavailable,
)
from hub.errors import (
    UnknownPin as UnknownPin,
)
from hub.errors import (
    WrongType as WrongType,
)
from hub.errors import (
    first_of as first_of,
)
from hub.errors import (
    first_problems as first_problems,
)
from hub.errors import (
    translate as translate,
)
from hub.facts import (
    AlarmCleared as AlarmCleared,
)
from hub.facts import (
    AlarmRaised as AlarmRaised,
)
from hub.facts import (
    ChangeMade as ChangeMade,
)
from hub.facts import (
    ClockRepaired as ClockRepaired,
)
from hub.facts import (
    DataErased as DataErased,
)
from hub.facts import (
    DeviceAdded as DeviceAdded,
)
from hub.facts import (
    DeviceChanged as DeviceChanged,
)
from hub.facts import (
    DeviceConnected as DeviceConnected,
)
from hub.facts import (
    DeviceDeleted as DeviceDeleted,
)
from hub.facts import (
    DeviceDisconnected as DeviceDisconnected,
)
from hub.facts import (
    DeviceInfo as DeviceInfo,
)
from hub.facts import (
    EventChanged as EventChanged,
)
from hub.facts import (
    EventLogged as EventLogged,
)
from hub.facts import (
    EventResolved as EventResolved,
)
from hub.facts import (
    Fact as Fact,
)
from hub.facts import (
    MetadataChanged as MetadataChanged,
)
from hub.facts import (
    OrganizationChanged as OrganizationChanged,
)
from hub.facts import (
    PluginFailed as PluginFailed,
)
from hub.facts import (
    PropertyChanged as PropertyChanged,
)
from hub.facts import (
    Refused as Refused,
)
from hub.facts import (
    RightsChanged as RightsChanged,
)
from hub.facts import (
    StatusChanged as StatusChanged,
)
from hub.facts import (
    StorageTrouble as StorageTrouble,
)
from hub.facts import (
    TemplateChanged as TemplateChanged,
)
from hub.facts import (
    TemplateDeleted as TemplateDeleted,
)
from hub.facts import (
    ValueCleared as ValueCleared,
)
from hub.facts import (
    ValueExpired as ValueExpired,
)
from hub.facts import (
    ValueSet as ValueSet,
)
from hub.facts import (
    ValueUnconfirmed as ValueUnconfirmed,
)
from hub.facts import (
    ValueWritten as ValueWritten,
)
from hub.facts import (
    WireFrame as WireFrame,
)
from hub.hookspecs import (
    HOOK_VERSION as HOOK_VERSION,
)
from hub.hookspecs import (
    hookimpl as hookimpl,
)
from hub.model import (
    GROUP as GROUP,
)
from hub.model import (
    HARDWARE as HARDWARE,
)
from hub.model import (
    LOCAL as LOCAL,
)
from hub.model import (
    NOBODY as NOBODY,
)
from hub.model import (
    OFFLINE as OFFLINE,
)
from hub.model import (
    ONLINE as ONLINE,
)
from hub.model import (
    REDACTED_NAME as REDACTED_NAME,
)
from hub.model import (
    ROOT_ORG as ROOT_ORG,
)
from hub.model import (
    SYSTEM as SYSTEM,
)
from hub.model import (
    AppConnected as AppConnected,
)
from hub.model import (
    Change as Change,
)
from hub.model import (
    Command as Command,
)
from hub.model import (
    Comment as Comment,
)
from hub.model import (
    Credentials as Credentials,
)
from hub.model import (
    Dashboard as Dashboard,
)
from hub.model import (
    DashboardKind as DashboardKind,
)
from hub.model import (
    Datastream as Datastream,
)
from hub.model import (
    DataType as DataType,
)
from hub.model import (
    Device as Device,
)
from hub.model import (
    DeviceDatastream as DeviceDatastream,
)
from hub.model import (
    EventKind as EventKind,
)
from hub.model import (
    EventType as EventType,
)
from hub.model import (
    Expire as Expire,
)
from hub.model import (
    Exposure as Exposure,
)
from hub.model import (
    ExposureType as ExposureType,
)
from hub.model import (
    Guides as Guides,
)
from hub.model import (
    Header as Header,
)
from hub.model import (
    HeaderButton as HeaderButton,
)
from hub.model import (
    HeaderWidget as HeaderWidget,
)
from hub.model import (
    Hello as Hello,
)
from hub.model import (
    HistoryMode as HistoryMode,
)
from hub.model import (
    Lifecycle as Lifecycle,
)
from hub.model import (
    MetadataField as MetadataField,
)
from hub.model import (
    MobileDashboard as MobileDashboard,
)
from hub.model import (
    MobilePage as MobilePage,
)
from hub.model import (
    Notifications as Notifications,
)
from hub.model import (
    OfflineSettings as OfflineSettings,
)
from hub.model import (
    Organization as Organization,
)
from hub.model import (
    OrganizationType as OrganizationType,
)
from hub.model import (
    Owned as Owned,
)
from hub.model import (
    Principal as Principal,
)
from hub.model import (
    Reboot as Reboot,
)
from hub.model import (
    Reconfigure as Reconfigure,
)
from hub.model import (
    Redirect as Redirect,
)
from hub.model import (
    Scalar as Scalar,
)
from hub.model import (
    SetDatastream as SetDatastream,
)
from hub.model import (
    SetMetadata as SetMetadata,
)
from hub.model import (
    Show as Show,
)
from hub.model import (
    Status as Status,
)
from hub.model import (
    StatusSettings as StatusSettings,
)
from hub.model import (
    System as System,
)
from hub.model import (
    Tab as Tab,
)
from hub.model import (
    Template as Template,
)
from hub.model import (
    Tile as Tile,
)
from hub.model import (
    TileType as TileType,
)
from hub.model import (
    TimelineEvent as TimelineEvent,
)
from hub.model import (
    UserInteraction as UserInteraction,
)
from hub.model import (
    Value as Value,
)
from hub.model import (
    Widget as Widget,
)
from hub.model import (
    WidgetLock as WidgetLock,
)
from hub.net import (
    Peer as Peer,
)
from hub.net import (
    Wire as Wire,
)
from hub.net import (
    WireProtocol as WireProtocol,
)
from hub.plugin import (
    Failure as Failure,
)
from hub.plugin import (
    FailureKind as FailureKind,
)
from hub.plugin import (
    Plugin as Plugin,
)
from hub.rate_limits import (
    DailyQuota as DailyQuota,
)
from hub.rate_limits import (
    TokenBucket as TokenBucket,
)
from hub.run import (
    running as running,
)
from hub.sessions import (
    Session as Session,
)
from hub.storage import (
    Migration as Migration,
)
from hub.storage import (
    Transaction as Transaction,
)
from hub.storage.stamp_correction import (
    Correction as Correction,
)
from hub.storage.stamp_correction import (
    StampColumns as StampColumns,
)
from hub.timers import (
    Timers as Timers,
)
from hub.uplinks import (
    MAX_IMPORT as MAX_IMPORT,
)
from hub.writes import (
    Write as Write,
)
