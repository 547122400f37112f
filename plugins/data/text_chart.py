"""Charts of values over time, drawn with text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from client.cli import format_time

#: Rows of a chart, and the characters that fill a row of a column: 0 to 8 eighths.
HEIGHT, EIGHTHS = 10, " ▁▂▃▄▅▆▇█"
#: Characters in a column at most, when there are few columns.
MAX_COLUMN_WIDTH = 4
#: Columns without a value that are drawn like the column before them: devices never send quite regularly.
SMALL_GAP = 2


def chart(values: Sequence[tuple[int, float]], width: int, count: int | None = None) -> list[str]:
    """Return the lines of a chart of values (stamp in ms, value), at least one and in order of time.

    ``width`` is that of the terminal, in characters. If the values are aggregates, ``count`` is the number of values
    that they were made from.
    """
    low, high = min(value for _, value in values), max(value for _, value in values)
    start, end = values[0][0], values[-1][0]
    total = len(values) if count is None else count
    if len(values) == 1:
        return [f"{format_time(start)}  {_short(low)}" + (f", of {total} values" if total > 1 else "")]
    labels = [_short(low)] if low == high else _row_labels(low, high)
    margin = max(map(len, labels))
    space = max(10, width - margin - 3)
    heights = _column_heights(values, space, low, high, len(labels))
    column_width = min(MAX_COLUMN_WIDTH, space // len(heights))
    lines = []
    for row in reversed(range(len(labels))):
        bars = "".join(EIGHTHS[min(8, max(0, height - row * 8))] * column_width for height in heights)
        lines.append(f"{labels[row]:>{margin}} ┤{bars}".rstrip())
    return [*lines, f"{'':>{margin}} └{format_time(start)} to {format_time(end)}, {total} values"]


def _short(value: float) -> str:
    return f"{value:.6g}"


def _row_labels(low: float, high: float) -> list[str]:
    """Return a label for each row, with as many digits as make all labels different."""
    rows = [low + (high - low) * row / (HEIGHT - 1) for row in range(HEIGHT)]
    texts = ([f"{value:.{digits}g}" for value in rows] for digits in range(4, 17))
    return next((labels for labels in texts if len(set(labels)) == HEIGHT), [_short(value) for value in rows])


def _column_heights(
    values: Sequence[tuple[int, float]], max_columns: int, low: float, high: float, rows: int
) -> list[int]:
    """Return the height of each column in eighths of a row; 0 for a gap.

    A column stands for the median time between two values, or for more if there are too many columns.
    """
    start, end = values[0][0], values[-1][0]
    steps = sorted(max(1, new[0] - old[0]) for old, new in pairwise(values))
    columns = min(max_columns, (end - start) // steps[len(steps) // 2] + 1)
    by_column: list[list[float]] = [[] for _ in range(columns)]
    for at, value in values:
        by_column[int((at - start) / max(1, end - start) * (columns - 1) + 0.5)].append(value)
    heights = [
        0
        if not column
        else 4
        if low == high
        else round((sum(column) / len(column) - low) / (high - low) * (rows * 8 - 1)) + 1
        for column in by_column
    ]
    return _without_small_gaps(heights)


def _without_small_gaps(heights: Sequence[int]) -> list[int]:
    filled, last = list(heights), 0
    for number, height in enumerate(heights):
        if height:
            if number - last - 1 <= SMALL_GAP:
                filled[last + 1 : number] = [filled[last]] * (number - last - 1)
            last = number
    return filled
