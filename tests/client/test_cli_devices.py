"""``pinwheel device``: add, show, write, rename, token and delete."""

from __future__ import annotations

import json

import pytest
from support.command import TOKEN


def test_device_is_added_written_shown_renamed_and_deleted(any_hub):
    added = any_hub("device", "add", "--template", "TMPL0cli", "--name", "Garden").json
    assert {"id", "token"} == set(added)
    assert 32 == len(added["token"])
    number = added["id"]

    assert (0, "V0 Temperature = 21.5\n", "") == any_hub("device", "write", "Garden", "V0", "21.50")
    assert (0, "V1 Mode = 1, 2, 3\n", "") == any_hub("device", "write", number, "Mode", "1", "2", "3")
    details = any_hub("device", "show", "Garden", "--json").json
    assert {"v0": 21.5, "v1": [1, 2, 3]} == {
        value["pin"].lower(): value["value"] for value in details["dataStreamValues"]
    }
    assert (number, "Garden", "TMPL0cli", None) == tuple(details[key] for key in ("id", "name", "templateId", "token"))
    table = any_hub("device", "show", number)
    assert (0, "") == (table.code, table.err)
    assert "21.5" in table.out
    assert added["token"] not in table.out

    assert (0, f"Garden ({number}) is named Orchard\n", "") == any_hub("device", "rename", "Garden", "Orchard")
    assert ["Orchard"] == [d["name"] for d in any_hub("device", "list", "--json").json if d["id"] == number]
    assert [str(number), "Orchard", "TMPL0cli"] in [
        line.split()[:3] for line in any_hub("device", "list").out.splitlines()
    ]

    error = f"Refusing to delete Orchard ({number}) with all its values and history without confirmation."
    assert f"{error} Run again with --yes." == any_hub("device", "delete", "Orchard").error
    assert (0, f"Orchard ({number}) is deleted\n", "") == any_hub("device", "delete", "Orchard", "--yes")
    assert number not in [device["id"] for device in any_hub("device", "list", "--json").json]
    assert str(number) in any_hub("device", "show", number).error


def test_device_is_added_with_a_given_token(any_hub):
    token_of_board = TOKEN.format("~")
    add = ("device", "add", "--template", "TMPL0cli", "--token-stdin", "--name")

    assert token_of_board == any_hub(*add, "Carrier", stdin=token_of_board + "\n").json["token"]
    for token in (token_of_board, "short", "", "x" * 31 + "ü", TOKEN.format("~") + "x"):
        done = any_hub(*add, "Other", stdin=token + "\n")
        assert 1 == done.code
        assert done.error
        assert token_of_board not in done.err
    assert [] == [d for d in any_hub("device", "list", "--json").json if d["name"] == "Other"]


def test_devices_are_added_from_csv_atomically(any_hub):
    rows = f"name,template,token,Room\nShed,TMPL0cli,{TOKEN.format('s')},Cellar\nAttic,TMPL0cli,,\n"
    bad = rows + "Bad,TMPL0none,,\nWorse,TMPL0cli,short,\n"
    file = any_hub.folder / "devices.csv"
    before = any_hub("device", "list", "--json").json
    file.write_text(bad)
    rejected = any_hub("device", "add", "--csv", "devices.csv")

    assert (1, "") == (rejected.code, rejected.out)
    assert ["line 4", "line 5"] == sorted(line.split(": ")[1] for line in rejected.err.splitlines())
    assert before == any_hub("device", "list", "--json").json

    file.write_text(rows)
    added = any_hub("device", "add", "--csv", "devices.csv").json
    assert ["Shed", "Attic"] == [device["name"] for device in added]
    assert [TOKEN.format("s"), 32] == [added[0]["token"], len(added[1]["token"])]
    shed = any_hub("device", "show", "Shed", "--json").json
    assert ("Room", "Cellar") in [(field["name"], field["value"]["value"]) for field in shed["metaFieldValues"]]
    assert any_hub("device", "add", "--csv", "missing.csv").error


def test_unknown_and_ambiguous_devices_are_reported_in_one_line(any_hub):
    ids = [any_hub.add("Twin")[1]]
    again = any_hub("device", "add", "--template", "TMPL0cli", "--name", "Twin")
    ids.append(json.loads(again.out)["id"])
    error = f"pinwheel: there are now 2 devices named 'Twin'; select this one by its id, {ids[1]}\n"
    assert (0, error) == (again.code, again.err)
    for arguments in (("show",), ("delete",), ("rename", "X"), ("write", "V0", "1"), ("token", "--new"), ("watch",)):
        command, *rest = arguments
        unknown = any_hub("device", command, "Nobody", *rest)
        ambiguous = any_hub("device", command, "Twin", *rest)

        assert (1, 1) == (unknown.code, ambiguous.code)
        assert "'Nobody'" in unknown.error
        assert f"use an id ({ids[0]}, {ids[1]})" in ambiguous.error
    assert "999999" in any_hub("device", "show", "999999").error


@pytest.mark.parametrize(("pin", "value"), [("V1", "x"), ("V99", "1"), ("nonsense", "1"), ("V0", "")])
def test_invalid_value_is_reported_in_one_line(any_hub, pin, value):
    _, number, _ = any_hub.add()
    done = any_hub("device", "write", number, pin, value)

    assert 1 == done.code
    assert done.error


def test_new_token_replaces_the_old_one_at_once_or_after_the_overlap(running_hub):
    _, number, first = running_hub.add()
    second = running_hub("device", "token", number, "--new", "--overlap", "7d").json["token"]
    assert [200, 200] == [running_hub.login_status(token) for token in (first, second)]
    replaced = running_hub("device", "token", number, "--new").json
    third = replaced["token"]

    assert {"id": number, "token": third} == replaced
    assert [9, 9, 200] == [running_hub.login_status(token) for token in (first, second, third)]
    assert (
        TOKEN.format("t")
        == running_hub("device", "token", number, "--new", "--token-stdin", stdin=TOKEN.format("t")).json["token"]
    )


def test_token_replaced_while_the_hub_is_stopped_is_valid_after_its_start(pinwheel):
    assert 0 == pinwheel.import_template().code
    name, _, first = pinwheel.add()
    second = pinwheel("device", "token", name, "--new").json["token"]
    with pinwheel.running():
        assert [9, 200] == [pinwheel.login_status(token) for token in (first, second)]


@pytest.mark.parametrize("overlap", ["soon", "-1d", "7"])
def test_invalid_overlap_is_reported_in_one_line(any_hub, overlap):
    name, _, _ = any_hub.add()
    done = any_hub("device", "token", name, "--new", f"--overlap={overlap}")

    assert 1 == done.code
    assert "overlap" in done.error


def test_value_written_while_the_hub_is_stopped_survives_its_start(pinwheel):
    assert 0 == pinwheel.import_template().code
    name, _, _ = pinwheel.add()
    assert 0 == pinwheel("device", "write", name, "V0", "21.5").code
    with pinwheel.running():
        [value] = [
            v["value"] for v in pinwheel("device", "show", name, "--json").json["dataStreamValues"] if v["pin"] == "v0"
        ]

    assert 21.5 == value


def test_guessable_token_is_accepted_with_a_warning(running_hub):
    arguments = ("device", "add", "--template", "TMPL0cli", "--name", "Old board", "--token-stdin")
    done = running_hub(*arguments, stdin="0" * 31 + "1\n")
    assert (0, "0" * 31 + "1") == (done.code, json.loads(done.out)["token"])
    assert done.err.startswith("pinwheel: warning: the token can be guessed")
