"""One function for each operation of the API, and the types of its parameters and results.

Generated from the OpenAPI document by ``make client``; do not edit it. To change it, change the route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Literal, NotRequired, TypedDict

from client import Call


class ActivatedDevice(TypedDict):
    """A device that connected for the first time at activation_time, in ms UTC."""

    id: int
    name: str
    templateId: str
    orgId: int
    ownerUserId: int | None
    activationTime: int


class ActivatedDevicePage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[ActivatedDevice]
    totalElements: int


class AddedDevice(TypedDict):
    """A device that was added; token is shown only here."""

    id: int
    name: str
    token: str


class Address(TypedDict):
    fullAddress: str
    city: str
    country: str
    state: str
    zip: str


class AddressSent(TypedDict):
    fullAddress: NotRequired[str]
    city: NotRequired[str]
    country: NotRequired[str]
    state: NotRequired[str]
    zip: NotRequired[str]


class Alarm(TypedDict):
    """An alarm that is raised; critical when the hub cannot keep its promises. since is milliseconds UTC."""

    id: str
    text: str
    critical: bool
    since: int


class AllowedAction(TypedDict):
    """A button of a panel that calls an operation.

    confirmation is the question to ask before the call, or "". parameters are the operation's parameters and the
    fields of its body, with the fields of the selected row whose values they get; without any, the action is
    about the whole panel.
    """

    label: str
    method: str
    path: str
    permission: str
    confirmation: str
    parameters: dict[str, str]


class Answered(TypedDict):
    """Milliseconds until the device answered; null if it did not."""

    ms: float | None


class Asset(TypedDict):
    """An image of a template. A template refers to it as template_asset:// and id; its URL has the path.

    name may have folders ("icons/on.png"). Names that differ in _light and _dark before the suffix are a pair:
    each has its theme, and the other one's id as pair. size is in bytes, created in ms UTC.
    """

    id: str
    name: str
    type: str
    size: int
    created: int
    path: str
    theme: Literal["light", "dark"] | None
    pair: str | None


class Chart(TypedDict):
    """Lines over the same time."""

    series: list[Series]


class ChartLine(TypedDict):
    """A line of a chart: times (ms UTC) and the value at each; those without values are left out."""

    name: str
    deviceId: int | None
    units: str
    ts: list[int]
    values: list[float]


class ClientObject(TypedDict):
    clientId: str
    name: str
    orgId: int
    roleId: int
    redirects: list[str]
    createdAt: int


class ClientObjectPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[ClientObject]
    totalElements: int


class ClientSettings(TypedDict):
    """settings is any JSON object of at most 16 KiB."""

    settings: dict[str, Any]


class ClockObject(TypedDict):
    """now is the hub's stamp and wall the machine's clock, in ms UTC; problem says why they differ.

    synchronized is the kernel's own statement about the machine's clock. future lists the devices with values
    after wall.
    """

    now: int
    wall: int
    state: str
    believable: bool
    synchronized: bool
    problem: str | None
    doubts: list[DoubtObject]
    future: list[DeviceValues]


class Comment(TypedDict):
    """A comment on an event: at ts (milliseconds UTC), by an actor ("user 3")."""

    ts: int
    by: str
    text: str


class Connected(TypedDict):
    connected: bool


class Conversion(TypedDict):
    """A conversion: value * factor + offset is the value in units."""

    units: str
    factor: float
    offset: float


class Cost(TypedDict):
    """The disk space that a datastream of a template takes in a month, for all devices together."""

    template: str
    pin: str
    name: str
    bytesPerMonth: int


class CurrentRole(TypedDict):
    """permissions are those of the user in the organization that they act in."""

    id: int
    name: str
    permissions: list[str]


class CurrentUser(TypedDict):
    """The current user in the form of Blynk's API: role is an object, org_name the name of org_id."""

    id: int
    email: str
    name: str
    title: str
    nickName: str
    phoneNumber: str
    role: CurrentRole
    orgId: int
    orgName: str
    tz: str
    locale: str
    status: str
    isDev: bool
    registeredAt: int
    lastLoggedAt: int | None
    address: Address


class Dashboard(TypedDict):
    """The dashboard in a browser."""

    tab: list[Tab]


class DashboardDatastream(TypedDict):
    """A datastream, as widgets need it; writable is whether users change it by a widget or an automation."""

    id: int
    pin: str
    name: str
    alias: str
    type: Literal["integer", "double", "string", "enum", "location"]
    units: str
    min: float | None
    max: float | None
    decimals: str
    default: Any
    history: Literal["off", "minute", "raw"]
    values: dict[str, str]
    tags: list[str]
    icon: str
    color: str
    writable: bool


class DashboardEvent(TypedDict):
    """An event type, as clients display it."""

    code: str
    name: str
    type: Literal["info", "warning", "critical", "content"]
    color: str


class DashboardObject(TypedDict):
    """Dashboard as JSON. Clients that cannot edit it do not get its roles, nor which devices a widget has.

    They get those of the source, and of the devices on images, that they may see.
    """

    id: int
    orgId: int | None
    version: int
    name: str
    range: Literal["1h", "6h", "1d", "1w", "1mo", "3mo", "1y"]
    editable: bool
    source: DataSource
    viewRoles: list[int]
    tabs: list[DashboardTab]


class DashboardSummary(TypedDict):
    """Dashboard in a list. org_id is null if it is shared by an organization that the client may not see.

    homepage: it is the homepage of the organization that the list is about.
    """

    id: int
    orgId: int | None
    name: str
    range: Literal["1h", "6h", "1d", "1w", "1mo", "3mo", "1y"]
    editable: bool
    homepage: bool
    tabs: list[str]
    widgets: int


class DashboardSummaryPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[DashboardSummary]
    totalElements: int


class DashboardTab(TypedDict):
    name: str
    widgets: list[DashboardWidget]


class DashboardTabSent(TypedDict):
    name: str
    widgets: NotRequired[list[DashboardWidgetSent]]


class DashboardWidget(TypedDict):
    """A widget at x, y of the grid of its tab, from the top left. options depend on the type.

    id is unique in its dashboard and stays the same; a widget with the id 0 is new and gets one.
    """

    id: int
    type: Literal[
        "switch",
        "slider",
        "label",
        "device_table",
        "metrics_over_time",
        "metric_by_device",
        "image_map",
        "geomap",
        "event_count",
        "event_bars",
        "latest_events",
        "events_over_time",
        "events_breakdown",
        "events_by_organization",
        "events_by_template",
        "events_by_device",
        "activations",
        "total_devices",
        "total_devices_by_template",
        "active_devices",
        "active_devices_by_template",
        "connection_statuses",
    ]
    title: str
    x: int
    y: int
    width: int
    height: int
    devices: DeviceSelection
    options: dict[str, Any]


class DashboardWidgetSent(TypedDict):
    """A widget at x, y of the grid of its tab, from the top left. options depend on the type.

    id is unique in its dashboard and stays the same; a widget with the id 0 is new and gets one.
    """

    id: NotRequired[int]
    type: Literal[
        "switch",
        "slider",
        "label",
        "device_table",
        "metrics_over_time",
        "metric_by_device",
        "image_map",
        "geomap",
        "event_count",
        "event_bars",
        "latest_events",
        "events_over_time",
        "events_breakdown",
        "events_by_organization",
        "events_by_template",
        "events_by_device",
        "activations",
        "total_devices",
        "total_devices_by_template",
        "active_devices",
        "active_devices_by_template",
        "connection_statuses",
    ]
    title: NotRequired[str]
    x: NotRequired[int]
    y: NotRequired[int]
    width: NotRequired[int]
    height: NotRequired[int]
    devices: NotRequired[DeviceSelectionSent]
    options: NotRequired[dict[str, Any]]


class DataSource(TypedDict):
    """The devices that a dashboard is about: those of the templates in the organizations, by ids.

    No templates are all templates; no organizations are the dashboard's own and all below it. The dashboard is
    shared with these organizations.
    """

    templates: list[str]
    organizations: list[int]


class DataSourceSent(TypedDict):
    """The devices that a dashboard is about: those of the templates in the organizations, by ids.

    No templates are all templates; no organizations are the dashboard's own and all below it. The dashboard is
    shared with these organizations.
    """

    templates: NotRequired[list[str]]
    organizations: NotRequired[list[int]]


class DataStreamValue(TypedDict):
    """The latest value of a datastream; updated_at is ms UTC.

    expired is the text to show instead of the value when it has expired, else null.
    """

    dataStreamId: int
    pin: str
    dataStreamLabel: str
    dataStreamAlias: str
    type: str
    units: str
    value: Any
    updatedAt: int | None
    expired: str | None
    properties: dict[str, list[str]]
    display: DisplayObject


class DatastreamInfo(TypedDict):
    """A datastream of a template in Blynk's form: type is INT, DOUBLE, STRING, ENUM or LOCATION."""

    id: int
    label: str
    alias: str
    units: str
    type: str
    defaultValue: Any
    pin: int
    pinType: str
    min: float | None
    max: float | None


class DatastreamObject(TypedDict):
    id: int
    pin: str
    name: str
    alias: str
    type: Literal["integer", "double", "string", "enum", "location"]
    units: str
    convert: bool
    scale: bool
    pair: str
    min: float | None
    max: float | None
    decimals: str
    default: Any
    history: Literal["off", "minute", "raw"]
    retainRaw: str
    sync: bool
    confirm: str
    expire: Expire | None
    values: dict[str, str]
    fallback: int | None
    hideFromHttp: bool
    automation: Exposure | None
    tags: list[str]
    icon: str
    color: str


class Day(TypedDict):
    """Statistics of one day. date is the start of the day (UTC), in milliseconds since 1970.

    messages is the number of messages by transport or other source.
    """

    date: int
    messages: dict[str, int]
    disconnections: int


class DeviceCount(TypedDict):
    """Number of devices with the same template, status and so on; null where devices are not counted by it.

    status_key is "online", "offline", or the key of a status of the template. In counts by owner or tag, null
    also stands for devices without one. name fields are for people.
    """

    devices: int
    templateId: str | None
    templateName: str | None
    statusKey: str | None
    orgId: int | None
    orgName: str | None
    ownerUserId: int | None
    tagId: int | None
    tagName: str | None


class DeviceCounts(TypedDict):
    """Numbers of devices, the largest first; devices is the number of all, total_elements that of the counts.

    A device with several tags is in the counts of each.
    """

    devices: int
    content: list[DeviceCount]
    totalElements: int


class DeviceDashboard(TypedDict):
    """The dashboard of a device, by the version of the template that the device has.

    generated is whether the template has no tabs of this kind, so that these were generated from its datastreams.
    Tabs and pages for other roles than the caller's are left out. tile, header and page are null, null and empty
    for the kind web. interaction is how clients treat users while the device has its present status.
    """

    deviceId: int
    templateId: str
    templateVersion: int
    kind: Literal["web", "mobile"]
    generated: bool
    columns: int
    tab: list[Tab]
    page: list[MobilePage]
    tile: Tile | None
    header: Header | None
    datastreams: list[DashboardDatastream]
    events: list[DashboardEvent]
    interaction: UserInteraction | None


class DeviceEventObject(TypedDict):
    """An event of one of many devices, with the device's name and template."""

    id: int
    deviceId: int
    orgId: int
    eventType: str
    eventCode: str
    name: str
    description: str
    ts: int
    isResolved: bool
    resolvedAt: int | None
    resolvedBy: str
    resolvedComment: str
    archivedAt: int | None
    comments: list[Comment]
    deviceName: str
    templateId: str


class DeviceEvents(TypedDict):
    """A page of events of several devices.

    next is the cursor of the next page, null on the last one. A page may have fewer events than its size, or
    none, though others follow. counters counts all matching events by type, whatever eventType selects; if there
    are too many, it counts those since counted_from (ms UTC). Both are null for a page with a cursor.
    """

    content: list[DeviceEventObject]
    next: str | None
    counters: dict[str, int] | None
    countedFrom: int | None


class DeviceFile(TypedDict):
    """File of a device: kind is "file" or "dump", size is in bytes, created in ms UTC."""

    id: int
    name: str
    kind: str
    type: str
    size: int
    created: int
    path: str


class DeviceMetaField(TypedDict):
    """A metadata field of a device; id is null for a field that every device has."""

    id: int | None
    name: str
    value: MetaValue


class DeviceObject(TypedDict):
    """A device; times are ms UTC. token is set only in the answer to the request that added the device.

    original_template_id is the number of its template, for clients of Blynk's API that expect one.

    timezone is the time zone of the device's days and hours: its own, else its organization's, else the hub's.
    """

    id: int
    templateId: str
    originalTemplateId: int
    orgId: int
    ownerUserId: int | None
    name: str
    token: str | None
    lifecycleStatus: dict[str, str]
    createdAt: int
    activatedAt: int | None
    firstConnectTime: int | None
    lastReceivedEventAt: int | None
    connectTime: int | None
    disconnectTime: int | None
    ip: str | None
    hardwareInfo: dict[str, str]
    timezone: str
    dataStreamValues: list[DataStreamValue] | None
    metaFieldValues: list[DeviceMetaField] | None


class DeviceObjectPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[DeviceObject]
    totalElements: int


class DeviceQuery(TypedDict):
    """Query for devices: they match all or any of the filters, and contain every word of query."""

    query: str
    match: Literal["all", "any"]
    filters: list[Filter]


class DeviceQuerySent(TypedDict):
    """Query for devices: they match all or any of the filters, and contain every word of query."""

    query: NotRequired[str]
    match: NotRequired[Literal["all", "any"]]
    filters: NotRequired[list[FilterSent]]


