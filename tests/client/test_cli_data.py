"""The commands for what devices told: history, export, import, erase, events, log."""

from __future__ import annotations

import json
import sqlite3
import time
import unicodedata
from contextlib import closing

import pytest
from support.command import CommandLine

from plugins.data.text_chart import chart

HOUR = 3_600_000


@pytest.fixture(scope="module", params=["running", "stopped"])
def house(request, tmp_path_factory):
    """A house with the template; its tests share it, and each adds devices of its own."""
    house = CommandLine(tmp_path_factory.mktemp(request.param))
    if request.param == "stopped":
        house.import_template()
        yield house
        return
    with house.running():
        house.import_template()
        yield house


@pytest.fixture
def station(house):
    """A device with a day of values; its number."""
    _, number, _ = house.add()
    now = int(time.time() * 1000)
    lines = ["time,pin,value", *(f"{now - n * HOUR},v0,{20 + n}" for n in range(24))]
    (house.folder / "in.csv").write_text("\n".join(lines))
    done = house("device", "import", number, "in.csv")
    assert (0, "24 values of") == (done.code, done.out[:12]), done.err
    return number


def test_history_is_a_chart_or_csv_or_lines(house, station):
    done = house("device", "history", station, "V0", "--period", "2d")
    assert 0 == done.code
    assert "24 values" in done.out
    assert "█" in done.out
    lines = house("device", "history", station, "v0", "--period", "2d", "--csv").out.splitlines()
    assert ("time,value", 25) == (lines[0], len(lines))
    found = [
        json.loads(line)
        for line in house(
            "device", "history", station, "v0", "--json", "--granularity", "day", "--period", "3d"
        ).out.splitlines()
    ]
    assert 24 == sum(day["count"] for day in found)
    assert "there are no values" in house("device", "history", station, "V1").out


#: A template whose names are composed, decomposed, and that of another pin.
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
def test_datastream_is_found_by_its_name_in_either_form_of_unicode(house, form):
    assert 0 == house.import_template(SPELLED).code
    height, length = (unicodedata.normalize(form, name) for name in ("H\u00f6he", "L\u00e4nge"))
    added = house("device", "add", "--template", "TMPL0spelled", "--name", f"{form} {house.process is None}")
    number = added.json["id"]
    assert "V0 H\u00f6he = 21.5\n" == house("device", "write", number, height, "21.5").out
    assert "V1 L\u00e4nge = long\n" == house("device", "write", number, length, "1").out
    assert "21.5" in house("device", "history", number, height).out
    assert "long" in house("device", "history", number, length).out
    (house.folder / "in.csv").write_text(f"time;pin;value\n{int(time.time() * 1000) - HOUR};{height};22,5\n")
    imported = house("device", "import", number, "in.csv")
    assert (0, "") == (imported.code, imported.err)


def test_pin_comes_before_a_datastream_that_is_named_like_it(house):
    assert 0 == house.import_template(SPELLED).code
    number = house("device", "add", "--template", "TMPL0spelled", "--name", f"Pin {house.process is None}").json["id"]
    assert "V3 Other = 5\n" == house("device", "write", number, "V3", "5").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("V9",), "has no datastream on pin V9"),
        (("V0", "--period", "soon"), "--period must be a duration"),
        (("V0", "--json", "--tz", "Mars/Olympus"), "there is no time zone 'Mars/Olympus'"),
        (("V0", "--json", "--from", "2026-11-02", "--to", "2026-11-01"), "--from must be before to"),
    ],
)
def test_a_bad_question_is_one_line(house, station, arguments, said):
    done = house("device", "history", station, *arguments)
    assert 1 == done.code
    assert said in done.error


def test_what_is_exported_imports_as_the_same(house, station):
    done = house("device", "export", station, "out.csv")
    assert (0, True) == (done.code, "24 values of" in done.out), done.err
    text = (house.folder / "out.csv").read_text()
    _, other, _ = house.add()
    for _ in range(2):
        assert 0 == house("device", "import", other, "out.csv").code
        assert 0 == house("device", "export", other, "again.csv").code
        assert text == (house.folder / "again.csv").read_text(), "twice is once"
    assert not (house.folder / "out.csv.partial").exists()


NOW = int(time.time() * 1000)


