"""Limits come before work: how large a request may be, and what is left of one that was refused."""

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
from plugins.files.form import MAX_PARTS, parse_upload
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


# -- counting ---------------------------------------------------------------------------------------------------------


async def test_public_routes_take_some_kilobytes_only(hub):
    assert {} == {
        route.path: route.max_body
        for route in hub.routes
        if isinstance(route, Route)
        and route.permission in OPEN
        and route.max_body > PUBLIC_BODY
        # Those know their device before they read.
        and route.path not in ("/external/api/batch/update", "/external/api/upload")
    }


@pytest.mark.parametrize("path", ["/api/v1/login", f"{ORG}/device/create", f"{ORG}/device/import/batch"])
async def test_each_route_has_its_own_limit(hub, path):
    limit = next(route.max_body for route in hub.routes if route.path == path)
    body = b'{"x":"' + b"x" * (limit - 8) + b'"}'
    assert "unknown key x" in (await ask(hub, "POST", path, body, local_key(hub))).message
    assert 413 == (await ask(hub, "POST", path, body + b" ", local_key(hub))).status


async def test_a_route_keeps_its_limit_beside_a_larger_one_of_the_same_path(hub):
    async with connected(hub) as http:
        await http.send(b"DELETE /api/v1/template?templateId=T HTTP/1.1\r\nHost: hub\r\n")
        await http.send(f"Authorization: Bearer {local_key(hub)}\r\nContent-Length: 70000\r\n\r\n".encode())
        await http.send(b"x" * 70_000)
        assert 413 == (await http.answer()).status


@pytest.mark.parametrize("path", ["upload", "batch/update"])
async def test_a_device_is_known_before_its_body_is_read(hub, path):
    async with connected(hub) as http:
        await http.send(f"POST /external/api/{path}?token=wrong&pin=v0 HTTP/1.1\r\nHost: hub\r\n".encode())
        await http.send(b"Content-Length: 1000000\r\n\r\n")
        assert "Invalid token." == (await http.answer()).message


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


@given(st.recursive(st.none() | st.text('a,"\\\n'), lambda one: st.lists(one) | st.dictionaries(st.text(',"\\'), one)))
def test_values_are_counted_without_being_decoded(value):
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
def test_a_body_with_too_many_values_is_refused(body):
    with pytest.raises(Rejected, match="more than 100000 values"):
        parse_json(body)


def test_commas_of_a_text_do_not_count():
    text = "name,template,token,room\n" * 40_000
    assert {"csv": text} == parse_json(json.dumps({"csv": text}).encode())


@pytest.mark.parametrize("cls", [ImportRows, ImportBatch])
def test_text_is_no_list(cls):
    field = "rows" if cls is ImportRows else "values"
    with pytest.raises(Rejected, match=f"^{field}: must be a list, not 'xxx"):
        from_json({"deviceId": 1, field: "x" * 1_000_000}, cls)


def test_a_list_is_measured_before_it_is_looked_at():
    with pytest.raises(Rejected, match=r"^rows: has 30000 entries; at most 20000 are possible$"):
        from_json({"deviceId": 1, "rows": [5] * 30_000}, ImportRows)


def test_a_hundred_problems_are_reported():
    with pytest.raises(ValidationErrors) as caught:
        structure({"device_id": 1, "rows": [5] * 10_000, "line": "x"}, ImportRows)
    assert 101 == len(caught.value.problems)
    assert ("", "and 1 more problems") == caught.value.problems[-1]


def test_some_unknown_keys_are_named():
    with pytest.raises(Rejected) as caught:
        from_json({f"k{n}": 0 for n in range(10_000)}, Login)
    assert "unknown key k0, k1, k10, k100, k1000, k1001, k1002, k1003, k1004, k1005 and 9990 more" in str(caught.value)


def test_a_value_is_repeated_in_short():
    with pytest.raises(Rejected) as caught:
        from_json({"email": ["x" * 1000] * 1000}, Login)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("rows", ["name,template\n" + "a,b\n" * 5_001, "name,template\n" + "\n,\n" * 5_001])
