"""Dashboards of a template's devices: tabs and widgets, and on a phone the tile, the header and pages."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from hub.parsing.spellings import nfc

#: The two dashboards of a template: in a browser, and on a phone.
DashboardKind = Literal["web", "mobile"]


@attrs.frozen(kw_only=True)
class Widget:
    """A widget of a tab or page at ``x``, ``y`` of its grid, from the top left; ``pins`` ("V1") are its datastreams.

    `hub.templates.widgets` lists the types and their ``options``. A title, units and limits that are missing are the
    datastream's.
    """

    type: str
    pins: tuple[str, ...] = ()
    title: str = ""
    x: int = 0
    y: int = 0
    width: int = 4
    height: int = 3
    options: dict[str, Any] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class Tab:
    """A tab of a dashboard. ``roles`` are the names of the roles that see it; none is all."""

    name: str = attrs.field(converter=nfc)
    roles: tuple[str, ...] = ()
    widget: tuple[Widget, ...] = ()


@attrs.frozen(kw_only=True)
class Dashboard:
    """The dashboard in a browser."""

    tab: tuple[Tab, ...] = ()


#: The presets of a tile (docs.blynk.io, Tile design).
TileType = Literal["image", "value", "two_values", "three_values", "button", "gauge", "level", "color"]
#: The line below a tile's title.
TileSubtitle = Literal["connection_status", "last_reported", "battery_level"]
#: How a touch changes a datastream: to the on value while it lasts, or to the other value.
TapInteraction = Literal["push", "switch"]


@attrs.frozen(kw_only=True)
class Tile:
    """A device in the list of devices.

    ``pins`` are the datastreams that it displays, ``control`` is the one that a touch changes, ``battery`` the one of
    the subtitle ``battery_level``; "" is none. The title is the device's name unless ``title`` has another.
    """

    type: TileType = "image"
    title: str = ""
    subtitle: TileSubtitle = "connection_status"
    pins: tuple[str, ...] = ()
    control: str = ""
    interaction: TapInteraction = "switch"
    battery: str = ""
    icon: str = ""
    options: dict[str, Any] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class HeaderButton:
    """A button of the header that opens the page with the id ``page``.

    The properties of the datastream ``pin`` change its icon and whether it is hidden.
    """

    page: str
    icon: str = ""
    pin: str = ""


@attrs.frozen(kw_only=True)
class HeaderWidget:
    """A small widget of the header. ``pins`` and ``options`` are as those of a `Widget`."""

    type: str
    pins: tuple[str, ...] = ()
    title: str = ""
    options: dict[str, Any] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class Header:
    """The top of the dashboard on a phone: buttons, and widgets in rows of three.

    ``timeline`` and ``info`` are whether it has these buttons of the app. The properties ``color`` and
    ``contentDesign`` of the datastream ``pin`` replace its ``color`` and ``content``, the theme of what is on it.
    """

    timeline: bool = True
    info: bool = True
    color: str = ""
    content: Literal["auto", "dark", "light"] = "auto"
    pin: str = ""
    button: tuple[HeaderButton, ...] = ()
    widget: tuple[HeaderWidget, ...] = ()


#: Pages: one that fills the screen, one that is drawn over a part of it, a tab of the device's information, and the one
#: that users see after they have added the device.
PageKind = Literal["screen", "sheet", "info", "welcome"]


@attrs.frozen(kw_only=True)
class MobilePage:
    """A page on a phone. Buttons and the property ``page`` open one of kind screen or sheet by its ``id``.

    A screen slides in ``from_side``, a sheet covers ``size`` percent of the screen. ``roles`` are the names of the
    roles that see a page of kind info; none is all. A welcome page may display the web page ``url`` instead of widgets.
    """

    id: str
    name: str = attrs.field(converter=nfc)
    kind: PageKind = "screen"
    from_side: Literal["bottom", "right"] = "right"
    size: int = 50
    roles: tuple[str, ...] = ()
    url: str = ""
    widget: tuple[Widget, ...] = ()


@attrs.frozen(kw_only=True)
class MobileDashboard:
    """The dashboard on a phone."""

    tile: Tile = Tile()
    header: Header = Header()
    tab: tuple[Tab, ...] = ()
    page: tuple[MobilePage, ...] = ()
