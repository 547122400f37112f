"""The ``pinwheel`` command, as people and scripts run it: in a process of its own, on a running and on a stopped hub."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from support.command import CONFIG, PINWHEEL, STOP, TEMPLATE, TLS, CommandLine
from support.patience import brief, patient

from client import cli
from connectors.native.protocol import Cmd, Status, frame, response

SMALLER = TEMPLATE.replace('[[datastream]]\nid = 2\npin = "V1"\nname = "Mode"\ntype = "integer"\n', "")
TOKEN = "0123456789abcdef0123456789abcde{}"


@pytest.fixture
def house(tmp_path):
    return CommandLine(tmp_path / "house")


@pytest.fixture(scope="module", params=["running", "stopped"])
def furnished(request, tmp_path_factory):
    """A house with the template, its hub running or stopped; its tests share it."""
    house = CommandLine(tmp_path_factory.mktemp(request.param))
    if request.param == "stopped":
        assert 0 == house.import_template().code
        yield house
        return
    with house.running():
        assert 0 == house.import_template().code
        yield house


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory):
    """A house whose hub runs."""
    house = CommandLine(tmp_path_factory.mktemp("lived-in"))
    with house.running():
        assert 0 == house.import_template().code
        yield house


# -- run --------------------------------------------------------------------------------------------------------------


def test_run_says_ready_and_where_it_listens_until_it_is_stopped(tmp_path):
    house = CommandLine(tmp_path, CONFIG + CONFIG + 'tls = "on"\n')
    for number in (signal.SIGTERM, signal.SIGINT):
        with house.running() as line:
            state = house.state
            assert house.process.pid == state["pid"]
            assert importlib.metadata.version("pinwheel-hub") == state["version"]
            assert [False, True] == [entry["tls"] for entry in state["listen"]]
            for listener, entry in enumerate(state["listen"]):
                assert entry["address"] in line
                house.dial(listener).close()
            house.process.send_signal(number)
            assert 0 == house.process.wait(STOP)
            assert "" == house.process.stdout.read()
        assert not (house.data / "hub.json").exists()
    assert 0o600 == (house.data / "local.key").stat().st_mode & 0o777


def test_run_prints_the_object_of_hub_json(house):
    with house.started("run", "--json") as process:
        line = process.stdout.readline()
        assert house.state == json.loads(line)
        process.terminate()
        out, err = process.communicate()
    assert (0, "") == (process.returncode, out), err


def test_a_stop_waits_for_nobody(house):
    with house.running():
        assert 0 == house.import_template().code
        _, number, token = house.add()
        with house.started("device", "watch", number) as watch, house.dial() as silent, house.dial() as device:
            assert "offline" in watch.stdout.readline()
            with house.dial() as half:
                half.sendall(b"POST /api/v1/template/import HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
                device.sendall(frame(Cmd.HW_LOGIN, 1, (token,)))
                assert response(1, Status.OK) == device.recv(100)
                house.process.terminate()
                assert 0 == house.process.wait(STOP)
                assert b"" == silent.recv(100)
            _, err = watch.communicate()
            assert (1, "pinwheel: the hub stopped\n") == (watch.returncode, err)


def test_a_hub_is_not_stopped_by_sighup(house):
    with house.running():
        house.process.send_signal(signal.SIGHUP)
        assert 0 == house("device", "list").code


def test_a_second_hub_on_the_same_data_is_refused(house):
    with house.running():
        done = house.run_process("run")

        assert 2 == done.code
        assert f"another hub (process {house.process.pid}) uses the data directory" in done.error
        assert 0 == house("device", "list").code


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = CommandLine(tmp_path, f'[[listen]]\naddress = "{address}"\n').run_process("run")

    assert (2, f"hub.toml: listen[0].address: {address} is taken by another program") == (done.code, done.error)


def test_what_a_killed_hub_left_behind_bothers_nobody(house):
    with house.running():
        assert 0 == house.import_template().code
        house.add("Survivor")
        house.process.kill()
        house.process.wait()
    assert (house.data / "hub.json").exists()

    assert ["Survivor"] == [device["name"] for device in house("device", "list", "--json").json]
    with house.running():
        assert ["Survivor"] == [device["name"] for device in house("device", "list", "--json").json]


def test_the_demo_has_devices(house):
    with house.running("--demo"):
        deadline = time.monotonic() + patient(20)
        while time.monotonic() < deadline:
            devices = house("device", "list", "--json").json
            online = [device for device in devices if device["lifecycleStatus"]["name"].lower() == "online"]
            if len(online) == 3:
                break

        assert 3 == len(devices) == len(online)


MISTAKES = """
[hub]
timezone = "Mars/Phobos"
colour = "red"
heartbeat_factor = 0
[[listen]]
address = "8080"
[limits]
connections = 0
"""


@pytest.mark.parametrize("command", ["run", "check"])
def test_every_mistake_in_the_configuration_is_named_at_once(tmp_path, command):
    done = CommandLine(tmp_path, MISTAKES).run_process(command)

    assert 2 == done.code
    lines = done.err.splitlines()
    for key in ("hub.timezone", "colour", "hub.heartbeat_factor", "listen[0].address", "limits.connections"):
        assert 1 == len([line for line in lines if key in line]), key
    assert {True} == {line.startswith("pinwheel: hub.toml: ") for line in lines}
    assert 5 == len(lines)


@pytest.mark.parametrize("command", [("run",), ("device", "list"), ("status",)])
@pytest.mark.parametrize("broken", ["[hub", "no such file"])
def test_a_configuration_that_cannot_be_read_is_named(house, command, broken):
    if broken == "[hub":
        (house.folder / "other.toml").write_text(broken)
    done = house.run_process(*command, "--config", "other.toml")

    assert 2 == done.code
    assert "other.toml" in done.error


@pytest.mark.parametrize("command", [("run",), ("device", "list"), ("status",)])
def test_a_data_directory_that_cannot_be_made_is_named(house, command):
    (house.folder / "file").write_text("")
    done = house.run_process(*command, "--data", "file/data")

    assert 2 == done.code
    assert "file/data" in done.error


# -- check ------------------------------------------------------------------------------------------------------------


def test_check_is_content(furnished):
    done = furnished("check", "weather.toml")

    assert (0, "") == (done.code, done.err)
    assert "hub.toml" in done.out
    assert "history.db" in done.out


def test_check_names_what_is_wrong_with_everything_at_once(house):
    assert 0 == house.import_template().code
    (house.folder / "bad.toml").write_text('[template]\nname = ""\n[[datastream]]\npin = "V256"\nname = "a/b"\n')
    (house.data / "history.db").write_bytes(b"no database" * 1000)
    done = house("check", "bad.toml", "missing.toml")

    assert 2 == done.code
    for name in ("bad.toml", "missing.toml", "history.db"):
        assert [line for line in done.err.splitlines() if name in line], name


EVERYTHING_WRONG = """
listen = [{ address = "nowhere", tls = "on" }]
[hub]
timezone = "Mars/Phobos"
[tls]
cert = "missing.pem"
key = "missing.key"
[storage]
flush = "soon"
[plugins.telegram]
token = "x"
[plugins.native]
speed = 3
[plugins.users]
access = "long"
reset = 5
[plugins.mqtt]
max_packet = 1
keep_sessions = "ever"
[plugins.audit]
keep = "x"
color = "red"
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_check_names_every_mistake_of_every_kind_at_once(tmp_path, as_json):
    house = CommandLine(tmp_path, EVERYTHING_WRONG)
    (house.data / "plugins").mkdir()
    (house.data / "plugins" / "broken.py").write_text("1 / 0\n")
    (house.data / "pinwheel.db").write_bytes(b"no database" * 1000)
    (house.folder / "bad.toml").write_text('[template]\nname = ""\n[[datastream]]\npin = "V256"\nname = "a/b"\n')
    (house.folder / "binary.toml").write_bytes(b"\xff\xfe")
    done = house("check", "bad.toml", "binary.toml", *(["--json"] if as_json else []))
    assert 2 == done.code
    lines = json.loads(done.out)["problems"] if as_json else done.err.splitlines()
    for word in (
        "hub.timezone",
        "listen[0].address",
        "storage.flush",
        "missing.pem",
        "plugins.telegram",
        "plugins.native",
        "plugins.users.access",
        "plugins.users.reset",
        "plugins.mqtt.max_packet: must be",
        "plugins.mqtt.keep_sessions",
        "plugins.audit.keep",
        "plugins.audit: unknown key color",
        "plugin broken",
        "pinwheel.db",
        "V256",
        "a/b",
        "binary.toml",
    ):
        assert 1 <= len([line for line in lines if word in line]), word


