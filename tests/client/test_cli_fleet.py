"""Commands on devices and templates of several organizations."""

from __future__ import annotations

import json

import pytest
from support.command import TEMPLATE

SHADE = TEMPLATE.replace("TMPL0cli", "TMPL0shade").replace("Weather", "Shade")


@pytest.fixture(scope="module")
def tenant_hub(any_hub):
    """A hub with the organizations Acme and, below it, Works, in which the template is enabled."""
    assert 0 == any_hub("org", "add", "Acme").code
    assert 0 == any_hub("org", "add", "Works", "--parent", "Acme").code
    return any_hub


def orgs_of(tenant_hub, *names):
    listed = {device["name"]: device["orgId"] for device in tenant_hub("device", "list", "--json").json}
    return [listed[name] for name in names]


def test_devices_are_added_to_the_given_organization(tenant_hub):
    (tenant_hub.folder / "new.csv").write_text("name,template\nCsv 1,TMPL0cli\nCsv 2,TMPL0cli\n")
    for org, number in (("Acme", 2), ("3", 3)):
        assert 0 == tenant_hub("device", "add", "--template", "TMPL0cli", "--name", f"In {org}", "--org", org).code
        assert [number] == orgs_of(tenant_hub, f"In {org}")
        added = tenant_hub("device", "add", "--csv", "new.csv", "--org", org).json
        assert [number, number] == orgs_of(tenant_hub, "Csv 1", "Csv 2")
        for device in added:
            assert 0 == tenant_hub("device", "delete", device["id"], "--yes").code


@pytest.mark.parametrize("org", ["acme", "Acmee"])
@pytest.mark.parametrize(
    "command",
    [
        ("device", "add", "--template", "TMPL0cli", "--name", "X"),
        ("device", "list"),
        ("user", "list"),
        ("user", "add", "x@example.org"),
        ("role", "show", "User"),
    ],
    ids=" ".join,
)
def test_unknown_organization_is_reported_with_a_suggestion(tenant_hub, command, org):
    assert f"there is no organization {org!r}; did you mean 'Acme'?" == tenant_hub(*command, "--org", org).error


def test_device_list_filters_by_organization_status_words_and_tag(tenant_hub):
    for name, org in (("North pump", "Acme"), ("South pump", "Works")):
        assert 0 == tenant_hub("device", "add", "--template", "TMPL0cli", "--name", name, "--org", org).code
    assert 0 == tenant_hub("device", "write", "South pump", "V0", "1").code

    def names(*options):
        return {device["name"] for device in tenant_hub("device", "list", *options, "--json").json} & {
            "North pump",
            "South pump",
        }

    assert {"North pump", "South pump"} == names("--org", "Acme") == names("--query", "pump") == names()
    assert {"South pump"} == names("--org", "Works") == names("--query", "south pump", "--org", "Acme")
    assert {"North pump", "South pump"} == names("--status", "offline")
    assert set() == names("--status", "online") == names("--tag", "roof")
    table = tenant_hub("device", "list", "--query", "pump").out.splitlines()
    assert ["ID", "NAME", "TEMPLATE", "ORG", "STATUS", "LAST", "SEEN", "ADDRESS"] == table[0].split()
    north, south = table[1:3]
    assert ["North", "pump", "TMPL0cli", "Acme", "Offline", "-"] == north.split()[1:]
    assert ["South", "pump", "TMPL0cli", "Works", "Offline"] == south.split()[1:6]
    assert 8 == len(south.split()), "a date and a time"


def test_devices_are_transferred_to_organizations_and_owners(tenant_hub):
    for name in ("Mover", "Shaker"):
        assert 0 == tenant_hub("device", "add", "--template", "TMPL0cli", "--name", name).code
    assert 0 == tenant_hub("user", "add", "owner@example.org", "--org", "Acme").code
    done = tenant_hub("device", "transfer", "Mover", "Shaker", "--org", "Works")
    assert (0, "") == (done.code, done.err)
    assert ["Mover", "Shaker"] == [line.split()[0] for line in done.out.splitlines()]
    assert [3, 3] == orgs_of(tenant_hub, "Mover", "Shaker")
    [moved] = tenant_hub("device", "transfer", "Mover", "--owner", "owner@example.org", "--json").json
    assert "Mover" == moved["name"]
    assert [2] == orgs_of(tenant_hub, "Mover")
    again = tenant_hub("device", "transfer", "Mover", "--owner", "owner@example.org")
    assert (1, "") == (again.code, again.out)
    assert "same owner" in again.err
    wrong = tenant_hub("device", "transfer", "Shaker", "--org", "Works", "--owner", "owner@example.org")
    assert "owner@example.org does not belong to organization Works" in wrong.error
    assert 2 == tenant_hub("device", "transfer", "Shaker").code


