"""Reading CSV files of values for ``pinwheel device import``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from hub import Rejected
from hub.parsing import spellings, timezones

#: Columns of a file, in any order and case.
COLUMNS = ("time", "pin", "value")
#: Values that Home Assistant and spreadsheets write where there was none, in lower case.
NO_VALUE = frozenset({"", "unknown", "unavailable", "none", "null", "n/a", "#n/a"})

#: The line of a row in its file, and what `import_rows` of the API takes: stamp in ms UTC, pin and value.
Row = tuple[int, list[Any]]
#: The line that a problem is in, 0 for the file as a whole, and its description.
Problem = tuple[int, str]


def located(problem: str, rows: Sequence[Row]) -> Problem:
    """Return a problem that the hub reports for the ``rows`` of a request ("line 0: …"), with its line in the file."""
    line = re.match(r"line (\d+): ", problem)
    return (0, problem) if line is None else (rows[int(line[1])][0], problem[line.end() :])


@attrs.frozen
class CsvReader:
    """Options for reading a file.

    ``pin`` is the pin of all rows, for a file without that column; ``zone`` the time zone of times without an offset;
    rows with a value of ``skip`` are left out. ``types`` has the type of each datastream, by pin ("v1") and by name.
    """

    pin: str | None
    zone: str
    skip: frozenset[str]
    types: Mapping[str, str]

    def read(self, path: Path) -> tuple[list[Problem], list[Row], int]:
        """Return problems with lines, the rows of all other lines, and the number of rows that were left out.

        Raises `Rejected` if the file cannot be read, or has the wrong columns.
        """
        try:
            table = spellings.table(spellings.decode_text(path.read_bytes()))
            lines = [(line, cells) for line, cells in table.rows if cells]
        except (OSError, ValueError) as error:
            raise Rejected(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        columns = self._columns(path, table.header)
        problems: list[Problem] = []
        rows: list[Row] = []
        #: The time of the row before, by pin.
        skipped, previous = 0, dict[str, int]()
        for line, cells in lines:
            if len(cells) != len(columns):
                problems.append((line, f"has {len(cells)} columns instead of {len(columns)}"))
                continue
            row = dict(zip(columns, cells, strict=True))
            if row["value"].strip() in self.skip:
                skipped += 1
                continue
            pin = self.pin or row["pin"].strip()
            try:
                at = previous[pin] = spellings.local_time(row["time"], timezones.zone(self.zone), previous.get(pin))
            except ValueError as error:
                problems.append((line, str(error)))
                continue
            datatype = self.types.get(pin.lower()) or self.types.get(spellings.nfc(pin), "")
            if datatype not in ("", "string") and row["value"].strip().lower() in NO_VALUE:
                hint = f"--skip {shlex.quote(row['value'].strip())} leaves such rows out"
                problems.append((line, f"there is no value; {hint}"))
                continue
            rows.append((line, [at, pin, spellings.value_of_csv(row["value"], datatype, table.separator)]))
        return problems, rows, skipped

    def _columns(self, path: Path, header: Sequence[str]) -> list[str]:
        """Return the names of the columns in lower case. Raises `Rejected` for wrong ones."""
        required = COLUMNS if self.pin is None else ("time", "value")
        columns = [name.lower() for name in header]
        if sorted(columns) != sorted(required):
            names, hint = ",".join(header) or "nothing", ""
            if sorted(columns) == ["time", "value"]:
                hint = "; select the datastream with --pin"
            raise Rejected(f"{path}: the header must be {','.join(required)}, not {names[:200]}{hint}")
        return columns
