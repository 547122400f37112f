"""The shipped Grafana dashboard and Prometheus rules match the hub's API and metrics."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
import yaml
from support.paths import ROOT
from support.raw_http import connected, local_key

from hub.model import SYSTEM
from hub.testing import add_device
from hub.writes import Write

SHIPPED = ROOT / "config" / "monitoring"
DASHBOARD = json.loads((SHIPPED / "grafana.json").read_text())
TARGETS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]
TEMPLATE = '[template]\nid = "TMPL0g"\nname = "G"\n[[datastream]]\npin = "V0"\nname = "Level"'


@pytest.fixture
async def device(hub):
    device, _ = await add_device(hub, TEMPLATE)
    await hub.write(Write(device, 0, 21.5, "test", SYSTEM)).durable()
    return device


@pytest.mark.parametrize("target", [target for _, target in TARGETS], ids=[title for title, _ in TARGETS])
async def test_response_to_each_panel_has_its_columns(hub, device, target):
    filled = {"devices:csv": device.id, "pins:csv": "V0", "__from": 0, "__to": hub.clock.now() + 1000}
    url = re.sub(r"\$\{(.*?)\}", lambda match: str(filled[match[1]]), target["url"])
    async with connected(hub) as http:
        response = await http.get(url, local_key(hub))
    assert 200 == response.status, response.body
    if target["type"] == "csv":
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert "21.5" == rows[0]["value"]
    else:
        rows = response.json[target["root_selector"]]
    assert {column["selector"] for column in target["columns"]} <= set(rows[0])


async def test_metrics_of_the_rules_exist(hub):
    rules = (SHIPPED / "alerts.yml").read_text()
    [group] = yaml.safe_load(rules)["groups"]
    assert all({"alert", "expr", "for", "labels", "annotations"} == set(rule) for rule in group["rules"])
    hub.alarms.set("frost", "it freezes")
    async with connected(hub) as http:
        metrics = (await http.get("/metrics", local_key(hub))).text
    for name in set(re.findall(r"pinwheel_\w+", rules)):
        assert re.search(rf"^{name}[ {{]", metrics, re.MULTILINE), name
