"""``python -m bench report``: measures what docs/performance.md says, and writes its table.

A row that is not measured now stays as it was, with the commit, the date and the speed of the machine that it is from.
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
    """``says`` stands in the table; ``holds`` whether a result keeps it."""

    says: str
    holds: Callable[[Result], bool]


@attrs.frozen
class Row:
    """``command`` is what follows ``python -m bench``; ``measured`` makes the cell of a result."""

    what: str
    command: str
    measured: Callable[[Result], str]
    budgets: tuple[Budget, ...] = ()


def least(name: str, number: float, says: str) -> Budget:
    return Budget(says, lambda result: result[name] >= number)


def most(name: str, number: float, says: str) -> Budget:
    return Budget(says, lambda result: result[name] is not None and result[name] <= number)


NOTHING_LOST = most("lost", 0, "0 lost")


def _ingest(result: Result) -> str:
    ages = "" if result["p99_ms"] is None else f", p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms"
    each, rss = result["cpu_us_per_message"], result["rss_mb"]
    return f"{result['per_second']:,}/s, {each} µs CPU each{ages}, {result['lost']} lost, {rss:.0f} MB"


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
        f"{result['bytes_per_point']} bytes stored and {result['written_bytes_per_point']:.0f} written a value;"
        f" 24 h of values {result['day_raw_ms']} ms, a year of days {result['year_daily_ms']} ms;"
        f" the loop was blocked for {result['longest_stall_ms']} ms at most"
    )


def _small(result: Result) -> str:
    memory = "all memory" if result["memory_mb"] is None else f"{result['memory_mb']} MB"
    return (
        f"p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms, {result['cpu_percent']} % of a core;"
        f" at rest {result['rest_cpu_percent']} %; {result['lost']} lost ({result['limit']}, {memory},"
        f" syncs {result['sync_ms']:.0f} ms slower)"
    )


def _stream(result: Result) -> str:
    own = result["cpu_percent"] - result["cpu_percent_unwatched"]
    return (
        f"p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms; {result['cpu_percent']} % of a core, {own:.1f} % of it"
        " for the stream"
    )


def _brokers(result: Result) -> str:
    # Beside the results there are ratios.
    found = (f"{name} {one['per_cpu_second']:,}" for name, one in result.items() if isinstance(one, dict))
    return "messages a CPU-second: " + ", ".join(found)


def _api(result: Result) -> str:
    return (
        f"{result['device_reads_per_second']:,} reads/s ({result['cpu_us_per_read']} µs CPU),"
        f" {result['list_1000_ms']} ms, {result['search_word_ms']} ms, {result['filter_ms']} ms,"
        f" {result['year_hourly_ms']} ms"
    )


ROWS: Sequence[Row] = (
    Row(
        "native, at the maximum rate, with a subscriber of the live stream",
        "ingest --transport native --connections 100 --rate max --subscriber",
        _ingest,
        (
            least("per_second", 60_000, "≥ 60,000/s"),
            most("cpu_us_per_message", 12, "≤ 12 µs"),
            NOTHING_LOST,
        ),
    ),
    Row(
        "native, 1,000/s, device to subscriber",
        "ingest --transport native --connections 100 --rate 1000 --subscriber",
        _ingest,
        (
            most("p50_ms", 1.5, "p50 ≤ 1.5 ms"),
            most("p99_ms", 5, "p99 ≤ 5 ms"),
            most("cpu_us_per_message", 250, "≤ 250 µs"),
            NOTHING_LOST,
        ),
    ),
    Row(
        "HTTP update, answered after the commit",
        "ingest --transport http --connections 64",
        _ingest,
        (
            least("per_second", 1_500, "≥ 1,500/s"),
            most("cpu_us_per_message", 500, "≤ 500 µs"),
            NOTHING_LOST,
        ),
    ),
    Row(
        "MQTT, QoS 1, one in flight each, acknowledged after the commit",
        "ingest --transport mqtt --connections 100",
        _ingest,
        (most("cpu_us_per_message", 125, "≤ 125 µs (8,000 a CPU-second)"), NOTHING_LOST),
    ),
    Row(
        "the same at 500/s",
        "ingest --transport mqtt --connections 100 --rate 500",
        _ingest,
        (most("p99_ms", 25, "p99 ≤ 25 ms"), NOTHING_LOST),
    ),
    Row("the same compared with brokers that store nothing", "brokers", _brokers),
    Row(
        "a quarter of a core, 256 MB, syncs 10 ms slower: 200 values/s from 100 devices, then heartbeats alone",
        "small",
        _small,
        (
            most("p99_ms", 50, "p99 ≤ 50 ms"),
            most("rest_cpu_percent", 1, "≤ 1 % at rest"),
            NOTHING_LOST,
        ),
    ),
    Row(
        "the same with normal syncs",
        "small --quick-syncs",
        _small,
        (
            most("p99_ms", 20, "p99 ≤ 20 ms"),
            most("rest_cpu_percent", 1, "≤ 1 % at rest"),
            NOTHING_LOST,
        ),
    ),
    Row(
        "idle MQTT connections",
        "idle --transport mqtt --connections 5000",
        _idle,
        (most("kb_per_connection", 12, "≤ 12 KB"),),
    ),
    Row(
        "idle connections",
        "idle --connections 5000",
        _idle,
        (
            most("rss_mb", 70, "≤ 70 MB"),
            most("kb_per_connection", 10, "≤ 10 KB"),
            most("cpu_percent", 1, "≤ 1 %"),
        ),
    ),
    Row(
        "start with 10,000 devices, five values each",
        "start --devices 10000",
        _start,
        (most("seconds", 2, "≤ 2 s"),),
    ),
    Row("the same with 1 GB of history", "start --gigabytes 1", _start, (most("seconds", 2, "≤ 2 s"),)),
    Row(
        "HTTP updates at 500/s beside a backup of 1 GB: p99 of the acknowledgement",
        "backup",
        lambda r: (
            f"{r['before_p99_ms']} ms before, {r['during_p99_ms']} ms during the {r['seconds']:.0f} s,"
            f" {r['after_p99_ms']} ms after"
        ),
        (Budget("at most doubled", lambda r: r["during_p99_ms"] <= 2 * r["before_p99_ms"]),),
    ),
    Row(
        'at rest: 100 datastreams, a value a minute each, `flush = "5s"`',
        "rest",
        lambda r: f"{r['syncs_per_minute'] or '?'} syncs a minute, {r['written_mb_per_day']:.0f} MB written a day",
        (
            Budget("≤ 12 syncs", lambda r: r["syncs_per_minute"] is None or r["syncs_per_minute"] <= 12),
            most("written_mb_per_day", 50, "≤ 50 MB"),
        ),
    ),
    Row(
        "1,000 organizations, each with 20 users and 20 devices: login, a tenant's devices, start",
        "tenants",
        lambda r: f"{r['login_ms']} ms, {r['device_list_ms']} ms, {r['start_seconds']} s",
        (
            most("login_ms", 150, "≤ 150 ms"),
            most("device_list_ms", 50, "≤ 50 ms"),
            most("start_seconds", 3, "≤ 3 s"),
        ),
    ),
    Row(
        "50,000 devices: one device over one connection, a list of 1,000, a search by words, two filters with"
        " metadata, a year of hourly values of 8 datastreams",
        "api",
        _api,
        (
            least("device_reads_per_second", 1_000, "≥ 1,000/s"),
            most("list_1000_ms", 50, "≤ 50 ms"),
            most("search_word_ms", 100, "≤ 100 ms"),
            most("filter_ms", 100, "≤ 100 ms"),
            most("year_hourly_ms", 100, "≤ 100 ms"),
        ),
    ),
    Row(
        "1,000 values/s to 200 clients of the live stream that watch all devices",
        "stream",
        _stream,
        (
            most("p99_ms", 60, "p99 ≤ 60 ms"),
            Budget("≤ 12 % for the stream", lambda r: r["cpu_percent"] - r["cpu_percent_unwatched"] <= 12),
        ),
    ),
    Row(
        "the most expensive requests, on every route",
        "hostile",
        lambda r: (
            f"{r['requests']:,} requests on {r['routes']} routes: the event loop was blocked for"
            f" {r['longest_gap_ms']} ms at most; {r['grown_mb']} MB more memory 10 s later"
        ),
        (most("longest_gap_ms", 100, "≤ 100 ms"), most("grown_mb", 20, "≤ 20 MB")),
    ),
    Row("`kill -9` under load, HTTP", "kill9 --rounds 200 --transport http", _kill9, (NOTHING_LOST,)),
    Row("the same over MQTT", "kill9 --rounds 200 --transport mqtt", _kill9, (NOTHING_LOST,)),
    Row(
        "history, 20 series for a year",
        "history --points 10000000 --series 20",
        _history,
        (
            most("bytes_per_point", 4, "≤ 4 bytes"),
            most("written_bytes_per_point", 300, "≤ 300 written"),
            most("day_raw_ms", 2, "≤ 2 ms"),
            most("year_daily_ms", 2, "≤ 2 ms"),
        ),
    ),
    Row(
        "history, 2,000 series for three days",
        "history --points 10000000 --series 2000",
        _history,
        (
            most("bytes_per_point", 8, "≤ 8 bytes"),
            most("written_bytes_per_point", 300, "≤ 300 written"),
            most("day_raw_ms", 2, "≤ 2 ms"),
            most("longest_stall_ms", 50, "blocked ≤ 50 ms"),
        ),
    ),
)


def report(names: Sequence[str]) -> dict[str, Any]:
    """Measure the rows of some benches, or all, one after the other, and write each into the page when it is done."""
    unknown = set(names) - {row.command.split()[0] for row in ROWS}
    if unknown:
        raise SystemExit(f"no row of the table is measured by: {', '.join(sorted(unknown))}")
    missed = []
    for number, row in enumerate(ROWS, 1):
        if names and row.command.split()[0] not in names:
            continue
        print(f"{number}/{len(ROWS)} python -m bench {row.command}", file=sys.stderr)
        calibration = calibration_us()
        done = subprocess.run(
            [sys.executable, "-m", "bench", *row.command.split(), "--json"], stdout=subprocess.PIPE, check=True
        )
        result = json.loads(done.stdout)
        line = line_of(row, result, f"{_commit()}, {time.strftime('%Y-%m-%d')}, {calibration:.0f} µs")
        PAGE.write_text(with_line(PAGE.read_text("utf-8"), row, line), "utf-8")
        if MISSED in line:
            missed.append(row.what)
    return {"missed": missed}


def line_of(row: Row, result: Result, measured_at: str) -> str:
    """A row of the table; a budget that is not kept is marked."""
    budgets = [one.says if one.holds(result) else f"{MISSED} {one.says}" for one in row.budgets]
    return (
        f"| {row.what} | `python -m bench {row.command}` | {row.measured(result)} | {', '.join(budgets)} |"
        f" {measured_at} |\n"
    )


def with_line(page: str, row: Row, line: str) -> str:
    """The page with one row of its table replaced, in the order of `ROWS`; other lines of the table go."""
    before, _, table = page.partition(HEAD)
    rows, after = [], table
    while after.startswith("|"):
        one, _, after = after.partition("\n")
        rows.append(one + "\n")
    found = {one.command: next((r for r in rows if f"`python -m bench {one.command}`" in r), "") for one in ROWS}
    found[row.command] = line
    return before + HEAD + "".join(found[one.command] for one in ROWS) + after


def _commit() -> str:
    """The commit that is measured; with a + when files differ from it, the page apart."""
    here = PAGE.parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
    ).stdout.strip()
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "..", ":!performance.md"],
        cwd=here,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return f"`{commit}{'+' if changed else ''}`"
