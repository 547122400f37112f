"""The Device HTTPS API, byte by byte as docs.blynk.io has it."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from urllib.parse import urlencode

import pytest
import trio
from support.commits import log_entries
from support.patience import patient
from support.raw_http import PATIENCE, ask, connected, local_key
from trio.testing import wait_all_tasks_blocked

from connectors.mqtt import client as mqtt
from connectors.native import client
from hub.errors import Rejected
from hub.facts import StatusChanged
from hub.history.timeouts import HistoryTimeouts
from hub.hookspecs import hookimpl
from hub.model import SYSTEM
from hub.testing import LOOPBACK, add_device, address_of

THERMOSTAT = """
[template]
id = "TMPL0thermo"
name = "Thermostat"
[[datastream]]
id = 11
pin = "V0"
name = "Level"
type = "integer"
min = 0
max = 100
[[datastream]]
id = 12
pin = "V1"
name = "Temperature"
type = "double"
min = -40
max = 85
[[datastream]]
id = 13
pin = "V2"
name = "Text"
type = "string"
[[datastream]]
id = 14
pin = "V3"
name = "Mode"
type = "enum"
values = { 0 = "Off", 1 = "Heat" }
[[datastream]]
id = 15
pin = "V4"
name = "Place"
type = "location"
[[datastream]]
id = 16
pin = "V5"
name = "Speed"
type = "enum"
values = { 1 = "Slow", 2 = "Fast" }
fallback = 1
[[datastream]]
id = 17
pin = "V6"
name = "With default"
type = "integer"
default = 17
[[datastream]]
id = 18
pin = "V255"
name = "Last"
type = "string"
[[event]]
code = "too_hot"
name = "Too hot"
type = "warning"
description = "It burns"
[lifecycle]
wait = "0s"
"""
OPERATIONS = [
    "update",
    "batch/update",
    "get",
    "getAll",
    "update/property",
    "isHardwareConnected",
    "isAppConnected",
    "logEvent",
    "logevent",
]
INVALID, NO_TOKEN = "Invalid token.", "No token provided."
WRONG_PIN, NO_PIN = "Wrong pin format.", "No datastream setup for that pin."
MISMATCH, MISMATCH_UNDOTTED = (
    "Value doesn't match the Datastream data type.",
    "Value doesn't match the Datastream data type",
)
INCORRECT = "Request with incorrect parameters"
#: A token that is easy to find where it must not be.
CANARY = "cAnArY-0123456789-cAnArY-cAnArYz"


@pytest.fixture
async def device(hub):
    return await add_device(hub, THERMOSTAT, "Hall")


class Api:
    """The API with one device's token; ``update("v0=1")`` is ``GET /external/api/update?token=…&v0=1``."""

    def __init__(self, http, token):
        self._http = http
        self._token = token

    async def __call__(self, operation, query=""):
        query = f"token={self._token}" + (f"&{query}" if query else "")
        return await self._http.get(f"/external/api/{operation}?{query}")

    async def got(self, operation, query=""):
        """Status and body."""
        answer = await self(operation, query)
        return answer.status, answer.body


@pytest.fixture
async def api(hub, device):
    async with connected(hub) as http:
        yield Api(http, device[1])


def error(message):
    """A refusal, to the byte."""
    return 400, b'{"error":{"message":"' + message.encode() + b'"}}'


def stored(hub, device, pin):
    """Stamps and values of a pin, as another program reads them from the disk."""
    series = device.points[pin].series
    return [(ts, value) for of, ts, value, _ in log_entries(hub.config.data) if of == series]


# -- who is asking ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", NO_TOKEN),
        ("?", NO_TOKEN),
        ("?token=", NO_TOKEN),
        ("?token", NO_TOKEN),
        ("?v0=1", NO_TOKEN),
        ("?Token=0123456789abcdef0123456789abcdef", NO_TOKEN),
        ("?token=0123456789abcdef0123456789abcdef&v0=1", INVALID),
        ("?token=short&v0", INVALID),
        ("?token=%ff%00%f0%9f%98%80", INVALID),
    ],
)
async def test_a_request_without_a_token_that_is_known_is_refused(hub, operation, query, message):
    answer = await ask(hub, "GET", f"/external/api/{operation}{query}")

    assert error(message) == (answer.status, answer.body)
    assert "application/json" == answer.headers["content-type"]


