"""The API conforms to its OpenAPI document: Schemathesis calls every operation with valid and invalid input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio
from support.raw_http import connected, local_key

from hub.api import Route
from hub.testing import add_device, address_of

#: A fixed seed makes the suite reproducible.
EXAMPLES, SEED = 10, 4
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection"
)
#: This route writes a file to any path.
EXCLUDED = "/api/v1/backup"
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
async def document(hub):
    async with connected(hub) as http:
        return (await http.get("/api/v1/openapi.json")).json


@pytest.mark.slow
async def test_responses_of_every_operation_conform_to_the_document(hub, tmp_path):
    await add_device(hub, TEMPLATE)
    host, port = address_of(hub)
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"http://{host}:{port}/api/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {local_key(hub)}"),
        *("--max-examples", str(EXAMPLES), "--seed", str(SEED), "--phases", "fuzzing", "--checks", CHECKS),
        *("--exclude-path", EXCLUDED, "--suppress-health-check", "all", "--continue-on-failure", "--no-color"),
    ]
    done = await trio.run_process(command, cwd=tmp_path, check=False, capture_stdout=True, stderr=subprocess.STDOUT)
    output = done.stdout.decode()
    assert 0 == done.returncode, output[-6000:]


async def test_every_route_is_in_the_document_with_summary_security_and_response(hub, document):
    for route in hub.routes:
        if not isinstance(route, Route):
            continue
        operation = document["paths"][route.path.replace(":path}", "}")][route.method.lower()]
        assert route.summary == operation["summary"]
        assert ("security" in operation) == (route.permission not in ("public", "device"))
        assert {parameter.name for parameter in route.parameters} <= {
            p["name"] for p in operation.get("parameters", ())
        }
        successes = [status for status in operation["responses"] if status < "300"]
        assert 1 == len(successes), route.path
        content = operation["responses"][successes[0]].get("content", {})
        assert ("204" == successes[0]) == (not content)
        # JSON has a schema, unless the route has Blynk's format.
        untyped = route.raw_query or len(route.media) > 1 or route.path.endswith("openapi.json")
        assert untyped or content.get("application/json") != {}, route.path


async def test_operation_ids_are_unique_and_all_schemas_are_defined_and_used(document):
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    assert "3.1.0" == document["openapi"]
    referred = set()

    def collect(value):
        if isinstance(value, dict):
            referred.update([value["$ref"]] if isinstance(value.get("$ref"), str) else ())
            for child in value.values():
                collect(child)
        elif isinstance(value, list):
            for child in value:
                collect(child)

    collect(document)
    assert {f"#/components/schemas/{name}" for name in document["components"]["schemas"]} == referred


async def test_page_of_the_document_lists_all_operations_without_scripts_or_foreign_resources(hub, document):
    async with connected(hub) as http:
        page = await http.get("/api/docs")
    assert "text/html; charset=utf-8" == page.headers["content-type"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "http://" not in page.text.replace("http://localhost", "")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"<b>{method.upper()}</b> <code>{path}</code>" in page.text, operation["operationId"]
