"""The table of spellings, and what the tests of its kinds share."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import time
import tomllib

import pytest
from support.paths import TESTS
from support.raw_http import connected, local_key

from client.cli import api

TABLE = tomllib.loads((TESTS / "hub" / "parsing" / "spellings.toml").read_text("utf-8"))
SPELLING_TEMPLATE = """
[template]
id = "TMPL0spell"
name = "Spelling"
[[datastream]]
id = 1
pin = "V0"
name = "Level"
[[datastream]]
id = 2
pin = "V1"
name = "Count"
type = "integer"
[[datastream]]
id = 3
pin = "V2"
name = "Text"
type = "string"
[[datastream]]
id = 4
pin = "V3"
name = "Place"
type = "location"
[lifecycle]
wait = "0s"
"""


def rows(kind):
    """The rows of a kind, as parameters of a test."""
    return [pytest.param(row, id=ascii(row["text"])) for row in TABLE[kind]]


def expected_result(row):
    """The result that the tests below expect of a row: the stored value, or the hint in the rejection."""
    return row["is"] if "is" in row else f"rejected: {row['problem']}"


def recent_timestamps(count):
    """Timestamps of the last ``count`` seconds, in milliseconds UTC, oldest first."""
    now = int(time.time()) * 1000
    return [now - (count - n) * 1000 for n in range(count)]


def history_of(cli, device_id, pin="v0"):
    """(timestamp, value) of each point of a datastream, oldest first."""
    lines = cli("device", "history", device_id, pin, "--json", "--period", "60d").out.splitlines()
    return [(point["ts"], point["value"]) for point in map(json.loads, lines)]


def write_csv(path, lines):
    """Write a file of values for ``pinwheel device import``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("time", "pin", "value"), *lines])


def call_api(cli, operation):
    """Call an operation of the API on the stopped hub."""
    args = argparse.Namespace(config=cli.folder / "hub.toml", data=str(cli.data))
    with contextlib.chdir(cli.folder), api(args) as hub:
        return hub(operation)


async def write_at_timestamp(hub, device, token, text):
    async with connected(hub) as http:
        target = f"/external/api/batch/update?token={token}&pin=v0"
        await http.ask("POST", target, f"[[{text}, 21.5]]".encode(), Content_Type="application/json")
    return [rejection.reason for rejection in hub.rejections.recent]


def post_to(path, body):
    """A sender that posts ``body`` to a route of the Platform API, and returns the error message, if any."""

    async def post(hub, device, token, text):
        data = body.replace("ID", str(device.id)).replace("TEXT", text).encode()
        async with connected(hub) as http:
            response = await http.ask("POST", f"/api/v1/{path}", data, local_key(hub))
        return [] if response.status < 300 else [response.message]

    post.__name__ = path
    return post