class DeviceResult(TypedDict):
    """What became of a value for one device; problem says why it was not written, and is null for a success."""

    deviceId: int
    name: str
    problem: str | None


class DeviceSelection(TypedDict):
    """The devices of a widget, among those of its dashboard: in a segment, that match find, or picked by ids."""

    segmentId: int | None
    find: DeviceQuery | None
    devices: list[int]


class DeviceSelectionSent(TypedDict):
    """The devices of a widget, among those of its dashboard: in a segment, that match find, or picked by ids."""

    segmentId: NotRequired[int | None]
    find: NotRequired[DeviceQuerySent | None]
    devices: NotRequired[list[int]]


class DeviceTag(TypedDict):
    """Tag of a device."""

    id: int
    tagOwnerOrgId: int
    name: str
    color: str
    icon: str


class DeviceValues(TypedDict):
    """The values of a device with stamps in the future: their number, that of their datastreams, and their first and
    last stamps.
    """

    deviceId: int
    name: str
    datastreams: int
    values: int
    oldest: int
    newest: int


class DisplayObject(TypedDict):
    """A datastream in the caller's units; text is its value, formatted.

    Convert other values of the datastream with value * factor + offset; the result is in units. If pin is set,
    take that datastream of the device instead: its values are in the caller's units already.
    """

    text: str
    units: str
    factor: float
    offset: float
    pin: str | None


class DoubtObject(TypedDict):
    """A period in which the hub did not trust the machine's clock; times are ms UTC.

    It covers stamps from began to before ended. ended is null while the period lasts, and if the hub was stopped
    during it. wall is the machine's clock at its beginning.
    """

    state: str
    began: int
    ended: int | None
    wall: int


class Erased(TypedDict):
    """The number of properties that were erased."""

    erased: int


class EventInfo(TypedDict):
    """An event type of a template in Blynk's form: type is INFORMATION, WARNING, CRITICAL or CONTENT."""

    id: int
    type: str
    name: str
    eventCode: str
    description: str


class EventObject(TypedDict):
    """An event on a device's timeline; times are ms UTC. resolved_comment is the note of its resolution."""

    id: int
    deviceId: int
    orgId: int
    eventType: str
    eventCode: str
    name: str
    description: str
    ts: int
    isResolved: bool
    resolvedAt: int | None
    resolvedBy: str
    resolvedComment: str
    archivedAt: int | None
    comments: list[Comment]


class EventType(TypedDict):
    """A kind of event that devices log by its code (docs.blynk.io, Events).

    Each accepted event is recorded. every and period limit its notifications alone: an event notifies when it is
    the every-th since the last one that did, and that one is at least the duration period ago.
    """

    code: str
    name: str
    type: Literal["info", "warning", "critical", "content"]
    description: str
    color: str
    tag: str
    timeline: bool
    showInNotifications: bool
    archivable: bool
    every: int
    period: str
    notifications: Notifications
    subtitle: str
    image: str
    actionTitle: str
    actionUrl: str


class Events(TypedDict):
    """A page of events. counters counts all matching events by type, whatever eventType selects."""

    content: list[EventObject]
    totalElements: int
    counters: dict[str, int]


class Expire(TypedDict):
    """The expiry of values: one that is not followed by another for the duration after is displayed as show."""

    after: str
    show: Literal["Nothing", "Default", "No Data", "Empty", "--"]


class Exposure(TypedDict):
    """The use of a datastream in automations: in a condition, and in an action."""

    type: Literal["power_switch", "switch", "range", "color", "enum", "sensor", "brightness", "temperature"]
    condition: bool
    action: bool


class Filter(TypedDict):
    """Condition on one attribute of a device: at least one of values matches, ignoring the case of text.

    name is the name of the metadata field, or the datastream's pin ("v1"), name, or tag ("tag:Humidity").
    """

    attribute: Literal[
        "name",
        "owner",
        "activatedBy",
        "status",
        "organization",
        "template",
        "tag",
        "location",
        "metadata",
        "id",
        "createdAt",
        "activatedAt",
        "lastReported",
        "datastream",
    ]
    operator: Literal["equals", "notEquals", "contains", "notContains", "less", "more", "empty", "notEmpty"]
    values: list[str | float]
    name: str


class FilterChoice(TypedDict):
    """An organization or template to filter by, and how many devices it has for the viewer."""

    id: int | str
    name: str
    devices: int


class FilterChoices(TypedDict):
    organizations: list[FilterChoice]
    templates: list[FilterChoice]


class FilterSent(TypedDict):
    """Condition on one attribute of a device: at least one of values matches, ignoring the case of text.

    name is the name of the metadata field, or the datastream's pin ("v1"), name, or tag ("tag:Humidity").
    """

    attribute: Literal[
        "name",
        "owner",
        "activatedBy",
        "status",
        "organization",
        "template",
        "tag",
        "location",
        "metadata",
        "id",
        "createdAt",
        "activatedAt",
        "lastReported",
        "datastream",
    ]
    operator: NotRequired[
        Literal["equals", "notEquals", "contains", "notContains", "less", "more", "empty", "notEmpty"]
    ]
    values: NotRequired[list[str | float]]
    name: NotRequired[str]


class FoundDevice(TypedDict):
    """Device in a list of results; times are ms UTC, tags are names."""

    id: int
    orgId: int
    name: str
    templateId: str
    templateName: str
    ownerUserId: int | None
    status: str
    createdAt: int
    activatedAt: int | None
    activatedBy: str | None
    lastReportedAt: int | None
    hardwareInfo: dict[str, str]
    tags: list[str]
    locationId: int | None
    orgName: str
    templateVersion: int
    online: bool
    statusKey: str
    values: dict[str, ListedValue] | None
    metadata: dict[str, str] | None


class FoundDevicePage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[FoundDevice]
    totalElements: int


class FoundPage(TypedDict):
    """Page of a list of devices; total_elements is how many there are on all of them.

    next is the after of the request for the next page, and null on the last one. The next page begins behind this
    one's last device, whichever devices are added, changed or deleted meanwhile.
    """

    content: list[FoundDevice]
    totalElements: int
    next: str | None


class GroupDatastream(TypedDict):
    """The datastream of a template that is in a property group."""

    templateId: str
    pin: str
    name: str
    type: Literal["integer", "double", "string", "enum", "location"]
    units: str


class Guides(TypedDict):
    """Instructions for users who add a device (docs.blynk.io, User guides).

    installation and activation are Markdown; each first-level heading of the former begins a step. The link to
    help with trouble may be a mailto: or tel: one.
    """

    installation: str
    activation: str
    troubleshootingTitle: str
    troubleshootingUrl: str


class Header(TypedDict):
    """The top of the dashboard on a phone: buttons, and widgets in rows of three.

    timeline and info are whether it has these buttons of the app. The properties color and contentDesign of the
    datastream pin replace its color and content, the theme of what is on it.
    """

    timeline: bool
    info: bool
    color: str
    content: Literal["auto", "dark", "light"]
    pin: str
    button: list[HeaderButton]
    widget: list[HeaderWidget]


class HeaderButton(TypedDict):
    """A button of the header that opens the page with the id page.

    The properties of the datastream pin change its icon and whether it is hidden.
    """

    page: str
    icon: str
    pin: str


class HeaderWidget(TypedDict):
    """A small widget of the header. pins and options are as those of a Widget."""

    type: str
    pins: list[str]
    title: str
    options: dict[str, Any]


class HistoryPoint(TypedDict):
    """A value and its stamp, created_at, in ms UTC."""

    createdAt: int
    value: Any


class HistoryPointPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[HistoryPoint]
    totalElements: int


class HubStatus(TypedDict):
    """The state of the hub.

    status is "ok", "warning" or "critical", by the worst of problems; uptime is in seconds, disk_free the free
    share of the disk, 0 to 1. cpu_percent is the share of one core in the last minute or two, and
    values_per_second counts the values accepted in the last hour; after a start, the time since then.
    values_waiting are accepted, and not committed yet. last_backup is when the last complete one was made, in ms
    UTC.
    """

    name: str
    version: str
    uptime: int
    status: str
    problems: list[Alarm]
    listen: list[Served]
    devices: int
    online: int
    templates: int
    connections: int
    valuesStored: int
    refused: int
    diskFree: float | None
    cpuPercent: float
    memoryBytes: int
    valuesWaiting: int
    valuesPerSecond: float
    lastBackup: int | None


class Imported(TypedDict):
    """The number of values that were imported."""

    imported: int


class InvitedUser(TypedDict):
    """link is the page where the user sets a password, null if it was mailed to the user, to mailed_to."""

    id: int
    email: str
    name: str
    title: str
    nickName: str
    phoneNumber: str
    orgId: int
    roleId: int
    role: str
    tz: str
    locale: str
    status: str
    isDev: bool
    secondFactor: bool
    registeredAt: int
    lastLoggedAt: int | None
    link: str | None
    mailedTo: str | None


class Job(TypedDict):
    """The running backup, or the last one.

    done and total are bytes of the current step; problem is empty unless the backup failed; a complete backup has
    a manifest.
    """

    path: str
    running: bool
    done: int
    total: int
    step: str
    problem: str
    manifest: Manifest | None


class KeyObject(TypedDict):
    """user is an e-mail address; scopes are the permissions that the key is limited to."""

    id: int
    user: str
    name: str
    scopes: list[str] | None
    expires: int | None
    createdAt: int
    usedAt: int | None


class Lifecycle(TypedDict):
    """When a device counts as online and offline (docs.blynk.io, Connection lifecycle).

    A device is offline when it has been disconnected for the duration wait. With reports_data a value over HTTP
    makes it online for that time. Without timeline neither Online nor Offline are on the timeline.
    """

    wait: str
    reportsData: bool
    timeline: bool
    online: str
    offline: str
    onlineSettings: StatusSettings
    offlineSettings: OfflineSettings
    status: list[Status]


class ListedValue(TypedDict):
    """The latest value of a datastream; text is the value in the caller's units, updated_at ms UTC.

    expired is the text to show instead of the value when it has expired, else null.
    """

    value: Any
    text: str
    updatedAt: int | None
    expired: str | None


class LocationObject(TypedDict):
    """Location as JSON: devices counts the devices there that the client may view, users has user ids."""

    id: int
    orgId: int
    name: str
    ownerId: int | None
    about: Place
    users: list[int]
    devices: int


class LocationObjectPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[LocationObject]
    totalElements: int


class LoggedAction(TypedDict):
    """Value that a client wrote, as in docs.blynk.io, Get actions log; created_at is in ms UTC."""

    triggerUserEmail: str
    value: Any
    pin: int
    pinType: str
    createdAt: int


class LoggedActionPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[LoggedAction]
    totalElements: int


class LoggedIn(TypedDict):
    """The tokens of OAuth2; expires_in is in seconds. refresh_token is null when it is sent as a cookie."""

    access_token: str
    refresh_token: str | None
    expires_in: int
    user: UserObject


class LoggedMail(TypedDict):
    """A mail as the log lists it, without its data. Times are milliseconds UTC.

    state is waiting, sent or failed; error says why the last attempt failed. due_at is when a waiting mail is
    tried next, done_at when it was sent or given up.
    """

    id: int
    kind: str
    address: str
    state: str
    attempts: int
    error: str
    createdAt: int
    dueAt: int | None
    doneAt: int | None


class LoggedMailPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[LoggedMail]
    totalElements: int


class MadeClient(TypedDict):
    """client_secret cannot be read later."""

    clientId: str
    name: str
    orgId: int
    roleId: int
    redirects: list[str]
    createdAt: int
    clientSecret: str


class MadeKey(TypedDict):
    """key cannot be read later."""

    id: int
    user: str
    name: str
    scopes: list[str] | None
    expires: int | None
    createdAt: int
    usedAt: int | None
    key: str


class Manifest(TypedDict):
    """Contents of a backup; created is in ms UTC, schemas the newest schema change by database and owner."""

    format: int
    version: str
    created: int
    devices: int
    templates: int
    schemas: dict[str, dict[str, int]]
    files: list[Member]


class Member(TypedDict):
    """File in a backup; size is in bytes."""

    name: str
    size: int
    sha256: str


class MetaField(TypedDict):
    """A metadata field of a template; requests select it by id or name. type is a word such as "Text"."""

    id: int
    name: str
    type: str
    default: str
    description: str
    required: bool


class MetaFieldValue(TypedDict):
    """A metadata field of a device; id is null for a field that every device has.

    text is the value in the caller's units, with the unit.
    """

    id: int | None
    name: str
    type: str
    value: str
    text: str


class MetaValue(TypedDict):
    """text is the value in the caller's units, with the unit."""

    type: str
    value: str
    text: str


class MetadataField(TypedDict):
    """A metadata field of a template's devices. type is one of hub.domain.metadata.TYPES.

    min to step apply to numbers, options to lists and switches. A field that is not editable is set by the device
    alone. A required field cannot be emptied.
    """

    name: str
    type: str
    default: str
    description: str
    required: bool
    unit: str
    min: float | None
    max: float | None
    step: float | None
    options: list[str]
    editable: bool
    inProvisioning: bool
    requiredInProvisioning: bool
    excludeFromProfile: bool
    viewRoles: list[str]
    editRoles: list[str]


class MobilePage(TypedDict):
    """A page on a phone. Buttons and the property page open one of kind screen or sheet by its id.

    A screen slides in from_side, a sheet covers size percent of the screen. roles are the names of the roles that
    see a page of kind info; none is all. A welcome page may display the web page url instead of widgets.
    """

    id: str
    name: str
    kind: Literal["screen", "sheet", "info", "welcome"]
    fromSide: Literal["bottom", "right"]
    size: int
    roles: list[str]
    url: str
    widget: list[Widget]


