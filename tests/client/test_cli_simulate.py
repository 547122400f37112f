"""``pinwheel device simulate``."""

from __future__ import annotations

import json
import signal
import socket

import pytest
from support.command import TLS, CommandLine


def simulated_devices(pinwheel):
    return [device for device in pinwheel("device", "list", "--json").json if device["name"].startswith("Simulated")]


@pytest.mark.parametrize("transport", ["native", "mqtt", "http"])
def test_simulated_devices_send_values_and_are_deleted_at_the_end_unless_kept(pinwheel, transport):
    simulate = ("device", "simulate", "--template", "TMPL0cli", "--transport", transport, "--rate", "20")
    with pinwheel.running():
        assert 0 == pinwheel.import_template().code
        stored = pinwheel("status", "--json").json["valuesStored"]
        done = pinwheel(*simulate, "--count", "2", "--seconds", "1.1")
        assert 0 == done.code, done.err
        assert "2/2 online" in done.err
        assert [] == simulated_devices(pinwheel)

        done = pinwheel(*simulate, "--keep", "--seconds", "1.1")
        assert 0 == done.code, done.err
        [device] = simulated_devices(pinwheel)
        details = pinwheel("device", "show", device["id"], "--json").json
        assert {float, int} == {type(value["value"]) for value in details["dataStreamValues"]}
        assert stored < pinwheel("status", "--json").json["valuesStored"]


def test_interrupted_simulation_deletes_its_devices(running_hub):
    with running_hub.started("device", "simulate", "--template", "TMPL0cli", "--rate", "20") as simulation:
        output = ""
        while "1/1 online" not in output:
            output += simulation.stderr.read(1)
        simulation.send_signal(signal.SIGINT)
        _, err = simulation.communicate()

        assert "Traceback" not in err
        assert 130 == simulation.returncode
    assert [] == simulated_devices(running_hub)


def test_existing_device_is_simulated_with_its_token(running_hub):
    _, number, token = running_hub.add()
    # With "=", because a token may begin with "-".
    options = (f"--token={token}", "--rate", "20", "--seconds", "0.5")
    done = running_hub("device", "simulate", "--template", "TMPL0cli", *options)

    assert 0 == done.code, done.err
    assert "Simulator" in running_hub("device", "show", number).out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--token", "x" * 32, "--seconds", "20"),
        ("--count", "0"),
        ("--rate", "0"),
        ("--url", "nonsense"),
    ],
)
def test_invalid_simulation_is_reported_in_one_line(running_hub, arguments):
    done = running_hub.run_process("device", "simulate", "--template", "TMPL0cli", *arguments)

    assert 1 == done.code
    assert 1 == len(done.err.strip().splitlines())
    assert [] == simulated_devices(running_hub)


@pytest.mark.parametrize("transport", ["native", "mqtt", "http"])
def test_simulation_that_cannot_connect_fails(running_hub, transport):
    with socket.socket() as unused:
        # Bound and not listening: nothing else can take the port.
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        options = ("--transport", transport, "--token", "x" * 32, "--url", address, "--seconds", "0.5")
        done = running_hub("device", "simulate", "--template", "TMPL0cli", *options)

    assert 1 == done.code
    error = done.err.splitlines()[-1]
    assert f"pinwheel: no device could log in at {address}" in error
    assert "cannot connect: all attempts to connect" in error


def test_simulation_without_terminal_prints_progress_as_lines(running_hub):
    done = running_hub("device", "simulate", "--template", "TMPL0cli", "--seconds", "1.5")

    assert 0 == done.code
    assert "\r" not in done.err
    assert 2 == len([line for line in done.err.splitlines() if "1/1 online" in line])


def test_simulation_prints_json_lines(running_hub):
    options = ("--count", "2", "--seconds", "1.5", "--rate", "20", "--json")
    done = running_hub("device", "simulate", "--template", "TMPL0cli", *options)

    assert (0, "") == (done.code, done.err)
    first, second, *progress, ended = map(json.loads, done.out.splitlines())
    assert ["Simulated 1", "Simulated 2"] == [created["name"] for created in (first, second)]
    assert {"event", "id", "name"} == first.keys() == second.keys()
    assert ["created"] * 2 + ["progress", "ended"] == [line["event"] for line in (first, second, *progress, ended)]
    assert (2, 2) == (ended["devices"], ended["online"])
    assert ended["sent"] > 0 <= ended["received"]


def test_simulation_of_an_unknown_template_is_reported_in_one_line(running_hub):
    done = running_hub("device", "simulate", "--template", "TMPL0none")

    assert 1 == done.code
    assert "emplate" in done.error


def test_simulated_devices_use_tls_if_the_only_listener_does(tmp_path):
    pinwheel = CommandLine(tmp_path, TLS)
    with pinwheel.running():
        assert 0 == pinwheel.import_template().code
        done = pinwheel("device", "simulate", "--template", "TMPL0cli", "--seconds", "1.1")

        assert 0 == done.code
        assert "1/1 online" in done.err
