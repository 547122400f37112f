"""Lines of styled text with exactly the width of their place."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from tui.text import Align, Marks, cut

#: Clean text and its style.
Span = tuple[str, Style]
Line = list[Segment]


def line(spans: Iterable[Span], width: int, blank: Style, align: Align = "left", marks: Marks | None = None) -> Line:
    """Return a line with ``width`` cells: the spans one after the other, cut with an ellipsis or padded."""
    given = [span for span in spans if span[0]]
    used = sum(cell_len(text) for text, _ in given)
    if used > width:
        given = _cut(given, width, marks)
        used = sum(cell_len(text) for text, _ in given)
    segments = [Segment(text, style) for text, style in given]
    space = max(width - used, 0)
    before = {"left": 0, "right": space, "center": space // 2}[align]
    if before:
        segments.insert(0, Segment(" " * before, blank))
    if space - before:
        segments.append(Segment(" " * (space - before), blank))
    return segments


def _cut(spans: list[Span], width: int, marks: Marks | None) -> list[Span]:
    kept: list[Span] = []
    room = width
    for at, (text, style) in enumerate(spans):
        needed = cell_len(text)
        if needed < room or (needed == room and at == len(spans) - 1):
            kept.append((text, style))
            room -= needed
            continue
        # One character more than there is room for makes the ellipsis, also when the text itself would fit.
        shortened = f"{text}  " if needed <= room else text
        kept.append((cut(shortened, room, marks) if marks else cut(shortened, room), style))
        break
    return kept


def text_of(lines: Iterable[Line]) -> list[str]:
    """Return the characters of lines, without styles."""
    return ["".join(segment.text for segment in segments) for segments in lines]
