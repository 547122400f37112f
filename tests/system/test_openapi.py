"""The API keeps to its own description: Schemathesis asks every operation for what it says, and for what it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio
from support.raw_http import connected, local_key

from hub.api import Route
from hub.testing import add_device, address_of

#: A seed, so that the suite does the same each time; other ones are tried by hand, with more examples.
EXAMPLES, SEED = 10, 4
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection"
)
#: It writes a file wherever it is told to.
LEFT_OUT = "/api/v1/backup"
TEMPLATE = """
[template]
id = "TMPL0open"
name = "Open"
[[datastream]]
pin = "V0"
name = "Value"
[[event]]
code = "hot"
name = "Hot"
"""


@pytest.fixture
async def described(hub):
    async with connected(hub) as http:
        return (await http.get("/api/v1/openapi.json")).json


@pytest.mark.slow
async def test_every_operation_answers_as_it_says(hub, tmp_path):
    await add_device(hub, TEMPLATE)
    host, port = address_of(hub)
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"http://{host}:{port}/api/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {local_key(hub)}"),
        *("--max-examples", str(EXAMPLES), "--seed", str(SEED), "--phases", "fuzzing", "--checks", CHECKS),
        *("--exclude-path", LEFT_OUT, "--suppress-health-check", "all", "--continue-on-failure", "--no-color"),
    ]
    done = await trio.run_process(command, cwd=tmp_path, check=False, capture_stdout=True, stderr=subprocess.STDOUT)
    said = done.stdout.decode()
    assert 0 == done.returncode, said[-6000:]


async def test_every_route_is_described_with_its_permission_and_its_answers(hub, described):
    for route in hub.routes:
        if not isinstance(route, Route):
            continue
        operation = described["paths"][route.path][route.method.lower()]
        assert route.summary == operation["summary"]
        assert ("security" in operation) == (route.permission not in ("public", "device"))
        assert {one.name for one in route.parameters} <= {one["name"] for one in operation.get("parameters", ())}
        done = [status for status in operation["responses"] if status < "300"]
        assert 1 == len(done), route.path
        content = operation["responses"][done[0]].get("content", {})
        assert ("204" == done[0]) == (not content)
        # Whatever is JSON has a shape, or is Blynk's own.
        untyped = route.raw_query or len(route.media) > 1 or route.path.endswith("openapi.json")
        assert untyped or content.get("application/json") != {}, route.path


async def test_operations_have_names_of_their_own_and_nothing_is_referred_to_that_is_not_there(described):
    names = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    assert "3.1.0" == described["openapi"]
    referred = set()

    def look(thing):
        if isinstance(thing, dict):
            referred.update([thing["$ref"]] if isinstance(thing.get("$ref"), str) else ())
            for one in thing.values():
                look(one)
        elif isinstance(thing, list):
            for one in thing:
                look(one)

    look(described)
    assert {f"#/components/schemas/{name}" for name in described["components"]["schemas"]} == referred


async def test_the_page_for_people_needs_nothing_from_elsewhere(hub, described):
    async with connected(hub) as http:
        page = await http.get("/api/docs")
    assert "text/html; charset=utf-8" == page.headers["content-type"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "http://" not in page.text.replace("http://localhost", "")
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert f"<b>{method.upper()}</b> <code>{path}</code>" in page.text, operation["operationId"]
