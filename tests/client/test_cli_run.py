"""``pinwheel run``: start, signals, and errors of the configuration."""

from __future__ import annotations

import importlib.metadata
import json
import signal
import socket
import time

import pytest
from support.command import CONFIG, STOP, TOKEN, CommandLine
from support.patience import patient

from connectors.native.protocol import Cmd, Status, frame, response


def test_run_prints_its_addresses_and_stops_on_a_signal(tmp_path):
    pinwheel = CommandLine(tmp_path, CONFIG + CONFIG + 'tls = "on"\n')
    for number in (signal.SIGTERM, signal.SIGINT):
        with pinwheel.running() as line:
            state = pinwheel.state
            assert pinwheel.process.pid == state["pid"]
            assert importlib.metadata.version("pinwheel-hub") == state["version"]
            assert [False, True] == [entry["tls"] for entry in state["listen"]]
            for listener, entry in enumerate(state["listen"]):
                assert entry["address"] in line
                pinwheel.dial(listener).close()
            pinwheel.process.send_signal(number)
            assert 0 == pinwheel.process.wait(STOP)
            assert "" == pinwheel.process.stdout.read()
        assert not (pinwheel.data / "hub.json").exists()
    assert 0o600 == (pinwheel.data / "local.key").stat().st_mode & 0o777


def test_run_with_json_prints_the_content_of_hub_json(pinwheel):
    with pinwheel.started("run", "--json") as process:
        line = process.stdout.readline()
        assert pinwheel.state == json.loads(line)
        process.terminate()
        out, err = process.communicate()
    assert (0, "") == (process.returncode, out), err


def test_stop_does_not_wait_for_clients(pinwheel):
    with pinwheel.running():
        assert 0 == pinwheel.import_template().code
        _, number, token = pinwheel.add()
        with pinwheel.started("device", "watch", number) as watch, pinwheel.dial() as silent, pinwheel.dial() as device:
            assert "offline" in watch.stdout.readline()
            with pinwheel.dial() as half:
                half.sendall(b"POST /api/v1/template/import HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
                device.sendall(frame(Cmd.HW_LOGIN, 1, (token,)))
                assert response(1, Status.OK) == device.recv(100)
                pinwheel.process.terminate()
                assert 0 == pinwheel.process.wait(STOP)
                assert b"" == silent.recv(100)
            _, err = watch.communicate()
            assert (1, "pinwheel: the hub stopped\n") == (watch.returncode, err)


def test_sighup_does_not_stop_the_hub(pinwheel):
    with pinwheel.running():
        pinwheel.process.send_signal(signal.SIGHUP)
        assert 0 == pinwheel("device", "list").code


def test_second_hub_on_the_same_data_is_rejected(pinwheel):
    with pinwheel.running():
        done = pinwheel.run_process("run")

        assert 2 == done.code
        assert f"another hub (process {pinwheel.process.pid}) uses the data directory" in done.error
        assert 0 == pinwheel("device", "list").code


def test_port_in_use_is_reported(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = CommandLine(tmp_path, f'[[listen]]\naddress = "{address}"\n').run_process("run")

    assert (2, f"hub.toml: listen[0].address: {address} is taken by another program") == (done.code, done.error)


def test_commands_and_a_new_hub_work_after_a_hub_was_killed(pinwheel):
    with pinwheel.running():
        assert 0 == pinwheel.import_template().code
        pinwheel.add("Survivor")
        pinwheel.process.kill()
        pinwheel.process.wait()
    assert (pinwheel.data / "hub.json").exists()

    assert ["Survivor"] == [device["name"] for device in pinwheel("device", "list", "--json").json]
    with pinwheel.running():
        assert ["Survivor"] == [device["name"] for device in pinwheel("device", "list", "--json").json]


def test_demo_has_three_devices_online(pinwheel):
    with pinwheel.running("--demo"):
        deadline = time.monotonic() + patient(20)
        while time.monotonic() < deadline:
            devices = pinwheel("device", "list", "--json").json
            online = [device for device in devices if device["lifecycleStatus"]["name"].lower() == "online"]
            if len(online) == 3:
                break

        assert 3 == len(devices) == len(online)


INVALID_CONFIG = """
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
def test_all_errors_of_the_configuration_are_reported_together(tmp_path, command):
    done = CommandLine(tmp_path, INVALID_CONFIG).run_process(command)

    assert 2 == done.code
    lines = done.err.splitlines()
    for key in ("hub.timezone", "colour", "hub.heartbeat_factor", "listen[0].address", "limits.connections"):
        assert 1 == len([line for line in lines if key in line]), key
    assert {True} == {line.startswith("pinwheel: hub.toml: ") for line in lines}
    assert 5 == len(lines)


@pytest.mark.parametrize("command", [("run",), ("device", "list"), ("status",)])
@pytest.mark.parametrize("broken", ["[hub", "no such file"])
def test_unreadable_configuration_is_reported(pinwheel, command, broken):
    if broken == "[hub":
        (pinwheel.folder / "other.toml").write_text(broken)
    done = pinwheel.run_process(*command, "--config", "other.toml")

    assert 2 == done.code
    assert "other.toml" in done.error


@pytest.mark.parametrize("command", [("run",), ("device", "list"), ("status",)])
def test_data_directory_that_cannot_be_created_is_reported(pinwheel, command):
    (pinwheel.folder / "file").write_text("")
    done = pinwheel.run_process(*command, "--data", "file/data")

    assert 2 == done.code
    assert "file/data" in done.error


def test_log_contains_no_tokens_or_keys(pinwheel):
    with pinwheel.running("--verbose"):
        assert 0 == pinwheel.import_template().code
        _, _, token = pinwheel.add()
        assert 200 == pinwheel.login_status(token)
        assert 9 == pinwheel.login_status(TOKEN.format("x"))
        key = (pinwheel.data / "local.key").read_text()
        log = (pinwheel.folder / "log").read_text()

    assert [] == [secret for secret in (token, key, TOKEN.format("x")) if secret in log]