# -- status -----------------------------------------------------------------------------------------------------------


def room_on_disk():
    usage = shutil.disk_usage("/tmp")
    return usage.free / usage.total > 0.12


@pytest.mark.skipif(not room_on_disk(), reason="the disk is low, of which the status warns")
def test_status_of_a_healthy_hub_is_0(lived_in):
    done = lived_in("status")
    shown = lived_in("status", "--json").json

    assert (0, "") == (done.code, done.err)
    assert "ok" in done.out.splitlines()[0]
    assert ("ok", [], lived_in.state["listen"]) == (shown["status"], shown["problems"], shown["listen"])


def test_status_of_a_stopped_hub_is_2(house):
    done = house.run_process("status")
    shown = house("status", "--json")

    assert (2, 2) == (done.code, shown.code)
    assert "the hub is not running" in done.out
    assert "critical" == json.loads(shown.out)["status"]


@pytest.mark.parametrize(("days", "code"), [(20, 1), (0.5, 2)])
def test_status_of_a_hub_whose_certificate_ends_is_1_or_2(tmp_path, days, code):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    now = datetime.now(UTC)
    made = trustme.CA().issue_cert("localhost", not_before=now - timedelta(1), not_after=now + timedelta(days))
    cert.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    made.private_key_pem.write_to_path(key)
    house = CommandLine(tmp_path / "house", f'{CONFIG}tls = "auto"\n[tls]\ncert = "{cert}"\nkey = "{key}"\n')
    with house.running():
        done = house("status")

    assert code == done.code
    assert "the TLS certificate expires" in done.out


