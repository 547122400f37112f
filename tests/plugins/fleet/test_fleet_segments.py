"""Segments of devices: fixed lists and saved searches."""

from __future__ import annotations

import pytest
from support.api import api_client, names_of
from support.fleet import HEATER, LAMP, PUMP, where


async def test_segments_have_a_fixed_list_of_devices_or_a_search(world, fleet):
    warm = {"filters": [where("tag", "equals", "Warm")]}
    lamp, pump = fleet[LAMP].id, fleet[PUMP].id
    async with api_client(world) as ask:
        fixed = await ask("POST", "organization/segment/create", {"name": "Picked", "devices": [pump]})
        live = await ask("POST", "organization/segment/create", {"name": "Live", "find": warm, "excluded": [lamp]})

        async def devices_of(segment):
            return names_of(await ask("POST", "devices/search", {"segmentId": segment["id"]}))

        assert ([PUMP], [HEATER]) == (await devices_of(fixed), await devices_of(live))
        [tag] = await ask("GET", "organization/tags")
        await ask("POST", "organization/device/tag", {"deviceId": pump, "tagId": tag["id"]})
        assert [HEATER, PUMP] == await devices_of(live)
        await ask("PUT", "organization/segment", {"segmentId": live["id"], "excluded": [], "position": 0})
        await ask("PUT", "organization/segment", {"segmentId": fixed["id"], "devices": [lamp, 999]})
        assert ([LAMP], [LAMP, HEATER, PUMP]) == (await devices_of(fixed), await devices_of(live))
        listed = (await ask("GET", "organization/segments"))["content"]
        assert [("Live", 0), ("Picked", 1)] == [(entry["name"], entry["position"]) for entry in listed]
        await ask("DELETE", "organization/segment", segmentId=live["id"])
        assert 404 == (await ask("POST", "devices/search", {"segmentId": live["id"]})).status


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"name": "A"}, "either devices or find"),
        ({"name": "A", "devices": [], "find": {}}, "either devices or find"),
        ({"name": "", "devices": []}, "1 to 40"),
        ({"name": "Taken", "devices": []}, "a segment named"),
        ({"name": "A", "find": {"filters": [where("name", "less", "x")]}}, "filters.0"),
        ({"name": "A", "devices": ["x"]}, "devices"),
        ({"name": "A", "devices": list(range(10_001))}, "at most 10000"),
    ],
)
async def test_invalid_segment_is_rejected(world, body, error):
    async with api_client(world) as ask:
        await ask("POST", "organization/segment/create", {"name": "Taken", "devices": []})
        response = await ask("POST", "organization/segment/create", body)
        assert response.status in (400, 409)
        assert error in response.message
