"""The benchmarks run, lose no value, and print the numbers that the documentation quotes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench import report
from bench.__main__ import command_line


def bench(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--json"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["--transport", "native", "--rate", "max", "--subscriber"],
        ["--transport", "native", "--rate", "200", "--subscriber"],
        ["--transport", "http", "--rate", "max"],
        ["--transport", "http", "--rate", "200", "--subscriber"],
        ["--transport", "mqtt", "--rate", "max"],
        ["--transport", "mqtt", "--rate", "200"],
    ],
    ids=" ".join,
)
def test_ingest_loses_no_value(arguments):
    result = bench("ingest", "--connections", "8", "--seconds", "1", *arguments)

    assert 0 == result["lost"]
    assert result["messages"] > 100
    # Without acknowledgements there is no latency.
    assert (arguments[:4] != ["--transport", "native", "--rate", "max"]) == (result["p99_ms"] is not None)
    assert {
        "messages",
        "per_second",
        "cpu_us_per_message",
        "calibration_us",
        "cpu_per_calibration",
        "p50_ms",
        "p99_ms",
        "lost",
        "rss_mb",
        "told",
    } == set(result)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["native", "mqtt"])
def test_idle_connections_need_little_memory(transport):
    result = bench("idle", "--connections", "100", "--seconds", "0.2", "--transport", transport)

    assert {"rss_mb", "kb_per_connection", "cpu_percent"} == set(result)
    assert result["kb_per_connection"] < 30


@pytest.mark.slow
def test_hub_with_many_devices_starts_quickly():
    result = bench("start", "--devices", "1000")

    assert result["seconds"] < 5


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["http", "mqtt"])
def test_killed_hub_loses_no_acknowledged_value(transport):
    result = bench("kill9", "--rounds", "2", "--seed", "7", "--transport", transport)

    assert 0 == result["lost"]
    assert result["acknowledged"] > 100


@pytest.mark.slow
def test_backup_benchmark_measures_latency_before_during_and_after():
    result = bench("backup", "--devices", "64", "--gigabytes", "0.01", "--seconds", "1")

    assert {"gigabytes", "seconds", "before_p99_ms", "during_p99_ms", "after_p99_ms"} == set(result)
    assert result["during_p99_ms"] > 0


@pytest.mark.slow
def test_brokers_benchmark_measures_the_hub():
    result = bench("brokers", "--connections", "4", "--seconds", "0.3")

    assert result["pinwheel"]["per_cpu_second"] > 100


@pytest.mark.slow
def test_tenants_benchmark_has_the_given_size_and_fast_logins():
    result = bench("tenants", "--organizations", "20", "--users", "5", "--devices", "3")

    assert (20, 100, 60) == (result["organizations"], result["users"], result["devices"])
    assert result["login_ms"] < 1_000


@pytest.mark.slow
def test_hub_at_rest_writes_little():
    result = bench("rest", "--seconds", "6")

    assert 0 < result["written_mb_per_day"] < 500


@pytest.mark.slow
def test_api_benchmark_measures_every_request():
    result = bench("api", "--devices", "1000", "--seconds", "0.3")

    assert 1000 == result["devices"]
    assert all(result[name] > 0 for name in ("list_1000_ms", "search_word_ms", "filter_ms", "year_hourly_ms"))


@pytest.mark.slow
def test_search_benchmark_measures_every_request():
    result = bench("search", "--devices", "1000")

    requests = [value for value in result.values() if isinstance(value, dict)]
    assert len(requests) > 5
    assert all(0 < request["ms"] < 1_000 for request in requests)
    assert 0 < result["blocked_ms"] < 500


@pytest.mark.slow
def test_dashboards_benchmark_measures_every_widget():
    result = bench("dashboards", "--devices", "3")

    assert 3 == result["devices"]
    assert all(result[f"{name}_cpu_ms"] > 0 for name in ("label", "chart", "table", "count"))


@pytest.mark.slow
def test_stream_benchmark_measures_delivery():
    result = bench("stream", "--subscribers", "3", "--connections", "4", "--rate", "50", "--seconds", "1")

    assert result["told"] >= 40
    assert result["p99_ms"] < 5_000


@pytest.mark.slow
def test_stream_benchmark_measures_gathered_values():
    options = ("--subscribers", "2", "--connections", "4", "--rate", "50", "--seconds", "1", "--interval", "100")
    result = bench("stream", *options)

    assert 0 < result["messages_per_second"] < 20
    assert result["told"] > 0


@pytest.mark.slow
def test_small_machine_benchmark_loses_no_value():
    result = bench("small", "--connections", "8", "--seconds", "1")

    assert (0, 0.25) == (result["lost"], result["core_share"])
    assert (result["memory_mb"] is None) == (result["limit"] == "duty cycle")
    assert result["p99_ms"] > 0


RESULT = {"acknowledged": 1_000, "rounds": 2, "lost": 1}


def test_missed_budget_is_marked_and_other_rows_are_unchanged():
    kill9 = next(row for row in report.ROWS if row.command == "kill9 --rounds 200 --transport http")
    rest = next(row for row in report.ROWS if row.command == "rest")
    other_row = "| at rest | `python -m bench rest` | 1 | 2 | 3 |\n"
    removed_row = "| gone | `python -m bench gone` | 1 | 2 | 3 |\n"
    page = f"# Performance\n\n{report.HEAD}{removed_row}{other_row}\nAfter it.\n"

    line = report.format_row(kill9, RESULT, "`abc`, 2026-01-01, 950 µs")
    page = report.replace_row(page, kill9, line)

    assert "1,000 acknowledged in 2 rounds, 1 lost | **missed:** 0 lost | `abc`, 2026-01-01, 950 µs |" in line
    assert f"# Performance\n\n{report.HEAD}{other_row}{line}\nAfter it.\n" == page
    met_line = report.format_row(kill9, RESULT | {"lost": 0}, "`def`, 2026-01-02, 950 µs")
    assert "**missed" not in met_line
    assert f"# Performance\n\n{report.HEAD}{other_row}{met_line}\nAfter it.\n" == report.replace_row(
        page, kill9, met_line
    )
    assert report.ROWS.index(rest) < report.ROWS.index(kill9)


def test_every_row_of_the_table_is_a_benchmark_with_valid_options():
    parser = command_line()
    for row in report.ROWS:
        parser.parse_args(row.command.split())
