"""``python -m bench report``: runs the benchmarks of docs/performance.md and writes its table.

Each row has the commit, the date and the calibration of its measurement. Rows that are not measured stay as they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.calibration import calibration_us

Result = Mapping[str, Any]

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
HEAD = "| what | command | measured | budget | commit, date, calibration |\n|---|---|---|---|---|\n"
MISSED = "**missed:**"


@attrs.frozen
class Budget:
    """A limit for results. ``label`` is its text in the table; ``is_met`` returns whether a result meets it."""

    label: str
    is_met: Callable[[Result], bool]


@attrs.frozen
class Row:
    """A row of the table. ``command`` are the arguments of ``python -m bench``; ``format`` makes a cell of a result."""

    title: str
    command: str
    format: Callable[[Result], str]
    budgets: tuple[Budget, ...] = ()


def at_least(name: str, limit: float, label: str) -> Budget:
    return Budget(label, lambda result: result[name] >= limit)


def at_most(name: str, limit: float, label: str) -> Budget:
    return Budget(label, lambda result: result[name] is not None and result[name] <= limit)


NOTHING_LOST = at_most("lost", 0, "0 lost")


def _ingest(result: Result) -> str:
    ages = "" if result["p99_ms"] is None else f", p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms"
    cpu_us, rss = result["cpu_us_per_message"], result["rss_mb"]
    return f"{result['per_second']:,}/s, {cpu_us} µs CPU each{ages}, {result['lost']} lost, {rss:.0f} MB"


def _idle(result: Result) -> str:
    return (
        f"{result['rss_mb']:.0f} MB before, {result['kb_per_connection']} KB each, {result['cpu_percent']} % of a core"
    )


def _start(result: Result) -> str:
    return f"{result['seconds']:.1f} s, {result['rss_mb']:.0f} MB"


def _kill9(result: Result) -> str:
    return f"{result['acknowledged']:,} acknowledged in {result['rounds']} rounds, {result['lost']} lost"


def _history(result: Result) -> str:
    return (
        f"{result['bytes_per_point']} bytes stored and {result['written_bytes_per_point']:.0f} written per value;"
        f" 24 h of values {result['day_raw_ms']} ms, a year of days {result['year_daily_ms']} ms;"
        f" the event loop was blocked for {result['longest_stall_ms']} ms at most"
    )


def _dashboards(result: Result) -> str:
    names = {"label": "a label", "chart": "a chart", "table": "a sorted table of 20 columns"}
    durations = ", ".join(f"{text} {result[f'{name}_cpu_ms']} ms" for name, text in names.items())
    return f"{durations}; at most {_longest_slice(result)} ms of it at once"


def _longest_slice(result: Result) -> float:
    return max(float(value) for key, value in result.items() if key.endswith("_slice_ms"))


def _small(result: Result) -> str:
    memory = "all memory" if result["memory_mb"] is None else f"{result['memory_mb']} MB"
    return (
        f"p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms, {result['cpu_percent']} % of a core;"
        f" at rest {result['rest_cpu_percent']} %; {result['lost']} lost ({result['limit']}, {memory},"
        f" syncs delayed by {result['sync_ms']:.0f} ms)"
    )


def _stream(result: Result) -> str:
    cpu_percent = result["cpu_percent"]
    return (
        f"p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms; {cpu_percent} % of a core,"
        f" {cpu_percent - result['cpu_percent_unwatched']:.1f} % of it for the stream"
    )


def _gathered_stream(result: Result) -> str:
    return (
        f"{result['messages_per_second']} messages/s to each, p99 {result['p99_ms']} ms;"
        f" {result['cpu_percent_each']} % of a core for each"
    )


def _hostile(result: Result) -> str:
    return (
        f"{result['requests']:,} requests on {result['routes']} routes: the event loop was blocked for"
        f" {result['longest_gap_ms']} ms at most; {result['grown_mb']} MB more memory 10 s later"
    )


def _backup(result: Result) -> str:
    return (
        f"{result['before_p99_ms']} ms before, {result['during_p99_ms']} ms during the {result['seconds']:.0f} s,"
        f" {result['after_p99_ms']} ms after"
    )


def _rest(result: Result) -> str:
    return f"{result['syncs_per_minute'] or '?'} syncs a minute, {result['written_mb_per_day']:.0f} MB written a day"


def _tenants(result: Result) -> str:
    return f"{result['login_ms']} ms, {result['device_list_ms']} ms, {result['start_seconds']} s"


def _brokers(result: Result) -> str:
    # The result also has ratios, which are numbers.
    rates = (f"{name} {load['per_cpu_second']:,}" for name, load in result.items() if isinstance(load, dict))
    return "messages per CPU-second: " + ", ".join(rates)


def _api(result: Result) -> str:
    return (
        f"{result['device_reads_per_second']:,} reads/s ({result['cpu_us_per_read']} µs CPU),"
        f" {result['list_1000_ms']} ms, {result['search_word_ms']} ms, {result['filter_ms']} ms,"
        f" {result['year_hourly_ms']} ms"
    )


#: Requests of the bench ``search`` with a budget of their own.
TEXT_SEARCHES = ("word", "words", "name", "status")
VALUE_SEARCHES = ("metadata", "datastream", "by_datastream", "by_metadata")


def _search(result: Result) -> str:
    cpu_ms = ", ".join(f"{name} {result[name]['cpu_ms']}" for name in (*TEXT_SEARCHES, *VALUE_SEARCHES))
    return f"ms of CPU: {cpu_ms}; the event loop was blocked for {result['blocked_ms']} ms at most"


def _most_cpu_ms(result: Result, names: Sequence[str]) -> float:
    return max(float(result[name]["cpu_ms"]) for name in names)


ROWS: Sequence[Row] = (
    Row(
        "native, as fast as it goes, with a live subscriber",
        "ingest --transport native --connections 100 --rate max --subscriber",
        _ingest,
        (
            at_least("per_second", 60_000, "≥ 60,000/s"),
            at_most("cpu_us_per_message", 12, "≤ 12 µs"),
            NOTHING_LOST,
        ),
    ),
    Row(
        "native, 1,000/s, device to subscriber",
        "ingest --transport native --connections 100 --rate 1000 --subscriber",
        _ingest,
        (
            at_most("p50_ms", 1.5, "p50 ≤ 1.5 ms"),
            at_most("p99_ms", 5, "p99 ≤ 5 ms"),
            at_most("cpu_us_per_message", 250, "≤ 250 µs"),
            NOTHING_LOST,
        ),
    ),
    Row(
        "HTTP update, answered after the commit",
        "ingest --transport http --connections 64",
        _ingest,
        (
            at_least("per_second", 1_500, "≥ 1,500/s"),
            at_most("cpu_us_per_message", 500, "≤ 500 µs"),
            NOTHING_LOST,
        ),
    ),
    Row(
        "MQTT, QoS 1, one in flight each, acknowledged after the commit",
        "ingest --transport mqtt --connections 100",
        _ingest,
        (at_most("cpu_us_per_message", 125, "≤ 125 µs (8,000 a CPU-second)"), NOTHING_LOST),
    ),
    Row(
        "the same at 500/s",
        "ingest --transport mqtt --connections 100 --rate 500",
        _ingest,
        (at_most("p99_ms", 25, "p99 ≤ 25 ms"), NOTHING_LOST),
    ),
    Row("the same, compared with brokers that store nothing", "brokers", _brokers),
    Row(
        "a quarter of a core, 256 MB, syncs delayed by 10 ms: 200 values/s from 100 devices, then heartbeats only",
        "small",
        _small,
        (
            at_most("p99_ms", 50, "p99 ≤ 50 ms"),
            at_most("rest_cpu_percent", 1, "≤ 1 % at rest"),
            NOTHING_LOST,
        ),
    ),
    Row(
        "the same without delayed syncs",
        "small --quick-syncs",
        _small,
        (
            at_most("p99_ms", 20, "p99 ≤ 20 ms"),
            at_most("rest_cpu_percent", 1, "≤ 1 % at rest"),
            NOTHING_LOST,
        ),
    ),
    Row(
        "idle MQTT connections",
        "idle --transport mqtt --connections 5000",
        _idle,
        (at_most("kb_per_connection", 12, "≤ 12 KB"),),
    ),
    Row(
        "idle connections",
        "idle --connections 5000",
        _idle,
        (
            at_most("rss_mb", 70, "≤ 70 MB"),
            at_most("kb_per_connection", 10, "≤ 10 KB"),
            at_most("cpu_percent", 1, "≤ 1 %"),
        ),
    ),
    Row(
        "start with 10,000 devices, five values each",
        "start --devices 10000",
        _start,
        (at_most("seconds", 2, "≤ 2 s"),),
    ),
    Row("the same with 1 GB of history", "start --gigabytes 1", _start, (at_most("seconds", 2, "≤ 2 s"),)),
    Row(
        "HTTP updates at 500/s during a backup of 1 GB: p99 of the acknowledgement",
        "backup",
        _backup,
        (Budget("≤ twice the time before", lambda r: r["during_p99_ms"] <= 2 * r["before_p99_ms"]),),
    ),
    Row(
        'at rest: 100 datastreams, each with one value a minute, `flush = "5s"`',
        "rest",
        _rest,
        (
            Budget("≤ 12 syncs", lambda r: r["syncs_per_minute"] is None or r["syncs_per_minute"] <= 12),
            at_most("written_mb_per_day", 50, "≤ 50 MB"),
        ),
    ),
    Row(
        "1,000 organizations, each with 20 users and 20 devices: login, a tenant's devices, start",
        "tenants",
        _tenants,
        (
            at_most("login_ms", 150, "≤ 150 ms"),
            at_most("device_list_ms", 50, "≤ 50 ms"),
            at_most("start_seconds", 3, "≤ 3 s"),
        ),
    ),
    Row(
        "50,000 devices: reads of one device over one connection, a list of 1,000, a search for words, two filters with"
        " metadata, the hours of a year of 8 datastreams",
        "api",
        _api,
        (
            at_least("device_reads_per_second", 1_000, "≥ 1,000/s"),
            at_most("list_1000_ms", 50, "≤ 50 ms"),
            at_most("search_word_ms", 100, "≤ 100 ms"),
            at_most("filter_ms", 100, "≤ 100 ms"),
            at_most("year_hourly_ms", 100, "≤ 100 ms"),
        ),
    ),
    Row(
        "50,000 devices: searches by words, name, status, metadata and a datastream, sorted",
        "search",
        _search,
        (
            Budget("≤ 150 ms CPU by words, name and status", lambda r: _most_cpu_ms(r, TEXT_SEARCHES) <= 150),
            Budget("≤ 300 ms by values", lambda r: _most_cpu_ms(r, VALUE_SEARCHES) <= 300),
            at_most("blocked_ms", 20, "blocked ≤ 20 ms"),
        ),
    ),
    Row(
        "widgets of a dashboard about 200 devices, a value a minute each for a day: CPU",
        "dashboards",
        _dashboards,
        (
            at_most("label_cpu_ms", 150, "≤ 150 ms"),
            at_most("chart_cpu_ms", 150, "≤ 150 ms"),
            Budget("≤ 20 ms at once", lambda r: _longest_slice(r) <= 20),
        ),
    ),
    Row(
        "1,000 values/s sent to 200 clients that watch all devices",
        "stream",
        _stream,
        (
            at_most("p99_ms", 60, "p99 ≤ 60 ms"),
            Budget("≤ 12 % for the stream", lambda r: r["cpu_percent"] - r["cpu_percent_unwatched"] <= 12),
        ),
    ),
    Row(
        "the same to 10 clients that want them gathered for 250 ms",
        "stream --interval 250 --subscribers 10",
        _gathered_stream,
        (
            at_most("messages_per_second", 4.1, "≤ 4 messages/s"),
            at_most("cpu_percent_each", 1, "≤ 1 % each"),
        ),
    ),
    Row(
        "the most expensive requests, on every route",
        "hostile",
        _hostile,
        (at_most("longest_gap_ms", 100, "≤ 100 ms"), at_most("grown_mb", 20, "≤ 20 MB")),
    ),
    Row("`kill -9` under load, HTTP", "kill9 --rounds 200 --transport http", _kill9, (NOTHING_LOST,)),
    Row("the same over MQTT", "kill9 --rounds 200 --transport mqtt", _kill9, (NOTHING_LOST,)),
    Row(
        "history, 20 series for a year",
        "history --points 10000000 --series 20",
        _history,
        (
            at_most("bytes_per_point", 4, "≤ 4 bytes"),
            at_most("written_bytes_per_point", 300, "≤ 300 written"),
            at_most("day_raw_ms", 2, "≤ 2 ms"),
            at_most("year_daily_ms", 2, "≤ 2 ms"),
        ),
    ),
    Row(
        "history, 2,000 series for three days",
        "history --points 10000000 --series 2000",
        _history,
        (
            at_most("bytes_per_point", 8, "≤ 8 bytes"),
            at_most("written_bytes_per_point", 300, "≤ 300 written"),
            at_most("day_raw_ms", 2, "≤ 2 ms"),
            at_most("longest_stall_ms", 50, "blocked ≤ 50 ms"),
        ),
    ),
)


def report(names: Sequence[str]) -> dict[str, Any]:
    """Run the benchmarks of all rows, or those in ``names``, one after the other; write each row when it is measured.

    Return the titles of rows that miss a budget.
    """
    unknown = set(names) - {row.command.split()[0] for row in ROWS}
    if unknown:
        raise SystemExit(f"No row of the table is measured by {', '.join(sorted(unknown))}.")
    missed = []
    for number, row in enumerate(ROWS, 1):
        if names and row.command.split()[0] not in names:
            continue
        print(f"{number}/{len(ROWS)} python -m bench {row.command}", file=sys.stderr)
        calibration = calibration_us()
        command = [sys.executable, "-m", "bench", *row.command.split(), "--json"]
        result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        line = format_row(row, result, f"{_commit()}, {time.strftime('%Y-%m-%d')}, {calibration:.0f} µs")
        PAGE.write_text(replace_row(PAGE.read_text("utf-8"), row, line), "utf-8")
        if MISSED in line:
            missed.append(row.title)
    return {"missed": missed}


def format_row(row: Row, result: Result, measured_at: str) -> str:
    """Return the line of a row in the table. Budgets that the result does not meet are marked."""
    budgets = [budget.label if budget.is_met(result) else f"{MISSED} {budget.label}" for budget in row.budgets]
    return (
        f"| {row.title} | `python -m bench {row.command}` | {row.format(result)} | {', '.join(budgets)} |"
        f" {measured_at} |\n"
    )


def replace_row(page: str, replaced: Row, line: str) -> str:
    """Return the page with one row of its table replaced. Rows are in the order of `ROWS`; unknown ones are dropped."""
    before, _, after = page.partition(HEAD)
    lines = []
    while after.startswith("|"):
        old_line, _, after = after.partition("\n")
        lines.append(f"{old_line}\n")
    by_command = {row.command: _line_of(row, lines) for row in ROWS}
    by_command[replaced.command] = line
    return before + HEAD + "".join(by_command[row.command] for row in ROWS) + after


def _line_of(row: Row, lines: Sequence[str]) -> str:
    return next((line for line in lines if f"`python -m bench {row.command}`" in line), "")


def _commit() -> str:
    """Return the current commit, with "+" if files other than the page differ from it."""
    commit = _git("rev-parse", "--short", "HEAD").strip()
    changed = _git("status", "--porcelain", "--", "..", ":!performance.md")
    return f"`{commit}{'+' if changed else ''}`"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=PAGE.parent, capture_output=True, text=True, check=True).stdout
