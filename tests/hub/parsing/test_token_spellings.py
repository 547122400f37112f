"""How a token may be spelled, over each transport."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from support import raw_mqtt, raw_native
from support.raw_http import connected
from support.spellings import (
    SPELLING_TEMPLATE,
    rows,
)

from hub.testing import add_device


@pytest.mark.parametrize("row", rows("token"))
async def test_token_is_accepted_or_rejected_over_each_transport(hub, row):
    device, token = await add_device(hub, SPELLING_TEMPLATE)
    text = row["text"].replace("TOKEN", token).replace("TO KEN", f"{token[:16]} {token[16:]}")
    accepted = "problem" not in row
    async with raw_native.open_connection(hub) as client:
        assert accepted is (raw_native.OK == await client.login(text))
    async with raw_mqtt.open_connection(hub) as client:
        assert accepted is (0 == (await client.login(text)).reason)
    async with connected(hub) as http:
        response = await http.get(f"/external/api/update?token={quote(text)}&v0=5")
    assert accepted is (200 == response.status)
    assert accepted or row["problem"] == response.message
    assert accepted is (hub.writes.current(device, device.points[0].datastream) == 5.0)
