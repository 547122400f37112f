"""Routes of dashboards: a device's own, for whoever may view the device, and the catalogue of widgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from hub import (
    AUTHENTICATED,
    Dashboard,
    DashboardKind,
    Datastream,
    DataType,
    EventKind,
    Header,
    HistoryMode,
    MobileDashboard,
    MobilePage,
    Principal,
    Request,
    Route,
    Tab,
    Template,
    Tile,
    UserInteraction,
)
from hub.api import VIEW_DEVICES
from hub.templates import (
    COLUMNS,
    HEADER,
    MOBILE,
    TILES,
    WEB,
    Option,
    OptionKind,
    WidgetType,
    mobile_dashboard,
    web_dashboard,
    writable_pins,
)
from hub.values import to_json

if TYPE_CHECKING:
    from hub import Hub

A = TypeVar("A", Tab, MobilePage)


@attrs.frozen(kw_only=True)
class WidgetOption:
    """An option of a widget type. ``default`` is null if the datastream's own setting applies, or none.

    A choice is one of ``choices``; a number is between ``min`` and ``max``; a text has at most ``max`` characters, a
    list at most ``max`` items.
    """

    name: str
    kind: OptionKind
    summary: str
    default: Any
    choices: list[str | int]
    min: float | None
    max: float | None


@attrs.frozen(kw_only=True)
class WidgetTypeObject:
    """A type of widget: how many datastreams it has, and of which ``types``.

    With ``writes``, users change the datastreams by it; with ``raw``, the datastreams must have raw history.
    """

    type: str
    types: list[DataType]
    min_datastreams: int
    max_datastreams: int
    writes: bool
    raw: bool
    options: list[WidgetOption]


@attrs.frozen(kw_only=True)
class WidgetCatalogue:
    """All types of widgets, and the columns of the grids."""

    web_columns: int
    mobile_columns: int
    web: list[WidgetTypeObject]
    mobile: list[WidgetTypeObject]
    header: list[WidgetTypeObject]
    tile: list[WidgetTypeObject]


@attrs.frozen(kw_only=True)
class DashboardDatastream:
    """A datastream, as widgets need it; ``writable`` is whether users change it by a widget or an automation."""

    id: int
    pin: str
    name: str
    alias: str
    type: DataType
    units: str
    min: float | None
    max: float | None
    decimals: str
    default: Any
    history: HistoryMode
    values: dict[str, str]
    tags: list[str]
    icon: str
    color: str
    writable: bool


@attrs.frozen(kw_only=True)
class DashboardEvent:
    """An event type, as clients display it."""

    code: str
    name: str
    type: EventKind
    color: str


@attrs.frozen(kw_only=True)
class DeviceDashboard:
    """The dashboard of a device, by the version of the template that the device has.

    ``generated`` is whether the template has no tabs of this kind, so that these were generated from its datastreams.
    Tabs and pages for other roles than the caller's are left out. ``tile``, ``header`` and ``page`` are null, null and
    empty for the kind web. ``interaction`` is how clients treat users while the device has its present status.
    """

    device_id: int
    template_id: str
    template_version: int
    kind: DashboardKind
    generated: bool
    columns: int
    tab: list[Tab]
    page: list[MobilePage]
    tile: Tile | None
    header: Header | None
    datastreams: list[DashboardDatastream]
    events: list[DashboardEvent]
    interaction: UserInteraction | None


class DashboardRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def catalogue(self, _request: Request) -> WidgetCatalogue:
        # Without an ETag, so that it is compressed: 97 kB.
        return widget_catalogue()

    async def dashboard(self, request: Request, device_id: int, *, kind: DashboardKind = "web") -> DeviceDashboard:
        device = self._hub.access.device_for(request, device_id)
        template = device.template
        own = template.web if kind == "web" else template.mobile
        dashboard = web_dashboard(template) if kind == "web" else mobile_dashboard(template)
        settings = template.lifecycle.settings(device.status or "offline")
        tabs = [_with_pins(tab) for tab in dashboard.tab if self._hub.directory.sees(request.principal, tab.roles)]
        mobile = dashboard if isinstance(dashboard, MobileDashboard) else None
        writable = writable_pins(template)
        answer = DeviceDashboard(
            device_id=device.id,
            template_id=template.id,
            template_version=template.version,
            kind=kind,
            generated=not own.tab,
            columns=COLUMNS[kind],
            tab=tabs,
            page=self._pages(request.principal, dashboard),
            tile=_tile_with_pins(mobile.tile) if mobile else None,
            header=_header_with_pins(mobile.header) if mobile else None,
            datastreams=[_datastream(d, writable) for d in template.datastreams],
            events=_events(template),
            interaction=getattr(settings, "interaction", None),
        )
        names = [tab.name for tab in tabs], [page.id for page in answer.page]
        request.version(template.id, template.version, kind, names, answer.interaction)
        return answer

    def _pages(self, principal: Principal, dashboard: Dashboard | MobileDashboard) -> list[MobilePage]:
        pages: Iterable[MobilePage] = dashboard.page if isinstance(dashboard, MobileDashboard) else ()
        return [_with_pins(page) for page in pages if self._hub.directory.sees(principal, page.roles)]


@cache
def widget_catalogue() -> WidgetCatalogue:
    return WidgetCatalogue(
        web_columns=COLUMNS["web"],
        mobile_columns=COLUMNS["mobile"],
        web=_type_objects(WEB),
        mobile=_type_objects(MOBILE),
        header=_type_objects(HEADER),
        tile=_type_objects(TILES),
    )


def _lower(pins: Iterable[str]) -> tuple[str, ...]:
    """Return pins ("V1") as the API has them ("v1")."""
    return tuple(pin.lower() for pin in pins)


def _with_pins(area: A) -> A:
    return attrs.evolve(area, widget=tuple(attrs.evolve(widget, pins=_lower(widget.pins)) for widget in area.widget))


def _tile_with_pins(tile: Tile) -> Tile:
    return attrs.evolve(tile, pins=_lower(tile.pins), control=tile.control.lower(), battery=tile.battery.lower())


def _header_with_pins(header: Header) -> Header:
    return attrs.evolve(
        header,
        pin=header.pin.lower(),
        button=tuple(attrs.evolve(button, pin=button.pin.lower()) for button in header.button),
        widget=tuple(attrs.evolve(widget, pins=_lower(widget.pins)) for widget in header.widget),
    )


def _type_objects(types: Mapping[Any, WidgetType]) -> list[WidgetTypeObject]:
    return [
        WidgetTypeObject(
            type=name,
            types=sorted(widget.types) if widget.max_datastreams else [],
            min_datastreams=widget.min_datastreams,
            max_datastreams=widget.max_datastreams,
            writes=widget.writes,
            raw=widget.raw,
            options=[_option(key, option) for key, option in widget.options.items()],
        )
        for name, widget in types.items()
    ]


def _option(name: str, option: Option) -> WidgetOption:
    return WidgetOption(
        name=name,
        kind=option.kind,
        summary=option.summary,
        default=option.default,
        choices=list(option.choices),
        min=option.min,
        max=option.max,
    )


def _datastream(datastream: Datastream, writable: frozenset[str]) -> DashboardDatastream:
    return DashboardDatastream(
        id=datastream.id,
        pin=f"v{datastream.pin}",
        name=datastream.name,
        alias=datastream.alias or datastream.name,
        type=datastream.type,
        units=datastream.units,
        min=datastream.min,
        max=datastream.max,
        decimals=datastream.decimals,
        default=None if datastream.default is None else to_json(datastream.default),
        history=datastream.history,
        values={str(number): name for number, name in datastream.values.items()},
        tags=list(datastream.tags),
        icon=datastream.icon,
        color=datastream.color,
        writable=f"V{datastream.pin}" in writable,
    )


def _events(template: Template) -> list[DashboardEvent]:
    return [DashboardEvent(code=e.code, name=e.name, type=e.type, color=e.color) for e in template.events]


def routes(hub: Hub) -> Sequence[Route]:
    api = DashboardRoutes(hub)
    return [
        Route("GET", "/api/v1/device/dashboard", api.dashboard, VIEW_DEVICES, "The dashboard of a device"),
        Route("GET", "/api/v1/widgets", api.catalogue, AUTHENTICATED, "The types of widgets and their options"),
    ]