class MySession(TypedDict):
    """The session that the request itself belongs to has this."""

    id: int
    orgId: int
    createdAt: int
    usedAt: int
    address: str
    agent: str
    this: bool


class Myself(TypedDict):
    """permissions are those of the user in the organization that they act in."""

    id: int
    email: str
    name: str
    title: str
    nickName: str
    phoneNumber: str
    orgId: int
    roleId: int
    role: str
    tz: str
    locale: str
    status: str
    isDev: bool
    secondFactor: bool
    registeredAt: int
    lastLoggedAt: int | None
    permissions: list[str]


class NamedAction(TypedDict):
    """Value that a client wrote; who is the id ("user 3") and name the name of its author; ts is ms UTC."""

    ts: int
    who: str
    via: str
    pin: str
    value: Any
    name: str


class NamedActionPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[NamedAction]
    totalElements: int


class NamedRecord(TypedDict):
    """Record of a change; who is the actor's id ("user 3"), name the actor's name; ts is in ms UTC."""

    id: int
    ts: int
    org: int
    who: str
    address: str
    action: str
    subject: str
    details: dict[str, Any]
    name: str


class NamedRecordPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[NamedRecord]
    totalElements: int


class Notifications(TypedDict):
    """Whether an event notifies users, and whom by default (docs.blynk.io, Events: Notifications).

    The recipients of each channel are "Device Owner" and names of metadata fields of the template: of type
    contact or email, for sms of type contact.
    """

    enabled: bool
    email: list[str]
    push: list[str]
    sms: list[str]
    alert: bool
    manageable: bool


class OAuthClient(TypedDict):
    """An OAuth2 client in the form of Blynk's API; secret cannot be read later."""

    orgId: int
    name: str
    clientId: str
    secret: str
    redirectUrls: list[str]


class OfflineSettings(TypedDict):
    """The settings of a status in which a device is not online."""

    description: str
    color: str
    icon: str
    timeline: bool
    showInNotifications: bool
    every: int
    period: str
    notifications: Notifications
    includeInReports: bool
    interaction: UserInteraction


class OrganizationObject(TypedDict):
    """templates are those enabled in it, null is all; devices and users count those that belong to it.

    last_modified_ts is when it was changed last, null if it was not changed since the hub records that.

    unit_system and unit_overrides (by group) apply to its users who have not chosen units themselves.
    """

    id: int
    name: str
    parentOrganizationId: int | None
    type: Literal["ROOT", "BUSINESS", "PERSONAL", "BRANCH", "DISTRIBUTOR", "CONTRACTOR", "INSTALLER", "RESELLER"]
    description: str
    tz: str | None
    phoneNumber: str
    templates: list[str] | None
    quotas: dict[str, int]
    unitSystem: Literal["METRIC", "IMPERIAL"] | None
    unitOverrides: dict[str, str]
    address: Address
    lastModifiedTs: int | None
    devices: int
    users: int


class OrganizationObjectPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[OrganizationObject]
    totalElements: int


class PageLink(TypedDict):
    """link is the page where the user sets a password, null if it was mailed to the user, to mailed_to."""

    link: str | None
    mailedTo: str | None


class PanelColumn(TypedDict):
    """A field of the source's rows, by its name in JSON, and the label above it."""

    field: str
    label: str
    format: Literal["text", "number", "time", "duration", "bytes", "device", "user", "state"]


class PermissionObject(TypedDict):
    """own is the permission that is enough for one's own devices; root: only in the root organization."""

    id: str
    label: str
    own: str | None
    root: bool


class Place(TypedDict):
    """Address of a location: lat and lon in degrees, timezone an IANA name."""

    address: str
    city: str
    state: str
    zip: str
    country: str
    lat: float | None
    lon: float | None
    timezone: str


class PlaceSent(TypedDict):
    """Address of a location: lat and lon in degrees, timezone an IANA name."""

    address: NotRequired[str]
    city: NotRequired[str]
    state: NotRequired[str]
    zip: NotRequired[str]
    country: NotRequired[str]
    lat: NotRequired[float | None]
    lon: NotRequired[float | None]
    timezone: NotRequired[str]


class PluginState(TypedDict):
    """A plugin; longest_hold_ms is the longest that one of its hooks has blocked the hub."""

    name: str
    origin: str
    version: str
    state: str
    problem: str
    failures: int
    longestHoldMs: int
    hooks: list[str]


class PropertyGroup(TypedDict):
    """The datastreams of several templates that have the same tags.

    name ("tag:Humidity") stands for each of them wherever a pin or name is expected: in searches and segments, to
    read and to write. Only templates that the organization of the caller has are considered.
    """

    name: str
    tags: list[str]
    datastreams: list[GroupDatastream]


class RecoveryCodes(TypedDict):
    recoveryCodes: list[str]


class Refusal(TypedDict):
    """A client, or something that a client sent, was refused; at is in ms UTC."""

    at: int
    address: str
    reason: str
    device: int | None


class RepairJob(TypedDict):
    """The repair that is running, or the last one since the start of the hub.

    done and total count values, or bytes of the backup; values counts corrected values.
    """

    running: bool
    step: str
    done: int
    total: int
    problem: str
    backup: str
    values: int
    plan: RepairPlan | None


class RepairPlan(TypedDict):
    """The stamps that a repair corrects: those after now, in milliseconds UTC.

    shift_ms is null when values and events are dropped. events counts events on timelines, other_times all other
    times, such as when a device was added or a user last logged in. A shift must be at least least_shift_ms.
    """

    now: int
    shiftMs: int | None
    deviceId: int | None
    values: int
    events: int
    otherTimes: int
    leastShiftMs: int
    devices: list[DeviceValues]


class Result(TypedDict):
    """Result for one device; problem says why the action failed, or would fail, and is null for a success."""

    deviceId: int
    name: str
    problem: str | None


class Results(TypedDict):
    done: int
    failed: int
    dryRun: bool
    results: list[Result]


class RoleObject(TypedDict):
    """users counts those who have the role, in the organization and below."""

    id: int
    name: str
    users: int
    permissions: list[str]


class RoleObjectPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[RoleObject]
    totalElements: int


class Saved(TypedDict):
    """changes has a line for each difference; drops names the datastreams whose values are dropped."""

    id: str
    name: str
    version: int
    changes: list[str]
    drops: list[str]


class ScreenObject(TypedDict):
    """What a terminal or an LCD displays: its last 100 lines, or two lines with 16 characters each.

    The last line of a terminal is empty unless the device has yet to end it.
    """

    dataStreamId: int
    pin: str
    kind: Literal["terminal", "lcd"]
    lines: list[str]


class SecondFactor(TypedDict):
    """For an authenticator app: url is the text for a QR code."""

    secret: str
    url: str


class SegmentObject(TypedDict):
    """Segment as JSON, with either devices picked by hand, or a query in find and exceptions in excluded.

    Both lists have ids, without those of devices that the client may not view.
    """

    id: int
    orgId: int
    name: str
    position: int
    devices: list[int] | None
    find: DeviceQuery | None
    excluded: list[int]


class SegmentObjectPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[SegmentObject]
    totalElements: int


class SentMail(TypedDict):
    """server has taken a mail to address. Links in mails begin with base."""

    address: str
    server: str
    base: str


class Series(TypedDict):
    """A line of a chart: times (ms UTC) and the value at each; more if the line was cut off.

    value * factor + offset of display is the value in the caller's units; display is null if the values cannot be
    converted. A line of one device has deviceId and device, its name; a line of several devices has their ids,
    devices.
    """

    deviceId: NotRequired[int]
    device: NotRequired[str]
    devices: NotRequired[list[int]]
    pin: str
    name: str
    units: str
    display: Conversion | None
    ts: list[int]
    values: list[Any]
    more: bool


class Served(TypedDict):
    """The protocols that are served at an address."""

    address: str
    tls: bool
    serve: list[str]


class Status(TypedDict):
    """A status that a device has when it has been offline for the duration after, until the next status applies."""

    description: str
    color: str
    icon: str
    timeline: bool
    showInNotifications: bool
    every: int
    period: str
    notifications: Notifications
    includeInReports: bool
    interaction: UserInteraction
    name: str
    after: str


class StatusSettings(TypedDict):
    """How a status of the lifecycle is displayed, and when a change to it notifies (docs.blynk.io, Lifecycle).

    every and period limit notifications as those of an EventType.
    """

    description: str
    color: str
    icon: str
    timeline: bool
    showInNotifications: bool
    every: int
    period: str
    notifications: Notifications
    includeInReports: bool


class Tab(TypedDict):
    """A tab of a dashboard. roles are the names of the roles that see it; none is all."""

    name: str
    roles: list[str]
    widget: list[Widget]


class TablePage(TypedDict):
    """The page of a table that a viewer selects, and its order; by default those of the widget's options.

    sort_column counts the widget's columns from 0, for sort_by "column".
    """

    page: NotRequired[int]
    size: NotRequired[int | None]
    sortBy: NotRequired[Literal["name", "status", "column"] | None]
    sortColumn: NotRequired[int]
    sortOrder: NotRequired[Literal["asc", "desc"] | None]


class TagObject(TypedDict):
    """Tag as JSON: color is like #24a0ed; devices counts the tagged devices that the client may view."""

    id: int
    tagOwnerOrgId: int
    name: str
    color: str
    icon: str
    devices: int


class TemplateObject(TypedDict):
    """A template. firmware_lines are for the top of its devices' firmware."""

    id: str
    orgId: int
    version: int
    templateIds: list[str]
    name: str
    boardType: str
    connectionType: str
    manufacturer: str
    description: str
    gateway: bool
    categories: list[str]
    hotspotPrefix: str
    broadcastName: str
    logo: str
    firmwareLines: list[str]
    guides: Guides
    datastreams: list[DatastreamObject]
    events: list[EventType]
    metadata: list[MetadataField]
    lifecycle: Lifecycle
    web: Dashboard
    mobile: Dashboard


class TemplateSummary(TypedDict):
    """behind counts the devices that stayed on an older version; template_ids has just id."""

    id: str
    templateIds: list[str]
    orgId: int
    name: str
    version: int
    datastreams: int
    devices: int
    behind: int


class TemplateSummaryPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[TemplateSummary]
    totalElements: int


class TemplatesImported(TypedDict):
    """changes has a line for each difference; it is empty if the template already was the same."""

    id: str
    name: str
    changes: list[str]


class Tile(TypedDict):
    """A device in the list of devices.

    pins are the datastreams that it displays, control is the one that a touch changes, battery the one of the
    subtitle battery_level; "" is none. The title is the device's name unless title has another.
    """

    type: Literal["image", "value", "two_values", "three_values", "button", "gauge", "level", "color"]
    title: str
    subtitle: Literal["connection_status", "last_reported", "battery_level"]
    pins: list[str]
    control: str
    interaction: Literal["push", "switch"]
    battery: str
    icon: str
    options: dict[str, Any]


class TimedValue(TypedDict):
    """A value and its stamp, ts, in ms UTC."""

    value: Any
    ts: float


class Token(TypedDict):
    """A device's new token; it is shown only here."""

    token: str


class Unit(TypedDict):
    """A unit: value * factor + offset is the value in the first unit of its group.

    other is its counterpart in the other system, or "".
    """

    name: str
    group: str
    factor: float
    offset: float
    system: Literal["metric", "imperial"] | None
    other: str


class UserInteraction(TypedDict):
    """How clients treat users of a device that is not online (docs.blynk.io, Lifecycle: User interaction).

    notice_on_open is a message when the dashboard opens, notice_on_interaction one at each use of a widget.
    """

    disableWidgets: Literal["none", "all", "control"]
    noticeOnOpen: bool
    noticeOnInteraction: bool


class UserObject(TypedDict):
    """status is Pending, Active, Inactive or Suspended; role is the name of role_id, tz a time zone."""

    id: int
    email: str
    name: str
    title: str
    nickName: str
    phoneNumber: str
    orgId: int
    roleId: int
    role: str
    tz: str
    locale: str
    status: str
    isDev: bool
    secondFactor: bool
    registeredAt: int
    lastLoggedAt: int | None


class UserObjectPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[UserObject]
    totalElements: int


class UserProfile(TypedDict):
    """units is the system in which the user sees values: default, metric or imperial."""

    id: int
    email: str
    name: str
    title: str
    nickName: str
    phoneNumber: str
    orgId: int
    roleId: int
    role: str
    tz: str
    locale: str
    status: str
    isDev: bool
    secondFactor: bool
    registeredAt: int
    lastLoggedAt: int | None
    units: str
    address: Address


class Verdict(TypedDict):
    """Result of a verification.

    first is the number of the oldest record that has not expired, records the number of records from there on,
    head the hash of the newest in hex; problems are sentences.
    """

    first: int
    records: int
    head: str
    problems: list[str]


class VersionObject(TypedDict):
    """A saved version, with its differences from the version before as changes.

    at is in ms UTC, 0 for templates older than versions; by is the name of the user who saved it.
    """

    version: int
    at: int
    by: str
    changes: list[str]


class VersionObjectPage(TypedDict):
    """One page of a list; total_elements is how many there are on all of them."""

    content: list[VersionObject]
    totalElements: int


class ViewerFilters(TypedDict):
    """What a viewer temporarily narrows a dashboard to (docs.blynk.io, Dynamic Filters); an empty list is no filter.

    templates are ids, as are organizations and devices.
    """

    organizations: NotRequired[list[int]]
    templates: NotRequired[list[str]]
    devices: NotRequired[list[int]]


class VisiblePanel(TypedDict):
    """A screen of a plugin, and how to draw it.

    source is the path of the operation that returns the content: rows, or a page of them, for a TABLE and a LOG;
    an object for a FORM; series as of the history for a CHART.
    """

    id: str
    title: str
    kind: Literal["TABLE", "FORM", "LOG", "CHART"]
    source: str
    permission: str
    columns: list[PanelColumn]
    actions: list[AllowedAction]