@pytest.mark.parametrize(
    ("operation", "query", "body"),
    [
        ("update", "v0=1", b""),
        ("batch/update", "v0=1&v1=2", b"OK"),
        ("get", "v6", b"17"),
        ("getAll", "", b"{}"),
        ("update/property", "pin=v0&label=Level", b""),
        ("isHardwareConnected", "", b"false"),
        ("isAppConnected", "", b"false"),
        ("logEvent", "code=too_hot", b""),
    ],
)
async def test_every_operation_takes_a_slash_at_its_end(api, operation, query, body):
    assert (200, body) == await api.got(f"{operation}/", query)
    assert 404 == (await api(operation.upper(), query)).status


async def test_a_post_to_what_is_a_get_is_refused(hub, device):
    assert 405 == (await ask(hub, "POST", f"/external/api/get?token={device[1]}&v0", b"")).status


async def test_parameters_come_in_any_order_and_encoding(hub, device):
    target = f"/external/api/update?%76%32=a+b%20c%2Bd%26e%C3%A9&token={device[1]}"

    assert 200 == (await ask(hub, "GET", target)).status
    assert "a b c+d&eé" == hub.writes.latest(device[0], device[0].points[2].datastream)[1]


# -- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "pin", "text"),
    [
        ("v0=42", "v0", "42"),
        ("V0=42", "V0", "42"),
        ("v0=5.0000000", "v0", "5"),
        ("v0=%2B7", "v0", "7"),
        ("v0=+7", "v0", "7"),
        ("v0=101", "v0", "100"),
        ("v0=-1", "v0", "0"),
        ("v1=100", "v1", "85.0"),
        ("v1=-273.15", "v1", "-40.0"),
        ("v1=21.5", "v1", "21.5"),
        ("v1=2e1", "v1", "20.0"),
        ("v1=1&v1=2.5&v1=99", "v1", "[1.0,2.5,85.0]"),
        ("v2=text", "v2", "text"),
        ("v2=", "v2", ""),
        ("v2=%C2%B0C", "v2", "°C"),
        ('v2="quoted"', "v2", '"quoted"'),
        ("v2=a=b", "v2", "a=b"),
        ("v2=a&v2=&v2=c", "v2", '["a","","c"]'),
        ("v3=1", "v3", "1"),
        ("v4=30.5&v4=50.4", "v4", "[30.5,50.4]"),
        ("v4=30.5,50.4", "v4", "[30.5,50.4]"),
        ("v5=9", "v5", "1"),
        ("v255=end", "v255", "end"),
        ("dataStreamId=11&value=8", "dataStreamId=11", "8"),
        ("value=8&dataStreamId=11", "v0", "8"),
        ("dataStreamId=12&value=1&value=2", "v1", "[1.0,2.0]"),
        ("dataStreamId=13&value=", "v2", ""),
        ("dataStreamId=15&value=30.5&value=50.4", "v4", "[30.5,50.4]"),
        ("pin=V4&value=30.5&value=50.4", "v4", "[30.5,50.4]"),
        ("pin=v0&value=3", "v0", "3"),
    ],
)
async def test_what_update_writes_get_reads(api, written, pin, text):
    assert (200, b"") == await api.got("update", written)
    assert (200, text) == ((answer := await api("get", pin)).status, answer.text.replace(", ", ","))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", INCORRECT),
        ("v0", INCORRECT),
        ("v2", INCORRECT),
        ("v0=1&v1", INCORRECT),
        ("dataStreamId=11", INCORRECT),
        ("dataStreamId=11&value", INCORRECT),
        ("v=1", WRONG_PIN),
        ("v256=1", WRONG_PIN),
        ("v-1=1", WRONG_PIN),
        ("vx=1", WRONG_PIN),
        ("a0=1", WRONG_PIN),
        ("0=1", WRONG_PIN),
        ("v01=1", WRONG_PIN),
        ("pin=x&value=1", WRONG_PIN),
        ("v77=1", NO_PIN),
        ("pin=v77&value=1", NO_PIN),
        ("v0=abc", MISMATCH),
        ("v0=", MISMATCH),
        ("v0=1.5", MISMATCH),
        ("v0=9999999999", MISMATCH),
        ("v0=1_0", MISMATCH),
        ("v1=nan", MISMATCH),
        ("v1=inf", MISMATCH),
        ("v1=", MISMATCH),
        ("v1=1&v1=x", MISMATCH),
        ("v3=7", MISMATCH),
        ("v3=Heat", MISMATCH),
        ("v4=30.5", MISMATCH),
        ("v4=30.5&v4=91", MISMATCH),
        ("v4=1&v4=2&v4=3", MISMATCH),
        ("dataStreamId=x&value=1", "Wrong dataStreamId format."),
        ("dataStreamId=&value=1", "Wrong dataStreamId format."),
        ("dataStreamId=-1&value=1", "Wrong dataStreamId format."),
        ("dataStreamId=99&value=1", "Requested dataStream doesn't exist in the product Thermostat"),
        ("dataStreamId=11&value=abc", MISMATCH_UNDOTTED),
        ("dataStreamId=15&value=30.5", MISMATCH_UNDOTTED),
        ("pin=V4&value=30.5&value=100", MISMATCH_UNDOTTED),
        ("v2=" + "x" * 1025, "Value is longer than 1024 bytes."),
    ],
)
async def test_what_update_refuses_is_not_written(hub, api, query, message):
    assert error(message) == await api.got("update", query)
    assert (200, b"{}") == await api.got("getAll")
    assert 0 == hub.writes.count