def works_without_a_valid_certificate(house, said):
    with house.running():
        listed = house("device", "list", "--json")
        status = house("status")
    assert (0, []) == (listed.code, listed.json)
    assert 2 == status.code
    assert f"the TLS certificate {said}" in status.out


@pytest.mark.parametrize(
    ("begins", "ends", "said"), [(-9, -3, "expired 3 days ago"), (1, 90, "is not valid before")], ids=["old", "new"]
)
def test_commands_work_while_the_certificate_is_not_valid(tmp_path, begins, ends, said):
    begins, ends = (datetime.now(UTC) + timedelta(days=days, hours=-1) for days in (begins, ends))
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_certificate(trustme.CA().issue_cert("localhost", not_before=begins, not_after=ends), cert, key)
    house = CommandLine(tmp_path / "house", f'{TLS}[tls]\ncert = "{cert}"\nkey = "{key}"\n')

    works_without_a_valid_certificate(house, said)


def test_commands_work_before_the_hubs_own_certificate_is_valid(tmp_path):
    """As on a board that boots with an old clock: the hub made the certificate when the clock was right."""
    house = CommandLine(tmp_path / "house", TLS)
    with house.running():
        pass
    folder = house.data / "tls"
    ca = trustme.CA.from_pem((folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes())
    before = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    names = [str(name.value) for name in before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
    now = datetime.now(UTC)
    made = ca.issue_cert(*names, not_before=now + timedelta(days=1), not_after=now + timedelta(days=90))
    write_certificate(made, folder / "cert.pem", folder / "key.pem")

    works_without_a_valid_certificate(house, "is not valid before")


def test_commands_trust_no_other_certificate(tmp_path):
    house = CommandLine(tmp_path / "house", TLS)
    with house.running():
        other = trustme.CA().issue_cert("localhost")
        write_certificate(other, house.data / "tls" / "cert.pem", tmp_path / "unused.pem")
        done = house("status")

    assert 1 == done.code
    assert "CERTIFICATE_VERIFY_FAILED" in done.err


def write_certificate(made, cert, key):
    cert.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    made.private_key_pem.write_to_path(key)


# -- the way to a running hub -----------------------------------------------------------------------------------------

NATIVE = CONFIG + 'serve = ["native"]\n'
DEVICES_ONLY = CONFIG + 'serve = ["native", "device-http"]\n'


@pytest.mark.parametrize(
    "config",
    [
        TLS,
        NATIVE + CONFIG,
        DEVICES_ONLY + TLS,
        CONFIG.replace("127.0.0.1", "0.0.0.0"),
        NATIVE.replace("127.0.0.1", "localhost") + CONFIG,
    ],
)
def test_commands_find_the_listener_that_serves_them(tmp_path, config):
    house = CommandLine(tmp_path, config)
    with house.running():
        assert house("status", "--json").json["uptime"] >= 0
        assert [] == house("device", "list", "--json").json


def test_commands_of_a_house_without_a_listener_for_them_say_so(tmp_path):
    house = CommandLine(tmp_path, NATIVE)
    with house.running():
        done = house("device", "list")

        assert 1 == done.code
        assert done.error


def test_somebody_elses_certificate_is_not_believed(tmp_path):
    house = CommandLine(tmp_path, TLS)
    with house.running():
        trustme.CA().issue_cert("localhost").cert_chain_pems[0].write_to_path(house.data / "tls" / "cert.pem")
        done = house("device", "list")

        assert 1 == done.code
        assert "certificate" in done.error


# -- templates --------------------------------------------------------------------------------------------------------


def test_a_template_that_is_the_same_changes_nothing(furnished):
    done = furnished.import_template()

    assert (0, "TMPL0cli Weather: nothing to change\n", "") == done
    assert [] == furnished.import_template(TEMPLATE, "--json").json[0]["changes"]


def test_an_exported_template_is_the_imported_one(furnished):
    exported = furnished("template", "export", "TMPL0cli")
    assert (0, "") == (exported.code, exported.err)

    assert "TMPL0cli Weather: nothing to change\n" == furnished.import_template(exported.out).out
    assert exported == furnished("template", "export", "TMPL0cli")


def test_a_datastream_is_not_dropped_without_prune(furnished):
    text, smaller = (t.replace("TMPL0cli", "TMPL0prune").replace("Weather", "Prune") for t in (TEMPLATE, SMALLER))
    assert 0 == furnished.import_template(text).code
    kept = furnished.import_template(smaller)
    assert (1, "") == (kept.code, kept.out)
    assert "Mode" in kept.err
    assert "--prune" in kept.err
    pruned = furnished.import_template(smaller, "--prune")

    assert (0, "") == (pruned.code, pruned.err)
    assert "Mode" in pruned.out
    assert {"TMPL0prune": 1} == {
        template["id"]: template["datastreams"]
        for template in furnished("template", "list", "--json").json
        if template["id"] == "TMPL0prune"
    }


def test_templates_are_listed(furnished):
    done = furnished("template", "list")

    assert (0, "") == (done.code, done.err)
    assert ["ID", "NAME", "DATASTREAMS", "DEVICES"] == done.out.splitlines()[0].split()
    assert [["TMPL0cli", "Weather", "2"]] == [
        line.split()[:3] for line in done.out.splitlines() if line.startswith("TMPL0cli ")
    ]


def test_a_bad_template_does_not_keep_out_a_good_one_and_every_mistake_in_it_is_named(furnished):
    (furnished.folder / "bad.toml").write_text('[template]\nname = ""\n[[datastream]]\npin = "V256"\nname = "a/b"\n')
    (furnished.folder / "good.toml").write_text('[template]\nid = "TMPL0good"\nname = "Good"\n')
    done = furnished("template", "import", "bad.toml", "missing.toml", "good.toml")

    assert 1 == done.code
    assert "TMPL0good Good" in done.out
    for word in ("missing.toml", "V256", "a/b"):
        assert 1 == len([line for line in done.err.splitlines() if word in line]), word
    assert {True} == {line.startswith("pinwheel: ") for line in done.err.splitlines()}


def test_a_template_that_comes_with_the_hub_is_imported_by_its_name(furnished):
    listed = furnished("template", "list", "--shipped", "--json").json
    assert {"weather-station", "asset-tracker", "mqtt-thermostat"} <= {one["name"] for one in listed}
    assert "asset-tracker" in furnished("template", "list", "--shipped").out
    done = furnished("template", "import", "asset-tracker")
    assert (0, "") == (done.code, done.err)
    assert done.out.startswith("TMPL0tracker0 Asset tracker\n")
    wrong = furnished("template", "import", "no-such-template")
    assert (1, "no-such-template: No such file or directory") == (wrong.code, wrong.error)


def test_an_unknown_template_is_one_line(furnished):
    for arguments in (("template", "export", "TMPL0none"), ("device", "add", "--template", "TMPL0none", "--name", "X")):
        done = furnished(*arguments)

        assert 1 == done.code
        assert "emplate" in done.error


# -- devices ----------------------------------------------------------------------------------------------------------


def test_a_device_from_its_first_day_to_its_last(furnished):
    added = furnished("device", "add", "--template", "TMPL0cli", "--name", "Garden").json
    assert {"id", "token"} == set(added)
    assert 32 == len(added["token"])
    number = added["id"]

    assert (0, "V0 Temperature = 21.5\n", "") == furnished("device", "write", "Garden", "V0", "21.50")
    assert (0, "V1 Mode = 1, 2, 3\n", "") == furnished("device", "write", number, "Mode", "1", "2", "3")
    shown = furnished("device", "show", "Garden", "--json").json
    assert {"v0": 21.5, "v1": [1, 2, 3]} == {
        value["pin"].lower(): value["value"] for value in shown["dataStreamValues"]
    }
    assert (number, "Garden", "TMPL0cli", None) == tuple(shown[key] for key in ("id", "name", "templateId", "token"))
    table = furnished("device", "show", number)
    assert (0, "") == (table.code, table.err)
    assert "21.5" in table.out
    assert added["token"] not in table.out

    assert (0, f"Garden ({number}) is named Orchard\n", "") == furnished("device", "rename", "Garden", "Orchard")
    assert ["Orchard"] == [d["name"] for d in furnished("device", "list", "--json").json if d["id"] == number]
    assert [str(number), "Orchard", "TMPL0cli"] in [
        line.split()[:3] for line in furnished("device", "list").out.splitlines()
    ]

    refused = f"Refusing to delete Orchard ({number}) with all its values and history without confirmation."
    assert f"{refused} Run again with --yes." == furnished("device", "delete", "Orchard").error
    assert (0, f"Orchard ({number}) is deleted\n", "") == furnished("device", "delete", "Orchard", "--yes")
    assert number not in [device["id"] for device in furnished("device", "list", "--json").json]
    assert str(number) in furnished("device", "show", number).error


def test_a_device_may_bring_its_token(furnished):
    mine = TOKEN.format("~")
    add = ("device", "add", "--template", "TMPL0cli", "--token-stdin", "--name")

    assert mine == furnished(*add, "Carrier", stdin=mine + "\n").json["token"]
    for token in (mine, "short", "", "x" * 31 + "ü", TOKEN.format("~") + "x"):
        done = furnished(*add, "Other", stdin=token + "\n")
        assert 1 == done.code
        assert done.error
        assert mine not in done.err
    assert [] == [d for d in furnished("device", "list", "--json").json if d["name"] == "Other"]


def test_devices_from_csv_are_added_all_or_none(furnished):
    rows = f"name,template,token,Room\nShed,TMPL0cli,{TOKEN.format('s')},Cellar\nAttic,TMPL0cli,,\n"
    bad = rows + "Bad,TMPL0none,,\nWorse,TMPL0cli,short,\n"
    file = furnished.folder / "devices.csv"
    before = furnished("device", "list", "--json").json
    file.write_text(bad)
    refused = furnished("device", "add", "--csv", "devices.csv")

    assert (1, "") == (refused.code, refused.out)
    assert ["line 4", "line 5"] == sorted(line.split(": ")[1] for line in refused.err.splitlines())
    assert before == furnished("device", "list", "--json").json

    file.write_text(rows)
    added = furnished("device", "add", "--csv", "devices.csv").json
    assert ["Shed", "Attic"] == [device["name"] for device in added]
    assert [TOKEN.format("s"), 32] == [added[0]["token"], len(added[1]["token"])]
    shed = furnished("device", "show", "Shed", "--json").json
    assert ("Room", "Cellar") in [(field["name"], field["value"]["value"]) for field in shed["metaFieldValues"]]
    assert furnished("device", "add", "--csv", "missing.csv").error


def test_an_unknown_and_an_ambiguous_device_are_one_line(furnished):
    ids = [furnished.add("Twin")[1]]
    again = furnished("device", "add", "--template", "TMPL0cli", "--name", "Twin")
    ids.append(json.loads(again.out)["id"])
    said = f"pinwheel: there are now 2 devices named 'Twin'; select this one by its id, {ids[1]}\n"
    assert (0, said) == (again.code, again.err)
    for arguments in (("show",), ("delete",), ("rename", "X"), ("write", "V0", "1"), ("token", "--new"), ("watch",)):
        command, *rest = arguments
        unknown = furnished("device", command, "Nobody", *rest)
        ambiguous = furnished("device", command, "Twin", *rest)

        assert (1, 1) == (unknown.code, ambiguous.code)
        assert "'Nobody'" in unknown.error
        assert f"use an id ({ids[0]}, {ids[1]})" in ambiguous.error
    assert "999999" in furnished("device", "show", "999999").error


@pytest.mark.parametrize(("pin", "value"), [("V1", "x"), ("V99", "1"), ("nonsense", "1"), ("V0", "")])
def test_a_value_that_does_not_fit_is_one_line(furnished, pin, value):
    _, number, _ = furnished.add()
    done = furnished("device", "write", number, pin, value)

    assert 1 == done.code
    assert done.error


def test_a_new_token_ends_the_old_one_at_once_or_after_a_while(lived_in):
    _, number, first = lived_in.add()
    second = lived_in("device", "token", number, "--new", "--overlap", "7d").json["token"]
    assert [200, 200] == [lived_in.login_status(token) for token in (first, second)]
    answer = lived_in("device", "token", number, "--new").json
    third = answer["token"]

    assert {"id": number, "token": third} == answer
    assert [9, 9, 200] == [lived_in.login_status(token) for token in (first, second, third)]
    assert (
        TOKEN.format("t")
        == lived_in("device", "token", number, "--new", "--token-stdin", stdin=TOKEN.format("t")).json["token"]
    )


def test_a_new_token_of_a_stopped_hub_is_valid_later(house):
    assert 0 == house.import_template().code
    name, _, first = house.add()
    second = house("device", "token", name, "--new").json["token"]
    with house.running():
        assert [9, 200] == [house.login_status(token) for token in (first, second)]


@pytest.mark.parametrize("overlap", ["soon", "-1d", "7"])
def test_an_overlap_that_is_no_duration_is_one_line(furnished, overlap):
    name, _, _ = furnished.add()
    done = furnished("device", "token", name, "--new", f"--overlap={overlap}")

    assert 1 == done.code
    assert "overlap" in done.error


def test_what_a_stopped_hub_was_told_is_there_when_it_runs(house):
    assert 0 == house.import_template().code
    name, _, _ = house.add()
    assert 0 == house("device", "write", name, "V0", "21.5").code
    with house.running():
        [value] = [
            v["value"] for v in house("device", "show", name, "--json").json["dataStreamValues"] if v["pin"] == "v0"
        ]

    assert 21.5 == value


# -- watching ---------------------------------------------------------------------------------------------------------


def test_watch_prints_what_a_device_does(lived_in):
    _, number, token = lived_in.add()
    with lived_in.started("device", "watch", number) as watch:
        assert "offline" in watch.stdout.readline()
        with lived_in.dial() as device:
            device.sendall(frame(Cmd.HW_LOGIN, 1, (token,)) + frame(Cmd.HARDWARE, 2, ("vw", "0", "21.50")))
            assert "online" in watch.stdout.readline()
            assert ["V0", "21.5"] == watch.stdout.readline().split()[-2:]
        assert "offline" in watch.stdout.readline()
        watch.send_signal(signal.SIGINT)
        _, err = watch.communicate()

        assert (130, "") == (watch.returncode, err)


def test_watch_prints_json(lived_in):
    _, number, _ = lived_in.add()
    with lived_in.started("device", "watch", number, "--json") as watch:
        assert json.loads(watch.stdout.readline())["online"] is False
        assert 0 == lived_in("device", "write", number, "V0", "21.5").code
        message = json.loads(watch.stdout.readline())

        assert (number, {"v0": 21.5}) == (message["device"], message["values"])


def test_watch_prints_frames_without_secrets(lived_in):
    _, number, token = lived_in.add()
    with lived_in.started("device", "watch", number, "--wire") as watch, lived_in.dial() as device:
        device.sendall(frame(Cmd.HW_LOGIN, 1, (token,)))
        frames = repeated(
            lambda: device.sendall(frame(Cmd.INTERNAL, 2, ("meta", "get", "Auth Token")) + frame(Cmd.PING, 3)),
            lines_of(watch),
            lambda line: "RESPONSE #3 200" in line,
        )

    assert [line for line in frames if "<-  INTERNAL #2 meta get Auth Token" in line]
    assert [line for line in frames if "->  INTERNAL #2 meta Auth Token" in line]
    assert [] == [line for line in frames if token in line]


def lines_of(process):
    """What it prints, as it comes."""
    lines = queue.SimpleQueue()

    def read():
        # The test may close the pipe first.
        with contextlib.suppress(ValueError):
            for line in process.stdout:
                lines.put(line)

    threading.Thread(target=read, daemon=True).start()
    return lines


def repeated(act, lines, wanted):
    """Lines up to a ``wanted`` one: a watcher is told what comes after it began, so ``act`` until it was."""
    found = [""]
    while not wanted(found[-1]):
        act()
        with contextlib.suppress(queue.Empty):
            found.append(lines.get(timeout=brief(0.05)))
    return found


def test_watch_prints_who_was_turned_away_before_and_since(lived_in):
    assert 9 == lived_in.login_status(TOKEN.format("1"))
    with lived_in.started("device", "watch", "--refused") as watch:
        lines = lines_of(watch)
        earlier = repeated(lambda: None, lines, lambda line: "ending …e1" in line)
        since = repeated(lambda: lived_in.login_status(TOKEN.format("2")), lines, lambda line: "ending …e2" in line)

    assert "127.0.0.1" in earlier[-1]
    assert "127.0.0.1" in since[-1]


def test_watch_is_told_what_to_watch(lived_in):
    _, number, _ = lived_in.add()

    assert [2, 2] == [lived_in("device", "watch", *what).code for what in ((), (number, "--refused"))]


def test_watch_needs_a_running_hub(house):
    for arguments in (("watch", "--refused"), ("simulate", "--template", "TMPL0cli")):
        done = house("device", *arguments)

        assert (1, "the hub is not running; start it with: pinwheel run") == (done.code, done.error)


# -- simulated devices ------------------------------------------------------------------------------------------------


def simulated(house):
    return [device for device in house("device", "list", "--json").json if device["name"].startswith("Simulated")]


@pytest.mark.parametrize("transport", ["native", "mqtt", "http"])
def test_simulated_devices_send_values_and_are_gone_at_the_end(house, transport):
    simulate = ("device", "simulate", "--template", "TMPL0cli", "--transport", transport, "--rate", "20")
    with house.running():
        assert 0 == house.import_template().code
        stored = house("status", "--json").json["valuesStored"]
        done = house(*simulate, "--count", "2", "--seconds", "1.1")
        assert 0 == done.code, done.err
        assert "2/2 online" in done.err
        assert [] == simulated(house)

        done = house(*simulate, "--keep", "--seconds", "1.1")
        assert 0 == done.code, done.err
        [device] = simulated(house)
        shown = house("device", "show", device["id"], "--json").json
        assert {float, int} == {type(value["value"]) for value in shown["dataStreamValues"]}
        assert stored < house("status", "--json").json["valuesStored"]


def test_a_simulation_that_is_interrupted_cleans_up(lived_in):
    with lived_in.started("device", "simulate", "--template", "TMPL0cli", "--rate", "20") as simulation:
        shown = ""
        while "1/1 online" not in shown:
            shown += simulation.stderr.read(1)
        simulation.send_signal(signal.SIGINT)
        _, err = simulation.communicate()

        assert "Traceback" not in err
        assert 130 == simulation.returncode
    assert [] == simulated(lived_in)


def test_a_known_device_is_simulated_with_its_token(lived_in):
    _, number, token = lived_in.add()
    # With "=", for a token may begin with "-".
    options = (f"--token={token}", "--rate", "20", "--seconds", "0.5")
    done = lived_in("device", "simulate", "--template", "TMPL0cli", *options)

    assert 0 == done.code, done.err
    assert "Simulator" in lived_in("device", "show", number).out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--token", "x" * 32, "--seconds", "20"),
        ("--count", "0"),
        ("--rate", "0"),
        ("--url", "nonsense"),
    ],
)
def test_a_simulation_that_cannot_work_is_one_line(lived_in, arguments):
    done = lived_in.run_process("device", "simulate", "--template", "TMPL0cli", *arguments)

    assert 1 == done.code
    assert 1 == len(done.err.strip().splitlines())
    assert [] == simulated(lived_in)


