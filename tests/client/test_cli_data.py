"""Commands on the data of devices: history, export, import, erase, events and log."""

from __future__ import annotations

import json
import time
import unicodedata

import pytest
import trio
from support.command import CONFIG, TEMPLATE
from support.compaction import compact

from hub.config import parse
from hub.model import SYSTEM
from hub.run import running
from hub.testing import add_device
from hub.writes import Write
from plugins.data.text_chart import chart

HOUR = 3_600_000


@pytest.fixture
def station(any_hub):
    """The id of a device with a day of values."""
    _, number, _ = any_hub.add()
    now = int(time.time() * 1000)
    lines = ["time,pin,value", *(f"{now - n * HOUR},v0,{20 + n}" for n in range(24))]
    (any_hub.folder / "in.csv").write_text("\n".join(lines))
    done = any_hub("device", "import", number, "in.csv")
    assert (0, "24 values of") == (done.code, done.out[:12]), done.err
    return number


def test_history_is_printed_as_a_chart_csv_or_json_lines(any_hub, station):
    done = any_hub("device", "history", station, "V0", "--period", "2d")
    assert 0 == done.code
    assert "24 values" in done.out
    assert "█" in done.out
    lines = any_hub("device", "history", station, "v0", "--period", "2d", "--csv").out.splitlines()
    assert ("time,value", 25) == (lines[0], len(lines))
    days = [
        json.loads(line)
        for line in any_hub(
            "device", "history", station, "v0", "--json", "--granularity", "day", "--period", "3d"
        ).out.splitlines()
    ]
    assert 24 == sum(day["count"] for day in days)
    assert "there are no values" in any_hub("device", "history", station, "V1").out


#: A template with a composed name, a decomposed name, and a name equal to another datastream's pin.
SPELLED = """
[template]
id = "TMPL0spelled"
name = "Spelled"
[[datastream]]
pin = "V0"
name = "H\u00f6he"
type = "double"
[[datastream]]
pin = "V1"
name = "La\u0308nge"
type = "enum"
values = { 0 = "short", 1 = "long" }
[[datastream]]
pin = "V2"
name = "V3"
[[datastream]]
pin = "V3"
name = "Other"
"""


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_datastream_name_matches_in_either_unicode_normalization(any_hub, form):
    assert 0 == any_hub.import_template(SPELLED).code
    height, length = (unicodedata.normalize(form, name) for name in ("H\u00f6he", "L\u00e4nge"))
    added = any_hub("device", "add", "--template", "TMPL0spelled", "--name", f"{form} {any_hub.process is None}")
    number = added.json["id"]
    assert "V0 H\u00f6he = 21.5\n" == any_hub("device", "write", number, height, "21.5").out
    assert "V1 L\u00e4nge = long\n" == any_hub("device", "write", number, length, "1").out
    assert "21.5" in any_hub("device", "history", number, height).out
    assert "long" in any_hub("device", "history", number, length).out
    (any_hub.folder / "in.csv").write_text(f"time;pin;value\n{int(time.time() * 1000) - HOUR};{height};22,5\n")
    imported = any_hub("device", "import", number, "in.csv")
    assert (0, "") == (imported.code, imported.err)


def test_pin_takes_precedence_over_a_datastream_of_that_name(any_hub):
    assert 0 == any_hub.import_template(SPELLED).code
    number = any_hub("device", "add", "--template", "TMPL0spelled", "--name", f"Pin {any_hub.process is None}").json[
        "id"
    ]
    assert "V3 Other = 5\n" == any_hub("device", "write", number, "V3", "5").out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("V9",), "has no datastream on pin V9"),
        (("V0", "--period", "soon"), "--period must be a duration"),
        (("V0", "--json", "--tz", "Mars/Olympus"), "there is no time zone 'Mars/Olympus'"),
        (("V0", "--json", "--from", "2026-11-02", "--to", "2026-11-01"), "--from must be before to"),
    ],
)
def test_invalid_history_query_is_reported_in_one_line(any_hub, station, arguments, error):
    done = any_hub("device", "history", station, *arguments)
    assert 1 == done.code
    assert error in done.error