@pytest.mark.parametrize(
    ("text", "said"),
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
def test_a_bad_file_imports_nothing_and_every_mistake_is_said(house, text, said):
    _, number, _ = house.add()
    (house.folder / "bad.csv").write_text(text)
    done = house("device", "import", number, "bad.csv")
    assert 1 == done.code
    lines = done.err.splitlines()
    assert len(said) == len(lines), done.err
    assert all(
        line.startswith("pinwheel: bad.csv: ") and wanted in line for line, wanted in zip(lines, said, strict=True)
    )
    assert "there are no values" in house("device", "history", number, "V0").out


def test_a_file_that_is_not_there_is_named(house, station):
    assert "nowhere.csv: No such file or directory" == house("device", "import", station, "nowhere.csv").error
    assert "nowhere/x.csv: No such file or directory" == house("device", "export", station, "nowhere/x.csv").error


def test_erasing_asks_and_is_for_good(house, station):
    assert "Run again with --yes." in house("device", "erase", station, "V0").error
    assert 0 == house("device", "erase", station, "V0", "--yes").code
    assert "there are no values" in house("device", "history", station, "V0").out


def test_events_are_listed_and_acted_upon(house):
    name, number, token = house.add()
    import argparse

    from client import operations
    from client.cli import api

    args = argparse.Namespace(config=house.folder / "hub.toml", data=str(house.data))
    with api(args) as hub:
        call = operations.post_organization_device_trigger_event
        hub(call(device_id=number, event_code="sys_ota", event_description="OTA started"))
    [event] = house("device", "events", name, "--json").json["content"]
    assert "OTA started" == event["description"]
    assert 0 == house("device", "events", name, "--comment", event["id"], "seen").code
    assert "OTA started (local key: seen)" in house("device", "events", name).out
    assert "needs no resolution" in house("device", "events", name, "--resolve", event["id"]).error
    assert 0 == house("device", "events", name, "--archive", event["id"]).code
    assert [] == house("device", "events", name, "--json").json["content"]
    assert "OTA started" in house("device", "log", name).out
    types = "info, warning, critical, content, online, offline, status"
    assert f"--type must be one of {types}, not loud" == house("device", "events", name, "--type", "loud").error


def test_check_says_what_datastreams_cost(house, station):
    with closing(sqlite3.connect(house.data / "history.db")) as database:
        sealed = database.execute("SELECT count(*) FROM chunks").fetchone()[0]
    done = house("check")
    assert ("MB a month: TMPL0cli V0" in done.out) == bool(sealed)


def test_a_chart_is_as_fine_as_there_is_data(house):
    """Of ten values in a minute, of a day's every 30 seconds, of a constant, of one: minutes after the first value."""
    now = int(time.time() * 1000)
    for rows, heights, labels in (
        ([(now - 60_000 + n * 6_000, n) for n in range(10)], 10, 10),
        ([(now - 80_000_000 + n * 30_000, n) for n in range(2_000)], 60, 10),
        ([(now - 60_000 + n * 6_000, 21.5) for n in range(10)], 1, 1),
    ):
        _, number, _ = house.add()
        lines = ["time,pin,value", *(f"{at},v0,{value}" for at, value in rows)]
        (house.folder / "fine.csv").write_text("\n".join(lines))
        assert 0 == house("device", "import", number, "fine.csv").code
        shown = house("device", "history", number, "V0").out.splitlines()
        assert labels == len({line.partition("┤")[0].strip() for line in shown[:-1]})
        columns = list(zip(*(line.partition("┤")[2].ljust(80) for line in shown[:-1]), strict=True))
        assert heights <= len([column for column in columns if set(column) - {" "}]) <= 80
        assert all(len(line) <= 80 for line in shown)
        assert f"{len(rows)} values" in shown[-1]
    _, number, _ = house.add()
    assert 0 == house("device", "write", number, "V0", "21.5").code
    assert ["21.5"] == house("device", "history", number, "V0").out.split()[2:]


def test_history_of_an_enum_and_of_text_is_a_table_of_changes(house):
    (house.folder / "door.toml").write_text(
        '[template]\nid = "TMPL0door"\nname = "Door"\n'
        '[[datastream]]\npin = "V0"\nname = "Door"\ntype = "enum"\nvalues = { 0 = "Shut", 1 = "Open" }\n'
        '[[datastream]]\npin = "V1"\nname = "Note"\ntype = "string"\n'
    )
    assert 0 == house("template", "import", "door.toml").code
    added = json.loads(house("device", "add", "--template", "TMPL0door", "--name", "Door").out)["id"]
    for value in ("Open", "Open", "Shut"):
        assert 0 == house("device", "write", added, "V0", value).code
        assert 0 == house("device", "write", added, "V1", value.lower()).code
    for pin, first, second in (("V0", "Open", "Shut"), ("V1", "open", "shut")):
        lines = house("device", "history", added, pin).out.splitlines()
        assert [["TIME", "VALUE"], [first], [second]] == [lines[0].split(), *([one.split()[2]] for one in lines[1:3])]
        assert "3 values, 2 changes" == lines[3]


@pytest.mark.parametrize("value", [21.5, 1e9 + 0.25, -3e-7])
def test_rows_of_a_chart_have_labels_that_differ(value):
    lines = chart([(n * 1000, value + n * abs(value) / 1e6) for n in range(50)], 80)
    assert 10 == len({line.partition("┤")[0] for line in lines[:-1]})


def test_a_chart_shows_where_there_was_nothing_for_a_while():
    values = [(n * 1000, 1.0 + n % 2) for n in range(40) if not 10 < n < 30]
    bottom = chart(values, 80)[-2].partition("┤")[2]
    assert "█" in bottom
    assert "  " in bottom


def test_a_chart_shows_low_and_high():
    lines = chart([(n * 1000, float(n)) for n in range(100)], 60)
    assert 11 == len(lines)
    assert lines[0].split(" ┤")[0].strip() == "99"
    assert lines[9].split(" ┤")[0].strip() == "0"
    assert len(lines[0]) <= 60
    assert chart([(0, 5.0)], 60)