async def test_a_string_of_1024_bytes_is_written(api):
    assert (200, b"") == await api.got("update", "v2=" + "x" * 1024)


async def test_several_pins_have_one_stamp(hub, device, api):
    assert (200, b"OK") == await api.got("batch/update", "v0=33&v1=4.5&v2=x&v2=y&V255=z")

    [(at, level)], [(_, temperature)], [(_, texts)], [(_, last)] = (
        stored(hub, device[0], pin) for pin in (0, 1, 2, 255)
    )
    assert (33, 4.5, ("x", "y"), "z") == (level, temperature, texts, last)
    assert {at} == {ts for pin in (0, 1, 2, 255) for ts, _ in stored(hub, device[0], pin)}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", INCORRECT),
        ("v0", INCORRECT),
        ("v0=1&v256=2", WRONG_PIN),
        ("v0=1&v77=2", NO_PIN),
        ("v0=1&v1=abc", MISMATCH_UNDOTTED),
        ("v1=abc", MISMATCH_UNDOTTED),
    ],
)
async def test_a_batch_with_one_mistake_writes_nothing(hub, api, query, message):
    assert error(message) == await api.got("batch/update", query)
    assert (200, b"{}") == await api.got("getAll")
    assert 0 == hub.writes.count


class Censor:
    """A plugin that refuses a word."""

    __name__ = "censor"
    PINWHEEL_HOOKS = 1

    @hookimpl
    def hub_filter_write(self, value):
        if value == "forbidden":
            raise Rejected("Not this word.")
        return value


@pytest.mark.parametrize("hub_plugins", [(Censor(),)], ids=["censor"])
async def test_a_batch_with_a_value_that_a_plugin_refuses_writes_nothing(hub, api):
    assert error("Not this word.") == await api.got("batch/update", "v0=1&v2=forbidden&v255=x")
    assert (200, b"{}") == await api.got("getAll")


async def test_an_unknown_pin_is_listed_with_the_line_that_adds_it(hub, api):
    await api("update", "v77=1")

    [refusal] = hub.rejections.recent
    assert "device Hall: template TMPL0thermo has no V77" in refusal.reason
    assert 'pin = "V77"' in refusal.reason


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["v0", "v2", "v4", "dataStreamId=11"])
async def test_what_was_never_written_reads_as_nothing(api, query):
    assert (200, b"") == await api.got("get", query)


@pytest.mark.parametrize("query", ["v6", "V6", "pin=v6", "dataStreamId=17"])
async def test_what_was_never_written_reads_as_its_default(api, query):
    assert (200, b"17") == await api.got("get", query)