class Vitals(TypedDict):
    """Statistics of a device. Times are milliseconds since 1970 (UTC).

    rtt is the round-trip time to the device in milliseconds, None while it is unknown. online_for is the age of
    the connection in milliseconds. days are the last 30 days with activity, newest first, including today.
    """

    online: bool
    via: str | None
    address: str | None
    rtt: float | None
    onlineFor: int | None
    lastConnected: int | None
    lastDisconnected: int | None
    lastReported: int | None
    days: list[Day]


class Widget(TypedDict):
    """A widget of a tab or page at x, y of its grid, from the top left; pins ("V1") are its datastreams.

    hub.templates.widgets lists the types and their options. A title, units and limits that are missing are the
    datastream's.
    """

    type: str
    pins: list[str]
    title: str
    x: int
    y: int
    width: int
    height: int
    options: dict[str, Any]


class WidgetCatalogue(TypedDict):
    """All types of widgets, and the columns of the grids."""

    webColumns: int
    mobileColumns: int
    web: list[WidgetTypeObject]
    mobile: list[WidgetTypeObject]
    header: list[WidgetTypeObject]
    tile: list[WidgetTypeObject]


class WidgetColumn(TypedDict):
    """A column of a table. type says what is in its rows: a device's id, a number, text, a time, or a Cell."""

    name: str
    type: Literal["device", "number", "text", "time", "cell"]
    units: str


class WidgetData(TypedDict):
    """The data of a widget, of devices devices that the viewer may view.

    problem says why there is no data, or why it is not all. Values are in the viewer's units. start and end are
    the range, ms UTC; resolution is the time between the points of series. previous is the value of the range
    before, which is as long. total_elements is the number of rows on all pages.
    """

    type: Literal[
        "switch",
        "slider",
        "label",
        "device_table",
        "metrics_over_time",
        "metric_by_device",
        "image_map",
        "geomap",
        "event_count",
        "event_bars",
        "latest_events",
        "events_over_time",
        "events_breakdown",
        "events_by_organization",
        "events_by_template",
        "events_by_device",
        "activations",
        "total_devices",
        "total_devices_by_template",
        "active_devices",
        "active_devices_by_template",
        "connection_statuses",
    ]
    problem: str | None
    devices: int
    start: int | None
    end: int | None
    resolution: Literal["minute", "quarter", "hour", "day"] | None
    value: float | None
    text: str | None
    units: str
    previous: float | None
    series: list[ChartLine]
    columns: list[WidgetColumn]
    rows: list[list[Any]]
    totalElements: int


class WidgetDescription(TypedDict):
    """A type of widget. refresh_s is how often a client should ask for new data, in seconds.

    ranged: its data are of the dashboard's range. Each option has a name, a type, limits or choices, and a
    default.
    """

    type: Literal[
        "switch",
        "slider",
        "label",
        "device_table",
        "metrics_over_time",
        "metric_by_device",
        "image_map",
        "geomap",
        "event_count",
        "event_bars",
        "latest_events",
        "events_over_time",
        "events_breakdown",
        "events_by_organization",
        "events_by_template",
        "events_by_device",
        "activations",
        "total_devices",
        "total_devices_by_template",
        "active_devices",
        "active_devices_by_template",
        "connection_statuses",
    ]
    label: str
    group: str
    ranged: bool
    refreshS: int
    options: list[dict[str, Any]]


class WidgetOption(TypedDict):
    """An option of a widget type. default is null if the datastream's own setting applies, or none.

    A choice is one of choices; a number is between min and max; a text has at most max characters, a list at most
    max items.
    """

    name: str
    kind: Literal[
        "number",
        "integer",
        "boolean",
        "text",
        "value",
        "color",
        "url",
        "image",
        "page",
        "choice",
        "numbers",
        "texts",
        "colors",
        "images",
        "choices",
    ]
    summary: str
    default: Any
    choices: list[str | int]
    min: float | None
    max: float | None


class WidgetTypeObject(TypedDict):
    """A type of widget: how many datastreams it has, and of which types.

    With writes, users change the datastreams by it; with raw, the datastreams must have raw history.
    """

    type: str
    types: list[Literal["integer", "double", "string", "enum", "location"]]
    minDatastreams: int
    maxDatastreams: int
    writes: bool
    raw: bool
    options: list[WidgetOption]


class WriteResults(TypedDict):
    """How many devices have the value, and how many not; devices without such a datastream count as neither."""

    done: int
    failed: int
    results: list[DeviceResult]


def get_audit(
    *,
    org_id: int | None = None,
    from_: int | str | None = None,
    to: int | str | None = None,
    who: str | None = None,
    subject: str | None = None,
    query: str | None = None,
    page: int | None = None,
    size: int | None = None,
) -> Call[NamedRecordPage]:
    """Records of the audit, newest first.

    Needs the permission users.log: View user actions log.
    """
    return Call(
        "GET",
        "/api/v1/audit",
        {
            "orgId": org_id,
            "from": from_,
            "to": to,
            "who": who,
            "subject": subject,
            "query": query,
            "page": page,
            "size": size,
        },
    )


def get_audit_export(
    *,
    org_id: int | None = None,
    from_: int | str | None = None,
    to: int | str | None = None,
    who: str | None = None,
    subject: str | None = None,
    query: str | None = None,
) -> Call[str]:
    """Records of the audit, a JSON object a line.

    Needs the permission users.log: View user actions log.
    """
    return Call(
        "GET",
        "/api/v1/audit/export",
        {"orgId": org_id, "from": from_, "to": to, "who": who, "subject": subject, "query": query},
    )


def get_audit_verify(*, head: str | None = None) -> Call[Verdict]:
    """Verify the audit.

    Needs the permission audit.verify: Verify the audit.
    """
    return Call("GET", "/api/v1/audit/verify", {"head": head})


def get_backup() -> Call[Job]:
    """Progress and result of the last backup.

    Needs the permission backup.make: Make backups.
    """
    return Call("GET", "/api/v1/backup")


def post_backup(*, path: str, directory: str | None = None) -> Call[dict[str, str]]:
    """Begin a backup into a file of the hub's machine.

    Needs the permission backup.make: Make backups.
    """
    return Call("POST", "/api/v1/backup", body={"path": path, "directory": directory})


def get_clock() -> Call[ClockObject]:
    """The hub's time, and whether it trusts the machine's clock.

    Needs the permission hub.view: View the state of the hub.
    """
    return Call("GET", "/api/v1/clock")


def get_clock_repair() -> Call[RepairJob]:
    """Progress and result of a repair of timestamps.

    Needs the permission clock.repair: Repair what a wrong clock has stamped.
    """
    return Call("GET", "/api/v1/clock/repair")


def post_clock_repair(
    *, shift_ms: int | None = None, drop: bool | None = None, device_id: int | None = None, dry_run: bool | None = None
) -> Call[RepairPlan]:
    """Start a repair of the timestamps of a wrong clock.

    Needs the permission clock.repair: Repair what a wrong clock has stamped.
    """
    return Call(
        "POST",
        "/api/v1/clock/repair",
        body={"shiftMs": shift_ms, "drop": drop, "deviceId": device_id, "dryRun": dry_run},
    )


def delete_dashboard(*, dashboard_id: int) -> Call[None]:
    """Delete a dashboard.

    Needs the permission dashboards.edit: Manage Dashboards.
    """
    return Call("DELETE", "/api/v1/dashboard", {"dashboardId": dashboard_id})


def get_dashboard(*, dashboard_id: int) -> Call[DashboardObject]:
    """One dashboard.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/dashboard", {"dashboardId": dashboard_id})


def put_dashboard(
    *,
    dashboard_id: int,
    name: str | None = None,
    source: DataSourceSent | None = None,
    range: Literal["1h", "6h", "1d", "1w", "1mo", "3mo", "1y"] | None = None,
    view_roles: Sequence[int] | None = None,
    tabs: Sequence[DashboardTabSent] | None = None,
) -> Call[DashboardObject]:
    """Edit a dashboard.

    Needs the permission dashboards.edit: Manage Dashboards.
    """
    return Call(
        "PUT",
        "/api/v1/dashboard",
        body={
            "dashboardId": dashboard_id,
            "name": name,
            "source": source,
            "range": range,
            "viewRoles": view_roles,
            "tabs": tabs,
        },
    )


def post_dashboard_create(
    *,
    name: str,
    org_id: int | None = None,
    source: DataSourceSent | None = None,
    range: Literal["1h", "6h", "1d", "1w", "1mo", "3mo", "1y"] | None = None,
    view_roles: Sequence[int] | None = None,
    tabs: Sequence[DashboardTabSent] | None = None,
) -> Call[DashboardObject]:
    """Make a dashboard.

    Needs the permission dashboards.edit: Manage Dashboards.
    """
    return Call(
        "POST",
        "/api/v1/dashboard/create",
        body={"name": name, "orgId": org_id, "source": source, "range": range, "viewRoles": view_roles, "tabs": tabs},
    )


def post_dashboard_data(
    *,
    range: Literal["1h", "6h", "1d", "1w", "1mo", "3mo", "1y"] | None = None,
    tz: str | None = None,
    filters: ViewerFilters | None = None,
    table: TablePage | None = None,
    dashboard_id: int,
    widget_id: int,
) -> Call[WidgetData]:
    """The data of a widget.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "POST",
        "/api/v1/dashboard/data",
        body={
            "range": range,
            "tz": tz,
            "filters": filters,
            "table": table,
            "dashboardId": dashboard_id,
            "widgetId": widget_id,
        },
    )


def get_dashboard_filters(*, dashboard_id: int) -> Call[FilterChoices]:
    """What viewers can filter a dashboard by.

    Organizations and templates with devices that the caller may view.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/dashboard/filters", {"dashboardId": dashboard_id})


def put_dashboard_homepage(*, dashboard_id: int | None = None, org_id: int | None = None) -> Call[None]:
    """Select an organization's homepage.

    Needs the permission dashboards.edit: Manage Dashboards.
    """
    return Call("PUT", "/api/v1/dashboard/homepage", body={"dashboardId": dashboard_id, "orgId": org_id})


def get_dashboard_widgets() -> Call[list[WidgetDescription]]:
    """The types of widgets of dashboards."""
    return Call("GET", "/api/v1/dashboard/widgets")


def post_dashboard_write(
    *, dashboard_id: int, widget_id: int, value: float, filters: ViewerFilters | None = None
) -> Call[WriteResults]:
    """Write a value to all devices of a widget.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call(
        "POST",
        "/api/v1/dashboard/write",
        body={"dashboardId": dashboard_id, "widgetId": widget_id, "value": value, "filters": filters},
    )


def get_dashboards(
    *, org_id: int | None = None, page: int | None = None, size: int | None = None
) -> Call[DashboardSummaryPage]:
    """The dashboards of an organization.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/dashboards", {"orgId": org_id, "page": page, "size": size})


def get_device_actions(
    *,
    device_id: int,
    from_: int | str | None = None,
    to: int | str | None = None,
    who: str | None = None,
    page: int | None = None,
    size: int | None = None,
) -> Call[NamedActionPage]:
    """Values that clients wrote to a device, newest first.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "GET",
        "/api/v1/device/actions",
        {"deviceId": device_id, "from": from_, "to": to, "who": who, "page": page, "size": size},
    )


def get_device_dashboard(*, device_id: int, kind: Literal["web", "mobile"] | None = None) -> Call[DeviceDashboard]:
    """The dashboard of a device.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/device/dashboard", {"deviceId": device_id, "kind": kind})


def post_device_erase(*, device_id: int, pin: str | None = None) -> Call[None]:
    """Erase the values of a device or a datastream.

    Needs the permission org_devices.delete_data: Delete data from devices.
    """
    return Call("POST", "/api/v1/device/erase", body={"deviceId": device_id, "pin": pin})


def delete_device_file(*, device_id: int, file_id: int) -> Call[None]:
    """Delete a file that a device sent.

    Needs the permission org_devices.delete_data: Delete data from devices.
    """
    return Call("DELETE", "/api/v1/device/file", {"deviceId": device_id, "fileId": file_id})


def get_device_files(*, device_id: int) -> Call[list[DeviceFile]]:
    """The files that a device sent.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/device/files", {"deviceId": device_id})


def get_device_history(
    *,
    device_id: int,
    pin: str,
    granularity: Literal["raw", "minute", "hour", "day"] | None = None,
    aggregate: Literal["avg", "min", "max", "sum", "count", "last"] | None = None,
    format: Literal["json", "csv"] | None = None,
    from_: int | str | None = None,
    to: int | str | None = None,
    period: str | None = None,
    tz: str | None = None,
) -> Call[str]:
    """The history of a datastream, line by line.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "GET",
        "/api/v1/device/history",
        {
            "deviceId": device_id,
            "pin": pin,
            "granularity": granularity,
            "aggregate": aggregate,
            "format": format,
            "from": from_,
            "to": to,
            "period": period,
            "tz": tz,
        },
    )


def post_device_import(*, csv: str, org_id: int | None = None) -> Call[list[AddedDevice]]:
    """Add devices from CSV.

    Needs the permission org_devices.add: Add new devices.
    """
    return Call("POST", "/api/v1/device/import", body={"csv": csv, "orgId": org_id})


def post_device_import_rows(
    *, device_id: int, rows: Sequence[Sequence[Any]], line: int | None = None, check: bool | None = None
) -> Call[Imported]:
    """Import values of a device, or check them.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call(
        "POST", "/api/v1/device/import-rows", body={"deviceId": device_id, "rows": rows, "line": line, "check": check}
    )


