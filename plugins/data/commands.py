"""``pinwheel device history|export|import|erase``: clients of the API."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client import operations
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
from hub import Rejected, RequestError
from hub.datadir import partial_of, publish
from hub.parsing import spellings, timezones
from hub.terminal.printing import report
from plugins.data.csv_import import COLUMNS, CsvReader, Problem, Row, located
from plugins.data.formats import iso_time
from plugins.data.text_chart import chart

if TYPE_CHECKING:
    from client import Api
    from client.operations import DeviceObject
    from hub.history import Granularity

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: Milliseconds of values that one request exports.
EXPORT_WINDOW = 30 * DAY_MS
#: Rows that one request imports.
IMPORT_BATCH = 5_000
#: Problems of a file that are printed.
MAX_PROBLEMS = 100
#: A chart shows single values if they are of at most so many hours, and not more than this many.
RAW_HOURS, MAX_RAW = 72, 5_000
#: Hours up to which a chart has a value for each minute, and for each hour; it has one for each day beyond that.
MINUTE_HOURS, HOUR_HOURS = 12, 14 * 24
#: Rows of a table of values that are not numbers.
MAX_TABLE_ROWS = 50


def device_history(parser: argparse.ArgumentParser) -> None:
    """Print the history of a datastream: a chart, or lines with --csv or --json."""
    add_device_argument(parser)
    parser.add_argument("pin", metavar="PIN", help="such as V1, or a datastream's name")
    parser.add_argument("--period", default="1d", help=f"how far back, {DURATION_HELP}")
    parser.add_argument("--from", dest="start", metavar="TIME", help="instead of --period, such as 2026-11-01 (of UTC)")
    parser.add_argument("--to", metavar="TIME")
    parser.add_argument("--granularity", choices=["raw", "minute", "hour", "day"])
    parser.add_argument("--aggregate", choices=["avg", "min", "max", "sum", "count", "last"])
    parser.add_argument("--tz", metavar="ZONE", help="time zone of hours and days; by default the device's")
    parser.add_argument("--csv", action="store_true", help="print CSV")

    def run(args: argparse.Namespace) -> None:
        if args.csv and args.json:
            parser.error("give only one of --csv and --json")
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
                lines = partial(history, granularity=args.granularity or "raw", aggregate=args.aggregate)
                print(hub(lines(format="csv" if args.csv else "json")), end="")
                return
            datastream = find_datastream(device, args.pin)
            is_number = datastream is not None and datastream["type"] in ("integer", "double")
            granularity: Granularity = args.granularity or (_chart_granularity(hub, history) if is_number else "raw")
            points = _points(hub, history, granularity)
            if not points and granularity == "raw" and not args.granularity:
                # The values may be gone and their statistics still there.
                points = _points(hub, history, "minute")
            is_enum = datastream is not None and datastream["type"] == "enum"
            labels = _enum_labels(hub, device, datastream["pin"]) if datastream is not None and is_enum else {}
        print("\n".join(_chart_or_table(points, args.aggregate or "avg", labels)))

    parser.set_defaults(run=run)


def _points(hub: Api, history: Callable[..., Any], granularity: Granularity) -> list[dict[str, Any]]:
    """Return the points, or the statistics of minutes, hours or days, as the API has them."""
    return [json.loads(line) for line in hub(history(granularity=granularity)).splitlines()]


def _enum_labels(hub: Api, device: DeviceObject, pin: str) -> dict[int, str]:
    """Return the labels of an enum by their numbers; none if the caller may not see the template."""
    try:
        template = hub(operations.get_organization_template(template_id=device["templateId"]))
    except RequestError:
        return {}
    datastreams = (datastream for datastream in template["datastreams"] if datastream["pin"].lower() == pin)
    return {int(number): label for datastream in datastreams for number, label in datastream["values"].items()}


def _chart_granularity(hub: Api, history: Callable[..., Any]) -> Granularity:
    """Choose the granularity of a chart, by the number of values and the hours that they cover."""
    by_hour = _points(hub, history, "hour")
    if not by_hour:
        return "raw"
    hours = (by_hour[-1]["ts"] - by_hour[0]["ts"]) // HOUR_MS + 1
    if hours <= RAW_HOURS and sum(hour["count"] for hour in by_hour) <= MAX_RAW:
        return "raw"
    return "minute" if hours <= MINUTE_HOURS else "hour" if hours <= HOUR_HOURS else "day"


def _chart_or_table(points: Sequence[Mapping[str, Any]], aggregate: str, labels: Mapping[int, str]) -> list[str]:
    """Return the lines of a chart of numbers, or of a table of the changes of other values."""
    values = [(point["ts"], point["value"] if "value" in point else point.get(aggregate)) for point in points]
    if not values:
        return ["there are no values in this time"]
    numbers = [(at, value) for at, value in values if isinstance(value, (int, float))]
    if not labels and len(numbers) == len(values):
        count = sum(point.get("count", 1) for point in points)
        return chart(numbers, shutil.get_terminal_size().columns, count)
    last = [(point["ts"], point.get("value", point.get("last"))) for point in points]
    changes = [new for old, new in zip([(0, None), *last], last, strict=False) if new[1] != old[1]]
    rows = [(format_time(at), _labelled(value, labels)) for at, value in changes[-MAX_TABLE_ROWS:]]
    return [
        *format_table(("time", "value"), rows),
        f"{quantity(len(last), 'value')}, {quantity(len(changes), 'change')}",
    ]


def _labelled(value: Any, labels: Mapping[int, str]) -> Any:
    if isinstance(value, list):
        return ", ".join(str(_labelled(item, labels)) for item in value)
    return labels.get(value, value)


def device_export(parser: argparse.ArgumentParser) -> None:
    """Write all values of a device to a CSV file: time, pin, value."""
    add_device_argument(parser)
    parser.add_argument("file", metavar="FILE", type=Path)

    def run(args: argparse.Namespace) -> None:
        unfinished = partial_of(args.file)
        count = 0
        try:
            with api(args) as hub, unfinished.open("w", newline="", encoding="utf-8") as file:
                device = find_device(hub, args.device)
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                for at, pin, value in _all_values(hub, device):
                    writer.writerow((iso_time(at), pin, spellings.csv_field(value)))
                    count += 1
            publish(args.file)
        except OSError as error:
            raise RequestError(f"{args.file}: {error.strerror}") from error
        finally:
            unfinished.unlink(missing_ok=True)
        result = {"device": device["id"], "values": count, "file": str(args.file)}
        report(args, result, f"{quantity(count, 'value')} of {device['name']} written to {args.file}")

    parser.set_defaults(run=run)


def _all_values(hub: Api, device: DeviceObject) -> Iterator[tuple[int, str, Any]]:
    """Yield stamp, pin and value of everything in the history of a device, one datastream after the other."""
    datastreams = device["dataStreamValues"] or []
    # A day on: values may have stamps after this machine's clock.
    end = int(datetime.now(UTC).timestamp() * 1000) + DAY_MS
    for number, datastream in enumerate(datastreams):
        history = partial(operations.get_device_history, device_id=device["id"], pin=datastream["pin"])
        days = hub(history(granularity="day", tz="UTC", from_=0, to=end)).splitlines()
        first = json.loads(days[0])["ts"] if days else end
        for start in range(first, end, EXPORT_WINDOW):
            show_progress(number + (start - first) / max(1, end - first), len(datastreams), "exporting")
            lines = hub(history(from_=start, to=min(end, start + EXPORT_WINDOW))).splitlines()
            for point in map(json.loads, lines):
                yield point["ts"], datastream["pin"], point["value"]
    show_progress(1, 1, "exporting")


def device_import(parser: argparse.ArgumentParser) -> None:
    """Read values from a CSV file as `device export` writes it; if one row is wrong, nothing is imported."""
    add_device_argument(parser)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument(
        "--pin", metavar="PIN", help="the datastream of all rows, for a file without a column pin, such as a report"
    )
    parser.add_argument("--tz", metavar="ZONE", help="time zone of times without an offset; by default the device's")
    parser.add_argument(
        "--skip",
        metavar="VALUE",
        action="append",
        default=[],
        help="leave out rows with this value, such as unavailable",
    )

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = find_device(hub, args.device)
            zone = args.tz or device["timezone"]
            if not timezones.is_known(zone):
                raise Rejected(f"there is no time zone {zone[:50]!r}")
            types = {}
            for datastream in device["dataStreamValues"] or ():
                types[datastream["pin"]] = types[datastream["dataStreamLabel"]] = datastream["type"]
            problems, rows, skipped = CsvReader(args.pin, zone, frozenset(args.skip), types).read(args.file)
            # The first pass only checks, so that nothing is imported if any row is wrong.
            for check in (True, False):
                problems += _send_rows(hub, device, rows, len(problems), check=check)
                if problems:
                    raise Rejected("\n".join(f"{args.file}: {line}" for line in _described(problems)))
            show_progress(1, 1, "importing")
        result = {"device": device["id"], "values": len(rows), "skipped": skipped, "file": str(args.file)}
        left_out = f", {quantity(skipped, 'row')} left out" if args.skip else ""
        report(args, result, f"{quantity(len(rows), 'value')} of {device['name']} imported{left_out}")

    parser.set_defaults(run=run)


def _send_rows(
    hub: Api, device: DeviceObject, rows: Sequence[Row], problem_count: int, *, check: bool
) -> list[Problem]:
    """Send rows in batches, to be checked or imported; return their problems.

    An import ends at the first batch with a problem, a check when there are `MAX_PROBLEMS`, counting the
    ``problem_count`` that there were before.
    """
    problems: list[Problem] = []
    for start in range(0, len(rows), IMPORT_BATCH):
        show_progress(start, len(rows), "checking" if check else "importing")
        batch = rows[start : start + IMPORT_BATCH]
        values = [row for _, row in batch]
        try:
            # Numbers in problems count from 0: `located` finds the row by them.
            call = operations.post_device_import_rows(device_id=device["id"], line=0, rows=values, check=check)
            hub(call)
        except RequestError as error:
            problems += [located(problem, batch) for problem in str(error).splitlines()]
            if not check or problem_count + len(problems) >= MAX_PROBLEMS:
                break
    return problems


def _described(problems: Sequence[Problem]) -> list[str]:
    ordered = sorted(problems, key=lambda problem: problem[0])
    return [f"line {line}: {text}" if line else text for line, text in ordered[:MAX_PROBLEMS]]


def device_erase(parser: argparse.ArgumentParser) -> None:
    """Erase the values, history and properties of a device, or of one of its pins, for good."""
    add_device_argument(parser)
    parser.add_argument("pin", metavar="PIN", nargs="?", help="erase only this datastream: a pin such as V1, or a name")
    add_yes_option(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = find_device(hub, args.device)
            subject = f"{args.pin.upper()} of {device['name']}" if args.pin else f"all values of {device['name']}"
            confirm(args, f"erase {subject} ({device['id']}) for good")
            hub(operations.post_device_erase(device_id=device["id"], pin=args.pin))
        report(args, {"device": device["id"], "pin": args.pin}, f"erased {subject}")

    parser.set_defaults(run=run)