def test_template_that_is_not_enabled_is_reported_with_the_command_that_enables_it(tenant_hub):
    (tenant_hub.folder / "shade.toml").write_text(SHADE)
    assert 0 == tenant_hub("template", "import", "shade.toml").code
    add = ("device", "add", "--template", "TMPL0shade", "--name", "Shade", "--org", "Works")
    error = "template TMPL0shade is not enabled in organization Works; enable it with: pinwheel template enable TMPL0shade 3"
    (tenant_hub.folder / "new.csv").write_text("name,template\nShade,TMPL0shade\nBad,TMPL0none\n")
    assert error == tenant_hub(*add).error
    errors = tenant_hub("device", "add", "--csv", "new.csv", "--org", "Works").err.splitlines()
    assert [f"pinwheel: line 2: {error}", "pinwheel: line 3: there is no template 'TMPL0none'"] == errors
    tenant_hub("device", "add", "--template", "TMPL0shade", "--name", "Root's shade")
    assert error == tenant_hub("device", "transfer", "Root's shade", "--org", "Works").err.strip().rpartition("): ")[2]
    command = error.rpartition("pinwheel ")[2].split()
    assert "TMPL0shade Shade\n  + enabled in Acme (2)\n  + enabled in Works (3)\n" == tenant_hub(*command).out
    assert [] == tenant_hub(*command, "--json").json["enabled"]
    assert 0 == tenant_hub(*add).code


def test_imported_template_is_enabled_below_with_enable_below(tenant_hub):
    text = SHADE.replace("TMPL0shade", "TMPL0below").replace('"Shade"', '"Below"')
    (tenant_hub.folder / "below.toml").write_text(text)
    done = tenant_hub("template", "import", "below.toml", "--enable-below")
    assert (0, "") == (done.code, done.err)
    assert ["  + enabled in Acme (2)", "  + enabled in Works (3)"] == done.out.splitlines()[-2:]
    assert 0 == tenant_hub("device", "add", "--template", "TMPL0below", "--name", "Deep", "--org", "Works").code
    assert (
        "TMPL0below Below: nothing to change\n" == tenant_hub("template", "import", "below.toml", "--enable-below").out
    )


def test_user_list_shows_organization_and_status(tenant_hub):
    assert (
        0
        == tenant_hub("user", "add", "set@example.org", "--password-stdin", "--org", "Works", stdin="a password\n").code
    )
    assert 0 == tenant_hub("user", "add", "invited@example.org", "--org", "Acme").code
    rows = {line.split()[1]: line.split()[-2:] for line in tenant_hub("user", "list").out.splitlines()}
    assert (["Works", "Active"], ["Acme", "Pending"]) == (rows["set@example.org"], rows["invited@example.org"])


ENUM = """
[template]
id = "TMPL0fan"
name = "Fan"
[[datastream]]
pin = "V0"
name = "Temperature"
type = "double"
units = "°C"
min = -40
max = 85
[[datastream]]
pin = "V1"
name = "Fan"
type = "enum"
values = { 0 = "Off", 1 = "On", 2 = "on", 5 = "Very fast" }
[[datastream]]
pin = "V2"
name = "Mode"
type = "enum"
values = { 0 = "Off", 7 = "1" }
fallback = 0
"""


@pytest.mark.parametrize(
    ("pin", "values", "output"),
    [
        ("V0", ["21.5"], "V0 Temperature = 21.5"),
        ("Temperature", ["999"], "V0 Temperature = 85 (999 is above the maximum)"),
        ("v0", ["-99.5"], "V0 Temperature = -40 (-99.5 is below the minimum)"),
        ("V0", ["1", "2.5"], "V0 Temperature = 1, 2.5"),
        ("Fan", ["On"], "V1 Fan = On"),
        ("Fan", ["on"], "V1 Fan = on"),
        ("Fan", ["very FAST"], "V1 Fan = Very fast"),
        ("Fan", ["5"], "V1 Fan = Very fast"),
        ("Fan", ["Off", "On"], "V1 Fan = Off, On"),
        ("Mode", ["1"], "V2 Mode = Off (1 is none of its values)"),
    ],
)
def test_write_prints_the_stored_value(tenant_hub, pin, values, output):
    (tenant_hub.folder / "fan.toml").write_text(ENUM)
    assert 0 == tenant_hub("template", "import", "fan.toml").code
    number = json.loads(tenant_hub("device", "add", "--template", "TMPL0fan", "--name", "Fan").out)["id"]
    # With "--", because a value may begin with "-".
    done = tenant_hub("device", "write", number, pin, "--", *values)
    assert (0, output + "\n", "") == done
    stored = tenant_hub("device", "write", number, "--json", pin, "--", *values).json
    assert (number, output.split()[0], output.split()[1]) == (stored["device"], stored["pin"], stored["name"])


@pytest.mark.parametrize("value", ["ON", "fast", "3", "1.5"])
def test_unknown_enum_value_is_reported_with_the_known_ones(tenant_hub, value):
    (tenant_hub.folder / "fan.toml").write_text(ENUM)
    assert 0 == tenant_hub("template", "import", "fan.toml").code
    number = json.loads(tenant_hub("device", "add", "--template", "TMPL0fan", "--name", "Fan").out)["id"]
    expected = "V1 Fan is 0 (Off), 1 (On), 2 (on) or 5 (Very fast)."
    assert expected == tenant_hub("device", "write", number, "Fan", value).error
