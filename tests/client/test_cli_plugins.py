"""``pinwheel plugins`` and ``pinwheel service``."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.command import PINWHEEL


def test_plugins_are_listed_as_json_and_table(any_hub):
    plugins = {plugin["name"]: plugin for plugin in any_hub("plugins", "--json").json}
    table = any_hub("plugins")

    assert {"native", "http", "platform_api"} <= set(plugins)
    assert {""} == {plugin["problem"] for plugin in plugins.values()}
    assert "hub_protocols" in plugins["native"]["hooks"]
    assert (0, "") == (table.code, table.err)
    assert ["NAME", "VERSION", "STATE"] == table.out.splitlines()[0].split()[:3]


def test_generated_plugin_passes_its_tests(pinwheel):
    done = pinwheel("plugins", "new", "rain_alarm")
    assert (0, "") == (done.code, done.err)
    package = pinwheel.folder / "rain_alarm"
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
    again = pinwheel("plugins", "new", "rain_alarm")
    assert (2, True) == (again.code, "exists already" in again.error)


@pytest.mark.parametrize("arguments", [("new",), ("new", "Rain-Alarm"), ("new", "../x"), ("new", "1x")])
def test_invalid_plugin_name_is_reported_in_one_line(pinwheel, arguments):
    done = pinwheel("plugins", *arguments)

    assert 2 == done.code
    assert "the name of a plugin must begin with" in done.error


def test_broken_plugin_in_the_data_directory_is_reported_and_skipped_with_safe(pinwheel):
    (pinwheel.data / "plugins").mkdir(parents=True)
    (pinwheel.data / "plugins" / "broken.py").write_text("1 / 0\n")

    def problems():
        return {plugin["name"]: plugin["problem"] for plugin in pinwheel("plugins", "--json").json if plugin["problem"]}

    with pinwheel.running():
        [(name, problem)] = problems().items()
        assert ("broken", True) == (name, "ZeroDivisionError" in problem)
        assert 1 == pinwheel("status").code
    with pinwheel.running("--safe"):
        assert {} == problems()


def test_service_unit_is_printed_without_side_effects(pinwheel):
    done = pinwheel.run_process("service", "install", "--print", "--user", "daemon", "--config", "hub.toml")

    assert (0, "") == (done.code, done.err)
    assert (
        f"ExecStart={PINWHEEL} run --config {pinwheel.folder / 'hub.toml'} --data {pinwheel.data}"
        in done.out.splitlines()
    )
    assert [] == list(pinwheel.data.iterdir())


def test_service_unit_needs_an_existing_hub(pinwheel, tmp_path):
    rejected = pinwheel("service", "install", "--print", "--data", "nowhere")
    assert (2, True) == (rejected.code, f"there is no hub in {pinwheel.folder.resolve()}/nowhere" in rejected.error)
    unit = pinwheel("service", "install", "--print", "--user", "root").out
    assert f"--config {pinwheel.folder.resolve()}/hub.toml --data {pinwheel.folder.resolve()}/data" in unit