def post_device_ping(*, device_id: int) -> Call[Answered]:
    """How long a device takes to answer.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call("POST", "/api/v1/device/ping", body={"deviceId": device_id})


def post_device_property_erase(*, device_id: int, pin: str | None = None, property: str | None = None) -> Call[Erased]:
    """Erase widget properties.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call("POST", "/api/v1/device/property/erase", body={"deviceId": device_id, "pin": pin, "property": property})


def post_device_reboot(*, device_id: int) -> Call[None]:
    """Ask a device to reboot.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call("POST", "/api/v1/device/reboot", body={"deviceId": device_id})


def post_device_reconfigure(*, device_id: int) -> Call[None]:
    """Ask a device to join another network.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call("POST", "/api/v1/device/reconfigure", body={"deviceId": device_id})


def post_device_redirect(*, device_id: int, host: str, port: int | None = None) -> Call[None]:
    """Send a device to another server.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call("POST", "/api/v1/device/redirect", body={"deviceId": device_id, "host": host, "port": port})


def get_device_screens(*, device_id: int) -> Call[list[ScreenObject]]:
    """What a device's terminals and LCDs display.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/device/screens", {"deviceId": device_id})


def post_device_token(*, device_id: int, overlap: str | None = None, token: str | None = None) -> Call[Token]:
    """Give a device a new token.

    Needs the permission auth_tokens.edit: Edit auth tokens.
    """
    return Call("POST", "/api/v1/device/token", body={"deviceId": device_id, "overlap": overlap, "token": token})


def get_device_vitals(*, device_id: int) -> Call[Vitals]:
    """Statistics of a device.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/device/vitals", {"deviceId": device_id})


def post_devices_bulk(
    *,
    action: Literal["tag", "untag", "move", "metadata", "write", "delete"],
    devices: Sequence[int] | None = None,
    query: str | None = None,
    match: Literal["all", "any"] | None = None,
    filters: Sequence[FilterSent] | None = None,
    segment_id: int | None = None,
    org_id: int | None = None,
    all: bool | None = None,
    dry_run: bool | None = None,
    tag_id: int | None = None,
    to_org_id: int | None = None,
    name: str | None = None,
    pin: str | None = None,
    value: Any = None,
) -> Call[Results]:
    """Do something to many devices.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "POST",
        "/api/v1/devices/bulk",
        body={
            "action": action,
            "devices": devices,
            "query": query,
            "match": match,
            "filters": filters,
            "segmentId": segment_id,
            "orgId": org_id,
            "all": all,
            "dryRun": dry_run,
            "tagId": tag_id,
            "toOrgId": to_org_id,
            "name": name,
            "pin": pin,
            "value": value,
        },
    )


def get_devices_counts(
    *, by: str | None = None, org_id: int | None = None, page: int | None = None, size: int | None = None
) -> Call[DeviceCounts]:
    """Numbers of devices by template, status and other attributes.

    by is one or several of template, status, org, owner and tag, separated by commas.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/devices/counts", {"by": by, "orgId": org_id, "page": page, "size": size})


def post_devices_search(
    *,
    query: str | None = None,
    match: Literal["all", "any"] | None = None,
    filters: Sequence[FilterSent] | None = None,
    segment_id: int | None = None,
    org_id: int | None = None,
    sort_by: Literal[
        "id",
        "name",
        "owner",
        "status",
        "organization",
        "orgId",
        "template",
        "templateId",
        "model",
        "firmware",
        "createdAt",
        "activatedAt",
        "activatedBy",
        "lastReported",
        "datastream",
        "metadata",
    ]
    | None = None,
    sort_name: str | None = None,
    sort_order: Literal["asc", "desc", "ASC", "DESC"] | None = None,
    page: int | None = None,
    after: str | None = None,
    size: int | None = None,
    values: Sequence[str] | None = None,
    metadata: Sequence[str] | None = None,
) -> Call[FoundPage]:
    """Search for devices by filters.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "POST",
        "/api/v1/devices/search",
        body={
            "query": query,
            "match": match,
            "filters": filters,
            "segmentId": segment_id,
            "orgId": org_id,
            "sortBy": sort_by,
            "sortName": sort_name,
            "sortOrder": sort_order,
            "page": page,
            "after": after,
            "size": size,
            "values": values,
            "metadata": metadata,
        },
    )


def get_history(
    *,
    device_ids: Sequence[int],
    pins: Sequence[str],
    granularity: Literal["raw", "minute", "hour", "day"] | None = None,
    aggregate: Literal["avg", "min", "max", "sum", "count", "last"] | None = None,
    across: Literal["avg", "min", "max", "sum", "count"] | None = None,
    format: Literal["json", "csv"] | None = None,
    from_: int | str | None = None,
    to: int | str | None = None,
    period: str | None = None,
    tz: str | None = None,
) -> Call[Chart | str]:
    """The history of several datastreams and devices.

    pins are pins ("V1") or names of datastreams; devices without such a datastream are skipped.

    With across the values that all devices have at a time become one line for each pin.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "GET",
        "/api/v1/history",
        {
            "deviceIds": device_ids,
            "pins": pins,
            "granularity": granularity,
            "aggregate": aggregate,
            "across": across,
            "format": format,
            "from": from_,
            "to": to,
            "period": period,
            "tz": tz,
        },
    )


def get_history_costs() -> Call[list[Cost]]:
    """The disk space that each datastream takes in a month.

    Needs the permission hub.view: View the state of the hub.
    """
    return Call("GET", "/api/v1/history/costs")


def delete_key(*, key_id: int) -> Call[None]:
    """Revoke an API key."""
    return Call("DELETE", "/api/v1/key", {"keyId": key_id})


def post_key(
    *, name: str, scopes: Sequence[str] | None = None, lasts: int | None = None, user_id: int | None = None
) -> Call[MadeKey]:
    """Create an API key."""
    return Call("POST", "/api/v1/key", body={"name": name, "scopes": scopes, "lasts": lasts, "userId": user_id})


def get_keys(*, user_id: int | None = None) -> Call[list[KeyObject]]:
    """Own API keys."""
    return Call("GET", "/api/v1/keys", {"userId": user_id})


def post_login(
    *,
    email: str,
    password: str | None = None,
    password_hash: str | None = None,
    otp: str | None = None,
    cookie: bool | None = None,
) -> Call[LoggedIn]:
    """Log in."""
    return Call(
        "POST",
        "/api/v1/login",
        body={"email": email, "password": password, "passwordHash": password_hash, "otp": otp, "cookie": cookie},
    )


def post_login_refresh(*, refresh_token: str | None = None) -> Call[LoggedIn]:
    """Refresh a session."""
    return Call("POST", "/api/v1/login/refresh", body={"refresh_token": refresh_token})


def post_logout() -> Call[None]:
    """End this session."""
    return Call("POST", "/api/v1/logout")


def post_mail_test(*, address: str, locale: str | None = None) -> Call[SentMail]:
    """Send a test mail.

    Send a mail past the outbox, and answer when the server has taken it.

    Needs the permission mail.test: Send a test mail.
    """
    return Call("POST", "/api/v1/mail/test", body={"address": address, "locale": locale})


def get_mails(*, page: int | None = None, size: int | None = None) -> Call[LoggedMailPage]:
    """Mails that were sent, have failed or wait, newest first.

    Needs the permission mail.view: View mails.
    """
    return Call("GET", "/api/v1/mails", {"page": page, "size": size})


def get_openapi_json() -> Call[Any]:
    """This API as an OpenAPI 3.1 document."""
    return Call("GET", "/api/v1/openapi.json")


def delete_organization(*, org_id: int, everything: bool | None = None) -> Call[None]:
    """Delete an organization.

    Needs the permission orgs.delete: Delete sub-organizations.
    """
    return Call("DELETE", "/api/v1/organization", {"orgId": org_id, "everything": everything})


def get_organization(*, org_id: int | None = None) -> Call[OrganizationObject]:
    """One organization.

    Needs the permission orgs.settings: Access organization settings.
    """
    return Call("GET", "/api/v1/organization", {"orgId": org_id})


def put_organization(
    *,
    org_id: int,
    name: str | None = None,
    description: str | None = None,
    tz: str | None = None,
    phone_number: str | None = None,
    templates: Sequence[str] | None = None,
    quotas: Mapping[str, int] | None = None,
    unit_system: Literal["METRIC", "IMPERIAL", "NONE"] | None = None,
    unit_overrides: Mapping[str, str] | None = None,
    address: AddressSent | None = None,
) -> Call[OrganizationObject]:
    """Edit an organization.

    Needs the permission orgs.settings: Access organization settings.
    """
    return Call(
        "PUT",
        "/api/v1/organization",
        body={
            "orgId": org_id,
            "name": name,
            "description": description,
            "tz": tz,
            "phoneNumber": phone_number,
            "templates": templates,
            "quotas": quotas,
            "unitSystem": unit_system,
            "unitOverrides": unit_overrides,
            "address": address,
        },
    )


def delete_organization_client(*, client_id: str) -> Call[None]:
    """Delete an OAuth2 client.

    Needs the permission clients.delete: Delete OAuth tokens.
    """
    return Call("DELETE", "/api/v1/organization/client", {"clientId": client_id})


def post_organization_client(
    *, name: str, role_id: int, org_id: int | None = None, redirects: Sequence[str] | None = None
) -> Call[MadeClient]:
    """Create an OAuth2 client.

    Needs the permission clients.add: Create OAuth tokens.
    """
    return Call(
        "POST",
        "/api/v1/organization/client",
        body={"name": name, "roleId": role_id, "orgId": org_id, "redirects": redirects},
    )


def get_organization_clients(
    *, org_id: int | None = None, page: int | None = None, size: int | None = None
) -> Call[ClientObjectPage]:
    """The OAuth2 clients of an organization and below.

    Needs the permission clients.view: View OAuth token settings.
    """
    return Call("GET", "/api/v1/organization/clients", {"orgId": org_id, "page": page, "size": size})


def post_organization_create(
    *,
    name: str,
    parent_id: int | None = None,
    type: Literal["ROOT", "BUSINESS", "PERSONAL", "BRANCH", "DISTRIBUTOR", "CONTRACTOR", "INSTALLER", "RESELLER"]
    | None = None,
    description: str | None = None,
    tz: str | None = None,
    phone_number: str | None = None,
    templates: Sequence[str] | None = None,
    quotas: Mapping[str, int] | None = None,
    unit_system: Literal["METRIC", "IMPERIAL"] | None = None,
    unit_overrides: Mapping[str, str] | None = None,
    address: AddressSent | None = None,
) -> Call[OrganizationObject]:
    """Create an organization.

    Needs the permission orgs.add: Create sub-organizations.
    """
    return Call(
        "POST",
        "/api/v1/organization/create",
        body={
            "name": name,
            "parentId": parent_id,
            "type": type,
            "description": description,
            "tz": tz,
            "phoneNumber": phone_number,
            "templates": templates,
            "quotas": quotas,
            "unitSystem": unit_system,
            "unitOverrides": unit_overrides,
            "address": address,
        },
    )


def delete_organization_device(*, device_id: int) -> Call[None]:
    """Delete a device and its data.

    Needs the permission org_devices.delete: Delete organization devices.
    """
    return Call("DELETE", "/api/v1/organization/device", {"deviceId": device_id})


def get_organization_device(*, device_id: int) -> Call[DeviceObject]:
    """One device with its values and metadata.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/organization/device", {"deviceId": device_id})


def put_organization_device(*, device_id: int, name: str) -> Call[DeviceObject]:
    """Rename a device.

    Needs the permission org_devices.edit: Edit organization devices.
    """
    return Call("PUT", "/api/v1/organization/device", {"deviceId": device_id}, {"name": name})


def get_organization_device_base_info(*, device_id: int) -> Call[DeviceObject]:
    """One device without its values.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/organization/device/baseInfo", {"deviceId": device_id})


def get_organization_device_by_owner(
    *, owner_email: str, org_id: int | None = None, page: int | None = None, size: int | None = None
) -> Call[DeviceObjectPage]:
    """The devices of a user.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "GET",
        "/api/v1/organization/device/by-owner",
        {"ownerEmail": owner_email, "orgId": org_id, "page": page, "size": size},
    )


def get_organization_device_by_user_org(
    *, user_email: str, page: int | None = None, size: int | None = None
) -> Call[DeviceObjectPage]:
    """The devices of a user's organization.

    The devices of the organization that the user belongs to.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/organization/device/by-user-org", {"userEmail": user_email, "page": page, "size": size})


def delete_organization_device_clear(*, device_id: int) -> Call[None]:
    """Erase values of a device.

    Needs the permission org_devices.delete_data: Delete data from devices.
    """
    return Call("DELETE", "/api/v1/organization/device/clear", {"deviceId": device_id})


def post_organization_device_create(
    *, template_id: str, name: str, org_id: int | None = None, owner_id: int | None = None, token: str | None = None
) -> Call[DeviceObject]:
    """Add a device.

    Needs the permission org_devices.add: Add new devices.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/create",
        body={"templateId": template_id, "name": name, "orgId": org_id, "ownerId": owner_id, "token": token},
    )


def post_organization_device_datastream(
    *, device_id: int, value: Any, data_stream_id: int | None = None, pin: str | None = None
) -> Call[None]:
    """Write a value.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/datastream",
        body={"deviceId": device_id, "value": value, "dataStreamId": data_stream_id, "pin": pin},
    )


def get_organization_device_datastream_history(
    *,
    device_id: int,
    pin: str,
    from_: int | str | None = None,
    to: int | str | None = None,
    page: int | None = None,
    size: int | None = None,
) -> Call[HistoryPointPage]:
    """The history of a datastream, in pages.

    Blynk's own form: values in pages, oldest first.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "GET",
        "/api/v1/organization/device/datastream/history",
        {"deviceId": device_id, "pin": pin, "from": from_, "to": to, "page": page, "size": size},
    )


