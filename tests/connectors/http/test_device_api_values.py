"""Writing and reading values over the Device HTTPS API."""

from __future__ import annotations

import pytest
from support.device_https_api import (
    INCORRECT,
    MISMATCH,
    MISMATCH_UNDOTTED,
    NO_PIN,
    WRONG_PIN,
    api_error,
    values_on_disk,
)

from hub.errors import Rejected
from hub.hookspecs import hookimpl


@pytest.mark.parametrize(
    ("written", "pin", "text"),
    [
        ("v0=42", "v0", "42"),
        ("V0=42", "V0", "42"),
        ("v0=5.0000000", "v0", "5"),
        ("v0=%2B7", "v0", "7"),
        ("v0=+7", "v0", "7"),
        ("v0=101", "v0", "100"),
        ("v0=-1", "v0", "0"),
        ("v1=100", "v1", "85.0"),
        ("v1=-273.15", "v1", "-40.0"),
        ("v1=21.5", "v1", "21.5"),
        ("v1=2e1", "v1", "20.0"),
        ("v1=1&v1=2.5&v1=99", "v1", "[1.0,2.5,85.0]"),
        ("v2=text", "v2", "text"),
        ("v2=", "v2", ""),
        ("v2=%C2%B0C", "v2", "°C"),
        ('v2="quoted"', "v2", '"quoted"'),
        ("v2=a=b", "v2", "a=b"),
        ("v2=a&v2=&v2=c", "v2", '["a","","c"]'),
        ("v3=1", "v3", "1"),
        ("v4=30.5&v4=50.4", "v4", "[30.5,50.4]"),
        ("v4=30.5,50.4", "v4", "[30.5,50.4]"),
        ("v5=9", "v5", "1"),
        ("v255=end", "v255", "end"),
        ("dataStreamId=11&value=8", "dataStreamId=11", "8"),
        ("value=8&dataStreamId=11", "v0", "8"),
        ("dataStreamId=12&value=1&value=2", "v1", "[1.0,2.0]"),
        ("dataStreamId=13&value=", "v2", ""),
        ("dataStreamId=15&value=30.5&value=50.4", "v4", "[30.5,50.4]"),
        ("pin=V4&value=30.5&value=50.4", "v4", "[30.5,50.4]"),
        ("pin=v0&value=3", "v0", "3"),
    ],
)
async def test_get_returns_the_value_that_update_wrote(api, written, pin, text):
    assert (200, b"") == await api.status_and_body("update", written)
    assert (200, text) == ((response := await api("get", pin)).status, response.text.replace(", ", ","))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", INCORRECT),
        ("v0", INCORRECT),
        ("v2", INCORRECT),
        ("v0=1&v1", INCORRECT),
        ("dataStreamId=11", INCORRECT),
        ("dataStreamId=11&value", INCORRECT),
        ("v=1", WRONG_PIN),
        ("v256=1", WRONG_PIN),
        ("v-1=1", WRONG_PIN),
        ("vx=1", WRONG_PIN),
        ("a0=1", WRONG_PIN),
        ("0=1", WRONG_PIN),
        ("v01=1", WRONG_PIN),
        ("pin=x&value=1", WRONG_PIN),
        ("v77=1", NO_PIN),
        ("pin=v77&value=1", NO_PIN),
        ("v0=abc", MISMATCH),
        ("v0=", MISMATCH),
        ("v0=1.5", MISMATCH),
        ("v0=9999999999", MISMATCH),
        ("v0=1_0", MISMATCH),
        ("v1=nan", MISMATCH),
        ("v1=inf", MISMATCH),
        ("v1=", MISMATCH),
        ("v1=1&v1=x", MISMATCH),
        ("v3=7", MISMATCH),
        ("v3=Heat", MISMATCH),
        ("v4=30.5", MISMATCH),
        ("v4=30.5&v4=91", MISMATCH),
        ("v4=1&v4=2&v4=3", MISMATCH),
        ("dataStreamId=x&value=1", "Wrong dataStreamId format."),
        ("dataStreamId=&value=1", "Wrong dataStreamId format."),
        ("dataStreamId=-1&value=1", "Wrong dataStreamId format."),
        ("dataStreamId=99&value=1", "Requested dataStream doesn't exist in the product Thermostat"),
        ("dataStreamId=11&value=abc", MISMATCH_UNDOTTED),
        ("dataStreamId=15&value=30.5", MISMATCH_UNDOTTED),
        ("pin=V4&value=30.5&value=100", MISMATCH_UNDOTTED),
        ("v2=" + "x" * 1025, "Value is longer than 1024 bytes."),
    ],
)
async def test_invalid_update_is_rejected_and_not_written(hub, api, query, message):
    assert api_error(message) == await api.status_and_body("update", query)
    assert (200, b"{}") == await api.status_and_body("getAll")
    assert 0 == hub.writes.count