async def test_a_file_of_too_many_devices_is_refused(hub, rows):
    answer = await ask(hub, "POST", "/api/v1/device/import", {"csv": rows}, local_key(hub))
    assert (400, "The file has more than 5000 rows; split it.") == (answer.status, answer.message)


async def test_a_file_of_bad_devices_has_a_hundred_problems(hub):
    rows = "name,template\n" + "a,b\n" * 5_000
    answer = await ask(hub, "POST", "/api/v1/device/import", {"csv": rows}, local_key(hub))
    lines = answer.message.splitlines()
    assert (101, "line 2: there is no template 'b'", "and 4900 more problems") == (len(lines), lines[0], lines[-1])


def test_tables_of_a_template_are_counted_before_it_is_parsed():
    with pytest.raises(BadTemplate, match=r"^x: more than 1000 datastreams per template \(\[limits\]"):
        # Not TOML: parsing it would say so.
        from_toml(" [[ datastream ]]\n" * 1_001 + "=", "x")


def test_a_form_has_some_parts_only():
    assert ("x", b"bytes") == form(multipart(MAX_PARTS))
    with pytest.raises(Rejected, match="at most 16 parts"):
        form(multipart(MAX_PARTS + 1))
    with pytest.raises(Rejected, match="malformed"):
        form(b"--b\r\n" + b"x: yyyyyy\r\n" * 1_000 + b"\r\n\r\n--b--\r\n")


@pytest.mark.parametrize("query", ["a " * 21, "a" * 256])
async def test_a_search_has_some_words_only(hub, query):
    for method, path, body in (
        ("POST", "/api/v1/devices/search", {"query": query}),
        ("GET", f"{ORG}/search/devices?query={query.replace(' ', '+')}", None),
    ):
        answer = await ask(hub, method, path, body, local_key(hub))
        assert (400, "query must have at most 20 words and 255 characters") == (answer.status, answer.message)


async def test_what_the_audit_has_of_a_large_body_is_short(hub):
    device, _ = await add_device(hub, METER)
    rows = [[hub.clock.now() - 1, "v0", n] for n in range(5_000)]
    sent = {"deviceId": device.id, "rows": rows}
    assert 200 == (await ask(hub, "POST", "/api/v1/device/import-rows", sent, local_key(hub))).status
    [change] = (await ask(hub, "GET", "/api/v1/audit?size=1", key=local_key(hub))).json["content"]
    assert "…" == change["details"]["rows"]
    assert device.id == change["details"]["deviceId"]


# -- what is left -----------------------------------------------------------------------------------------------------


def unreachable():
    """How many objects only the garbage collector would find, since it was asked last."""
    return gc.collect()


REFUSED = {
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


@pytest.mark.parametrize(("decode", "body"), REFUSED.values(), ids=REFUSED)
async def test_nothing_stays_of_a_body_that_was_refused(decode, body):
    held = Bodies()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with suppress(Rejected), held.counted() as grown_to:
                grown_to(len(body))
                await held.decode(body, decode)
                pytest.fail("it was not refused")
        assert 0 == unreachable()
    finally:
        gc.enable()


async def test_large_bodies_in_memory_are_bounded(monkeypatch):
    monkeypatch.setattr(bodies, "MAX_HELD", 3 * LARGE)
    held = Bodies()
    with held.counted() as grown_to:
        grown_to(LARGE)
        grown_to(2 * LARGE)
        with held.counted() as other:
            # What is small does not count.
            other(LARGE)
            with pytest.raises(Unavailable):
                other(LARGE + 1)
    with held.counted() as grown_to:
        grown_to(3 * LARGE)


async def test_a_filter_or_two_of_large_values_still_answers(hub):
    device, _ = await add_device(hub, METER)
    hub.write(Write(device, 0, "1", "test", SYSTEM))
    sent = {"filters": [{"attribute": "name", "operator": "contains", "values": ["x" * 255] * 10}] * 5}
    assert 200 == (await ask(hub, "POST", "/api/v1/devices/search", sent, local_key(hub))).status
