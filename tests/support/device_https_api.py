"""The Device HTTPS API with a device's token, its error messages, and a device with a datastream of each type."""

from __future__ import annotations

from support.commits import log_entries

THERMOSTAT = """
[template]
id = "TMPL0thermo"
name = "Thermostat"
[[datastream]]
id = 11
pin = "V0"
name = "Level"
type = "integer"
min = 0
max = 100
[[datastream]]
id = 12
pin = "V1"
name = "Temperature"
type = "double"
min = -40
max = 85
[[datastream]]
id = 13
pin = "V2"
name = "Text"
type = "string"
[[datastream]]
id = 14
pin = "V3"
name = "Mode"
type = "enum"
values = { 0 = "Off", 1 = "Heat" }
[[datastream]]
id = 15
pin = "V4"
name = "Place"
type = "location"
[[datastream]]
id = 16
pin = "V5"
name = "Speed"
type = "enum"
values = { 1 = "Slow", 2 = "Fast" }
fallback = 1
[[datastream]]
id = 17
pin = "V6"
name = "With default"
type = "integer"
default = 17
[[datastream]]
id = 18
pin = "V255"
name = "Last"
type = "string"
[[event]]
code = "too_hot"
name = "Too hot"
type = "warning"
description = "It burns"
[lifecycle]
wait = "0s"
"""
INVALID_TOKEN, NO_TOKEN = "Invalid token.", "No token provided."
WRONG_PIN, NO_PIN = "Wrong pin format.", "No datastream setup for that pin."
MISMATCH, MISMATCH_UNDOTTED = (
    "Value doesn't match the Datastream data type.",
    "Value doesn't match the Datastream data type",
)
INCORRECT = "Request with incorrect parameters"
#: A token to search for where it must not appear.
SECRET_TOKEN = "cAnArY-0123456789-cAnArY-cAnArYz"


class DeviceHttpsApi:
    """The Device HTTPS API with a device's token: ``api("update", "v0=1")`` sends ``GET /external/api/update?token=…&v0=1``."""

    def __init__(self, http, token):
        self._http = http
        self._token = token

    async def __call__(self, operation, query=""):
        query = f"token={self._token}" + (f"&{query}" if query else "")
        return await self._http.get(f"/external/api/{operation}?{query}")

    async def status_and_body(self, operation, query=""):
        """Send a request; returns the response's status and body."""
        response = await self(operation, query)
        return response.status, response.body


def api_error(message):
    """The status and the body of an error."""
    return 400, b'{"error":{"message":"' + message.encode() + b'"}}'


def values_on_disk(hub, device, pin):
    """Timestamps and values of a pin, as another program reads them from the disk."""
    series = device.points[pin].series
    return [(ts, value) for number, ts, value, _ in log_entries(hub.config.data) if number == series]