def test_exported_values_import_unchanged_and_repeatedly(any_hub, station):
    done = any_hub("device", "export", station, "out.csv")
    assert (0, True) == (done.code, "24 values of" in done.out), done.err
    text = (any_hub.folder / "out.csv").read_text()
    _, other, _ = any_hub.add()
    for _ in range(2):
        assert 0 == any_hub("device", "import", other, "out.csv").code
        assert 0 == any_hub("device", "export", other, "again.csv").code
        assert text == (any_hub.folder / "again.csv").read_text(), "a repeated import changes nothing"
    assert not (any_hub.folder / "out.csv.partial").exists()


NOW = int(time.time() * 1000)


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("when,what\n1,2\n", ["the header must be time,pin,value, not when,what"]),
        ("", ["the header must be time,pin,value, not nothing"]),
        (
            f"time,pin,value\n{NOW},v0,x\nnever,v0,1\n{NOW},v0\n{NOW},v9,1\n",
            [
                "line 2: Value",
                "line 3: 'never' is not a valid time",
                "line 4: has 2 columns instead of 3",
                "line 5: device",
            ],
        ),
        (f"time,pin,value\n{NOW},v0,1\n{NOW},v77,1\n{NOW},v0,x\n", ["line 3: device", "line 4: Value doesn't match"]),
        (f"time,pin,value\n{NOW},v0,nan\n", ["line 2: Value doesn't match"]),
        (
            "time,pin,value\n2999-01-01,v0,1\n1999-01-01,v0,1\n",
            ["line 2: The timestamp is more", "line 3: The timestamp is older"],
        ),
        ('time,pin,value\n1,"v0\n', ["unexpected end of data"]),
    ],
    ids=["header", "empty", "several", "pin", "nan", "when", "quote"],
)
def test_invalid_file_imports_nothing_and_all_errors_are_reported(any_hub, text, errors):
    _, number, _ = any_hub.add()
    (any_hub.folder / "bad.csv").write_text(text)
    done = any_hub("device", "import", number, "bad.csv")
    assert 1 == done.code
    lines = done.err.splitlines()
    assert len(errors) == len(lines), done.err
    assert all(
        line.startswith("pinwheel: bad.csv: ") and error in line for line, error in zip(lines, errors, strict=True)
    )
    assert "there are no values" in any_hub("device", "history", number, "V0").out


def test_missing_file_is_reported(any_hub, station):
    assert "nowhere.csv: No such file or directory" == any_hub("device", "import", station, "nowhere.csv").error
    assert "nowhere/x.csv: No such file or directory" == any_hub("device", "export", station, "nowhere/x.csv").error


def test_erasing_needs_confirmation_and_deletes_the_values(any_hub, station):
    assert "Run again with --yes." in any_hub("device", "erase", station, "V0").error
    assert 0 == any_hub("device", "erase", station, "V0", "--yes").code
    assert "there are no values" in any_hub("device", "history", station, "V0").out


def test_events_are_listed_commented_and_archived(any_hub):
    name, number, token = any_hub.add()
    import argparse

    from client import operations
    from client.cli import api

    args = argparse.Namespace(config=any_hub.folder / "hub.toml", data=str(any_hub.data))
    with api(args) as hub:
        call = operations.post_organization_device_trigger_event
        hub(call(device_id=number, event_code="sys_ota", event_description="OTA started"))
    [event] = any_hub("device", "events", name, "--json").json["content"]
    assert "OTA started" == event["description"]
    assert 0 == any_hub("device", "events", name, "--comment", event["id"], "seen").code
    assert "OTA started (local key: seen)" in any_hub("device", "events", name).out
    assert "needs no resolution" in any_hub("device", "events", name, "--resolve", event["id"]).error
    assert 0 == any_hub("device", "events", name, "--archive", event["id"]).code
    assert [] == any_hub("device", "events", name, "--json").json["content"]
    assert "OTA started" in any_hub("device", "log", name).out
    types = "info, warning, critical, content, online, offline, status"
    assert f"--type must be one of {types}, not loud" == any_hub("device", "events", name, "--type", "loud").error


