"""Templates over the Platform API as TOML: import and export."""

from __future__ import annotations

import pytest
from support.api import NOT_FOUND_TEMPLATE, error_of
from support.api_templates import LAMP
from support.tenants import ORG

from hub.config import parse
from hub.model import SYSTEM
from hub.run import running
from hub.testing import LOOPBACK, add_device


async def test_imported_template_is_listed_with_its_details(hub, api):
    response = await api.post("/api/v1/template/import", {"toml": LAMP})
    assert (200, "TMPL0lamp", "Lamp") == (response.status, response.json["id"], response.json["name"])
    assert "+ V0 Brightness" in response.json["changes"]
    await add_device(hub, LAMP)

    assert {
        "content": [
            {
                "id": "TMPL0lamp",
                "templateIds": ["TMPL0lamp"],
                "orgId": 1,
                "name": "Lamp",
                "version": 1,
                "datastreams": 4,
                "devices": 1,
                "behind": 0,
            }
        ],
        "totalElements": 1,
    } == (await api.get(f"{ORG}/templates")).json
    details = (await api.get(f"{ORG}/template?templateId=TMPL0lamp")).json
    assert ("Lamp", "ESP32") == (details["name"], details["boardType"])
    assert ["v0", "v1", "v2", "v3"] == [stream["pin"] for stream in details["datastreams"]]
    assert {"0": "Off", "1": "On"} == details["datastreams"][2]["values"]


async def test_exported_template_imports_unchanged(hub, api, tmp_path):
    await api.post("/api/v1/template/import", {"toml": LAMP})
    exported = await api.get("/api/v1/template/export?templateId=TMPL0lamp")

    assert (200, "application/toml") == (exported.status, exported.headers["content-type"])
    assert [] == (await api.post("/api/v1/template/import", {"toml": exported.text})).json["changes"]
    async with running(parse(LOOPBACK).with_data(str(tmp_path / "elsewhere")), listen=False) as elsewhere:
        copy, _ = await elsewhere.templates.save(exported.text, SYSTEM)
    assert hub.templates.get("TMPL0lamp") == copy


async def test_import_that_drops_values_needs_confirmation(hub, lamp, api):
    smaller = LAMP.replace("[[datastream]]\nid = 6", "[[datastream]]\nid = 7").replace('"Place"', '"Elsewhere"')
    body = {"toml": smaller, "source": "lamp.toml"}

    error = error_of(await api.post("/api/v1/template/import", body), 409)
    assert "lamp.toml" in error
    assert "Place" in error
    assert "- V3 Place" in (await api.post("/api/v1/template/import", body | {"prune": True})).json["changes"]


@pytest.mark.parametrize(
    "toml",
    [
        "",
        "[template",
        "[template]\n",
        '[template]\nname = "x"\nnonsense = 1\n',
        "x = " + "1" * 5000,
        "x = " + "[" * 5000,
    ],
)
async def test_invalid_template_is_rejected(hub, api, toml):
    error = error_of(await api.post("/api/v1/template/import", {"toml": toml, "source": "mine.toml"}))

    assert error.startswith("mine.toml: ")
    assert {} == hub.templates.by_id


@pytest.mark.parametrize("path", ["/api/v1/template/export", f"{ORG}/template"])
async def test_unknown_template_is_not_found(api, path):
    assert NOT_FOUND_TEMPLATE == error_of(await api.get(f"{path}?templateId=TMPLnone"), 404)
    assert "templateId is missing" == error_of(await api.get(path))
