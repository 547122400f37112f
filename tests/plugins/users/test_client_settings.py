"""Settings that clients store for their users."""

from __future__ import annotations

import pytest
from support.raw_http import connected

PATH = "/api/v1/profile/settings"
COLUMNS = {"columns": ["name", "température"], "theme": "dark"}


async def test_settings_are_stored_for_each_user_and_client(world):
    assert {"settings": {}} == (await world.ask("uma", "GET", f"{PATH}?app=console")).json
    response = await world.ask("uma", "PUT", f"{PATH}?app=console", {"settings": COLUMNS})
    assert (200, {"settings": COLUMNS}) == (response.status, response.json)
    assert {"settings": COLUMNS} == (await world.ask("uma", "GET", f"{PATH}?app=console")).json
    assert {"settings": {}} == (await world.ask("uma", "GET", f"{PATH}?app=page")).json
    assert {"settings": {}} == (await world.ask("ada", "GET", f"{PATH}?app=console")).json


async def test_settings_that_changed_meanwhile_are_not_overwritten(world):
    async with connected(world.hub) as http:
        etag = (await http.ask("GET", f"{PATH}?app=page", key=world.tokens["uma"])).headers["etag"]
        for status in (200, 412):
            response = await http.ask(
                "PUT", f"{PATH}?app=page", {"settings": COLUMNS}, world.tokens["uma"], If_Match=etag
            )
            assert status == response.status


@pytest.mark.parametrize("app", ["", "Console", "a" * 41, "a/b", "-a", "ä"])
async def test_invalid_name_of_a_client_is_rejected(world, app):
    for method, body in (("GET", None), ("PUT", {"settings": {}})):
        assert 400 == (await world.ask("uma", method, f"{PATH}?app={app}", body)).status


@pytest.mark.parametrize("settings", [[], "dark", None, {"notes": "x" * 16_400}, {"notes": "\ud800"}])
async def test_invalid_settings_are_rejected(world, settings):
    assert 400 == (await world.ask("uma", "PUT", f"{PATH}?app=page", {"settings": settings})).status
    assert {"settings": {}} == (await world.ask("uma", "GET", f"{PATH}?app=page")).json


async def test_user_has_settings_of_at_most_ten_clients(world):
    statuses = [
        (await world.ask("uma", "PUT", f"{PATH}?app=client-{number}", {"settings": {}})).status for number in range(11)
    ]
    assert [200] * 10 + [400] == statuses
    assert 200 == (await world.ask("uma", "PUT", f"{PATH}?app=client-0", {"settings": COLUMNS})).status


async def test_settings_are_exported_and_deleted_with_their_user(world):
    await world.ask("uma", "PUT", f"{PATH}?app=page", {"settings": COLUMNS})
    uma = world.users["uma"]
    exported = await world.ask("ada", "GET", f"/api/v1/organization/user/export?userId={uma.id}")
    assert {"page": COLUMNS} == exported.json["settings"]
    await world.service.erase(uma)
    assert [] == await world.hub.storage.configuration.fetch_all("SELECT * FROM users_settings")
