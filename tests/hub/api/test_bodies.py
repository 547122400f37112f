"""Limits of request bodies: size, number of values, length of error messages, and memory after a rejection."""

import gc
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.raw_http import ask, connected, local_key

from hub.api import OPEN, PUBLIC_BODY, Route, bodies, from_json, parse_json
from hub.api.bodies import LARGE, Bodies
from hub.errors import Rejected, Unavailable
from hub.model import SYSTEM
from hub.parsing.structuring import ValidationErrors, structure
from hub.templates.document import BadTemplate, from_toml
from hub.testing import add_device
from hub.writes import Write
from plugins.data.history_routes import ImportBatch, ImportRows
from plugins.files.upload_form import MAX_PARTS, parse_upload
from plugins.users.login_routes import Login

ORG = "/api/v1/organization"
METER = """
[template]
id = "TMPL0"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Level"
"""


def multipart(parts):
    part = '--b\r\nContent-Disposition: form-data; name="upfile"; filename="x"\r\n\r\nbytes\r\n'
    return (part * parts + "--b--\r\n").encode()


def form(body):
    return parse_upload("multipart/form-data; boundary=b", body)


def login(body):
    return from_json(parse_json(body), Login)


# -- limits -----------------------------------------------------------------------------------------------------------


async def test_bodies_of_public_routes_are_limited_to_some_kilobytes(hub):
    assert {} == {
        route.path: route.max_body
        for route in hub.routes
        if isinstance(route, Route)
        and route.permission in OPEN
        and route.max_body > PUBLIC_BODY
        # These routes know their device before they read the body.
        and route.path not in ("/external/api/batch/update", "/external/api/upload")
    }


@pytest.mark.parametrize("path", ["/api/v1/login", f"{ORG}/device/create", f"{ORG}/device/import/batch"])
async def test_body_over_the_limit_of_its_route_is_answered_with_413(hub, path):
    limit = next(route.max_body for route in hub.routes if route.path == path)
    body = b'{"x":"' + b"x" * (limit - 8) + b'"}'
    assert "unknown key x" in (await ask(hub, "POST", path, body, local_key(hub))).message
    assert 413 == (await ask(hub, "POST", path, body + b" ", local_key(hub))).status


async def test_limit_of_a_route_holds_beside_a_larger_one_of_the_same_path(hub):
    async with connected(hub) as http:
        await http.send(b"DELETE /api/v1/template?templateId=T HTTP/1.1\r\nHost: hub\r\n")
        await http.send(f"Authorization: Bearer {local_key(hub)}\r\nContent-Length: 70000\r\n\r\n".encode())
        await http.send(b"x" * 70_000)
        assert 413 == (await http.read_response()).status


@pytest.mark.parametrize("path", ["upload", "batch/update"])
async def test_token_of_a_device_is_checked_before_the_body_is_read(hub, path):
    async with connected(hub) as http:
        await http.send(f"POST /external/api/{path}?token=wrong&pin=v0 HTTP/1.1\r\nHost: hub\r\n".encode())
        await http.send(b"Content-Length: 1000000\r\n\r\n")
        assert "Invalid token." == (await http.read_response()).message


def commas_outside_strings(text):
    count, inside, escaped = 0, False, False
    for char in text:
        if escaped:
            escaped = False
        elif inside and char == "\\":
            escaped = True
        elif char == '"':
            inside = not inside
        elif char == "," and not inside:
            count += 1
    return count


@given(
    st.recursive(
        st.none() | st.text('a,"\\\n'), lambda inner: st.lists(inner) | st.dictionaries(st.text(',"\\'), inner)
    )
)
def test_count_of_values_matches_the_structure_of_any_json(value):
    text = json.dumps(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "MAX_VALUES", 2)
        count = bodies._count(text.encode())
    strings = text.replace("\\\\", "").replace('\\"', "").count('"') // 2
    assert (count > 2) == (text.count(",") > 2 and (commas_outside_strings(text) > 2 or strings > 4))


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"%d":0' % n for n in range(100_002)) + b"}",
        b"[" + b"0," * 100_001 + b"0]",
        b"[" + b'"",' * 450_000 + b"0]",
        b"[" + b'{"a":"b"},' * 150_000 + b"0]",
    ],
    ids=["keys", "numbers", "strings", "objects"],
)
def test_body_with_too_many_values_is_rejected(body):
    with pytest.raises(Rejected, match="more than 100000 values"):
        parse_json(body)


def test_commas_in_a_string_do_not_count():
    text = "name,template,token,room\n" * 40_000
    assert {"csv": text} == parse_json(json.dumps({"csv": text}).encode())


@pytest.mark.parametrize("cls", [ImportRows, ImportBatch])
def test_string_instead_of_a_list_is_rejected_with_a_short_message(cls):
    field = "rows" if cls is ImportRows else "values"
    with pytest.raises(Rejected, match=f"^{field}: must be a list, not 'xxx"):
        from_json({"deviceId": 1, field: "x" * 1_000_000}, cls)


def test_length_of_a_list_is_checked_before_its_elements():
    with pytest.raises(Rejected, match=r"^rows: has 30000 entries; at most 20000 are possible$"):
        from_json({"deviceId": 1, "rows": [5] * 30_000}, ImportRows)


def test_at_most_a_hundred_problems_are_reported():
    with pytest.raises(ValidationErrors) as error:
        structure({"device_id": 1, "rows": [5] * 10_000, "line": "x"}, ImportRows)
    assert 101 == len(error.value.problems)
    assert ("", "and 1 more problems") == error.value.problems[-1]


