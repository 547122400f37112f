"""The places of a dashboard's widgets in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from textual.geometry import Region

from tui.widgets.cells import Component

#: In terminals with fewer columns, widgets flow in reading order; below the second width only one is in a line.
FLOW, SINGLE = 100, 36
#: Lines of a row of the grid; more if a widget is one row high: a frame with one line needs them.
ROW_LINES, HIGH_ROW_LINES = 2, 3
#: Cells and lines of the smallest widget, and lines of the longest dashboard.
MIN_WIDTH, MIN_HEIGHT, MAX_LINES = 6, 3, 10_000
#: Lines of a frame.
FRAME = 2

Direction = Literal["left", "right", "up", "down"]


def grid(components: Sequence[Component], columns: int, width: int) -> list[Region]:
    """Return the region of each component in a grid of ``columns`` columns; an empty one of hidden widgets."""
    shown = [component.widget for component in components if not component.widget.hidden]
    lines = HIGH_ROW_LINES if any(widget.height <= 1 for widget in shown) else ROW_LINES
    regions = []
    for component in components:
        widget = component.widget
        left = min(max(widget.x, 0), columns - 1) * width // columns
        right = min(max(widget.x, 0) + max(widget.width, 1), columns) * width // columns
        left = min(left, width - MIN_WIDTH)
        top = min(max(widget.y, 0) * lines, MAX_LINES - MIN_HEIGHT)
        height = min(max(widget.height * lines, MIN_HEIGHT), MAX_LINES - top)
        region = Region(left, top, max(right - left, MIN_WIDTH), height)
        regions.append(Region() if widget.hidden else region)
    return regions


def flow(components: Sequence[Component], width: int) -> list[Region]:
    """Return the region of each component in reading order, two in a line; an empty one of hidden widgets."""
    regions = [Region()] * len(components)
    order = [at for at, component in enumerate(components) if not component.widget.hidden]
    order.sort(key=lambda at: (components[at].widget.y, components[at].widget.x))
    top, waiting = 0, list(order)
    while waiting and top < MAX_LINES:
        row = [waiting.pop(0)]
        alone = width < SINGLE or components[row[0]].wide
        if not alone and waiting and not components[waiting[0]].wide:
            row.append(waiting.pop(0))
        height = max(components[at].flow_height for at in row) + FRAME
        left = 0
        for number, at in enumerate(row, 1):
            right = width * number // len(row)
            regions[at] = Region(left, top, right - left, height)
            left = right
        top += height
    return regions


def neighbor(regions: Sequence[Region], current: int, direction: Direction) -> int:
    """Return the index of the nearest region in a direction, or ``current`` if there is none."""
    here = regions[current]
    best, least = current, None
    for at, region in enumerate(regions):
        if at == current or not region:
            continue
        if direction in {"left", "right"}:
            ahead = region.x - here.right if direction == "right" else here.x - region.right
            beside = max(region.y - here.bottom + 1, here.y - region.bottom + 1, 0)
            aside = abs(region.y - here.y)
        else:
            ahead = region.y - here.bottom if direction == "down" else here.y - region.bottom
            beside = max(region.x - here.right + 1, here.x - region.right + 1, 0)
            aside = abs(region.x - here.x)
        if ahead < 0:
            continue
        # First what overlaps, then the nearest, then what begins at the same place.
        distance = (beside > 0, ahead + beside, aside)
        if least is None or distance < least:
            best, least = at, distance
    return best