@pytest.mark.parametrize("transport", ["native", "mqtt", "http"])
def test_simulation_that_never_connects_fails(lived_in, transport):
    with socket.socket() as nobody:
        # Bound and not listening: nothing else can take the port.
        nobody.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{nobody.getsockname()[1]}"
        options = ("--transport", transport, "--token", "x" * 32, "--url", where, "--seconds", "0.5")
        done = lived_in("device", "simulate", "--template", "TMPL0cli", *options)

    assert 1 == done.code
    said = done.err.splitlines()[-1]
    assert f"pinwheel: no device could log in at {where}" in said
    assert "cannot connect: all attempts to connect" in said


def test_simulation_that_writes_to_a_file_has_a_line_for_each_progress(lived_in):
    done = lived_in("device", "simulate", "--template", "TMPL0cli", "--seconds", "1.5")

    assert 0 == done.code
    assert "\r" not in done.err
    assert 2 == len([line for line in done.err.splitlines() if "1/1 online" in line])


def test_simulation_prints_json_lines(lived_in):
    options = ("--count", "2", "--seconds", "1.5", "--rate", "20", "--json")
    done = lived_in("device", "simulate", "--template", "TMPL0cli", *options)

    assert (0, "") == (done.code, done.err)
    first, second, *progress, ended = map(json.loads, done.out.splitlines())
    assert ["Simulated 1", "Simulated 2"] == [created["name"] for created in (first, second)]
    assert {"event", "id", "name"} == first.keys() == second.keys()
    assert ["created"] * 2 + ["progress", "ended"] == [line["event"] for line in (first, second, *progress, ended)]
    assert (2, 2) == (ended["devices"], ended["online"])
    assert ended["sent"] > 0 <= ended["received"]


