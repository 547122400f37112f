"""One-time passwords and recovery codes."""

from __future__ import annotations

import time

from support.accounts import log_in, tenants_with_eva
from support.raw_http import connected
from support.tenants import PASSWORD
from support.totp import one_time_password

from hub.run import running
from plugins.users import throttle
from plugins.users.totp import matching_step


async def test_one_time_passwords_and_recovery_codes_are_required_and_work_once(world, http):
    key = (await log_in(http)).json["access_token"]
    assert 403 == (await http.ask("POST", "/api/v1/otp", {"password": "not this one"}, key)).status
    created = (await http.ask("POST", "/api/v1/otp", {"password": PASSWORD}, key)).json
    assert created["url"].startswith("otpauth://totp/Pinwheel%3Aeva%40example.org?secret=")
    assert 400 == (await http.ask("POST", "/api/v1/otp/confirm", {"otp": "nonsense"}, key)).status
    response = await http.ask("POST", "/api/v1/otp/confirm", {"otp": one_time_password(created["secret"])}, key)
    codes = response.json["recoveryCodes"]
    assert 10 == len(set(codes))

    assert "A one-time password is needed." == (await log_in(http)).message
    code = one_time_password(created["secret"])
    assert 200 == (await log_in(http, otp=code)).status
    assert 401 == (await log_in(http, otp=code)).status
    assert 200 == (await log_in(http, otp=codes[0])).status
    assert 401 == (await log_in(http, otp=codes[0])).status
    assert 401 == (await log_in(http, otp="nonsense")).status


async def test_login_without_one_time_password_is_not_counted_as_a_failure(world, http):
    key = (await log_in(http)).json["access_token"]
    secret = (await http.ask("POST", "/api/v1/otp", {"password": PASSWORD}, key)).json["secret"]
    assert 200 == (await http.ask("POST", "/api/v1/otp/confirm", {"otp": one_time_password(secret)}, key)).status
    for _ in range(2 * throttle.FAILURES):
        assert "A one-time password is needed." == (await log_in(http)).message
    # It does not reset the count either.
    for _ in range(throttle.FAILURES):
        assert "The one-time password is wrong." == (await log_in(http, otp="nonsense")).message
        response = await log_in(http)
    assert "There were too many failed attempts." == response.message


async def test_used_one_time_password_is_rejected_after_a_restart(hub_config):
    async with running(hub_config) as hub, connected(hub) as http:
        await tenants_with_eva(hub)
        key = (await log_in(http)).json["access_token"]
        secret = (await http.ask("POST", "/api/v1/otp", {"password": PASSWORD}, key)).json["secret"]
        code = one_time_password(secret)
        assert 200 == (await http.ask("POST", "/api/v1/otp/confirm", {"otp": code}, key)).status
        assert 200 == (await log_in(http, otp=code)).status
    async with running(hub_config) as hub, connected(hub) as http:
        assert 401 == (await log_in(http, otp=code)).status
        assert 200 == (await log_in(http, otp=one_time_password(secret, 30))).status


def test_expired_one_time_password_does_not_match():
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    now = time.time_ns() // 1_000_000
    assert matching_step(secret, one_time_password(secret), now) is not None
    assert matching_step(secret, one_time_password(secret, -300), now) is None