def post_organization_device_datastream_property(
    *, device_id: int, property: str, value: Any, data_stream_id: int | None = None, pin: str | None = None
) -> Call[None]:
    """Set a widget property.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/datastream/property",
        body={"deviceId": device_id, "property": property, "value": value, "dataStreamId": data_stream_id, "pin": pin},
    )


def get_organization_device_datastreams(*, device_id: int, pins: Sequence[str] | None = None) -> Call[dict[str, Any]]:
    """A device's values by pin.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/organization/device/datastreams", {"deviceId": device_id, "pins": pins})


def post_organization_device_datastreams(*, device_id: int, values: Mapping[str, Any]) -> Call[None]:
    """Write several values.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call("POST", "/api/v1/organization/device/datastreams", body={"deviceId": device_id, "values": values})


def post_organization_device_event_archive(
    *, device_id: int, event_id: int, archived: bool | None = None
) -> Call[EventObject]:
    """Archive an event, or bring it back.

    Needs the permission timeline.edit: Edit timeline.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/event/archive",
        body={"deviceId": device_id, "eventId": event_id, "archived": archived},
    )


def post_organization_device_event_comment(*, device_id: int, event_id: int, text: str) -> Call[EventObject]:
    """Comment on an event.

    Needs the permission timeline.edit: Edit timeline.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/event/comment",
        body={"deviceId": device_id, "eventId": event_id, "text": text},
    )


def post_organization_device_event_resolve(
    *, device_id: int, event_id: int, note: str | None = None
) -> Call[EventObject]:
    """Resolve an event.

    Needs the permission timeline.edit: Edit timeline.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/event/resolve",
        body={"deviceId": device_id, "eventId": event_id, "note": note},
    )


def post_organization_device_import_batch(
    *, device_id: int, values: Sequence[TimedValue], data_stream_id: int | None = None, pin: str | None = None
) -> Call[None]:
    """Import values of a datastream.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/import/batch",
        body={"deviceId": device_id, "values": values, "dataStreamId": data_stream_id, "pin": pin},
    )


def get_organization_device_last_activated(
    *, org_id: int | None = None, minutes: int | None = None, page: int | None = None, size: int | None = None
) -> Call[ActivatedDevicePage]:
    """Newly activated devices.

    Devices that connected for the first time in the last minutes, newest first.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "GET",
        "/api/v1/organization/device/last-activated",
        {"orgId": org_id, "minutes": minutes, "page": page, "size": size},
    )


def post_organization_device_location(
    *, device_id: int, location_id: int, within: Mapping[str, str] | None = None
) -> Call[None]:
    """Put a device at a location.

    Needs the permission org_devices.edit: Edit organization devices.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/location",
        body={"deviceId": device_id, "locationId": location_id, "within": within},
    )


def get_organization_device_logs(
    *, device_id: int, page: int | None = None, size: int | None = None
) -> Call[LoggedActionPage]:
    """A device's actions log.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/organization/device/logs", {"deviceId": device_id, "page": page, "size": size})


def get_organization_device_metafield(*, device_id: int) -> Call[list[MetaFieldValue]]:
    """A device's metadata.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/organization/device/metafield", {"deviceId": device_id})


def post_organization_device_metafield(
    *, device_id: int, new_value: str | float, meta_field_id: int | None = None, name: str | None = None
) -> Call[None]:
    """Set a metadata field.

    Needs the permission org_devices.edit: Edit organization devices.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/metafield",
        body={"deviceId": device_id, "newValue": new_value, "metaFieldId": meta_field_id, "name": name},
    )


def get_organization_device_online(*, device_id: int) -> Call[Connected]:
    """Whether a device is connected.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/organization/device/online", {"deviceId": device_id})


def delete_organization_device_owner(*, device_id: int) -> Call[None]:
    """Remove the owner of a device.

    Needs the permission transfers.devices: Transfer devices.
    """
    return Call("DELETE", "/api/v1/organization/device/owner", {"deviceId": device_id})


def post_organization_device_resolve_event(
    *, device_id: int, event_id: int, note: str | None = None
) -> Call[EventObject]:
    """Resolve an event.

    Needs the permission timeline.edit: Edit timeline.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/resolve-event",
        body={"deviceId": device_id, "eventId": event_id, "note": note},
    )


def delete_organization_device_tag(*, device_id: int, tag_id: int) -> Call[None]:
    """Take a tag from a device.

    Needs the permission org_devices.edit: Edit organization devices.
    """
    return Call("DELETE", "/api/v1/organization/device/tag", {"deviceId": device_id, "tagId": tag_id})


def post_organization_device_tag(*, device_id: int, tag_id: int) -> Call[None]:
    """Tag a device.

    Needs the permission org_devices.edit: Edit organization devices.
    """
    return Call("POST", "/api/v1/organization/device/tag", body={"deviceId": device_id, "tagId": tag_id})


def get_organization_device_tags(*, device_id: int) -> Call[list[DeviceTag]]:
    """A device's tags.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/organization/device/tags", {"deviceId": device_id})


def get_organization_device_timeline(
    *,
    device_id: int,
    event_type: Sequence[str] | None = None,
    resolved: Literal["true", "false", "any"] | None = None,
    archived: Literal["true", "false", "any"] | None = None,
    from_: int | str | None = None,
    to: int | str | None = None,
    query: str | None = None,
    page: int | None = None,
    size: int | None = None,
) -> Call[Events]:
    """A device's events, newest first.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "GET",
        "/api/v1/organization/device/timeline",
        {
            "deviceId": device_id,
            "eventType": event_type,
            "resolved": resolved,
            "archived": archived,
            "from": from_,
            "to": to,
            "query": query,
            "page": page,
            "size": size,
        },
    )


def post_organization_device_transfer(
    *, device_id: int, new_user_id: int | None = None, new_org_id: int | None = None
) -> Call[None]:
    """Transfer a device.

    Needs the permission transfers.devices: Transfer devices.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/transfer",
        body={"deviceId": device_id, "newUserId": new_user_id, "newOrgId": new_org_id},
    )


def post_organization_device_transfer_to_organization(*, device_id: int, new_org_id: int) -> Call[None]:
    """Transfer a device to an organization.

    Needs the permission transfers.devices: Transfer devices.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/transfer/to-organization",
        body={"deviceId": device_id, "newOrgId": new_org_id},
    )


def post_organization_device_transfer_to_owner(*, device_id: int, new_user_id: int) -> Call[None]:
    """Transfer a device to a user.

    Needs the permission transfers.devices: Transfer devices.
    """
    return Call(
        "POST", "/api/v1/organization/device/transfer/to-owner", body={"deviceId": device_id, "newUserId": new_user_id}
    )


def post_organization_device_trigger_event(
    *, device_id: int, event_code: str, event_description: str | None = None
) -> Call[None]:
    """Log an event of a device.

    Needs the permission org_devices.control: Control organization devices.
    """
    return Call(
        "POST",
        "/api/v1/organization/device/trigger-event",
        body={"deviceId": device_id, "eventCode": event_code, "eventDescription": event_description},
    )


def get_organization_devices(
    *,
    org_id: int | None = None,
    include_sub_org_devices: bool | None = None,
    page: int | None = None,
    size: int | None = None,
) -> Call[DeviceObjectPage]:
    """Devices, a page at a time.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "GET",
        "/api/v1/organization/devices",
        {"orgId": org_id, "includeSubOrgDevices": include_sub_org_devices, "page": page, "size": size},
    )


def put_organization_edit_name(*, org_id: int | None = None, name: str) -> Call[OrganizationObject]:
    """Rename an organization.

    Needs the permission orgs.settings: Access organization settings.
    """
    return Call("PUT", "/api/v1/organization/edit/name", {"orgId": org_id}, {"name": name})


def get_organization_export(*, org_id: int) -> Call[dict[str, Any]]:
    """Export an organization's data.

    Everything about an organization and those below it, except values and secrets.

    Needs the permission orgs.settings: Access organization settings.
    """
    return Call("GET", "/api/v1/organization/export", {"orgId": org_id})


def delete_organization_location(*, location_id: int) -> Call[None]:
    """Delete a location.

    Needs the permission org_locations.delete: Delete locations.
    """
    return Call("DELETE", "/api/v1/organization/location", {"locationId": location_id})


def get_organization_location(*, location_id: int) -> Call[LocationObject]:
    """One location.

    Needs the permission org_locations.view: View locations.
    """
    return Call("GET", "/api/v1/organization/location", {"locationId": location_id})


def put_organization_location(
    *, location_id: int, name: str | None = None, about: PlaceSent | None = None
) -> Call[LocationObject]:
    """Edit a location.

    Needs the permission org_locations.edit: Edit locations.
    """
    return Call("PUT", "/api/v1/organization/location", body={"locationId": location_id, "name": name, "about": about})


def post_organization_location_create(
    *, name: str, about: PlaceSent | None = None, org_id: int | None = None, owner_id: int | None = None
) -> Call[LocationObject]:
    """Make a location.

    Needs the permission org_locations.add: Create new locations.
    """
    return Call(
        "POST",
        "/api/v1/organization/location/create",
        body={"name": name, "about": about, "orgId": org_id, "ownerId": owner_id},
    )


def post_organization_location_users(*, location_id: int, users: Sequence[int]) -> Call[LocationObject]:
    """Assign users to a location.

    Needs the permission org_locations.assign: Assign users to locations.
    """
    return Call("POST", "/api/v1/organization/location/users", body={"locationId": location_id, "users": users})


def get_organization_locations(
    *, org_id: int | None = None, page: int | None = None, size: int | None = None
) -> Call[LocationObjectPage]:
    """The locations of an organization and below.

    Needs the permission org_locations.view: View locations.
    """
    return Call("GET", "/api/v1/organization/locations", {"orgId": org_id, "page": page, "size": size})


def post_organization_oauth_clients_create(
    *, name: str, redirect_urls: Sequence[str] | None = None, org_id: int | None = None, role_id: int | None = None
) -> Call[OAuthClient]:
    """Create an OAuth2 client.

    Needs the permission clients.add: Create OAuth tokens.
    """
    return Call(
        "POST",
        "/api/v1/organization/oauth/clients/create",
        body={"name": name, "redirectUrls": redirect_urls, "orgId": org_id, "roleId": role_id},
    )


def get_organization_permissions() -> Call[list[PermissionObject]]:
    """All permissions.

    Needs the permission roles.view: View roles and permissions.
    """
    return Call("GET", "/api/v1/organization/permissions")


def get_organization_profile() -> Call[OrganizationObject]:
    """The current organization."""
    return Call("GET", "/api/v1/organization/profile")


def delete_organization_role(*, role_id: int, instead_id: int) -> Call[None]:
    """Delete a role and replace it with another.

    Needs the permission roles.delete: Delete roles.
    """
    return Call("DELETE", "/api/v1/organization/role", {"roleId": role_id, "insteadId": instead_id})


def get_organization_role(*, role_id: int, org_id: int | None = None) -> Call[RoleObject]:
    """One role.

    Needs the permission roles.view: View roles and permissions.
    """
    return Call("GET", "/api/v1/organization/role", {"roleId": role_id, "orgId": org_id})


def put_organization_role(*, role_id: int, name: str) -> Call[RoleObject]:
    """Rename a role.

    Needs the permission roles.edit: Edit roles.
    """
    return Call("PUT", "/api/v1/organization/role", body={"roleId": role_id, "name": name})


def post_organization_role_create(*, name: str, like: int | None = None) -> Call[RoleObject]:
    """Create a role.

    Needs the permission roles.add: Create new roles.
    """
    return Call("POST", "/api/v1/organization/role/create", body={"name": name, "like": like})


def post_organization_role_permissions(
    *, role_id: int, permissions: Mapping[str, bool], org_id: int | None = None, overwrite: bool | None = None
) -> Call[RoleObject]:
    """Turn permissions on or off.

    Needs the permission roles.edit: Edit roles.
    """
    return Call(
        "POST",
        "/api/v1/organization/role/permissions",
        body={"roleId": role_id, "permissions": permissions, "orgId": org_id, "overwrite": overwrite},
    )


def get_organization_roles(*, org_id: int | None = None) -> Call[RoleObjectPage]:
    """All roles and their permissions.

    Needs the permission roles.view: View roles and permissions.
    """
    return Call("GET", "/api/v1/organization/roles", {"orgId": org_id})


def get_organization_search(
    *,
    query: str | None = None,
    sort_by: Literal["Organization Id", "Name", "Device Count", "User Count", "Sub Organizations"] | None = None,
    sort_order: Literal["ASC", "DESC"] | None = None,
    page: int | None = None,
    size: int | None = None,
) -> Call[OrganizationObjectPage]:
    """Search the organizations below by name.

    Needs the permission orgs.view: View Sub Organizations.
    """
    return Call(
        "GET",
        "/api/v1/organization/search",
        {"query": query, "sortBy": sort_by, "sortOrder": sort_order, "page": page, "size": size},
    )


def get_organization_search_devices(
    *,
    query: str,
    sort_by: Literal[
        "Device Id",
        "Name",
        "Owner Id",
        "Device Owner Name",
        "Device Owner",
        "Last Reported At",
        "Activated At",
        "Activated By",
        "Model",
        "Template Name",
        "Template Id",
        "Firmware Version",
        "Organization Id",
        "Status",
    ]
    | None = None,
    sort_order: Literal["ASC", "DESC"] | None = None,
    org_id: int | None = None,
    page: int | None = None,
    size: int | None = None,
) -> Call[FoundDevicePage]:
    """Search for devices by words in their names, tags, metadata and what they belong to.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "GET",
        "/api/v1/organization/search/devices",
        {"query": query, "sortBy": sort_by, "sortOrder": sort_order, "orgId": org_id, "page": page, "size": size},
    )


