"""Files of values: what an import accepts, its errors, and that exports and reports can be imported."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.spellings import (
    call_api,
    history_of,
    recent_timestamps,
    write_csv,
)

from client import Call, operations
from hub.parsing import spellings


@pytest.mark.parametrize(
    "text",
    [
        "time,pin,value\n{},v0,1.5\n{},v0,2.5\n",
        "\ufefftime,pin,value\r\n{},v0,1.5\r\n\r\n\r\n{},v0,2.5\r\n",
        "Time,Pin,Value\n{},V0,1.5\n{},Level,2.5\n",
        "value, time, pin\n1.5,{},v0\n2.5,{},v0\n",
        "time;pin;value\n{};v0;1,5\n{};v0;2,5\n",
        "time\tpin\tvalue\n{}\tv0\t1.5\n{}\tv0\t2,5\n",
        "sep=;\r\ntime;pin;value\r\n{};v0;1.5\r\n{};v0;2.5\r\n",
        "time,pin,value\n,,\n{},v0,1.5\n,,\n{},v0,2.5\n,,\n",
        "time,pin,value,,\n{},v0,1.5,,\n{},v0,2.5\n",
        '"time","pin","value"\n"{}"," v0 ","1.5"\n{},v0,"2.5\r\n"\n',
    ],
)
def test_csv_files_of_common_spreadsheets_are_imported(cli, device_id, text):
    stamps = recent_timestamps(2)
    (cli.folder / "in.csv").write_text(text.format(*stamps), newline="")
    done = cli("device", "import", device_id, "in.csv")
    assert (0, "2 values of Case imported\n") == (done.code, done.out), done.err
    assert [*zip(stamps, (1.5, 2.5), strict=True)] == history_of(cli, device_id)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("time,pin,value\n{},v0,1\n\n\n{},v0,bad\n", ["line 5: Value doesn't match"]),
        (
            'time,pin,value\n{},v2,"a\nb\nc"\n{},v0,bad\nsoon,v0,1\n',
            ["line 5: Value", "line 6: 'soon' is not a valid time"],
        ),
        ("time,pin,value\n{},v0,bad\n\n{},v0,bad\n", ["line 2: Value", "line 4: Value"]),
        ("time,pin,value\n1795600000.123,v0,1\n", ["line 2: The timestamp 1795600000 is in seconds"]),
        ("time,pin,value\n46351.4166,v0,1\n", ["line 2: '46351.4166' is not a valid time"]),
        (
            "time,pin,value\n25.11.2026 10:00,v0,1\n",
            ["line 2: '25.11.2026 10:00' is not a valid time: write milliseconds"],
        ),
        ("time,pin,value\n0001-01-01,v0,1\n", ["line 2: The timestamp is older"]),
        ("time,pin,value\n9999-12-31T23:59,v0,1\n", ["line 2: The timestamp is"]),
        ('time,pin,value\n{},v0,"1,5"\n', ["line 2: Value doesn't match the Datastream data type. '1,5' has a comma"]),
        ("time,pin,value\n{},level,1\n", ["line 2: device Case has no datastream on pin level"]),
        ("time,pin,value\n{},v0,unavailable\n", ["line 2: there is no value; --skip unavailable leaves such rows out"]),
        ("time,pin,value\n{},v0,\n", ["line 2: there is no value; --skip '' leaves such rows out"]),
        ("time,value\n{},1\n", ["the header must be time,pin,value, not time,value; select the datastream with --pin"]),
        ("time,pin,value\n{},v0,1,2\n", ["line 2: has 4 columns instead of 3"]),
    ],
)
def test_errors_of_a_csv_file_name_the_line(cli, device_id, text, messages):
    (cli.folder / "bad.csv").write_text(text.format(*recent_timestamps(2)))
    done = cli("device", "import", device_id, "bad.csv")
    assert 1 == done.code
    lines = done.err.splitlines()
    assert [f"pinwheel: bad.csv: {part}" for part in messages] == [
        line[: len(f"pinwheel: bad.csv: {part}")] for line, part in zip(lines, messages, strict=True)
    ]
    assert [] == history_of(cli, device_id)


def test_csv_rows_with_a_skipped_value_are_not_imported(cli, device_id):
    stamps = recent_timestamps(4)
    rows = zip(stamps, ["v0"] * 4, ["1", "unknown", "", "2"], strict=True)
    write_csv(cli.folder / "in.csv", rows)
    done = cli("device", "import", device_id, "in.csv", "--skip", "unknown", "--skip", "")
    assert (0, "2 values of Case imported, 2 rows left out\n") == (done.code, done.out), done.err
    assert [1.0, 2.0] == [value for _, value in history_of(cli, device_id)]


TEXTS = [
    "plain",
    "",
    "[",
    '["a"]',
    '["a", "b"]',
    '"quoted"',
    '"[\\"a\\", \\"b\\"]"',
    "[1, 2]",
    "a\nb",
    "unknown",
    "x,y;z",
]
LISTS = [["a", "b"], ["", ""], ['["a", "b"]', "c"], ["ü", "\n"]]


@pytest.mark.parametrize("value", [*TEXTS, *LISTS])
def test_csv_distinguishes_a_string_from_a_list_of_strings(value):
    assert value == spellings.value_of_csv(spellings.csv_field(value), "string")


@given(st.text(alphabet='[]"\\,ab 1') | st.lists(st.text(alphabet='[]"\\,ab 1'), min_size=2))
def test_csv_distinguishes_any_string_from_any_list_of_strings(value):
    assert value == spellings.value_of_csv(spellings.csv_field(value), "string")
    field = spellings.csv_field(value)
    assert field == spellings.value_of_csv(spellings.csv_field(field), "string")


def test_exported_values_are_imported_unchanged(cli, device_id):
    stamps = recent_timestamps(len(TEXTS) + len(LISTS))
    rows = [[at, "v2", value] for at, value in zip(stamps, [*TEXTS, *LISTS], strict=True)]
    rows += [[stamps[0], "v0", [1.5, 2.5]], [stamps[0], "v3", [30.5, 50.4]]]
    call_api(cli, operations.post_device_import_rows(device_id=device_id, rows=rows))
    pins = ("v0", "v2", "v3")
    before = [history_of(cli, device_id, pin) for pin in pins]
    assert [*TEXTS, *LISTS] == [value for _, value in before[1]]

    assert 0 == cli("device", "export", device_id, "out.csv").code
    assert 0 == cli("device", "erase", device_id, "--yes").code
    assert [] == history_of(cli, device_id, "v2")
    done = cli("device", "import", device_id, "out.csv")
    assert 0 == done.code, done.err
    assert before == [history_of(cli, device_id, pin) for pin in pins]


@pytest.mark.parametrize("form", ["TS", "ISO_SIMPLE", "ISO_US"])
@pytest.mark.parametrize("tz_option", [[], ["--tz", "America/St_Johns"]], ids=["zone of the device", "another zone"])
def test_report_is_imported_unchanged(cli, device_id, form, tz_option):
    zone = tz_option[-1] if tz_option else "Asia/Kolkata"
    call_api(
        cli, operations.post_organization_device_metafield(device_id=device_id, name="Time Zone", new_value="+05:30")
    )
    token = cli("device", "token", device_id, "--new").json["token"]
    rows = [[at, "v2", text] for at, text in zip(recent_timestamps(3), ["a", '["a", "b"]', ["a", "b"]], strict=True)]
    call_api(cli, operations.post_device_import_rows(device_id=device_id, rows=rows))
    before = history_of(cli, device_id, "v2")

    query = {"token": token, "period": "DAY", "pin": "v2", "format": form, "tzName": zone}
    link = call_api(cli, Call("GET", "/external/api/data/get", query))["link"]
    with zipfile.ZipFile(cli.data / "reports" / Path(link).parent.name / Path(link).name) as report:
        (cli.folder / "report.csv").write_bytes(report.read("v2_Text.csv"))
    assert 0 == cli("device", "erase", device_id, "--yes").code
    done = cli("device", "import", device_id, "report.csv", "--pin", "V2", *tz_option)
    assert (0, "3 values of Case imported\n") == (done.code, done.out), done.err
    assert before == history_of(cli, device_id, "v2")
