"""The validation of a template's dashboards: grids, datastreams and options of widgets, tile, header and pages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from hub.model import (
    Dashboard,
    DashboardKind,
    Datastream,
    Header,
    HeaderWidget,
    MobileDashboard,
    MobilePage,
    Tab,
    Template,
    Tile,
    Widget,
)
from hub.parsing.spellings import is_name, is_printable
from hub.templates.settings import appearance_problems
from hub.templates.widgets import COLUMNS, HEADER, KINDS, MAX_TABS, TILES, WidgetType, option_problem

#: Rows of the grid, and widgets of a tab or page.
MAX_ROWS, MAX_WIDGETS = 500, 200
MAX_TITLE = 64
#: Pages of a dashboard on a phone, those in the device's information, and welcome pages (docs.blynk.io, Pages).
MAX_PAGES, MAX_INFO_PAGES, MAX_WELCOME_PAGES = 20, 7, 1
#: Widgets and buttons of the header (docs.blynk.io, Header).
MAX_HEADER_WIDGETS, MAX_HEADER_BUTTONS = 6, 2
MAX_URL = 1024

_PAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_WEB_PAGE = re.compile(r"https?://\S+")


def problems(template: Template) -> Iterator[str]:
    """Yield the problems of a template's dashboards, a line each."""
    by_pin = {f"V{stream.pin}": stream for stream in template.datastreams}
    for problem in _Checker("web", by_pin).tabs(template.web):
        yield f"web: {problem}"
    targets = {page.id for page in template.mobile.page if page.kind in ("screen", "sheet")}
    checker = _Checker("mobile", by_pin, targets)
    mobile = template.mobile
    for part in (
        checker.tabs(mobile),
        checker.pages(mobile.page),
        (f"tile: {problem}" for problem in checker.tile(mobile.tile)),
        (f"header: {problem}" for problem in checker.header(mobile.header)),
        _circle_problems(mobile.page),
    ):
        yield from (f"mobile: {problem}" for problem in part)


