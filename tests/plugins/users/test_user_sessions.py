"""Sessions of logged-in users: refresh, expiry and revocation."""

from __future__ import annotations

from support.accounts import LOGIN, log_in, tenants_with_eva
from support.raw_http import connected
from support.times import DAY

from hub.run import running


async def test_sessions_survive_a_restart_and_expire(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        await tenants_with_eva(hub)
        async with connected(hub) as http:
            tokens = (await log_in(http)).json
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        assert 200 == (await http.get("/api/v1/profile", tokens["access_token"])).status
        time.pass_(3601 * 1000)
        response = await http.get("/api/v1/profile", tokens["access_token"])
        assert (401, "The access token has expired.") == (response.status, response.message)
        refreshed = await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": tokens["refresh_token"]})
        assert 200 == refreshed.status
        time.pass_(31 * DAY)
        late = await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": refreshed.json["refresh_token"]})
        assert 401 == late.status


async def test_user_lists_and_ends_only_their_own_sessions(world, http):
    first, second = (await log_in(http)).json["access_token"], (await log_in(http)).json["access_token"]
    sessions = (await http.get("/api/v1/sessions", first)).json
    assert 3 == len(sessions)
    [this] = [session for session in sessions if session["this"]]
    other = world.service.credentials.sessions_of(world.users["uma"].id)[0].id
    assert 404 == (await http.ask("DELETE", f"/api/v1/session?sessionId={other}", key=first)).status
    assert 204 == (await http.ask("DELETE", f"/api/v1/session?sessionId={this['id']}", key=second)).status
    assert 401 == (await http.get("/api/v1/profile", first)).status
    assert 204 == (await http.ask("POST", "/api/v1/logout", b"", second)).status
    assert 401 == (await http.get("/api/v1/profile", second)).status