def test_error_names_ten_of_many_unknown_keys():
    with pytest.raises(Rejected) as error:
        from_json({f"k{n}": 0 for n in range(10_000)}, Login)
    assert "unknown key k0, k1, k10, k100, k1000, k1001, k1002, k1003, k1004, k1005 and 9990 more" in str(error.value)


def test_error_abbreviates_a_long_value():
    with pytest.raises(Rejected) as error:
        from_json({"email": ["x" * 1000] * 1000}, Login)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("rows", ["name,template\n" + "a,b\n" * 5_001, "name,template\n" + "\n,\n" * 5_001])
async def test_file_with_too_many_devices_is_rejected(hub, rows):
    response = await ask(hub, "POST", "/api/v1/device/import", {"csv": rows}, local_key(hub))
    assert (400, "The file has more than 5000 rows; split it.") == (response.status, response.message)


async def test_file_with_many_invalid_devices_has_a_hundred_problems(hub):
    rows = "name,template\n" + "a,b\n" * 5_000
    response = await ask(hub, "POST", "/api/v1/device/import", {"csv": rows}, local_key(hub))
    lines = response.message.splitlines()
    assert (101, "line 2: there is no template 'b'", "and 4900 more problems") == (len(lines), lines[0], lines[-1])


def test_tables_of_a_template_are_counted_before_it_is_parsed():
    with pytest.raises(BadTemplate, match=r"^x: more than 1000 datastreams per template \(\[limits\]"):
        # Not TOML, which the parser would report.
        from_toml(" [[ datastream ]]\n" * 1_001 + "=", "x")


def test_number_of_parts_of_a_form_is_limited():
    assert ("x", b"bytes") == form(multipart(MAX_PARTS))
    with pytest.raises(Rejected, match="at most 16 parts"):
        form(multipart(MAX_PARTS + 1))
    with pytest.raises(Rejected, match="malformed"):
        form(b"--b\r\n" + b"x: yyyyyy\r\n" * 1_000 + b"\r\n\r\n--b--\r\n")


@pytest.mark.parametrize("query", ["a " * 21, "a" * 256])
async def test_number_of_words_of_a_search_is_limited(hub, query):
    for method, path, body in (
        ("POST", "/api/v1/devices/search", {"query": query}),
        ("GET", f"{ORG}/search/devices?query={query.replace(' ', '+')}", None),
    ):
        response = await ask(hub, method, path, body, local_key(hub))
        assert (400, "query must have at most 20 words and 255 characters") == (response.status, response.message)


async def test_audit_abbreviates_a_large_body(hub):
    device, _ = await add_device(hub, METER)
    rows = [[hub.clock.now() - 1, "v0", n] for n in range(5_000)]
    body = {"deviceId": device.id, "rows": rows}
    assert 200 == (await ask(hub, "POST", "/api/v1/device/import-rows", body, local_key(hub))).status
    [change] = (await ask(hub, "GET", "/api/v1/audit?size=1", key=local_key(hub))).json["content"]
    assert "…" == change["details"]["rows"]
    assert device.id == change["details"]["deviceId"]


# -- memory -----------------------------------------------------------------------------------------------------------


def collect_cycles():
    """The number of objects in reference cycles since the last collection."""
    return gc.collect()


REJECTED = {
    "unknown keys": (login, b"{" + b",".join(b'"%d":0' % n for n in range(20_000)) + b"}"),
    "no JSON": (login, b"[" + b"0," * 50_000),
    "too many values": (login, b"[" + b"0," * 150_000 + b"0]"),
    "bad rows": (
        lambda body: from_json(parse_json(body), ImportRows),
        b'{"deviceId":1,"rows":[' + b"{}," * 19_000 + b"{}]}",
    ),
    "parts": (form, multipart(2_000)),
    "no form": (form, b"x" * 100_000),
    "small": (login, b'{"x":1}'),
}


@pytest.mark.parametrize(("decode", "body"), REJECTED.values(), ids=REJECTED)
async def test_rejected_body_leaves_no_reference_cycles(decode, body):
    in_memory = Bodies()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with suppress(Rejected), in_memory.counted() as set_size:
                set_size(len(body))
                await in_memory.decode(body, decode)
                pytest.fail("the body was not rejected")
        assert 0 == collect_cycles()
    finally:
        gc.enable()


async def test_large_bodies_in_memory_are_bounded(monkeypatch):
    monkeypatch.setattr(bodies, "MAX_HELD", 3 * LARGE)
    in_memory = Bodies()
    with in_memory.counted() as set_size:
        set_size(LARGE)
        set_size(2 * LARGE)
        with in_memory.counted() as set_other_size:
            # Small bodies are not counted.
            set_other_size(LARGE)
            with pytest.raises(Unavailable):
                set_other_size(LARGE + 1)
    with in_memory.counted() as set_size:
        set_size(3 * LARGE)


async def test_search_with_several_filters_of_long_values_is_answered(hub):
    device, _ = await add_device(hub, METER)
    hub.write(Write(device, 0, "1", "test", SYSTEM))
    body = {"filters": [{"attribute": "name", "operator": "contains", "values": ["x" * 255] * 10}] * 5}
    assert 200 == (await ask(hub, "POST", "/api/v1/devices/search", body, local_key(hub))).status
