"""Settings of templates over the API."""

from __future__ import annotations

import tomllib

from support.api import ApiClient
from support.documents import DOCUMENT, with_changes
from support.raw_http import connected, local_key

SETTINGS = {
    "event": [
        {
            "code": "cold",
            "name": "Cold",
            "type": "warning",
            "color": "#00aaff",
            "tag": "Cold",
            "show_in_notifications": False,
            "every": 3,
            "notifications": {"push": ["Device Owner"], "sms": ["Keeper"], "alert": True},
        }
    ],
    "metadata": [{"name": "Keeper", "type": "contact", "in_provisioning": True, "view_roles": ["Admin"]}],
    "lifecycle": {"offline_settings": {"color": "#888888", "interaction": {"disable_widgets": "all"}}},
    "guides": {"activation": "Press the button."},
}


async def test_settings_are_read_as_objects_documents_and_files(hub):
    async with connected(hub) as http:
        ask = ApiClient(http, local_key(hub))
        await ask("POST", "template/create", {"document": with_changes(**SETTINGS)})
        details = await ask("GET", "organization/template", templateId="TMPL0room")
        document = await ask("GET", "template/document", templateId="TMPL0room")
        exported = await http.get("/api/v1/template/export?templateId=TMPL0room", local_key(hub))
    [event] = details["events"]
    assert ("#00aaff", "Cold", False) == (event["color"], event["tag"], event["showInNotifications"])
    assert {
        "enabled": True,
        "email": [],
        "push": ["Device Owner"],
        "sms": ["Keeper"],
        "alert": True,
        "manageable": False,
    } == event["notifications"]
    assert (True, ["Admin"]) == (details["metadata"][0]["inProvisioning"], details["metadata"][0]["viewRoles"])
    assert "all" == details["lifecycle"]["offlineSettings"]["interaction"]["disableWidgets"]
    assert "interaction" not in details["lifecycle"]["onlineSettings"]
    assert "Press the button." == details["guides"]["activation"]
    for source in (document, tomllib.loads(exported.text)):
        assert SETTINGS.items() <= source.items()


async def test_change_of_a_setting_is_a_version_that_names_it(hub):
    async with connected(hub) as http:
        ask = ApiClient(http, local_key(hub))
        await ask("POST", "template/create", {"document": DOCUMENT})
        changed = with_changes(event=[DOCUMENT["event"][0] | {"notifications": {"push": ["Device Owner"]}}])
        saved = await ask("PUT", "template", {"templateId": "TMPL0room", "document": changed})
        restored = await ask("POST", "template/restore", {"templateId": "TMPL0room", "version": 1})
    assert (2, ["~ event cold: notifications.push () -> ('Device Owner',)"]) == (saved["version"], saved["changes"])
    assert (3, ["~ event cold: notifications.push ('Device Owner',) -> ()"]) == (
        restored["version"],
        restored["changes"],
    )


async def test_product_fields_are_created_edited_and_generate_lines_of_firmware(hub):
    async with connected(hub) as http:
        ask = ApiClient(http, local_key(hub))
        fields = {
            "categories": ["Lamp"],
            "hotspotPrefix": "Acme",
            "broadcastName": "Lamp",
            "logo": "template_asset://3",
        }
        created = await ask("POST", "organization/template/create", {"name": 'The "Lamp"'} | fields)
        assert fields.items() <= created.items()
        assert [
            f'#define BLYNK_TEMPLATE_ID "{created["id"]}"',
            '#define BLYNK_TEMPLATE_NAME "The \\"Lamp\\""',
        ] == created["firmwareLines"]
        path = f"organization/template?templateId={created['id']}"
        edited = await ask("PUT", path, {"categories": [], "broadcastName": ""})
        assert ([], "", "Acme") == (edited["categories"], edited["broadcastName"], edited["hotspotPrefix"])
        refused = await ask("PUT", path, {"hotspotPrefix": "x" * 21})
        assert 400 == refused.status
        assert "hotspot_prefix: must have at most 20 characters" in refused.message
