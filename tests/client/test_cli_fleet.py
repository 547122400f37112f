"""Commands of an operator with customers: organizations of devices, templates below, lists and transfers."""

from __future__ import annotations

import json

import pytest
from support.command import TEMPLATE, CommandLine

SHADE = TEMPLATE.replace("TMPL0cli", "TMPL0shade").replace("Weather", "Shade")


@pytest.fixture(scope="module", params=["running", "stopped"])
def house(request, tmp_path_factory):
    """A house with the template and a customer, which was made after it, and one below that; its tests share it."""
    house = CommandLine(tmp_path_factory.mktemp(request.param))

    def furnish():
        assert 0 == house.import_template().code
        assert 0 == house("org", "add", "Acme").code
        assert 0 == house("org", "add", "Works", "--parent", "Acme").code

    if request.param == "stopped":
        furnish()
        yield house
        return
    with house.running():
        furnish()
        yield house


def orgs_of(house, *names):
    listed = {device["name"]: device["orgId"] for device in house("device", "list", "--json").json}
    return [listed[name] for name in names]


def test_devices_are_added_to_the_organization_that_is_named(house):
    (house.folder / "new.csv").write_text("name,template\nCsv 1,TMPL0cli\nCsv 2,TMPL0cli\n")
    for org, number in (("Acme", 2), ("3", 3)):
        assert 0 == house("device", "add", "--template", "TMPL0cli", "--name", f"In {org}", "--org", org).code
        assert [number] == orgs_of(house, f"In {org}")
        added = house("device", "add", "--csv", "new.csv", "--org", org).json
        assert [number, number] == orgs_of(house, "Csv 1", "Csv 2")
        for device in added:
            assert 0 == house("device", "delete", device["id"], "--yes").code


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
def test_an_organization_that_is_not_there_is_said_with_the_one_that_may_be_meant(house, command, org):
    assert f"there is no organization {org!r}; did you mean 'Acme'?" == house(*command, "--org", org).error


def test_devices_are_listed_by_organization_status_words_and_tag(house):
    for name, org in (("North pump", "Acme"), ("South pump", "Works")):
        assert 0 == house("device", "add", "--template", "TMPL0cli", "--name", name, "--org", org).code
    assert 0 == house("device", "write", "South pump", "V0", "1").code

    def names(*options):
        return {device["name"] for device in house("device", "list", *options, "--json").json} & {
            "North pump",
            "South pump",
        }

    assert {"North pump", "South pump"} == names("--org", "Acme") == names("--query", "pump") == names()
    assert {"South pump"} == names("--org", "Works") == names("--query", "south pump", "--org", "Acme")
    assert {"North pump", "South pump"} == names("--status", "offline")
    assert set() == names("--status", "online") == names("--tag", "roof")
    table = house("device", "list", "--query", "pump").out.splitlines()
    assert ["ID", "NAME", "TEMPLATE", "ORG", "STATUS", "LAST", "SEEN", "ADDRESS"] == table[0].split()
    north, south = table[1:3]
    assert ["North", "pump", "TMPL0cli", "Acme", "Offline", "-"] == north.split()[1:]
    assert ["South", "pump", "TMPL0cli", "Works", "Offline"] == south.split()[1:6]
    assert 8 == len(south.split()), "a date and a time"


def test_devices_are_transferred_to_organizations_and_owners(house):
    for name in ("Mover", "Shaker"):
        assert 0 == house("device", "add", "--template", "TMPL0cli", "--name", name).code
    assert 0 == house("user", "add", "owner@example.org", "--org", "Acme").code
    done = house("device", "transfer", "Mover", "Shaker", "--org", "Works")
    assert (0, "") == (done.code, done.err)
    assert ["Mover", "Shaker"] == [line.split()[0] for line in done.out.splitlines()]
    assert [3, 3] == orgs_of(house, "Mover", "Shaker")
    [moved] = house("device", "transfer", "Mover", "--owner", "owner@example.org", "--json").json
    assert "Mover" == moved["name"]
    assert [2] == orgs_of(house, "Mover")
    again = house("device", "transfer", "Mover", "--owner", "owner@example.org")
    assert (1, "") == (again.code, again.out)
    assert "same owner" in again.err
    wrong = house("device", "transfer", "Shaker", "--org", "Works", "--owner", "owner@example.org")
    assert "owner@example.org does not belong to organization Works" in wrong.error
    assert 2 == house("device", "transfer", "Shaker").code