def get_organization_search_users(
    *,
    query: str,
    org_id: int | None = None,
    sort_by: Literal[
        "User Id",
        "Name",
        "Email",
        "Status",
        "Role",
        "Organization Name",
        "Devices Count",
        "Country",
        "Registered At",
        "Phone Number",
    ]
    | None = None,
    sort_order: Literal["ASC", "DESC"] | None = None,
    page: int | None = None,
    size: int | None = None,
) -> Call[UserObjectPage]:
    """Search users by name or e-mail address.

    Needs the permission users.view: View users.
    """
    return Call(
        "GET",
        "/api/v1/organization/search/users",
        {"query": query, "orgId": org_id, "sortBy": sort_by, "sortOrder": sort_order, "page": page, "size": size},
    )


def delete_organization_segment(*, segment_id: int) -> Call[None]:
    """Delete a segment.

    Needs the permission segments.edit: Manage segments.
    """
    return Call("DELETE", "/api/v1/organization/segment", {"segmentId": segment_id})


def get_organization_segment(*, segment_id: int) -> Call[SegmentObject]:
    """One segment.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/organization/segment", {"segmentId": segment_id})


def put_organization_segment(
    *,
    segment_id: int,
    name: str | None = None,
    devices: Sequence[int] | None = None,
    find: DeviceQuerySent | None = None,
    excluded: Sequence[int] | None = None,
    position: int | None = None,
) -> Call[SegmentObject]:
    """Edit a segment.

    Needs the permission segments.edit: Manage segments.
    """
    return Call(
        "PUT",
        "/api/v1/organization/segment",
        body={
            "segmentId": segment_id,
            "name": name,
            "devices": devices,
            "find": find,
            "excluded": excluded,
            "position": position,
        },
    )


def post_organization_segment_create(
    *,
    name: str,
    devices: Sequence[int] | None = None,
    find: DeviceQuerySent | None = None,
    excluded: Sequence[int] | None = None,
    org_id: int | None = None,
) -> Call[SegmentObject]:
    """Make a segment.

    Needs the permission segments.edit: Manage segments.
    """
    return Call(
        "POST",
        "/api/v1/organization/segment/create",
        body={"name": name, "devices": devices, "find": find, "excluded": excluded, "orgId": org_id},
    )


def get_organization_segments(
    *, org_id: int | None = None, page: int | None = None, size: int | None = None
) -> Call[SegmentObjectPage]:
    """The segments of an organization.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/organization/segments", {"orgId": org_id, "page": page, "size": size})


def get_organization_sub_organizations(
    *, org_id: int | None = None, page: int | None = None, size: int | None = None
) -> Call[OrganizationObjectPage]:
    """The organizations directly below one.

    The organizations directly below one, by name.

    Needs the permission orgs.view: View Sub Organizations.
    """
    return Call("GET", "/api/v1/organization/sub-organizations", {"orgId": org_id, "page": page, "size": size})


def post_organization_switch(*, org_id: int) -> Call[OrganizationObject]:
    """Switch to another organization."""
    return Call("POST", "/api/v1/organization/switch", body={"orgId": org_id})


def delete_organization_tag(*, tag_id: int) -> Call[None]:
    """Delete a tag.

    Needs the permission tags.edit: Manage tags.
    """
    return Call("DELETE", "/api/v1/organization/tag", {"tagId": tag_id})


def put_organization_tag(
    *, tag_id: int, name: str | None = None, color: str | None = None, icon: str | None = None
) -> Call[TagObject]:
    """Edit a tag.

    Needs the permission tags.edit: Manage tags.
    """
    return Call("PUT", "/api/v1/organization/tag", body={"tagId": tag_id, "name": name, "color": color, "icon": icon})


def post_organization_tag_create(
    *, name: str, color: str | None = None, icon: str | None = None, org_id: int | None = None
) -> Call[TagObject]:
    """Make a tag.

    Needs the permission tags.edit: Manage tags.
    """
    return Call(
        "POST", "/api/v1/organization/tag/create", body={"name": name, "color": color, "icon": icon, "orgId": org_id}
    )