async def test_string_of_1024_bytes_is_written(api):
    assert (200, b"") == await api.status_and_body("update", "v2=" + "x" * 1024)


async def test_pins_of_a_batch_have_the_same_timestamp(hub, device, api):
    assert (200, b"OK") == await api.status_and_body("batch/update", "v0=33&v1=4.5&v2=x&v2=y&V255=z")

    [(at, level)], [(_, temperature)], [(_, texts)], [(_, last)] = (
        values_on_disk(hub, device[0], pin) for pin in (0, 1, 2, 255)
    )
    assert (33, 4.5, ("x", "y"), "z") == (level, temperature, texts, last)
    assert {at} == {ts for pin in (0, 1, 2, 255) for ts, _ in values_on_disk(hub, device[0], pin)}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", INCORRECT),
        ("v0", INCORRECT),
        ("v0=1&v256=2", WRONG_PIN),
        ("v0=1&v77=2", NO_PIN),
        ("v0=1&v1=abc", MISMATCH_UNDOTTED),
        ("v1=abc", MISMATCH_UNDOTTED),
    ],
)
async def test_batch_with_an_invalid_value_writes_nothing(hub, api, query, message):
    assert api_error(message) == await api.status_and_body("batch/update", query)
    assert (200, b"{}") == await api.status_and_body("getAll")
    assert 0 == hub.writes.count


class TextFilter:
    """A plugin that rejects a value."""

    __name__ = "text_filter"
    PINWHEEL_HOOKS = 1

    @hookimpl
    def hub_filter_write(self, value):
        if value == "forbidden":
            raise Rejected("This text is not allowed.")
        return value


@pytest.mark.parametrize("hub_plugins", [(TextFilter(),)], ids=["filter"])
async def test_batch_with_a_value_that_a_plugin_rejects_writes_nothing(hub, api):
    assert api_error("This text is not allowed.") == await api.status_and_body(
        "batch/update", "v0=1&v2=forbidden&v255=x"
    )
    assert (200, b"{}") == await api.status_and_body("getAll")


async def test_rejection_of_an_unknown_pin_suggests_the_line_that_adds_it(hub, api):
    await api("update", "v77=1")

    [rejected] = hub.rejections.recent
    assert "device Hall: template TMPL0thermo has no V77" in rejected.reason
    assert 'pin = "V77"' in rejected.reason


@pytest.mark.parametrize("query", ["v0", "v2", "v4", "dataStreamId=11"])
async def test_get_of_a_pin_without_a_value_is_empty(api, query):
    assert (200, b"") == await api.status_and_body("get", query)


@pytest.mark.parametrize("query", ["v6", "V6", "pin=v6", "dataStreamId=17"])
async def test_get_of_a_pin_without_a_value_returns_its_default(api, query):
    assert (200, b"17") == await api.status_and_body("get", query)


async def test_values_of_several_pins_are_returned_as_json_with_their_types(api):
    await api("batch/update", "v0=1&v1=1&v2=string+pin&v2=%C3%A9&v3=1&v4=30.5&v4=50.4")

    values = b'{"v0":1,"v1":1.0,"v2":["string pin","\xc3\xa9"],"v3":1,"v4":[30.5,50.4]}'
    assert (200, values) == await api.status_and_body("getAll")
    assert (200, b'{"v3":1,"v1":1.0,"v6":17}') == await api.status_and_body("get", "v3&V1&v6")
    assert "application/json" == (await api("getAll")).headers["content-type"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("v256", WRONG_PIN),
        ("vx", WRONG_PIN),
        ("a1", WRONG_PIN),
        ("v0&x", WRONG_PIN),
        ("pin=x", WRONG_PIN),
        ("dataStreamId=x", WRONG_PIN),
        ("v77", NO_PIN),
        ("v0&v77", NO_PIN),
        ("dataStreamId=99", "Requested dataStream doesn't exist in the product Thermostat"),
    ],
)
async def test_invalid_get_is_rejected(api, query, message):
    assert api_error(message) == await api.status_and_body("get", query)
