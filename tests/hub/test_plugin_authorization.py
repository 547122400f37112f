"""Plugins that authenticate and authorize."""

from __future__ import annotations

import pytest
from support.alarms import alarm_texts
from support.plugins import QUICK

from hub.errors import Forbidden, NotAuthenticated
from hub.model import Credentials, Principal


@pytest.mark.timeouts(QUICK)
async def test_first_plugin_that_knows_the_credentials_determines_the_principal(write_plugin, start_hub):
    write_plugin("a_unknown", "@hookimpl\nasync def hub_authenticate(credentials):\n    return None")
    write_plugin("b_crashes", "@hookimpl\nasync def hub_authenticate(credentials):\n    1 / 0")
    write_plugin(
        "c_hangs", "import trio\n@hookimpl\nasync def hub_authenticate(credentials):\n    await trio.sleep_forever()"
    )
    write_plugin(
        "d_knows",
        """
        from hub.model import Principal

        @hookimpl
        async def hub_authenticate(credentials):
            return Principal("user", 7) if credentials.secret == "open sesame" else None
        """,
    )
    async with start_hub() as hub:
        assert Principal("user", 7) == await hub.authenticate(Credentials("bearer", "open sesame"))
        with pytest.raises(NotAuthenticated):
            await hub.authenticate(Credentials("bearer", "wrong"))
        assert "b_crashes" in alarm_texts(hub)
        assert "c_hangs" in alarm_texts(hub)


async def test_secret_that_is_empty_or_not_ascii_is_not_authenticated(start_hub):
    async with start_hub() as hub:
        for secret in ("", "\udcff", "ä"):
            with pytest.raises(NotAuthenticated):
                await hub.authenticate(Credentials("bearer", secret))


@pytest.mark.parametrize(
    ("results", "allowed"),
    [
        ([], False),
        (["None"], False),
        (["True"], True),
        (["None", "True"], True),
        (["True", "False"], False),
        (["False", "True"], False),
        (["True", "1 / 0"], False),
        (["1"], False),
    ],
)
async def test_any_false_denies_otherwise_any_true_allows(write_plugin, start_hub, results, allowed):
    for number, result in enumerate(results):
        write_plugin(f"judge{number}", f"@hookimpl\ndef hub_authorize(permission):\n    return {result}")
    async with start_hub() as hub:
        try:
            hub.authorize(Principal("guest", 7), "device.view")
        except Forbidden:
            assert not allowed
        else:
            assert allowed