@attrs.frozen
class _Checker:
    """Checks one dashboard of a template whose datastreams are ``by_pin``, and whose buttons can open ``pages``."""

    kind: DashboardKind
    by_pin: Mapping[str, Datastream]
    pages_to_open: set[str] = attrs.Factory(set)

    def tabs(self, dashboard: Dashboard | MobileDashboard) -> Iterator[str]:
        tabs = dashboard.tab
        if len(tabs) > MAX_TABS[self.kind]:
            yield f"there can be at most {MAX_TABS[self.kind]} tabs"
        yield from _name_problems("tab", [tab.name for tab in tabs])
        if tabs and tabs[0].roles:
            yield f"tab {tabs[0].name!r}: the first tab is for all roles and cannot have roles of its own"
        for tab in tabs:
            yield from (f"tab {tab.name!r}{problem}" for problem in self._widgets(tab))
        if self.kind == "web" and sum(widget.type == "map" for tab in tabs for widget in tab.widget) > 1:
            yield "there can be at most one map"

    def pages(self, pages: Sequence[MobilePage]) -> Iterator[str]:
        if len(pages) > MAX_PAGES:
            yield f"there can be at most {MAX_PAGES} pages"
        kinds = Counter(page.kind for page in pages)
        if kinds["info"] > MAX_INFO_PAGES:
            yield f"there can be at most {MAX_INFO_PAGES} pages of kind info"
        if kinds["welcome"] > MAX_WELCOME_PAGES:
            yield f"there can be at most {MAX_WELCOME_PAGES} page of kind welcome"
        yield from (
            f"page {id_[:40]!r} is used {n} times" for id_, n in Counter(page.id for page in pages).items() if n > 1
        )
        for page in pages:
            yield from (f"page {page.id[:40]!r}: {problem}" for problem in _page_problems(page))
            yield from (f"page {page.id[:40]!r}{problem}" for problem in self._widgets(page))

    def tile(self, tile: Tile) -> Iterator[str]:
        yield from self._content("pins", tile.pins, TILES[tile.type])
        yield from self._options(tile.options, TILES[tile.type])
        yield from self._title(tile.title)
        yield from appearance_problems("", tile.icon)
        for key, pin in (("control", tile.control), ("battery", tile.battery)):
            stream = self.by_pin.get(pin.upper())
            if pin and stream is None:
                yield f"{key}: the template has no {pin[:10]}"
            elif stream is not None and stream.type == "location":
                yield f"{key}: {pin.upper()} is of type location, and it needs a number, text or an enum"

    def header(self, header: Header) -> Iterator[str]:
        yield from appearance_problems(header.color)
        if len(header.button) > MAX_HEADER_BUTTONS:
            yield f"there can be at most {MAX_HEADER_BUTTONS} buttons"
        if len(header.widget) > MAX_HEADER_WIDGETS:
            yield f"there can be at most {MAX_HEADER_WIDGETS} widgets"
        for number, button in enumerate(header.button, 1):
            yield from (f"button {number}: {problem}" for problem in appearance_problems("", button.icon))
            if problem := self._target_problem(button.page):
                yield f"button {number}: page {problem}"
            if button.pin and button.pin.upper() not in self.by_pin:
                yield f"button {number}: pin: the template has no {button.pin[:10]}"
        if header.pin and header.pin.upper() not in self.by_pin:
            yield f"pin: the template has no {header.pin[:10]}"
        for number, widget in enumerate(header.widget, 1):
            for problem in self._widget(widget, HEADER):
                yield f"widget {number} ({widget.type[:30]}): {problem}"

    def _widgets(self, area: Tab | MobilePage) -> Iterator[str]:
        """Yield the problems of the widgets of a tab or page; each line continues the name of it."""
        if len(area.widget) > MAX_WIDGETS:
            yield f": there can be at most {MAX_WIDGETS} widgets, not {len(area.widget)}"
            return
        columns = COLUMNS[self.kind]
        for number, widget in enumerate(area.widget, 1):
            for problem in self._widget(widget, KINDS[self.kind]):
                yield f", widget {number} ({widget.type[:30]}): {problem}"
            if not _fits(widget, columns):
                yield (
                    f", widget {number} ({widget.type[:30]}): the widget does not fit the grid of {columns} columns and"
                    f" {MAX_ROWS} rows"
                )
        yield from (f": {problem}" for problem in _overlap_problems(area.widget, columns))

    def _widget(self, widget: Widget | HeaderWidget, types: Mapping[str, WidgetType]) -> Iterator[str]:
        widget_type = types.get(widget.type)
        if widget_type is None:
            yield f"unknown type of widget; the types are {', '.join(types)}"
            return
        yield from self._content("pins", widget.pins, widget_type, mode=widget.options.get("mode"))
        yield from self._options(widget.options, widget_type)
        yield from self._title(widget.title)

    def _content(self, key: str, names: Sequence[str], of: WidgetType, mode: object = None) -> Iterator[str]:
        """Yield what is wrong with the datastreams of a widget."""
        pins = [pin.upper() for pin in names]
        low, high = of.min_datastreams, of.max_datastreams
        # A button that opens a page needs no datastream.
        low = 0 if mode == "page" else low
        if not low <= len(pins) <= high:
            wanted = "1 datastream" if low == high == 1 else f"{low if low == high else f'{low} to {high}'} datastreams"
            yield f"{key}: the widget needs {wanted}, not {len(pins)}"
        if len(set(pins)) < len(pins):
            yield f"{key}: a pin is used twice"
        for pin in pins:
            stream = self.by_pin.get(pin)
            if stream is None:
                yield f"{key}: the template has no {pin[:10]}"
            elif stream.type not in of.types:
                yield f"{key}: {pin} is of type {stream.type}, and the widget needs {', '.join(sorted(of.types))}"
            elif of.raw and stream.history != "raw":
                yield f'{key}: {pin} needs history = "raw"'
            elif mode == "qr" and stream.type != "string":
                yield f"{key}: {pin} is of type {stream.type}, and a scanned code needs string"

    def _options(self, options: Mapping[str, object], of: WidgetType) -> Iterator[str]:
        for key, value in options.items():
            option = of.options.get(key)
            if option is None:
                yield f"options: unknown option {key[:30]!r}; the options are {', '.join(of.options) or 'none'}"
            elif problem := option_problem(option, value):
                yield f"options: {key} {problem}"
            elif option.kind == "page" and (problem := self._target_problem(str(value))):
                yield f"options: page {problem}"
        if options.get("mode") == "page" and "page" not in options:
            yield 'options: mode = "page" needs the option page, with the id of a page'
        low, high = options.get("min"), options.get("max")
        if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
            yield f"options: min {low} must be below max {high}"

    def _target_problem(self, page: str) -> str | None:
        if page in self.pages_to_open:
            return None
        return f"{page[:40]!r} must be the id of a page of kind screen or sheet"

    @staticmethod
    def _title(title: str) -> Iterator[str]:
        if len(title) > MAX_TITLE or not is_printable(title):
            yield f"title must have at most {MAX_TITLE} printable characters"


