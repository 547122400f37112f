"""``pinwheel device history|export|import|erase``: ordinary clients of the API."""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from hub import spellings, timezones
from hub.cli import DURATION_HELP, api, confirmed, device_of, local_time, progress, show_table, with_device
from hub.client import Api, operations
from hub.client.operations import DeviceObject
from hub.errors import Rejected, RequestError
from hub.history.query import Granularity
from hub.structure import seconds
from plugins.data.points import iso

DAY_MS = 86_400_000
#: Milliseconds that are exported in one request, and rows that are imported in one.
WINDOW = 30 * DAY_MS
BATCH = 5_000
MAX_PROBLEMS = 100
HEADER = ("time", "pin", "value")
#: What Home Assistant and spreadsheets write for a value that there was not.
UNKNOWN = frozenset({"", "unknown", "unavailable", "none", "null", "n/a", "#n/a"})
#: Rows of a chart, and what a column ends with: eighths.
HEIGHT, EIGHTHS = 10, " ▁▂▃▄▅▆▇█"


def device_history(parser: argparse.ArgumentParser) -> None:
    """What a datastream held: a chart, or lines with --csv or --json."""
    with_device(parser)
    parser.add_argument("pin", metavar="PIN", help="such as V1, or a datastream's name")
    parser.add_argument("--period", default="1d", help=f"how far back, {DURATION_HELP}")
    parser.add_argument("--from", dest="start", metavar="TIME", help="instead of --period, such as 2026-11-01 (of UTC)")
    parser.add_argument("--to", metavar="TIME")
    parser.add_argument("--granularity", choices=["raw", "minute", "hour", "day"])
    parser.add_argument("--aggregate", choices=["avg", "min", "max", "sum", "count", "last"])
    parser.add_argument("--tz", metavar="ZONE", help="whose hours and days; the device's, if not given")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV")
    form.add_argument("--json", action="store_true", help="print a JSON object a line")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            history = partial(
                operations.get_device_history,
                device_id=device_of(hub, args.device)["id"],
                pin=args.pin,
                period=args.period,
                from_=args.start,
                to=args.to,
                tz=args.tz,
            )
            if args.csv or args.json:
                lines_of = partial(history, granularity=args.granularity or "raw", aggregate=args.aggregate)
                print(hub(lines_of(format="csv" if args.csv else "json")), end="")
                return
            granularity: Granularity = args.granularity or _fitting(args.period)
            lines = hub(history(granularity=granularity)).splitlines()
        found = [json.loads(line) for line in lines]
        name = args.aggregate or "avg"
        values = [(one["ts"], one.get("value") if granularity == "raw" else one[name]) for one in found]
        if not values:
            print("nothing was kept in this time")
        elif all(isinstance(value, (int, float)) for _, value in values):
            print("\n".join(chart(values, shutil.get_terminal_size().columns)))
        else:
            last = [(local_time(one["ts"]), one.get("value", one.get("last"))) for one in found[-50:]]
            show_table(("time", "value"), last)

    parser.set_defaults(run=run)


def _fitting(period: str) -> Granularity:
    """The granularity that fits a chart of ``period``."""
    try:
        length = seconds(period)
    except ValueError as error:
        raise Rejected(f"--period {error}") from error
    return "minute" if length <= 3 * 3600 else "hour" if length <= 7 * 86_400 else "day"