def test_a_simulation_of_an_unknown_template_is_one_line(lived_in):
    done = lived_in("device", "simulate", "--template", "TMPL0none")

    assert 1 == done.code
    assert "emplate" in done.error


def test_simulated_devices_speak_tls_where_there_is_nothing_else(tmp_path):
    house = CommandLine(tmp_path, TLS)
    with house.running():
        assert 0 == house.import_template().code
        done = house("device", "simulate", "--template", "TMPL0cli", "--seconds", "1.1")

        assert 0 == done.code
        assert "1/1 online" in done.err


# -- plugins and service ----------------------------------------------------------------------------------------------


def test_plugins_are_listed(furnished):
    plugins = {plugin["name"]: plugin for plugin in furnished("plugins", "--json").json}
    table = furnished("plugins")

    assert {"native", "http", "platform_api"} <= set(plugins)
    assert {""} == {plugin["problem"] for plugin in plugins.values()}
    assert "hub_protocols" in plugins["native"]["hooks"]
    assert (0, "") == (table.code, table.err)
    assert ["NAME", "VERSION", "STATE"] == table.out.splitlines()[0].split()[:3]


def test_a_new_plugin_passes_its_own_tests(house):
    done = house("plugins", "new", "rain_alarm")
    assert (0, "") == (done.code, done.err)
    package = house.folder / "rain_alarm"
    environment = {**os.environ, "PYTHONPATH": str(package)}
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=package,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == tested.returncode, tested.stdout + tested.stderr
    assert "1 passed" in tested.stdout
    again = house("plugins", "new", "rain_alarm")
    assert (2, True) == (again.code, "exists already" in again.error)