def get_organization_tags(*, org_id: int | None = None) -> Call[list[TagObject]]:
    """The tags of an organization.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call("GET", "/api/v1/organization/tags", {"orgId": org_id})


def delete_organization_template(*, template_id: str, everything: bool | None = None) -> Call[None]:
    """Delete a template.

    With everything its devices are deleted too, with all their data.

    Needs the permission templates.edit: Edit templates.
    """
    return Call("DELETE", "/api/v1/organization/template", {"templateId": template_id, "everything": everything})


def get_organization_template(*, template_id: str) -> Call[TemplateObject]:
    """One template.

    Needs the permission templates.view: View templates.
    """
    return Call("GET", "/api/v1/organization/template", {"templateId": template_id})


def put_organization_template(
    *,
    template_id: str,
    name: str | None = None,
    board_type: str | None = None,
    connection_type: str | None = None,
    manufacturer: str | None = None,
    description: str | None = None,
    categories: Sequence[str] | None = None,
    hotspot_prefix: str | None = None,
    broadcast_name: str | None = None,
    logo: str | None = None,
) -> Call[TemplateObject]:
    """Edit a template's name and description.

    Needs the permission templates.edit: Edit templates.
    """
    return Call(
        "PUT",
        "/api/v1/organization/template",
        {"templateId": template_id},
        {
            "name": name,
            "boardType": board_type,
            "connectionType": connection_type,
            "manufacturer": manufacturer,
            "description": description,
            "categories": categories,
            "hotspotPrefix": hotspot_prefix,
            "broadcastName": broadcast_name,
            "logo": logo,
        },
    )


def post_organization_template_create(
    *,
    name: str,
    board_type: str | None = None,
    connection_type: str | None = None,
    manufacturer: str | None = None,
    description: str | None = None,
    categories: Sequence[str] | None = None,
    hotspot_prefix: str | None = None,
    broadcast_name: str | None = None,
    logo: str | None = None,
) -> Call[TemplateObject]:
    """Create an empty template.

    Needs the permission templates.edit: Edit templates.
    """
    return Call(
        "POST",
        "/api/v1/organization/template/create",
        body={
            "name": name,
            "boardType": board_type,
            "connectionType": connection_type,
            "manufacturer": manufacturer,
            "description": description,
            "categories": categories,
            "hotspotPrefix": hotspot_prefix,
            "broadcastName": broadcast_name,
            "logo": logo,
        },
    )


def delete_organization_template_datastream(
    *, template_id: str, data_stream_id: int, prune: bool | None = None
) -> Call[None]:
    """Delete a datastream.

    Without prune a datastream is deleted only from a template without devices.

    Needs the permission templates.edit: Edit templates.
    """
    return Call(
        "DELETE",
        "/api/v1/organization/template/datastream",
        {"templateId": template_id, "dataStreamId": data_stream_id, "prune": prune},
    )


def put_organization_template_datastream(
    *,
    template_id: str,
    data_stream_id: int,
    prune: bool | None = None,
    label: str | None = None,
    type: Literal["INT", "DOUBLE", "STRING", "ENUM", "LOCATION"] | None = None,
    pin: int | None = None,
    alias: str | None = None,
    units: str | None = None,
    default_value: Any = None,
    min: float | None = None,
    max: float | None = None,
    is_sync: bool | None = None,
    values: Mapping[str, str] | None = None,
) -> Call[DatastreamInfo]:
    """Edit a datastream.

    With prune an edit may drop the values of devices, such as a change of the type.

    Needs the permission templates.edit: Edit templates.
    """
    return Call(
        "PUT",
        "/api/v1/organization/template/datastream",
        {"templateId": template_id, "dataStreamId": data_stream_id, "prune": prune},
        {
            "label": label,
            "type": type,
            "pin": pin,
            "alias": alias,
            "units": units,
            "defaultValue": default_value,
            "min": min,
            "max": max,
            "isSync": is_sync,
            "values": values,
        },
    )


def post_organization_template_datastream_create(
    *,
    template_id: str,
    label: str,
    type: Literal["INT", "DOUBLE", "STRING", "ENUM", "LOCATION"],
    pin: int,
    alias: str | None = None,
    units: str | None = None,
    default_value: Any = None,
    min: float | None = None,
    max: float | None = None,
    is_sync: bool | None = None,
    values: Mapping[str, str] | None = None,
) -> Call[DatastreamInfo]:
    """Add a datastream.

    Needs the permission templates.edit: Edit templates.
    """
    return Call(
        "POST",
        "/api/v1/organization/template/datastream/create",
        body={
            "templateId": template_id,
            "label": label,
            "type": type,
            "pin": pin,
            "alias": alias,
            "units": units,
            "defaultValue": default_value,
            "min": min,
            "max": max,
            "isSync": is_sync,
            "values": values,
        },
    )


def get_organization_template_datastreams(*, template_id: str) -> Call[list[DatastreamInfo]]:
    """A template's datastreams.

    Needs the permission templates.view: View templates.
    """
    return Call("GET", "/api/v1/organization/template/datastreams", {"templateId": template_id})


def delete_organization_template_event(
    *, template_id: str, event_id: int | None = None, event_code: str | None = None
) -> Call[None]:
    """Delete an event type.

    The event type is selected by its id, or by its code, which does not change when others are deleted.

    Needs the permission templates.edit: Edit templates.
    """
    return Call(
        "DELETE",
        "/api/v1/organization/template/event",
        {"templateId": template_id, "eventId": event_id, "eventCode": event_code},
    )


def put_organization_template_event(
    *,
    template_id: str,
    event_id: int,
    name: str | None = None,
    event_code: str | None = None,
    type: Literal["INFORMATION", "WARNING", "CRITICAL", "CONTENT"] | None = None,
    description: str | None = None,
) -> Call[EventInfo]:
    """Edit an event type.

    Needs the permission templates.edit: Edit templates.
    """
    return Call(
        "PUT",
        "/api/v1/organization/template/event",
        {"templateId": template_id, "eventId": event_id},
        {"name": name, "eventCode": event_code, "type": type, "description": description},
    )


def post_organization_template_event_create(
    *,
    template_id: str,
    name: str,
    event_code: str,
    type: Literal["INFORMATION", "WARNING", "CRITICAL", "CONTENT"] | None = None,
    description: str | None = None,
) -> Call[EventInfo]:
    """Add an event type.

    Needs the permission templates.edit: Edit templates.
    """
    return Call(
        "POST",
        "/api/v1/organization/template/event/create",
        body={
            "templateId": template_id,
            "name": name,
            "eventCode": event_code,
            "type": type,
            "description": description,
        },
    )


def get_organization_template_events(*, template_id: str) -> Call[list[EventInfo]]:
    """A template's events.

    Needs the permission templates.view: View templates.
    """
    return Call("GET", "/api/v1/organization/template/events", {"templateId": template_id})


def get_organization_template_metafields(*, template_id: str) -> Call[list[MetaField]]:
    """A template's metadata.

    Needs the permission templates.view: View templates.
    """
    return Call("GET", "/api/v1/organization/template/metafields", {"templateId": template_id})


def get_organization_templates(
    *, org_id: int | None = None, page: int | None = None, size: int | None = None
) -> Call[TemplateSummaryPage]:
    """All templates.

    Needs the permission templates.view: View templates.
    """
    return Call("GET", "/api/v1/organization/templates", {"orgId": org_id, "page": page, "size": size})


def post_organization_transfer(*, org_id: int, parent_id: int) -> Call[OrganizationObject]:
    """Transfer an organization.

    Needs the permission orgs.transfer: Transfer organizations.
    """
    return Call("POST", "/api/v1/organization/transfer", body={"orgId": org_id, "parentId": parent_id})


def delete_organization_user(*, user_id: int) -> Call[None]:
    """Delete a user.

    Needs the permission users.delete: Delete users.
    """
    return Call("DELETE", "/api/v1/organization/user", {"userId": user_id})


def get_organization_user(*, user_id: int) -> Call[UserProfile]:
    """One user.

    Needs the permission users.view: View users.
    """
    return Call("GET", "/api/v1/organization/user", {"userId": user_id})


def put_organization_user(
    *,
    user_id: int,
    name: str | None = None,
    title: str | None = None,
    phone_number: str | None = None,
    is_dev: bool | None = None,
) -> Call[UserObject]:
    """Edit a user.

    Needs the permission users.edit: Edit users.
    """
    return Call(
        "PUT",
        "/api/v1/organization/user",
        body={"userId": user_id, "name": name, "title": title, "phoneNumber": phone_number, "isDev": is_dev},
    )


def get_organization_user_export(*, user_id: int) -> Call[dict[str, Any]]:
    """Export a user's personal data.

    All data about a user.

    Needs the permission users.download: Download users list.
    """
    return Call("GET", "/api/v1/organization/user/export", {"userId": user_id})


def post_organization_user_logout(*, user_id: int) -> Call[None]:
    """End all sessions of a user.

    Needs the permission users.logout: Force Logout.
    """
    return Call("POST", "/api/v1/organization/user/logout", body={"userId": user_id})


def post_organization_user_password(
    *, user_id: int, password: str | None = None, password_hash: str | None = None
) -> Call[None]:
    """Set a user's password.

    Needs the permission users.password: Change user passwords.
    """
    return Call(
        "POST",
        "/api/v1/organization/user/password",
        body={"userId": user_id, "password": password, "passwordHash": password_hash},
    )


def get_organization_user_profile() -> Call[CurrentUser]:
    """Own profile and role."""
    return Call("GET", "/api/v1/organization/user/profile")


def post_organization_user_reset(*, user_id: int) -> Call[PageLink]:
    """Create a link for a new password.

    Needs the permission users.password: Change user passwords.
    """
    return Call("POST", "/api/v1/organization/user/reset", body={"userId": user_id})


def post_organization_user_suspend(*, user_id: int, suspended: bool | None = None) -> Call[None]:
    """Suspend a user, or lift the suspension.

    Needs the permission users.suspend: Suspend users.
    """
    return Call("POST", "/api/v1/organization/user/suspend", body={"userId": user_id, "suspended": suspended})


def get_organization_users(
    *,
    org_id: int | None = None,
    include_sub_org_users: bool | None = None,
    page: int | None = None,
    size: int | None = None,
) -> Call[UserObjectPage]:
    """The users of an organization.

    Needs the permission users.view: View users.
    """
    return Call(
        "GET",
        "/api/v1/organization/users",
        {"orgId": org_id, "includeSubOrgUsers": include_sub_org_users, "page": page, "size": size},
    )


def post_organization_users_create(
    *,
    email: str,
    name: str | None = None,
    title: str | None = None,
    nick_name: str | None = None,
    phone_number: str | None = None,
    locale: str | None = None,
    address: AddressSent | None = None,
    organization_name: str | None = None,
    time_zone: str | None = None,
    password: str | None = None,
    password_hash: str | None = None,
) -> Call[None]:
    """Create a client with an organization.

    Add a client of the caller's organization, with an organization of their own below it, as its Admin.

    Does nothing for an e-mail address that is in use.

    Needs the permission users.invite: Invite new users.
    """
    return Call(
        "POST",
        "/api/v1/organization/users/create",
        body={
            "email": email,
            "name": name,
            "title": title,
            "nickName": nick_name,
            "phoneNumber": phone_number,
            "locale": locale,
            "address": address,
            "organizationName": organization_name,
            "timeZone": time_zone,
            "password": password,
            "passwordHash": password_hash,
        },
    )


def post_organization_users_create_in_org(
    *,
    email: str,
    name: str | None = None,
    title: str | None = None,
    nick_name: str | None = None,
    phone_number: str | None = None,
    locale: str | None = None,
    address: AddressSent | None = None,
    role_id: int | None = None,
    org_id: int | None = None,
    password: str | None = None,
    password_hash: str | None = None,
    tz: str | None = None,
) -> Call[UserObject]:
    """Create a user in an organization.

    Needs the permission users.invite: Invite new users.
    """
    return Call(
        "POST",
        "/api/v1/organization/users/create-in-org",
        body={
            "email": email,
            "name": name,
            "title": title,
            "nickName": nick_name,
            "phoneNumber": phone_number,
            "locale": locale,
            "address": address,
            "roleId": role_id,
            "orgId": org_id,
            "password": password,
            "passwordHash": password_hash,
            "tz": tz,
        },
    )


def post_organization_users_invite(
    *,
    email: str,
    name: str | None = None,
    title: str | None = None,
    nick_name: str | None = None,
    phone_number: str | None = None,
    locale: str | None = None,
    address: AddressSent | None = None,
    role_id: int | None = None,
    org_id: int | None = None,
    tz: str | None = None,
) -> Call[InvitedUser]:
    """Invite a user.

    Needs the permission users.invite: Invite new users.
    """
    return Call(
        "POST",
        "/api/v1/organization/users/invite",
        body={
            "email": email,
            "name": name,
            "title": title,
            "nickName": nick_name,
            "phoneNumber": phone_number,
            "locale": locale,
            "address": address,
            "roleId": role_id,
            "orgId": org_id,
            "tz": tz,
        },
    )


def post_organization_users_register(*, email: str, locale: str | None = None) -> Call[None]:
    """Create a user without a password.

    Add a user to the caller's organization, without a password.

    Needs the permission users.invite: Invite new users.
    """
    return Call("POST", "/api/v1/organization/users/register", body={"email": email, "locale": locale})


def put_organization_users_role(*, user_id: int, role_id: int) -> Call[UserObject]:
    """Change a user's role.

    Needs the permission users.edit: Edit users.
    """
    return Call("PUT", "/api/v1/organization/users/role", {"userId": user_id, "roleId": role_id})


def post_organization_users_transfer(
    *, user_id: int, target_org_id: int, role_id: int, devices: bool | None = None
) -> Call[UserObject]:
    """Transfer a user.

    Needs the permission users.transfer: Transfer users.
    """
    return Call(
        "POST",
        "/api/v1/organization/users/transfer",
        body={"userId": user_id, "targetOrgId": target_org_id, "roleId": role_id, "devices": devices},
    )


def post_otp(*, password: str) -> Call[SecondFactor]:
    """Begin two-factor login."""
    return Call("POST", "/api/v1/otp", body={"password": password})


def post_otp_confirm(*, otp: str) -> Call[RecoveryCodes]:
    """Turn on two-factor login."""
    return Call("POST", "/api/v1/otp/confirm", body={"otp": otp})


def post_otp_remove(*, password: str) -> Call[None]:
    """Turn off two-factor login."""
    return Call("POST", "/api/v1/otp/remove", body={"password": password})


def get_panels() -> Call[list[VisiblePanel]]:
    """The screens of plugins that the caller may see.

    Actions that the caller may not use are left out.
    """
    return Call("GET", "/api/v1/panels")


def post_password(*, old: str, new: str) -> Call[None]:
    """Change own password."""
    return Call("POST", "/api/v1/password", body={"old": old, "new": new})


def get_plugins() -> Call[list[PluginState]]:
    """Every plugin and its state.

    Needs the permission hub.view: View the state of the hub.
    """
    return Call("GET", "/api/v1/plugins")


def delete_profile(*, password: str) -> Call[None]:
    """Delete own account."""
    return Call("DELETE", "/api/v1/profile", body={"password": password})


def get_profile() -> Call[Myself]:
    """Own profile and permissions."""
    return Call("GET", "/api/v1/profile")


def put_profile(
    *,
    name: str | None = None,
    nick_name: str | None = None,
    phone_number: str | None = None,
    title: str | None = None,
    locale: str | None = None,
    tz: str | None = None,
    units: Literal["default", "metric", "imperial"] | None = None,
    address: AddressSent | None = None,
) -> Call[UserObject]:
    """Change own profile."""
    return Call(
        "PUT",
        "/api/v1/profile",
        body={
            "name": name,
            "nickName": nick_name,
            "phoneNumber": phone_number,
            "title": title,
            "locale": locale,
            "tz": tz,
            "units": units,
            "address": address,
        },
    )


def get_profile_settings(*, app: str) -> Call[ClientSettings]:
    """Own settings of a client."""
    return Call("GET", "/api/v1/profile/settings", {"app": app})


def put_profile_settings(*, app: str, settings: Mapping[str, Any]) -> Call[ClientSettings]:
    """Store own settings of a client."""
    return Call("PUT", "/api/v1/profile/settings", {"app": app}, {"settings": settings})


def get_refusals() -> Call[list[Refusal]]:
    """The last 1,000 refused connections and values.

    Needs the permission hub.view: View the state of the hub.
    """
    return Call("GET", "/api/v1/refusals")


def delete_session(*, session_id: int) -> Call[None]:
    """End an own session."""
    return Call("DELETE", "/api/v1/session", {"sessionId": session_id})


def get_sessions() -> Call[list[MySession]]:
    """Own sessions."""
    return Call("GET", "/api/v1/sessions")


def get_status() -> Call[HubStatus]:
    """The state of the hub.

    Needs the permission hub.view: View the state of the hub.
    """
    return Call("GET", "/api/v1/status")


def delete_template(*, template_id: str, everything: bool | None = None) -> Call[None]:
    """Delete a template.

    With everything its devices are deleted too, with all their data.

    Needs the permission templates.edit: Edit templates.
    """
    return Call("DELETE", "/api/v1/template", {"templateId": template_id, "everything": everything})


def put_template(
    *,
    template_id: str,
    document: Mapping[str, Any],
    apply: bool | None = None,
    prune: bool | None = None,
    check: bool | None = None,
) -> Call[Saved]:
    """Edit a template, or preview the changes.

    Needs the permission templates.edit: Edit templates.
    """
    return Call(
        "PUT",
        "/api/v1/template",
        body={"templateId": template_id, "document": document, "apply": apply, "prune": prune, "check": check},
    )


def post_template_apply(*, template_id: str, prune: bool | None = None) -> Call[Saved]:
    """Move all devices of a template to its newest version.

    Needs the permission templates.edit: Edit templates.
    """
    return Call("POST", "/api/v1/template/apply", body={"templateId": template_id, "prune": prune})


def delete_template_asset(*, template_id: str, asset_id: str) -> Call[None]:
    """Delete an image of a template.

    Needs the permission templates.edit: Edit templates.
    """
    return Call("DELETE", "/api/v1/template/asset", {"templateId": template_id, "assetId": asset_id})


def post_template_asset(*, template_id: str, name: str, content: BinaryIO) -> Call[Asset]:
    """Upload an image of a template.

    The body is a PNG, JPEG or ICO image of up to 5 MB.

    Needs the permission templates.edit: Edit templates.
    """
    return Call(
        "POST",
        "/api/v1/template/asset",
        {"templateId": template_id, "name": name},
        content=content,
        headers={"Content-Type": "application/octet-stream"},
    )


def put_template_asset(*, template_id: str, asset_id: str, name: str) -> Call[Asset]:
    """Rename an image of a template.

    Needs the permission templates.edit: Edit templates.
    """
    return Call("PUT", "/api/v1/template/asset", body={"templateId": template_id, "assetId": asset_id, "name": name})


def get_template_assets(*, template_id: str) -> Call[list[Asset]]:
    """The images of a template.

    Needs the permission templates.view: View templates.
    """
    return Call("GET", "/api/v1/template/assets", {"templateId": template_id})


def post_template_create(*, document: Mapping[str, Any]) -> Call[Saved]:
    """Make a template.

    Needs the permission templates.edit: Edit templates.
    """
    return Call("POST", "/api/v1/template/create", body={"document": document})


def get_template_difference(*, template_id: str, from_: int, to: int) -> Call[list[str]]:
    """The differences between two versions of a template.

    A line for each difference between two versions.

    Needs the permission templates.view: View templates.
    """
    return Call("GET", "/api/v1/template/difference", {"templateId": template_id, "from": from_, "to": to})


def get_template_document(*, template_id: str, version: int | None = None) -> Call[dict[str, Any]]:
    """A template as a document, or one of its versions.

    Needs the permission templates.view: View templates.
    """
    return Call("GET", "/api/v1/template/document", {"templateId": template_id, "version": version})


def post_template_duplicate(*, template_id: str, name: str) -> Call[Saved]:
    """Make a copy of a template.

    Needs the permission templates.edit: Edit templates.
    """
    return Call("POST", "/api/v1/template/duplicate", body={"templateId": template_id, "name": name})


def get_template_export(*, template_id: str) -> Call[str]:
    """A template as a file.

    Needs the permission templates.view: View templates.
    """
    return Call("GET", "/api/v1/template/export", {"templateId": template_id})


def get_template_groups() -> Call[list[PropertyGroup]]:
    """The property groups of all templates.

    Needs the permission templates.view: View templates.
    """
    return Call("GET", "/api/v1/template/groups")


def post_template_import(*, toml: str, source: str | None = None, prune: bool | None = None) -> Call[TemplatesImported]:
    """Import a template file.

    Needs the permission templates.edit: Edit templates.
    """
    return Call("POST", "/api/v1/template/import", body={"toml": toml, "source": source, "prune": prune})


def post_template_restore(
    *, template_id: str, version: int, apply: bool | None = None, prune: bool | None = None
) -> Call[Saved]:
    """Restore an older version of a template.

    Needs the permission templates.edit: Edit templates.
    """
    return Call(
        "POST",
        "/api/v1/template/restore",
        body={"templateId": template_id, "version": version, "apply": apply, "prune": prune},
    )


def get_template_versions(
    *, template_id: str, page: int | None = None, size: int | None = None
) -> Call[VersionObjectPage]:
    """The versions of a template.

    Needs the permission templates.view: View templates.
    """
    return Call("GET", "/api/v1/template/versions", {"templateId": template_id, "page": page, "size": size})


def get_timeline(
    *,
    event_type: Sequence[str] | None = None,
    resolved: Literal["true", "false", "any"] | None = None,
    archived: Literal["true", "false", "any"] | None = None,
    from_: int | str | None = None,
    to: int | str | None = None,
    query: str | None = None,
    org_id: int | None = None,
    template_id: str | None = None,
    cursor: str | None = None,
    size: int | None = None,
) -> Call[DeviceEvents]:
    """Events of all devices, newest first.

    Events of all devices that the client may view in an organization (its own by default) and those below it.

    Needs the permission org_devices.view: View organization devices.
    """
    return Call(
        "GET",
        "/api/v1/timeline",
        {
            "eventType": event_type,
            "resolved": resolved,
            "archived": archived,
            "from": from_,
            "to": to,
            "query": query,
            "orgId": org_id,
            "templateId": template_id,
            "cursor": cursor,
            "size": size,
        },
    )


def get_units() -> Call[list[Unit]]:
    """The units that values can be shown in.

    value * factor + offset is the value in the first unit of the group.

    other is the unit's equivalent in the other system of measurement.
    """
    return Call("GET", "/api/v1/units")


def get_widgets() -> Call[WidgetCatalogue]:
    """The types of widgets and their options."""
    return Call("GET", "/api/v1/widgets")
