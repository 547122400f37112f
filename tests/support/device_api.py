"""Requests about a device: of a user over the Platform API, and of the device itself over HTTP."""

from __future__ import annotations

import json

from support.raw_http import local_key

#: A meter with values of three types, which is online while it sends data over HTTP.
METER = """
[template]
id = "TMPL0"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Level"
min = 0
max = 1000
[[datastream]]
pin = "V1"
name = "Words and more"
type = "string"
[[datastream]]
pin = "V2"
name = "Place"
type = "location"
[[event]]
code = "leak"
name = "Leak"
type = "critical"
[lifecycle]
wait = "0s"
reports_data = true
"""


class DeviceApi:
    """Requests about one device on one connection: they return the response."""

    def __init__(self, hub, http, device, token):
        self.hub, self.http, self.device, self.token, self.key = hub, http, device, token, local_key(hub)

    async def get(self, path, **query):
        """Request a path of the Platform API with the local key; parameters named like keywords end in "_"."""
        params = {"deviceId": self.device.id} | {k.rstrip("_"): v for k, v in query.items()}
        query_string = "&".join(f"{k}={v}" for k, v in params.items())
        return await self.http.ask("GET", f"/api/v1/{path}?{query_string}", key=self.key)

    async def post(self, path, **body):
        """Post to the Platform API with the local key."""
        return await self.http.ask("POST", f"/api/v1/{path}", {"deviceId": self.device.id} | body, key=self.key)

    async def device_get(self, path, query=""):
        """Request a path of the HTTP device API with the device's token."""
        return await self.http.get(f"/external/api/{path}?token={self.token}&{query}")

    async def batch(self, pin, rows, **headers):
        """Import rows of timestamps and values, or raw bytes, with the device's token."""
        body = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
        headers = {"Content_Type": "application/json"} | headers
        return await self.http.ask("POST", f"/external/api/batch/update?token={self.token}&pin={pin}", body, **headers)

    async def history(self, **query):
        """Return the lines of the device's history."""
        response = await self.get("device/history", **query)
        assert 200 == response.status, response.text
        return [json.loads(line) for line in response.text.splitlines()]