def test_a_template_that_is_not_enabled_is_said_with_what_enables_it(house):
    (house.folder / "shade.toml").write_text(SHADE)
    assert 0 == house("template", "import", "shade.toml").code
    add = ("device", "add", "--template", "TMPL0shade", "--name", "Shade", "--org", "Works")
    said = "template TMPL0shade is not enabled in organization Works; enable it with: pinwheel template enable TMPL0shade 3"
    (house.folder / "new.csv").write_text("name,template\nShade,TMPL0shade\nBad,TMPL0none\n")
    assert said == house(*add).error
    refused = house("device", "add", "--csv", "new.csv", "--org", "Works").err.splitlines()
    assert [f"pinwheel: line 2: {said}", "pinwheel: line 3: there is no template 'TMPL0none'"] == refused
    house("device", "add", "--template", "TMPL0shade", "--name", "Root's shade")
    assert said == house("device", "transfer", "Root's shade", "--org", "Works").err.strip().rpartition("): ")[2]
    command = said.rpartition("pinwheel ")[2].split()
    assert "TMPL0shade Shade\n  + enabled in Acme (2)\n  + enabled in Works (3)\n" == house(*command).out
    assert [] == house(*command, "--json").json["enabled"]
    assert 0 == house(*add).code


def test_a_template_is_imported_and_enabled_below_at_once(house):
    text = SHADE.replace("TMPL0shade", "TMPL0below").replace('"Shade"', '"Below"')
    (house.folder / "below.toml").write_text(text)
    done = house("template", "import", "below.toml", "--enable-below")
    assert (0, "") == (done.code, done.err)
    assert ["  + enabled in Acme (2)", "  + enabled in Works (3)"] == done.out.splitlines()[-2:]
    assert 0 == house("device", "add", "--template", "TMPL0below", "--name", "Deep", "--org", "Works").code
    assert "TMPL0below Below: nothing to change\n" == house("template", "import", "below.toml", "--enable-below").out


def test_users_are_listed_with_their_organizations_and_whether_they_have_a_password(house):
    assert 0 == house("user", "add", "set@example.org", "--password-stdin", "--org", "Works", stdin="a password\n").code
    assert 0 == house("user", "add", "invited@example.org", "--org", "Acme").code
    rows = {line.split()[1]: line.split()[-2:] for line in house("user", "list").out.splitlines()}
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
    ("pin", "values", "said"),
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
def test_a_write_says_what_is_stored_now(house, pin, values, said):
    (house.folder / "fan.toml").write_text(ENUM)
    assert 0 == house("template", "import", "fan.toml").code
    added = json.loads(house("device", "add", "--template", "TMPL0fan", "--name", "Fan").out)["id"]
    # With "--", for a value may begin with "-".
    done = house("device", "write", added, pin, "--", *values)
    assert (0, said + "\n", "") == done
    stored = house("device", "write", added, "--json", pin, "--", *values).json
    assert (added, said.split()[0], said.split()[1]) == (stored["device"], stored["pin"], stored["name"])


@pytest.mark.parametrize("value", ["ON", "fast", "3", "1.5"])
def test_a_value_that_an_enum_does_not_have_is_said_with_those_that_it_has(house, value):
    (house.folder / "fan.toml").write_text(ENUM)
    assert 0 == house("template", "import", "fan.toml").code
    added = json.loads(house("device", "add", "--template", "TMPL0fan", "--name", "Fan").out)["id"]
    expected = "V1 Fan is 0 (Off), 1 (On), 2 (on) or 5 (Very fast)."
    assert expected == house("device", "write", added, "Fan", value).error
