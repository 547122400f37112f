"""Pages of another origin in a browser, which read a device's values with `fetch`."""

from __future__ import annotations

import os

import pytest
from browser import PROGRAM, phone

from hub.testing import LOOPBACK, add_device, address_of

pytestmark = pytest.mark.skipif(PROGRAM is None and not os.environ.get("CI"), reason="needs chromium")

LAMP = """
[template]
id = "TMPL0lamp"
name = "Lamp"
[[datastream]]
pin = "V0"
name = "Level"
type = "integer"
"""


@pytest.fixture
def hub_toml():
    return LOOPBACK * 2


async def fetch(page, url, **options):
    """The status and text of the response that a page fetches, or the name of the error."""
    expression = f"fetch({url!r}, {options!r}).then(a => a.text().then(t => [a.status, t])).catch(e => e.name)"
    response = await page.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
    return response["result"]["value"]


async def test_page_of_another_port_uses_the_device_api(hub):
    _, token = await add_device(hub, LAMP, "Lamp")
    [here, there] = [f"http://{host}:{port}" for host, port in (address_of(hub, 0), address_of(hub, 1))]
    api = f"{there}/external/api"
    json = {"Content-Type": "application/json"}
    async with phone() as page:
        await page.open(f"{here}/health")

        assert [200, ""] == await fetch(page, f"{api}/update?token={token}&v0=7")
        assert [200, "7"] == await fetch(page, f"{api}/get?token={token}&v0")
        # The browser sends a preflight request for this content type.
        points = f"[[{hub.clock.now()}, 8]]"
        options = {"method": "POST", "body": points, "headers": json}
        assert [200, "OK"] == await fetch(page, f"{api}/batch/update?token={token}&pin=v0", **options)
        status, text = await fetch(page, f"{api}/get?token=wrong&v0")
        assert (400, True) == (status, "Invalid token." in text)
        status, text = await fetch(page, f"{api}/nothing")
        assert (404, True) == (status, "There is nothing" in text)
        assert "TypeError" == await fetch(page, f"{there}/api/v1/status")
