"""Import of values with timestamps."""

from __future__ import annotations

import pytest
import trio
from support.device_api import METER, DeviceApi
from support.raw_http import ask, connected
from support.times import DAY, HOUR, NOON, until

from hub.config import parse
from hub.model import SYSTEM
from hub.run import running
from hub.testing import LOOPBACK, add_device


async def test_imported_values_are_stored_at_their_timestamps(api, hub, meter, time):
    device, _ = meter
    rows = [[NOON - n * HOUR, n / 2] for n in range(500)]
    response = await api.batch("v0", rows)
    assert (200, b"OK") == (response.status, response.body)
    lines = await api.history(pin="v0", period="30d")
    assert sorted(rows) == [[line["ts"], line["value"]] for line in lines]
    assert 0.0 == hub.writes.latest(device, device.points[0].datastream)[1]
    hub.history.close_segment()
    await until(lambda: not hub.history.is_busy)
    assert 500 == len(await api.history(pin="v0", period="30d", granularity="hour"))
    assert (200, b"OK") == ((response := await api.batch("v2", [[NOON, [8.5, 47.4]]])).status, response.body)
    assert [8.5, 47.4] == (await api.history(pin="v2"))[0]["value"]


INCORRECT = "Request with incorrect parameters"


TYPE = "Value doesn't match the Datastream data type"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[NOON, 1], [NOON + 2 * DAY, 2]], "point 2: The timestamp is more than a day ahead."),
        ([[NOON - 91 * DAY, 1]], "point 1: The timestamp is older than what is kept."),
        ([[-(2**70), 1]], "point 1: The timestamp is older than what is kept."),
        ([[NOON, 1]] * 10_001, "Too much data in batch. Maximum batch size is 10000 points."),
        (b"[[%d,NaN]]" % NOON, TYPE),
        (b"[[%d,Infinity]]" % NOON, TYPE),
        (b"[[%d,1e999]]" % NOON, TYPE),
        ([[NOON, "abc"]], TYPE),
        ([[NOON, 1], [str(NOON), 1]], INCORRECT),
        ([[NOON]], INCORRECT),
        ({"a": 1}, INCORRECT),
        (b"[[1,2", INCORRECT),
        (b"[" * 100_000, INCORRECT),
    ],
)
async def test_invalid_import_is_rejected_as_a_unit(api, rows, message):
    response = await api.batch("v0", rows)
    assert (400, message) == (response.status, response.message)
    assert [] == await api.history(pin="v0", period="90d")


async def test_import_with_a_wrong_content_type_or_size_is_rejected(api):
    response = await api.batch("v0", [[NOON, 1]], Content_Type="text/plain")
    assert (400, "Unknown content type.") == (response.status, response.message)
    response = await ask(
        api.hub, "POST", f"/external/api/batch/update?token={api.token}&pin=v0", b" " * (2 * 1024 * 1024 + 1)
    )
    assert 413 == response.status


async def test_imported_values_per_day_are_limited_and_rejected_ones_do_not_count(time, tmp_path):
    config = parse(LOOPBACK + "[limits]\nimport_points_per_day = 5").with_data(str(tmp_path / "other"))
    async with running(config, clock=time.clock()) as hub:
        device, token = await add_device(hub, METER, "Meter")
        async with connected(hub) as http:
            api = DeviceApi(hub, http, device, token)
            assert 200 == (await api.batch("v0", [[NOON, 1]] * 3)).status
            assert 400 == (await api.batch("v0", [[NOON, "x"]] * 2)).status, "a rejected import does not count"
            assert "device Meter: import of 2 values: point 1: Value" in hub.rejections.recent[-1].reason
            assert 429 == (await api.batch("v0", [[NOON, 1]] * 3)).status
            assert "at most 5 imported values a day" in hub.rejections.recent[-1].reason
            responses = [await api.device_get("logEvent", "code=leak") for _ in range(2)]
            assert [200, 429] == [response.status for response in responses]
            assert "event 'leak': Event leak was logged less than a second ago." in hub.rejections.recent[-1].reason
            assert 200 == (await api.batch("v0", [[NOON, 1]] * 2)).status


async def test_import_of_ten_thousand_values_does_not_block_the_event_loop(api, hub, meter):
    device, _ = meter
    turns, stop = 0, trio.Event()

    async def count_turns():
        nonlocal turns
        while not stop.is_set():
            await trio.sleep(0)
            turns += 1

    points = [(device.points[0].datastream, NOON - n * 1000, n % 1000) for n in range(10_000)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await hub.writes.import_points(device, points, "test", SYSTEM)
        stop.set()
    assert turns > 30


async def test_imported_rows_are_validated_together(api):
    rows = [[NOON, "v0", "1"], [NOON, "v7", "1"], [NOON, "v0", "x"], ["x", "v0", "1"]]
    response = await api.post("device/import-rows", rows=rows, line=2)
    assert 400 == response.status
    assert ["line 3:", "line 4:", "line 5:"] == [line[:7] for line in response.message.splitlines()]
    assert [] == await api.history(pin="v0")
    assert {"imported": 0} == (await api.post("device/import-rows", rows=rows[:1], check=True)).json
    assert [] == await api.history(pin="v0")
    assert {"imported": 1} == (await api.post("device/import-rows", rows=rows[:1])).json
    response = await api.post("organization/device/import/batch", dataStreamId=1, values=[{"value": 5, "ts": NOON - 1}])
    assert 204 == response.status
    assert [5.0, 1.0] == [line["value"] for line in await api.history(pin="v0")]