async def test_several_pins_are_read_as_json_with_their_types(api):
    await api("batch/update", "v0=1&v1=1&v2=string+pin&v2=%C3%A9&v3=1&v4=30.5&v4=50.4")

    got = b'{"v0":1,"v1":1.0,"v2":["string pin","\xc3\xa9"],"v3":1,"v4":[30.5,50.4]}'
    assert (200, got) == await api.got("getAll")
    assert (200, b'{"v3":1,"v1":1.0,"v6":17}') == await api.got("get", "v3&V1&v6")
    assert "application/json" == (await api("getAll")).headers["content-type"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("v256", WRONG_PIN),
        ("vx", WRONG_PIN),
        ("a1", WRONG_PIN),
        ("v0&x", WRONG_PIN),
        ("pin=x", WRONG_PIN),
        ("dataStreamId=x", WRONG_PIN),
        ("v77", NO_PIN),
        ("v0&v77", NO_PIN),
        ("dataStreamId=99", "Requested dataStream doesn't exist in the product Thermostat"),
    ],
)
async def test_what_get_refuses(api, query, message):
    assert error(message) == await api.got("get", query)


# -- properties, events, state ----------------------------------------------------------------------------------------


async def test_a_property_is_kept(hub, device, api):
    assert (200, b"") == await api.got("update/property", "pin=v0&color=%23D3435C")
    assert (200, b"") == await api.got("update/property", "pin=V3&labels=Off&labels=Heat%20it")
    assert (200, b"") == await api.got("update/property", "label=Both&pin=v0&pin=v1")

    assert {
        11: {"color": ("#D3435C",), "label": ("Both",)},
        12: {"label": ("Both",)},
        14: {"labels": ("Off", "Heat it")},
    } == await hub.properties.values_for(device[0])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("color=red", WRONG_PIN),
        ("pin&color=red", WRONG_PIN),
        ("pin=x&color=red", WRONG_PIN),
        ("pin=v256&color=red", WRONG_PIN),
        ("pin=v0", INCORRECT),
        ("pin=v77&color=red", NO_PIN),
        ("pin=v0&color=red&nonsense=1", "There is no property 'nonsense'."),
    ],
)
async def test_a_property_that_is_refused_is_not_kept(hub, device, api, query, message):
    assert error(message) == await api.got("update/property", query)
    assert {} == await hub.properties.values_for(device[0])


@pytest.mark.parametrize("operation", ["logEvent", "logevent"])
async def test_an_event_is_logged(hub, device, api, operation):
    assert (200, b"") == await api.got(operation, "code=too_hot&description=It%20is%2090+%C2%B0C")

    [event] = await hub.timeline.newest(device[0])
    assert ("too_hot", "warning", "Too hot", "It is 90 °C") == (event.code, event.type, event.name, event.description)


async def test_an_event_without_a_description_has_that_of_its_template(hub, device, api):
    assert (200, b"") == await api.got("logEvent", "code=too_hot")

    assert ["It burns"] == [event.description for event in await hub.timeline.newest(device[0])]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "Event code is not provided."),
        ("code=", "Event code is not provided."),
        ("code", "Event code is not provided."),
        ("description=x", "Event code is not provided."),
        ("code=nonsense", "Can't find Event with this code in Product template"),
        ("code=Too_Hot", "Can't find Event with this code in Product template"),
    ],
)
async def test_what_log_event_refuses(hub, device, api, query, message):
    assert error(message) == await api.got("logEvent", query)
    assert [] == await hub.timeline.newest(device[0])


async def test_an_event_with_a_description_that_is_too_long_is_discarded(hub, device, api):
    assert 400 == (await api("logEvent", "code=too_hot&description=" + "x" * 301)).status
    assert [] == await hub.timeline.newest(device[0])


async def test_an_event_twice_in_a_second_is_too_many(api):
    await api("logEvent", "code=too_hot")
    answer = await api("logEvent", "code=too_hot")

    assert (429, "1") == (answer.status, answer.headers["retry-after"])


async def test_whether_the_device_is_connected(hub, device, api):
    assert (200, b"false") == await api.got("isHardwareConnected")
    gone = trio.Event()
    hub.subscribe(StatusChanged, lambda fact: gone.set() if fact.status == "offline" else None)
    async with client.connect(*address_of(hub), device[1]):
        assert (200, b"true") == await api.got("isHardwareConnected")
    await gone.wait()
    assert (200, b"false") == await api.got("isHardwareConnected")