@pytest.mark.parametrize("has_chunks", [True, False])
def test_check_reports_the_storage_costs_of_compacted_values(pinwheel, has_chunks):
    async def write_a_value():
        async with running(parse(CONFIG).with_data(str(pinwheel.data)), listen=False) as hub:
            device, _ = await add_device(hub, TEMPLATE)
            await hub.write(Write(device, 0, 21.5, "test", SYSTEM)).durable()
            if has_chunks:
                await compact(hub)

    trio.run(write_a_value)
    done = pinwheel("check")
    assert 0 == done.code
    assert has_chunks == ("MB a month: TMPL0cli V0" in done.out)


def test_chart_resolution_follows_the_data(any_hub):
    """With ten values in a minute, one every 30 seconds for a day, a constant, and a single value."""
    now = int(time.time() * 1000)
    for rows, heights, labels in (
        ([(now - 60_000 + n * 6_000, n) for n in range(10)], 10, 10),
        ([(now - 80_000_000 + n * 30_000, n) for n in range(2_000)], 60, 10),
        ([(now - 60_000 + n * 6_000, 21.5) for n in range(10)], 1, 1),
    ):
        _, number, _ = any_hub.add()
        lines = ["time,pin,value", *(f"{at},v0,{value}" for at, value in rows)]
        (any_hub.folder / "fine.csv").write_text("\n".join(lines))
        assert 0 == any_hub("device", "import", number, "fine.csv").code
        chart_lines = any_hub("device", "history", number, "V0").out.splitlines()
        assert labels == len({line.partition("┤")[0].strip() for line in chart_lines[:-1]})
        columns = list(zip(*(line.partition("┤")[2].ljust(80) for line in chart_lines[:-1]), strict=True))
        assert heights <= len([column for column in columns if set(column) - {" "}]) <= 80
        assert all(len(line) <= 80 for line in chart_lines)
        assert f"{len(rows)} values" in chart_lines[-1]
    _, number, _ = any_hub.add()
    assert 0 == any_hub("device", "write", number, "V0", "21.5").code
    assert ["21.5"] == any_hub("device", "history", number, "V0").out.split()[2:]


def test_history_of_an_enum_or_text_is_a_table_of_changes(any_hub):
    (any_hub.folder / "door.toml").write_text(
        '[template]\nid = "TMPL0door"\nname = "Door"\n'
        '[[datastream]]\npin = "V0"\nname = "Door"\ntype = "enum"\nvalues = { 0 = "Shut", 1 = "Open" }\n'
        '[[datastream]]\npin = "V1"\nname = "Note"\ntype = "string"\n'
    )
    assert 0 == any_hub("template", "import", "door.toml").code
    number = json.loads(any_hub("device", "add", "--template", "TMPL0door", "--name", "Door").out)["id"]
    for value in ("Open", "Open", "Shut"):
        assert 0 == any_hub("device", "write", number, "V0", value).code
        assert 0 == any_hub("device", "write", number, "V1", value.lower()).code
    for pin, first, second in (("V0", "Open", "Shut"), ("V1", "open", "shut")):
        lines = any_hub("device", "history", number, pin).out.splitlines()
        assert [["TIME", "VALUE"], [first], [second]] == [lines[0].split(), *([line.split()[2]] for line in lines[1:3])]
        assert "3 values, 2 changes" == lines[3]


@pytest.mark.parametrize("value", [21.5, 1e9 + 0.25, -3e-7])
def test_chart_rows_have_distinct_labels(value):
    lines = chart([(n * 1000, value + n * abs(value) / 1e6) for n in range(50)], 80)
    assert 10 == len({line.partition("┤")[0] for line in lines[:-1]})


def test_chart_shows_gaps():
    values = [(n * 1000, 1.0 + n % 2) for n in range(40) if not 10 < n < 30]
    bottom = chart(values, 80)[-2].partition("┤")[2]
    assert "█" in bottom
    assert "  " in bottom


def test_chart_labels_show_the_extremes():
    lines = chart([(n * 1000, float(n)) for n in range(100)], 60)
    assert 11 == len(lines)
    assert lines[0].split(" ┤")[0].strip() == "99"
    assert lines[9].split(" ┤")[0].strip() == "0"
    assert len(lines[0]) <= 60
    assert chart([(0, 5.0)], 60)
