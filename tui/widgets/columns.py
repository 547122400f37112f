"""The columns of a table, and which of them a width has space for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

#: Below these widths, columns of the priorities 2 and 3 are not displayed: those of terminals with 60 and 100 columns,
#: without the marks and the scrollbar.
NARROW, MEDIUM = 57, 97
#: Space between two columns.
GAP = 2


@attrs.frozen(kw_only=True)
class Column:
    """A column of at least ``width`` cells. With ``grows`` it takes what space is left.

    Columns of priority 1 are always displayed, of 2 from a width of ``NARROW``, of 3 from ``MEDIUM``, if it fits.
    ``sort`` is the name that `PagedTable.SortRequested` has; a column without one cannot be sorted by.
    """

    title: str
    width: int
    priority: Literal[1, 2, 3] = 1
    align: Literal["left", "right"] = "left"
    grows: bool = False
    sort: str = ""


def layout(columns: Sequence[Column], width: int) -> list[tuple[int, Column, int]]:
    """Return the columns to display in ``width`` cells: the index, the column and its width."""
    highest = 1 if width < NARROW else 2 if width < MEDIUM else 3
    chosen = [(at, column) for at, column in enumerate(columns) if column.priority <= highest]
    while (used := _width_of(chosen)) > width and any(column.priority > 1 for _, column in chosen):
        # The least important one, of these the last.
        chosen.remove(max(chosen, key=lambda item: (item[1].priority, item[0])))
    growing = [at for at, column in chosen if column.grows]
    spare = max(width - used, 0)
    more = {at: spare // len(growing) + (order < spare % len(growing)) for order, at in enumerate(growing)}
    return [(at, column, column.width + more.get(at, 0)) for at, column in chosen]


def _width_of(columns: Sequence[tuple[int, Column]]) -> int:
    return sum(column.width for _, column in columns) + GAP * max(len(columns) - 1, 0)