# -- the device at the other end, and the promise ---------------------------------------------------------------------


async def test_the_device_hears_of_every_value_in_order(hub, device, api):
    async with client.connect(*address_of(hub), device[1], info={"h-beat": "45"}) as board:
        await api("update", "v0=150")
        await api("batch/update", "v1=4.5&v4=30.5&v4=50.4")
        await api("update", "v0=abc")
        await api("update", "v2=")
        writes = board.writes()
        with trio.fail_after(PATIENCE):
            heard = [await anext(writes) for _ in range(4)]

    assert [(0, ["100"]), (1, ["4.5"]), (4, ["30.5", "50.4"]), (2, [""])] == heard


async def test_the_answer_waits_for_the_commit_and_the_device_does_not(hub, device, api):
    answers = []

    async def update():
        answers.append(await api.got("update", "v0=7"))

    database = sqlite3.connect(hub.config.data / "history.db", isolation_level=None)
    with closing(database):
        database.execute("BEGIN IMMEDIATE")
        async with (
            client.connect(*address_of(hub), device[1], info={"h-beat": "45"}) as board,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(update)
            with trio.fail_after(PATIENCE):
                assert (0, ["7"]) == await anext(board.writes())
            await wait_all_tasks_blocked()
            assert ([], []) == (answers, stored(hub, device[0], 0))
            database.execute("COMMIT")

    assert [(200, b"")] == answers
    assert [7] == [value for _, value in stored(hub, device[0], 0)]


async def test_what_was_answered_is_on_disk(hub, device, api):
    for number in range(20):
        assert (200, b"") == await api.got("update", f"v0={number}")
        assert number == stored(hub, device[0], 0)[-1][1]


@pytest.mark.timeouts(HistoryTimeouts(durable=patient(0.2), retry=0.02))
async def test_a_full_disk_is_answered_with_503_until_there_is_room(hub, device, api):
    async def pages(limit):
        async def limited(tx):
            await tx.fetch_all(f"PRAGMA max_page_count = {limit}")

        await hub.storage.history.transaction(limited)

    await pages(1)
    filler = "v2=" + "x" * 1024
    refused = None
    for _ in range(20):
        answer = await api("batch/update", f"{filler}&v255={'y' * 1024}")
        if answer.status != 200:
            refused = answer
            break
    assert (503, True) == (refused.status, int(refused.headers["retry-after"]) > 0)
    assert refused.message
    assert 503 == (await api("update", "v0=1")).status
    assert "degraded" == (await ask(hub, "GET", "/health")).json["status"]

    await pages(1_000_000)
    with trio.fail_after(PATIENCE):
        while (await api("update", "v0=2")).status != 200:
            await trio.sleep(0.02)
    assert 2 == stored(hub, device[0], 0)[-1][1]
    assert "ok" == (await ask(hub, "GET", "/health")).json["status"]


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[limits]\nmessages_per_second = 1\nburst = 3\n"], ids=["slow"])
async def test_a_device_above_its_rate_is_told_when_to_come_back(hub, device, api):
    _, other = await add_device(hub, THERMOSTAT.replace("Thermostat", "Other").replace("TMPL0thermo", "TMPL0other"))

    statuses = [(await api("batch/update", "v0=1&v1=2&v2=3&v3=1")).status for _ in range(3)]
    answer = await api("update", "v0=2")

    # A batch counts as one.
    assert [200, 200, 200] == statuses
    assert (429, "1") == (answer.status, answer.headers["retry-after"])
    assert answer.message
    assert 200 == (await ask(hub, "GET", f"/external/api/isHardwareConnected?token={other}")).status


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[limits]\nconnections_per_address = 2\n"], ids=["few"])
async def test_devices_behind_one_address_do_not_count_against_each_other(hub, device):
    target = f"/external/api/isHardwareConnected?token={device[1]}"
    async with connected(hub) as one, connected(hub) as two:
        assert 200 == (await one.get(target)).status
        assert 200 == (await two.get(target)).status
        async with connected(hub) as three:
            assert 200 == (await three.get(target)).status


AROUND = pytest.mark.parametrize("around", [("", " "), ("", "\n"), ("", "\r\n"), (" ", ""), ("\t", " \n")], ids=ascii)


@AROUND
async def test_white_space_around_a_token_does_not_count(hub, device, around):
    """The same over every transport: a token that was read from a file has a line end."""
    before, after = around
    token = f"{before}{device[1]}{after}"
    query = urlencode({"token": token, "v6": ""}).removesuffix("=")
    assert 200 == (await ask(hub, "GET", f"/external/api/get?{query}")).status
    async with client.connect(*address_of(hub), token):
        assert hub.sessions.get(device[0].id).via == "native"
    async with mqtt.connect(*address_of(hub), token):
        assert hub.sessions.get(device[0].id).via == "mqtt"
        rotated = await hub.tokens.rotate(device[0], SYSTEM, 60_000)
    async with mqtt.connect(*address_of(hub), f"{before}{rotated}{after}"):
        pass


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[limits]\nconnections_per_address = 2\n"], ids=["few"])
async def test_connections_with_unknown_tokens_count(hub):
    target = f"/external/api/isHardwareConnected?token={CANARY}"
    async with connected(hub) as one, connected(hub) as two:
        assert 400 == (await one.get(target)).status
        assert 400 == (await two.get(target)).status
        async with connected(hub) as three:
            await three.send(b"GET ")
            assert (await three.read_to_end()).startswith(b"HTTP/1.1 503 ")


# -- secrets ----------------------------------------------------------------------------------------------------------


async def test_a_token_is_found_nowhere(hub, device, caplog):
    caplog.set_level(logging.DEBUG)
    await hub.tokens.rotate(device[0], None, token=CANARY)
    key = local_key(hub)
    said = []
    async with connected(hub) as http:
        for wrong in "", "x":
            for operation, query in [
                ("update", "v0=1"),
                ("update", "v0=abc"),
                ("update", "v77=1"),
                ("update", "nonsense"),
                ("batch/update", "v0=1&v1=x"),
                ("get", "v0&v1"),
                ("getAll", ""),
                ("update/property", "pin=v0&color=red"),
                ("update/property", "pin=v0&nonsense=red"),
                ("logEvent", "code=nonsense"),
                ("isHardwareConnected", ""),
                ("nonsense", ""),
            ]:
                said.append(await http.get(f"/external/api/{operation}?{query}&token={wrong}{CANARY}"))
        said.append(await http.ask("DELETE", f"/external/api/get?token={CANARY}"))
        for target in "/metrics", "/api/v1/status", "/api/v1/plugins", "/api/v1/refusals":
            said.append(await http.get(target, key))
        said.append(await http.get(f"/api/v1/organization/device?deviceId={device[0].id}", key))
        said.append(await http.get(f"/metrics?token={CANARY}", CANARY))
    with pytest.raises(client.LoginFailed):
        async with client.connect(*address_of(hub), "x" + CANARY):
            pass
    async with client.connect(*address_of(hub), CANARY, info={"h-beat": "45"}) as board:
        await board.write(0, "1")

    assert not any(secret in answer.text for answer in said for secret in (CANARY, key))
    assert not any(secret in caplog.text for secret in (CANARY, key))
    files = [path for path in hub.config.data.rglob("*") if path.is_file()]
    assert {"pinwheel.db", "history.db", "local.key"} <= {path.name for path in files}
    assert [] == [path for path in files if CANARY.encode() in path.read_bytes()]
    assert ["local.key"] == [path.name for path in files if key.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    "head",
    [
        f"GET /external/api/update?token={CANARY}&v2=a b HTTP/1.1\r\nHost: hub\r\n\r\n",
        f"GET /external/api/update?token={CANARY}&v2=\xe9 HTTP/1.1\r\nHost: hub\r\n\r\n",
        f"GET /health HTTP/1.1\r\nHost: hub\r\nAuthorization Bearer {CANARY}\r\n\r\n",
        f"POST /api/v1/login HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n",
    ],
)
async def test_a_token_in_a_broken_request_is_not_repeated(hub, caplog, head):
    async with connected(hub) as http:
        await http.send(head.encode("latin-1"))
        said = await http.read_to_end()

    assert said.startswith(b"HTTP/1.1 4")
    assert CANARY.encode() not in said
    assert CANARY not in caplog.text
