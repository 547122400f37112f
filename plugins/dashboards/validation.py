"""What a dashboard must fulfil to be saved. All problems are reported at once, each with its tab and widget.

What a dashboard names may be deleted later. Then its widgets say so, and the dashboard can still be edited: only
widgets that are new or changed are checked for what they name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub import GROUP, MAX_PROBLEMS, Principal, Rejected, first_problems
from hub.api import VIEW_DEVICES, from_json, to_json
from hub.parsing.spellings import is_name, is_printable, nfc
from plugins.dashboards.model import (
    COLUMNS,
    MAX_DOCUMENT,
    MAX_NAME,
    MAX_PICKED,
    MAX_ROLES,
    MAX_ROWS,
    MAX_SELECTED,
    MAX_TABS,
    MAX_WIDGETS,
    DashboardTab,
    DashboardWidget,
    DataSource,
    FleetDashboard,
)
from plugins.dashboards.options import (
    MAX_IMAGE_MAPS,
    WIDGETS,
    Binding,
    ImageMapOptions,
    TableOptions,
    bindings,
    option_problems,
)
from plugins.dashboards.selection import Selector, bound_datastream

if TYPE_CHECKING:
    from hub import Hub, Template


class Validator:
    """Checks dashboards on behalf of their author."""

    def __init__(self, hub: Hub, selector: Selector) -> None:
        self._hub = hub
        self._selector = selector

    async def checked(
        self, dashboard: FleetDashboard, before: FleetDashboard | None, author: Principal
    ) -> FleetDashboard:
        """Return a dashboard as it is saved: with ids of new widgets and defaults of options. Raises `Rejected`.

        ``before`` is the dashboard that it replaces.
        """
        # A thousand widgets are not checked one by one.
        if (count := sum(1 for _ in dashboard.widgets())) > MAX_WIDGETS or len(dashboard.tabs) > MAX_TABS:
            raise Rejected(
                f"the dashboard has {count} widgets and {len(dashboard.tabs)} tabs; at most {MAX_WIDGETS} widgets and"
                f" {MAX_TABS} tabs are possible"
            )
        known = {} if before is None else {widget.id: widget for widget in before.widgets()}
        problems = [*self._head_problems(dashboard, before), *self._source_problems(dashboard, before, author)]
        datastreams = _Datastreams(self._selector.templates(dashboard))
        is_same_source = before is not None and before.source.templates == dashboard.source.templates
        tabs, size = [], 0
        for tab in dashboard.tabs:
            widgets = []
            for number, widget in enumerate(tab.widgets, 1):
                # The options of one widget may take some milliseconds.
                await trio.lowlevel.checkpoint()
                if len(problems) > MAX_PROBLEMS:
                    break
                where = f"tab {tab.name[:20]!r}, widget {number} ({widget.type})"
                try:
                    options = from_json(widget.options, WIDGETS[widget.type].options)
                except Rejected as error:
                    problems.append(f"{where}: options: {error}")
                    continue
                normal = attrs.evolve(widget, options=to_json(options))
                size += len(json.dumps(normal.options))
                if size > MAX_DOCUMENT:
                    raise Rejected(f"the options of all widgets have more than {MAX_DOCUMENT // 1024} KiB; use fewer")
                widgets.append(normal)
                lines = self._widget_problems(normal, options)
                if not (is_same_source and known.get(widget.id) == normal):
                    named = self._reference_problems(
                        dashboard, normal, options, known.get(widget.id), datastreams, author
                    )
                    lines = chain(lines, named)
                problems += [f"{where}: {line}" for line in lines]
            problems += [f"tab {tab.name[:20]!r}: {line}" for line in _overlap_problems(tab.widgets)]
            tabs.append(attrs.evolve(tab, widgets=widgets))
        problems += _id_problems(dashboard, known)
        if problems:
            raise Rejected("; ".join(first_problems(problems)))
        return attrs.evolve(dashboard, tabs=_with_ids(tabs, known))

    def _head_problems(self, dashboard: FleetDashboard, before: FleetDashboard | None) -> Iterator[str]:
        old_roles = set() if before is None else set(before.view_roles)
        if not is_name(dashboard.name, MAX_NAME):
            yield f"name must have 1 to {MAX_NAME} printable characters"
        names = Counter(tab.name for tab in dashboard.tabs)
        for name, count in names.items():
            if not is_name(name, MAX_NAME):
                yield f"tab {name[:20]!r}: a name must have 1 to {MAX_NAME} printable characters"
            if count > 1:
                yield f"tab {name[:20]!r} is there {count} times"
        if len(dashboard.view_roles) > MAX_ROLES:
            yield f"viewRoles has {len(dashboard.view_roles)} entries, and at most {MAX_ROLES} are allowed"
        elif unknown := set(dashboard.view_roles) - old_roles - self._hub.directory.roles().keys():
            yield f"viewRoles: there is no role {min(unknown)}"
        maps = sum(widget.type == "image_map" for widget in dashboard.widgets())
        if maps > MAX_IMAGE_MAPS:
            yield f"there are {maps} image maps; a dashboard can have {MAX_IMAGE_MAPS}"

    def _source_problems(
        self, dashboard: FleetDashboard, before: FleetDashboard | None, author: Principal
    ) -> Iterator[str]:
        """Yield the problems of templates and organizations that are new in a data source."""
        source, old = dashboard.source, DataSource() if before is None else before.source
        for name, entries in (("templates", source.templates), ("organizations", source.organizations)):
            if len(entries) > MAX_SELECTED:
                yield f"source.{name} has {len(entries)} entries, and at most {MAX_SELECTED} are allowed"
                return
        org = self._hub.organizations.get(dashboard.org)
        for template_id in sorted(set(source.templates) - set(old.templates)):
            template = self._hub.templates.by_id.get(template_id)
            if template is None or not org.has(template):
                yield f"source.templates: there is no template {template_id[:50]!r} in this organization"
        below = set(self._hub.organizations.below(dashboard.org))
        for org_id in sorted(set(source.organizations) - set(old.organizations)):
            if org_id not in below or not self._hub.is_allowed(author, VIEW_DEVICES, org=org_id):
                yield f"source.organizations: {self._hub.organizations.not_found(org_id)}"

    def _widget_problems(self, widget: DashboardWidget, options: Any) -> Iterator[str]:
        """Yield the problems of a widget by itself."""
        if len(widget.title) > MAX_NAME or not is_printable(widget.title):
            yield f"title must have at most {MAX_NAME} printable characters"
        if not _fits(widget):
            yield f"the widget does not fit the grid of {COLUMNS} columns and {MAX_ROWS} rows"
        selection = widget.devices
        if len(selection.devices) > MAX_PICKED:
            yield f"devices.devices has {len(selection.devices)} ids, and at most {MAX_PICKED} can be picked"
        if selection.devices and selection.segment_id is not None:
            yield "devices: select a segment, or pick devices, not both"
        if selection.find is not None:
            try:
                selection.find.check()
            except Rejected as error:
                yield f"devices.find: {error}"
        yield from option_problems(options)

    def _reference_problems(
        self,
        dashboard: FleetDashboard,
        widget: DashboardWidget,
        options: Any,
        before: DashboardWidget | None,
        datastreams: _Datastreams,
        author: Principal,
    ) -> Iterator[str]:
        """Yield a problem for everything that a widget names and that is not there, for its author."""
        segments, segment_id = self._hub.segments, widget.devices.segment_id
        if segment_id is not None and (before is None or before.devices.segment_id != segment_id):
            segment = segments.by_id.get(segment_id)
            if segment is None or segment.org != dashboard.org:
                yield f"devices.segmentId: there is no segment {segment_id} in the organization of the dashboard"
        # Of more of them, their number is the problem.
        ids = widget.devices.devices[:MAX_PICKED]
        if isinstance(options, ImageMapOptions):
            ids += [spot.device_id for spot in options.spots]
        old_ids = set() if before is None else {*before.devices.devices, *_spots_of(before)}
        for device_id in dict.fromkeys(ids):
            device = self._hub.devices.by_id.get(device_id)
            if device_id not in old_ids and (device is None or not self._hub.is_allowed(author, VIEW_DEVICES, device)):
                yield f"devices: {self._hub.devices.not_found(device_id)}"
        for path, binding in bindings(options):
            # Tables, markers and popups show values of any type.
            numbers = not isinstance(options, TableOptions) and not path.startswith(("marker", "popup"))
            if binding.pin and not datastreams.has(binding, numbers=numbers):
                kind = "an integer or double datastream" if numbers else "a datastream"
                yield f"options.{path}: no template of the data source has {kind} {binding.pin}"


class _Datastreams:
    """The datastreams of some templates that widgets can be bound to."""

    def __init__(self, templates: Sequence[Template]) -> None:
        self._templates = templates
        streams = [stream for template in templates for stream in template.datastreams]
        self._names = {f"v{stream.pin}" for stream in streams} | {stream.name for stream in streams}
        self._tags = {frozenset(stream.tags) for stream in streams}
        self._answers: dict[tuple[str, bool], bool] = {}

    def has(self, binding: Binding, *, numbers: bool) -> bool:
        """Whether a template has such a datastream; with ``numbers`` one of numbers."""
        key = (binding.pin, numbers)
        if key not in self._answers:
            bound = (bound_datastream(template, binding, numbers=numbers) for template in self._templates)
            # Without a look at each template for thousands of wrong names.
            self._answers[key] = self._may_have(binding.pin) and any(datastream is not None for datastream in bound)
        return self._answers[key]

    def _may_have(self, name: str) -> bool:
        """Whether a datastream has such a name, whatever its type; see `Template.pin_of`."""
        if name.lower() in self._names or nfc(name) in self._names:
            return True
        wanted = {tag.strip() for tag in nfc(name).removeprefix(GROUP).split(";")}
        return name.startswith(GROUP) and any(wanted <= tags for tags in self._tags)


def _spots_of(widget: DashboardWidget) -> Iterable[int]:
    spots = widget.options.get("spots")
    return (spot["deviceId"] for spot in spots) if isinstance(spots, list) else ()


def _fits(widget: DashboardWidget) -> bool:
    """Whether a widget is within the grid."""
    columns, rows = widget.x + widget.width, widget.y + widget.height
    return 0 <= widget.x < columns <= COLUMNS and 0 <= widget.y < rows <= MAX_ROWS


def _overlap_problems(widgets: Sequence[DashboardWidget]) -> Iterator[str]:
    """Yield a problem for each widget that overlaps another one."""
    placed = [(number, widget) for number, widget in enumerate(widgets, 1) if _fits(widget)]
    for index, (number, widget) in enumerate(placed):
        for other_number, other in placed[:index]:
            if (
                widget.x < other.x + other.width
                and other.x < widget.x + widget.width
                and widget.y < other.y + other.height
                and other.y < widget.y + widget.height
            ):
                yield f"widget {number} overlaps widget {other_number}"
                break


def _id_problems(dashboard: FleetDashboard, known: Iterable[int]) -> Iterator[str]:
    counts = Counter(widget.id for widget in dashboard.widgets() if widget.id)
    for widget_id, count in counts.items():
        if count > 1:
            yield f"the widget id {widget_id} is there {count} times"
        elif widget_id not in known:
            yield f"there is no widget {widget_id} yet; leave the id of a new widget out"


def _with_ids(tabs: Sequence[DashboardTab], known: Iterable[int]) -> list[DashboardTab]:
    """Return tabs whose new widgets have ids, which none of the ``known`` widgets has."""
    widget_id = max(known, default=0) + 1
    numbered = []
    for tab in tabs:
        widgets = []
        for widget in tab.widgets:
            if widget.id:
                widgets.append(widget)
            else:
                widgets.append(attrs.evolve(widget, id=widget_id))
                widget_id += 1
        numbered.append(attrs.evolve(tab, widgets=widgets))
    return numbered