def _name_problems(what: str, names: Sequence[str]) -> Iterator[str]:
    for name in dict.fromkeys(names):
        if not is_name(name, MAX_TITLE):
            yield f"{what} {name[:20]!r}: a name must have 1 to {MAX_TITLE} printable characters"
        if names.count(name) > 1:
            yield f"{what} {name!r} is used {names.count(name)} times"


def _page_problems(page: MobilePage) -> Iterator[str]:
    if _PAGE_ID.fullmatch(page.id) is None:
        yield "id must be 1 to 40 letters, digits, - and _"
    if not is_name(page.name, MAX_TITLE):
        yield f"name must have 1 to {MAX_TITLE} printable characters"
    if not 10 <= page.size <= 100:
        yield f"size must be 10 to 100 percent, not {page.size}"
    if page.roles and page.kind != "info":
        yield f"roles: a page of kind {page.kind} is for all roles; only one of kind info can have roles"
    if page.url and page.kind != "welcome":
        yield f"url: a page of kind {page.kind} has widgets; only one of kind welcome can have a url"
    if page.url and page.widget:
        yield "url: the page has widgets; it can have one of both"
    if page.url and (len(page.url) > MAX_URL or _WEB_PAGE.fullmatch(page.url) is None):
        yield f"url must be an http:// or https:// address of at most {MAX_URL} characters"


def _circle_problems(pages: Sequence[MobilePage]) -> Iterator[str]:
    """Yield a problem if pages open each other in a circle: a user would never find the way back."""
    opens = {
        page.id: [str(widget.options["page"]) for widget in page.widget if "page" in widget.options] for page in pages
    }
    finished: set[str] = set()
    for start in opens:
        path: list[str] = []
        pending = [(start, 0)]
        while pending:
            page, depth = pending.pop()
            del path[depth:]
            if page in path:
                circle = " -> ".join([*path[path.index(page) :], page])
                yield f"pages open each other in a circle: {circle[:200]}"
                return
            if page not in finished:
                finished.add(page)
                path.append(page)
                pending += [(target, depth + 1) for target in opens.get(page, ())]


def _fits(widget: Widget, columns: int) -> bool:
    """Whether a widget is within the grid."""
    right, bottom = widget.x + widget.width, widget.y + widget.height
    return 0 <= widget.x < right <= columns and 0 <= widget.y < bottom <= MAX_ROWS


def _overlap_problems(widgets: Sequence[Widget], columns: int) -> Iterable[str]:
    """Yield a problem for each widget that overlaps another one."""
    occupied: dict[tuple[int, int], int] = {}
    for number, widget in enumerate(widgets, 1):
        if not _fits(widget, columns):
            continue
        across = range(widget.x, widget.x + widget.width)
        cells = [(x, y) for x in across for y in range(widget.y, widget.y + widget.height)]
        if other := next((occupied[cell] for cell in cells if cell in occupied), None):
            yield f"widget {number} overlaps widget {other}"
        occupied |= dict.fromkeys(cells, number)
