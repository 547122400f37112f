"""``pinwheel device history|export|import|erase``: ordinary clients of the API."""

from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from client import Api, operations
from client.cli import (
    DURATION_HELP,
    add_device_argument,
    add_yes_option,
    api,
    confirm,
    find_datastream,
    find_device,
    format_table,
    format_time,
    naming_options,
    quantity,
    show_progress,
)
from client.operations import DeviceObject
from hub import spellings, timezones
from hub.datadir import partial_of, publish
from hub.errors import Rejected, RequestError
from hub.printing import report

if TYPE_CHECKING:
    from client import Api
    from client.operations import DeviceObject
    from hub.history.query import Granularity

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
HOUR_MS = 3_600_000
#: Values that a chart is made of one by one, if they are of not more than so many hours.
MAX_RAW, RAW_HOURS = 5_000, 72
#: Hours of data that are drawn by the minute, and by the hour.
MINUTE_HOURS, HOUR_HOURS = 12, 14 * 24
#: Lines of a table of values that are no numbers.
MAX_LINES = 50
#: How wide a column is where there are few.
MAX_WIDE = 4
#: Columns without a value that are drawn as the one before: stamps are never quite regular.
SMALL_GAP = 2


def device_history(parser: argparse.ArgumentParser) -> None:
    """Print the values that a datastream had: a chart, or lines with --csv or --json."""
    add_device_argument(parser)
    parser.add_argument("pin", metavar="PIN", help="such as V1, or a datastream's name")
    parser.add_argument("--period", default="1d", help=f"how far back, {DURATION_HELP}")
    parser.add_argument("--from", dest="start", metavar="TIME", help="instead of --period, such as 2026-11-01 (of UTC)")
    parser.add_argument("--to", metavar="TIME")
    parser.add_argument("--granularity", choices=["raw", "minute", "hour", "day"])
    parser.add_argument("--aggregate", choices=["avg", "min", "max", "sum", "count", "last"])
    parser.add_argument("--tz", metavar="ZONE", help="whose hours and days; the device's, if not given")
    parser.add_argument("--csv", action="store_true", help="print CSV")

    def run(args: argparse.Namespace) -> None:
        if args.csv and args.json:
            parser.error("--csv and --json are two forms; give only one")
        with (
            api(args) as hub,
            naming_options(
                **{"period": "--period", "from": "--from", "to": "--to", "tz": "--tz", "aggregate": "--aggregate"}
            ),
        ):
            device = find_device(hub, args.device)
            history = partial(
                operations.get_device_history,
                device_id=device["id"],
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
            stream = find_datastream(device, args.pin)
            numbers = stream is not None and stream["type"] in ("integer", "double")
            granularity: Granularity = args.granularity or (_fitting(hub, history) if numbers else "raw")
            found = _points(hub, history, granularity)
            if not found and granularity == "raw" and not args.granularity:
                found, granularity = _points(hub, history, "minute"), "minute"
            labels = _labels(hub, device, stream["pin"]) if stream is not None and stream["type"] == "enum" else {}
        print("\n".join(_drawn(found, args.aggregate or "avg", labels)))

    parser.set_defaults(run=run)


def _points(hub: Api, history: Callable[..., Any], granularity: Granularity) -> list[dict[str, Any]]:
    return [json.loads(line) for line in hub(history(granularity=granularity)).splitlines()]


def _labels(hub: Api, device: DeviceObject, pin: str) -> dict[int, str]:
    """The labels of an enum, if the asker may see the template."""
    try:
        template = hub(operations.get_organization_template(template_id=device["templateId"]))
    except RequestError:
        return {}
    streams = (one for one in template["datastreams"] if pin == one["pin"].lower())
    return {int(number): label for one in streams for number, label in one["values"].items()}


def _fitting(hub: Api, history: Callable[..., Any]) -> Granularity:
    """The granularity that fits a chart, by how much there is and over how many hours."""
    found = _points(hub, history, "hour")
    if not found:
        return "raw"
    hours = (found[-1]["ts"] - found[0]["ts"]) // HOUR_MS + 1
    if hours <= RAW_HOURS and sum(one["count"] for one in found) <= MAX_RAW:
        return "raw"
    return "minute" if hours <= MINUTE_HOURS else "hour" if hours <= HOUR_HOURS else "day"


def _drawn(found: Sequence[Mapping[str, Any]], aggregate: str, labels: Mapping[int, str]) -> list[str]:
    """A chart of numbers, a table of anything else."""
    values = [(one["ts"], one["value"] if "value" in one else one.get(aggregate)) for one in found]
    if not values:
        return ["nothing was kept in this time"]
    numbers = [(at, value) for at, value in values if isinstance(value, (int, float))]
    if not labels and len(numbers) == len(values):
        count = sum(one.get("count", 1) for one in found)
        return chart(numbers, shutil.get_terminal_size().columns, count)
    last = [(one["ts"], one.get("value", one.get("last"))) for one in found]
    changes = [new for old, new in zip([(0, None), *last], last, strict=False) if new[1] != old[1]]
    rows = [(format_time(at), _labelled(value, labels)) for at, value in changes[-MAX_LINES:]]
    return [
        *format_table(("time", "value"), rows),
        f"{quantity(len(last), 'value')}, {quantity(len(changes), 'change')}",
    ]


def _labelled(value: Any, labels: Mapping[int, str]) -> Any:
    if isinstance(value, list):
        return ", ".join(str(_labelled(one, labels)) for one in value)
    return labels.get(value, value)


def chart(values: Sequence[tuple[int, float]], width: int, count: int | None = None) -> list[str]:
    """Lines of text that show values (stamp in ms, value) over time, as wide as the terminal.

    ``count`` is how many values there were, when these are what they came to in minutes, hours or days.
    """
    low, high = min(value for _, value in values), max(value for _, value in values)
    start, end = values[0][0], values[-1][0]
    many = len(values) if count is None else count
    if len(values) == 1:
        return [f"{format_time(start)}  {_short(low)}" + (f", of {many} values" if many > 1 else "")]
    labels = [_short(low)] if low == high else _scale(low, high)
    margin = max(map(len, labels))
    columns = max(10, width - margin - 3)
    heights = _heights(values, columns, low, high, len(labels))
    wide = min(MAX_WIDE, columns // len(heights))
    lines = []
    for row in reversed(range(len(labels))):
        bars = "".join(EIGHTHS[min(8, max(0, height - row * 8))] * wide for height in heights)
        lines.append(f"{labels[row]:>{margin}} ┤{bars}".rstrip())
    return [*lines, f"{'':>{margin}} └{format_time(start)} to {format_time(end)}, {many} values"]


def _short(value: float) -> str:
    return f"{value:.6g}"


def _scale(low: float, high: float) -> list[str]:
    """A label for each row, with as many digits as it takes to tell them apart."""
    rows = [low + (high - low) * row / (HEIGHT - 1) for row in range(HEIGHT)]
    texts = ([f"{value:.{digits}g}" for value in rows] for digits in range(4, 17))
    return next((labels for labels in texts if len(set(labels)) == HEIGHT), [_short(value) for value in rows])


def _heights(values: Sequence[tuple[int, float]], columns: int, low: float, high: float, rows: int) -> list[int]:
    """How many eighths each column is high: 0 where there was nothing for a while."""
    start, end = values[0][0], values[-1][0]
    steps = sorted(max(1, new[0] - old[0]) for old, new in pairwise(values))
    slots = min(columns, (end - start) // steps[len(steps) // 2] + 1)
    shown: list[list[float]] = [[] for _ in range(slots)]
    for at, value in values:
        shown[int((at - start) / max(1, end - start) * (slots - 1) + 0.5)].append(value)
    eighths = [
        0
        if not some
        else 4
        if low == high
        else round((sum(some) / len(some) - low) / (high - low) * (rows * 8 - 1)) + 1
        for some in shown
    ]
    last = 0
    for number, height in enumerate(list(eighths)):
        if height:
            if number - last - 1 <= SMALL_GAP:
                eighths[last + 1 : number] = [eighths[last]] * (number - last - 1)
            last = number
    return eighths


def device_export(parser: argparse.ArgumentParser) -> None:
    """Write all values of a device to a CSV file: time, pin, value."""
    add_device_argument(parser)
    parser.add_argument("file", metavar="FILE", type=Path)

    def run(args: argparse.Namespace) -> None:
        from plugins.data.history_routes import iso

        unfinished = partial_of(args.file)
        count = 0
        try:
            with api(args) as hub, unfinished.open("w", newline="", encoding="utf-8") as file:
                device = find_device(hub, args.device)
                writer = csv.writer(file)
                writer.writerow(HEADER)
                for at, pin, value in _everything(hub, device):
                    writer.writerow((iso(at), pin, spellings.csv_field(value)))
                    count += 1
            publish(args.file)
        except OSError as error:
            raise RequestError(f"{args.file}: {error.strerror}") from error
        finally:
            unfinished.unlink(missing_ok=True)
        done = {"device": device["id"], "values": count, "file": str(args.file)}
        report(args, done, f"{quantity(count, 'value')} of {device['name']} written to {args.file}")

    parser.set_defaults(run=run)


def _everything(hub: Api, device: DeviceObject) -> Iterator[tuple[int, str, Any]]:
    streams = device["dataStreamValues"] or []
    now = int(datetime.now(UTC).timestamp() * 1000) + DAY_MS
    for number, stream in enumerate(streams):
        history = partial(operations.get_device_history, device_id=device["id"], pin=stream["pin"])
        days = hub(history(granularity="day", tz="UTC", from_=0, to=now)).splitlines()
        start = json.loads(days[0])["ts"] if days else now
        for begin in range(start, now, WINDOW):
            show_progress(number + (begin - start) / max(1, now - start), len(streams), "exporting")
            text = hub(history(from_=begin, to=min(now, begin + WINDOW)))
            for line in text.splitlines():
                point = json.loads(line)
                yield point["ts"], stream["pin"], point["value"]
    show_progress(1, 1, "exporting")


def device_import(parser: argparse.ArgumentParser) -> None:
    """Read values from a CSV file as `device export` writes it; if one row is wrong, nothing is imported."""
    add_device_argument(parser)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--pin", metavar="PIN", help="where the file has no column pin, as in a report")
    parser.add_argument("--tz", metavar="ZONE", help="of times without an offset; the device's, if not given")
    parser.add_argument(
        "--skip", metavar="VALUE", action="append", default=[], help="leave out rows with it, such as unavailable"
    )

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = find_device(hub, args.device)
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
                    show_progress(start, len(rows), "checking" if check else "importing")
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
            show_progress(1, 1, "importing")
        done = {"device": device["id"], "values": len(rows), "skipped": skipped, "file": str(args.file)}
        left_out = f", {quantity(skipped, 'row')} left out" if args.skip else ""
        report(args, done, f"{quantity(len(rows), 'value')} of {device['name']} imported{left_out}")

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
            table = spellings.table(spellings.decode_text(path.read_bytes()))
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
                at = latest[pin] = spellings.local_time(row["time"], timezones.zone(self.zone), latest.get(pin))
            except ValueError as error:
                problems.append((line, str(error)))
                continue
            kind = self.kinds.get(pin.lower()) or self.kinds.get(spellings.nfc(pin), "")
            if kind not in ("", "string") and row["value"].strip().lower() in UNKNOWN:
                hint = f"--skip {shlex.quote(row['value'].strip())} leaves such rows out"
                problems.append((line, f"there is no value; {hint}"))
                continue
            rows.append((line, [at, pin, spellings.value_of_csv(row["value"], kind, table.separator)]))
        return problems, rows, skipped


def device_erase(parser: argparse.ArgumentParser) -> None:
    """Erase the values, history and properties of a device, or of one of its pins, for good."""
    add_device_argument(parser)
    parser.add_argument("pin", metavar="PIN", nargs="?", help="only this one, such as V1, or a datastream's name")
    add_yes_option(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = find_device(hub, args.device)
            what = f"{args.pin.upper()} of {device['name']}" if args.pin else f"all values of {device['name']}"
            confirm(args, f"erase {what} ({device['id']}) for good")
            hub(operations.post_device_erase(device_id=device["id"], pin=args.pin))
        report(args, {"device": device["id"], "pin": args.pin}, f"erased {what}")

    parser.set_defaults(run=run)