@pytest.mark.parametrize("arguments", [("new",), ("new", "Rain-Alarm"), ("new", "../x"), ("new", "1x")])
def test_a_name_that_is_none_is_one_line(house, arguments):
    done = house("plugins", *arguments)

    assert 2 == done.code
    assert "the name of a plugin must begin with" in done.error


def test_a_plugin_in_the_data_directory_is_found(house):
    (house.data / "plugins").mkdir(parents=True)
    (house.data / "plugins" / "broken.py").write_text("1 / 0\n")

    def problems():
        return {plugin["name"]: plugin["problem"] for plugin in house("plugins", "--json").json if plugin["problem"]}

    with house.running():
        [(name, problem)] = problems().items()
        assert ("broken", True) == (name, "ZeroDivisionError" in problem)
        assert 1 == house("status").code
    with house.running("--safe"):
        assert {} == problems()


def test_the_service_is_printed(house):
    done = house.run_process("service", "install", "--print", "--user", "daemon", "--config", "hub.toml")

    assert (0, "") == (done.code, done.err)
    assert f"ExecStart={PINWHEEL} run --config {house.folder / 'hub.toml'} --data {house.data}" in done.out.splitlines()
    assert [] == list(house.data.iterdir())


def test_token_that_can_be_guessed_is_taken_with_a_warning(lived_in):
    arguments = ("device", "add", "--template", "TMPL0cli", "--name", "Old board", "--token-stdin")
    done = lived_in(*arguments, stdin="0" * 31 + "1\n")
    assert (0, "0" * 31 + "1") == (done.code, json.loads(done.out)["token"])
    assert done.err.startswith("pinwheel: warning: the token can be guessed")