def chart(values: Sequence[tuple[int, float]], width: int) -> list[str]:
    """Lines of text that show values (stamp, value) over time, as wide as the terminal."""
    low, high = min(value for _, value in values), max(value for _, value in values)
    labels = [f"{low + (high - low) * row / (HEIGHT - 1):.6g}" for row in range(HEIGHT)]
    margin = max(map(len, labels))
    columns = max(10, width - margin - 3)
    start, end = values[0][0], values[-1][0]
    shown: list[list[float]] = [[] for _ in range(min(columns, max(1, len(values))))]
    for at, value in values:
        shown[int((at - start) / max(1, end - start) * (len(shown) - 1))].append(value)
    eighths = [
        round((sum(some) / len(some) - low) / ((high - low) or 1) * (HEIGHT * 8 - 1)) + 1 if some else 0
        for some in shown
    ]
    lines = []
    for row in reversed(range(HEIGHT)):
        bars = "".join(EIGHTHS[min(8, max(0, height - row * 8))] for height in eighths)
        lines.append(f"{labels[row]:>{margin}} ┤{bars}".rstrip())
    return [*lines, f"{'':>{margin}} └{local_time(start)} to {local_time(end)}, {len(values)} values"]


def device_export(parser: argparse.ArgumentParser) -> None:
    """Write everything that a device told to a CSV file: time, pin, value."""
    with_device(parser)
    parser.add_argument("file", metavar="FILE", type=Path)

    def run(args: argparse.Namespace) -> None:
        partial = args.file.with_name(args.file.name + ".partial")
        count = 0
        try:
            with api(args) as hub, partial.open("w", newline="", encoding="utf-8") as file:
                device = device_of(hub, args.device)
                writer = csv.writer(file)
                writer.writerow(HEADER)
                for at, pin, value in _everything(hub, device):
                    writer.writerow((iso(at), pin, spellings.csv_field(value)))
                    count += 1
                file.flush()
                os.fsync(file.fileno())
            partial.replace(args.file)
        except OSError as error:
            raise RequestError(f"{args.file}: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)
        print(f"{count} values of {device['name']} written to {args.file}")

    parser.set_defaults(run=run)


def _everything(hub: Api, device: DeviceObject) -> Iterator[tuple[int, str, Any]]:
    streams = device["dataStreamValues"] or []
    now = int(datetime.now(UTC).timestamp() * 1000) + DAY_MS
    for number, stream in enumerate(streams):
        history = partial(operations.get_device_history, device_id=device["id"], pin=stream["pin"])
        days = hub(history(granularity="day", tz="UTC", from_=0, to=now)).splitlines()
        start = json.loads(days[0])["ts"] if days else now
        for begin in range(start, now, WINDOW):
            progress(number + (begin - start) / max(1, now - start), len(streams), "exporting")
            text = hub(history(from_=begin, to=min(now, begin + WINDOW)))
            for line in text.splitlines():
                point = json.loads(line)
                yield point["ts"], stream["pin"], point["value"]
    progress(1, 1, "exporting")


def device_import(parser: argparse.ArgumentParser) -> None:
    """Read values from a CSV file as `device export` writes it; if one row is wrong, nothing is imported."""
    with_device(parser)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--pin", metavar="PIN", help="where the file has no column pin, as in a report")
    parser.add_argument("--tz", metavar="ZONE", help="of times without an offset; the device's, if not given")
    parser.add_argument(
        "--skip", metavar="VALUE", action="append", default=[], help="leave out rows with it, such as unavailable"
    )

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = device_of(hub, args.device)
            zone = args.tz or device["timezone"]
            if not timezones.is_known(zone):
                raise Rejected(f"there is no time zone {zone[:50]!r}")
            kinds = {}
            for stream in device["dataStreamValues"] or ():
                kinds[stream["pin"]] = kinds[stream["dataStreamLabel"]] = stream["type"]
            file = _File(args.pin, zone, frozenset(args.skip), kinds)
            problems, rows, skipped = file.read(args.file)
            for check in (True, False):
                for start in range(0, len(rows), BATCH):
                    progress(start, len(rows), "checking" if check else "importing")
                    batch = rows[start : start + BATCH]
                    values = [row for _, row in batch]
                    try:
                        # Lines are counted from 0 here, for rows may be lines apart.
                        rows_of = partial(operations.post_device_import_rows, device_id=device["id"], line=0)
                        hub(rows_of(rows=values, check=check))
                    except RequestError as error:
                        problems += [_located(problem, batch) for problem in str(error).splitlines()]
                        if not check or len(problems) >= MAX_PROBLEMS:
                            break
                if problems:
                    problems.sort(key=lambda problem: problem[0])
                    lines = [f"line {line}: {text}" if line else text for line, text in problems[:MAX_PROBLEMS]]
                    raise Rejected("\n".join(f"{args.file}: {line}" for line in lines))
            progress(1, 1, "importing")
        left_out = f", {skipped} rows left out" if args.skip else ""
        print(f"{len(rows)} values of {device['name']} imported{left_out}")

    parser.set_defaults(run=run)


#: A row of a file: its line, and what is imported of it: stamp in ms UTC, pin and value.
_Row = tuple[int, list[Any]]
#: What is wrong with a line; with the file as a whole, if it is 0.
_Problem = tuple[int, str]


def _located(problem: str, batch: Sequence[_Row]) -> _Problem:
    """A problem that the hub has with a row of ``batch``, with the line of its file."""
    found = re.match(r"line (\d+): ", problem)
    return (0, problem) if found is None else (batch[int(found[1])][0], problem[found.end() :])


@attrs.frozen
class _File:
    """How to read a file: the pin of all rows, the zone of its times, values to skip, and the types of datastreams."""

    pin: str | None
    zone: str
    skip: frozenset[str]
    kinds: Mapping[str, str]

    def read(self, path: Path) -> tuple[list[_Problem], list[_Row], int]:
        """Problems with lines as such, the other rows, and how many were left out. Raises `Rejected`."""
        try:
            table = spellings.table(spellings.decoded(path.read_bytes()))
            lines = [(line, fields) for line, fields in table.rows if fields]
        except (OSError, ValueError) as error:
            raise Rejected(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        wanted = HEADER if self.pin is None else ("time", "value")
        columns = [name.lower() for name in table.header]
        if sorted(columns) != sorted(wanted):
            found, hint = ",".join(table.header) or "nothing", ""
            if sorted(columns) == ["time", "value"]:
                hint = "; say with --pin which datastream it is"
            raise Rejected(f"{path}: the header must be {','.join(wanted)}, not {found[:200]}{hint}")
        problems: list[_Problem] = []
        rows: list[_Row] = []
        skipped, latest = 0, dict[str, int]()
        for line, fields in lines:
            if len(fields) != len(columns):
                problems.append((line, f"must have {len(columns)} columns"))
                continue
            row = dict(zip(columns, fields, strict=True))
            if row["value"].strip() in self.skip:
                skipped += 1
                continue
            pin = self.pin or row["pin"].strip()
            try:
                at = latest[pin] = spellings.moment(row["time"], timezones.zone(self.zone), latest.get(pin))
            except ValueError as error:
                problems.append((line, str(error)))
                continue
            kind = self.kinds.get(pin.lower()) or self.kinds.get(pin, "")
            if kind not in ("", "string") and row["value"].strip().lower() in UNKNOWN:
                hint = f"--skip {shlex.quote(row['value'].strip())} leaves such rows out"
                problems.append((line, f"there is no value; {hint}"))
                continue
            rows.append((line, [at, pin, spellings.value_of_csv(row["value"], kind, table.separator)]))
        return problems, rows, skipped


def device_erase(parser: argparse.ArgumentParser) -> None:
    """Erase what a device held, or one pin of it: values, history and properties, for good."""
    with_device(parser)
    parser.add_argument("pin", metavar="PIN", nargs="?", help="only this one, such as V1, or a datastream's name")
    parser.add_argument("--yes", action="store_true", help="do not ask")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = device_of(hub, args.device)
            what = f"{args.pin.upper()} of {device['name']}" if args.pin else f"all values of {device['name']}"
            confirmed(args, f"Erase {what} ({device['id']}) for good?")
            hub(operations.post_device_erase(device_id=device["id"], pin=args.pin))
        print(f"erased {what}")

    parser.set_defaults(run=run)
