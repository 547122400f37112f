"""Refresh tokens that are used twice: within the grace by the same client, later by whoever has copied them."""

from __future__ import annotations

import pytest
import trio
from support.accounts import log_in, refresh, tenants_with_eva
from support.oauth import authorization_code, redeem, refresh_tokens, register_client
from support.raw_http import connected
from support.rejections import rejection_reasons
from support.tenants import PASSWORD

from hub.run import running
from plugins.users.refresh_grace import GRACE

SECOND = 1_000


@pytest.fixture
async def world(hub_config, time):
    """The world of `tenants_with_eva` on a hub whose clock stands."""
    async with running(hub_config, clock=time.clock()) as hub:
        yield await tenants_with_eva(hub)


@pytest.fixture
async def http(world):
    async with connected(world.hub) as http:
        yield http


async def profile_status(http, tokens):
    return (await http.get("/api/v1/profile", tokens["access_token"])).status


async def test_refresh_replaces_both_tokens(world, http):
    first = (await log_in(http)).json
    second = (await refresh(http, first["refresh_token"])).json
    assert {first["access_token"], first["refresh_token"]}.isdisjoint({second["access_token"], second["refresh_token"]})
    assert (401, 200) == (await profile_status(http, first), await profile_status(http, second))


async def test_two_tabs_that_refresh_at_once_get_the_same_tokens(world, http):
    first = (await log_in(http)).json
    answers = []

    async def tab():
        async with connected(world.hub) as own:
            answers.append(await refresh(own, first["refresh_token"]))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(tab)
    assert [200] * 5 == [answer.status for answer in answers]
    [tokens] = {(answer.json["access_token"], answer.json["refresh_token"]) for answer in answers}
    assert 200 == (await http.get("/api/v1/profile", tokens[0])).status
    assert 200 == (await refresh(http, tokens[1])).status


async def test_repeated_refresh_tells_the_remaining_lifetime(world, http, time):
    first = (await log_in(http)).json
    assert 3600 == (await refresh(http, first["refresh_token"])).json["expires_in"]
    time.pass_(20 * SECOND)
    assert 3580 == (await refresh(http, first["refresh_token"])).json["expires_in"]


async def test_refresh_token_used_again_after_the_grace_ends_the_session(world, http, time):
    first = (await log_in(http)).json
    second = (await refresh(http, first["refresh_token"])).json
    time.pass_(GRACE * SECOND)
    assert 401 == (await refresh(http, first["refresh_token"])).status
    assert 401 == await profile_status(http, second)
    assert 401 == (await refresh(http, second["refresh_token"])).status
    assert ["a refresh token or code was used twice; its session has ended"] == rejection_reasons(world.hub)


async def test_grace_is_for_the_last_spent_token_only(world, http):
    first = (await log_in(http)).json
    second = (await refresh(http, first["refresh_token"])).json
    third = (await refresh(http, second["refresh_token"])).json
    assert 401 == (await refresh(http, first["refresh_token"])).status
    assert 401 == await profile_status(http, third)


async def test_grace_does_not_outlive_the_session(world, http):
    first = (await log_in(http)).json
    second = (await refresh(http, first["refresh_token"])).json
    assert 204 == (await http.ask("POST", "/api/v1/logout", b"", second["access_token"])).status
    assert 401 == (await refresh(http, first["refresh_token"])).status


async def test_suspended_user_has_no_grace(world, http):
    first = (await log_in(http)).json
    assert 200 == (await refresh(http, first["refresh_token"])).status
    await world.service.users.change(world.users["eva"], suspended=True)
    assert 401 == (await refresh(http, first["refresh_token"])).status


async def test_refresh_of_an_oauth_client_has_no_grace(world, http):
    client = await register_client(world)
    tokens = (await redeem(http, client, await authorization_code(http, client))).json
    second = (await refresh_tokens(http, client, tokens)).json
    assert 200 == await profile_status(http, second)
    assert 401 == (await refresh(http, tokens["refresh_token"])).status
    assert 200 == await profile_status(http, second)
    assert 400 == (await refresh_tokens(http, client, tokens)).status
    assert 401 == await profile_status(http, second)


async def test_lost_answer_and_a_restart_within_the_grace_do_not_end_the_session(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        await tenants_with_eva(hub)
        first = (await log_in(http)).json
        lost = (await refresh(http, first["refresh_token"])).json
    time.pass_((GRACE - 2) * SECOND)
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        third = (await refresh(http, first["refresh_token"])).json
        # The other tab still has the token of the answer before the restart.
        for spent in (first, lost):
            assert third["refresh_token"] == (await refresh(http, spent["refresh_token"])).json["refresh_token"]
        assert 200 == await profile_status(http, third)
        time.pass_(3 * SECOND)
        assert 401 == (await refresh(http, first["refresh_token"])).status
        assert 401 == await profile_status(http, third)


@pytest.mark.parametrize("wait", [GRACE, 3600], ids=["at once", "an hour"])
async def test_refresh_token_used_again_after_a_restart_and_the_grace_ends_the_session(hub_config, time, wait):
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        await tenants_with_eva(hub)
        first = (await log_in(http)).json
        second = (await refresh(http, first["refresh_token"])).json
    time.pass_(wait * SECOND)
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        assert 401 == (await refresh(http, first["refresh_token"])).status
        assert 401 == (await refresh(http, second["refresh_token"])).status


async def test_only_the_last_spent_token_has_a_grace_after_a_restart(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        await tenants_with_eva(hub)
        first = (await log_in(http)).json
        second = (await refresh(http, first["refresh_token"])).json
        time.pass_(1)
        third = (await refresh(http, second["refresh_token"])).json
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        assert 401 == (await refresh(http, first["refresh_token"])).status
        assert 401 == await profile_status(http, third)


async def test_change_of_password_ends_the_grace_of_other_sessions(world, http):
    first = (await log_in(http)).json
    assert 200 == (await refresh(http, first["refresh_token"])).status
    other = (await log_in(http)).json
    body = {"old": PASSWORD, "new": "another long one"}
    assert 204 == (await http.ask("POST", "/api/v1/password", body, other["access_token"])).status
    assert 401 == (await refresh(http, first["refresh_token"])).status