# -- using it wrongly -------------------------------------------------------------------------------------------------

COMMANDS = sorted(entry.name for entry in importlib.metadata.entry_points(group="pinwheel.commands"))


@pytest.mark.parametrize("command", [*COMMANDS, "device", "template", ""])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([*command.split(), "--help"])
    printed = capsys.readouterr()

    assert (0, "") == (left.value.code, printed.err)
    assert f"pinwheel {command}".strip() in printed.out
    if command in COMMANDS:
        assert {"--config", "--data"} <= set(printed.out.split())


def test_help_names_every_command(house):
    done = house.run_process("--help")

    assert (0, "") == (done.code, done.err)
    assert [] == [name for name in COMMANDS if name.split()[-1] not in done.out]


def test_the_version_is_told(house):
    assert importlib.metadata.version("pinwheel-hub") == house.run_process("--version").out.strip()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("device",),
        ("device", "nonsense"),
        ("device", "add"),
        ("device", "show"),
        ("device", "list", "--nonsense"),
        ("device", "token", "1"),
        ("template", "import"),
        ("device", "simulate"),
    ],
)
def test_wrong_use_is_2(house, arguments):
    done = house(*arguments)

    assert (2, "") == (done.code, done.out)
    assert "usage: pinwheel" in done.err


def test_a_reader_that_leaves_early_is_no_error_to_talk_about(house):
    assert 0 == house.import_template().code
    read, write = os.pipe()
    os.close(read)
    with closing(os.fdopen(write, "w")) as nobody:
        done = subprocess.run(
            [PINWHEEL, "template", "list"],
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            cwd=house.folder,
            check=False,
        )

    assert "" == done.stderr


def test_no_secret_is_in_a_log(house):
    with house.running("--verbose"):
        assert 0 == house.import_template().code
        _, _, token = house.add()
        assert 200 == house.login_status(token)
        assert 9 == house.login_status(TOKEN.format("x"))
        key = (house.data / "local.key").read_text()
        log = (house.folder / "log").read_text()

    assert [] == [secret for secret in (token, key, TOKEN.format("x")) if secret in log]
