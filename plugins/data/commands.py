"""``pinwheel device history|export|import|erase``: ordinary clients of the API."""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

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
#: Rows of a chart, and what a column ends with: eighths.
HEIGHT, EIGHTHS = 10, " ▁▂▃▄▅▆▇█"


def device_history(parser: argparse.ArgumentParser) -> None:
    """What a datastream held: a chart, or lines with --csv or --json."""
    with_device(parser)
    parser.add_argument("pin", metavar="PIN", help="such as V1, or a datastream's name")
    parser.add_argument("--period", default="1d", help=f"how far back, {DURATION_HELP}")
    parser.add_argument("--from", dest="start", metavar="TIME", help="instead of --period, such as 2026-11-01")
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
                    writer.writerow((iso(at), pin, value if isinstance(value, str) else json.dumps(value)))
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

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = device_of(hub, args.device)
            kinds = {stream["pin"]: stream["type"] for stream in device["dataStreamValues"] or ()}
            problems, rows = _rows(args.file, kinds)
            for check in (True, False):
                done = 0
                for batch in _batches(rows):
                    progress(done, len(rows), "checking" if check else "importing")
                    rows_of = [row for _, row in batch]
                    try:
                        hub(
                            operations.post_device_import_rows(
                                device_id=device["id"], line=batch[0][0], rows=rows_of, check=check
                            )
                        )
                    except RequestError as error:
                        problems += str(error).splitlines()
                        if not check or len(problems) >= MAX_PROBLEMS:
                            break
                    done += len(batch)
                if problems:
                    problems.sort(key=lambda line: int("0" + line.removeprefix("line ").partition(":")[0]))
                    raise Rejected("\n".join(f"{args.file}: {problem}" for problem in problems[:MAX_PROBLEMS]))
            progress(1, 1, "importing")
        print(f"{len(rows)} values of {device['name']} imported")

    parser.set_defaults(run=run)


def _batches(rows: list[tuple[int, list[Any]]]) -> Iterator[list[tuple[int, list[Any]]]]:
    """Rows (line, row) of lines that follow each other, some thousand at a time."""
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or end - start == BATCH or rows[end][0] != rows[end - 1][0] + 1:
            yield rows[start:end]
            start = end


def _rows(path: Path, kinds: dict[str, str]) -> tuple[list[str], list[tuple[int, list[Any]]]]:
    """What is wrong with lines as such, and of the others (line, [stamp in ms, pin, value]). Raises `Rejected`."""
    problems: list[str] = []
    rows: list[tuple[int, list[Any]]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            if set(reader.fieldnames or ()) != set(HEADER):
                found = ",".join(reader.fieldnames or ()) or "nothing"
                raise Rejected(f"{path}: the header must be {','.join(HEADER)}, not {found}")
            for line, row in enumerate(reader, 2):
                at = _stamp(row["time"] or "")
                if None in row or None in row.values():
                    problems.append(f"line {line}: must have {len(HEADER)} columns")
                elif at is None:
                    problems.append(f"line {line}: {row['time'][:40]!r} is no time")
                else:
                    pin = row["pin"].lower()
                    rows.append((line, [at, pin, _value(row["value"], kinds.get(pin, ""))]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = (
            "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None) or error
        )
        raise Rejected(f"{path}: {why}") from error
    return problems, rows


def _stamp(text: str) -> int | None:
    if text.isascii() and text.isdecimal() and len(text) < 16:
        return int(text)
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return None
    return round((then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() * 1000)


def _value(text: str, kind: str) -> Any:
    """An array where the text is one; only text may begin with a bracket and be none."""
    if kind != "string" and text.startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


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
