"""The systemd unit: what it keeps the hub from, and that the hub can do its work all the same."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from fixed_ports import unguarded
from support.command import PINWHEEL, CommandLine
from support.paths import ROOT
from support.patience import patient

from plugins.backup import archive

#: An ordinary user that every system has.
USER = "daemon"
#: Ports of their own and mounts of their own need root.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a namespace of its own")


def program(name):
    """The path of a program; without it the test is skipped, except with CI=true."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI") != "true":
        pytest.skip(f"needs {name}")
    assert found, f"{name} is missing"
    return found


@pytest.fixture
def house(tmp_path):
    return CommandLine(tmp_path / "house")


@pytest.fixture
def unit(house):
    done = house.run_process("service", "install", "--print", "--user", USER)
    assert (0, "") == (done.code, done.err)
    return done.out


def values(unit, key):
    """The words of a key of the unit."""
    return [word for line in re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE) for word in line.split()]


def test_unit_is_well_formed_and_little_exposed(unit, tmp_path):
    analyze = program("systemd-analyze")
    path = tmp_path / "pinwheel.service"
    path.write_text(unit)
    verified = subprocess.run(
        [analyze, "verify", path], capture_output=True, text=True, check=False, timeout=patient(30)
    )
    assert [] == [line for line in (verified.stdout + verified.stderr).splitlines() if str(path) in line]
    asked = [analyze, "security", "--offline=true", path]
    said = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=patient(30)).stdout
    exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)[1])
    assert exposure <= 3.0, said


def test_unit_starts_again_for_ever_and_leaves_memory_to_the_machine(unit):
    assert ["0"] == values(unit, "StartLimitIntervalSec")
    assert ["on-failure"] == values(unit, "Restart")
    assert ["75%"] == values(unit, "MemoryMax")
    assert "`MemoryMax=75%`" in (ROOT / "docs" / "operate.md").read_text()


@pytest.mark.parametrize("folder", ["two words", "100%", 'quo"ted', "dollar$HOME", "back\\slash"])
def test_unit_names_odd_paths_as_they_are(tmp_path, folder):
    analyze = program("systemd-analyze")
    house = CommandLine(tmp_path / folder)
    unit = house.run_process("service", "install", "--print", "--user", USER).out
    path = tmp_path / "pinwheel.service"
    path.write_text(unit)
    verified = subprocess.run(
        [analyze, "verify", path], capture_output=True, text=True, check=False, timeout=patient(30)
    )
    assert [] == [line for line in (verified.stdout + verified.stderr).splitlines() if str(path) in line]
    [written] = re.findall(r"^ReadWritePaths=(.*)$", unit, re.MULTILINE)
    unquoted = re.sub(r"\\(.)", r"\1", written.strip('"')).replace("%%", "%")
    assert str(house.data) == unquoted


def test_unit_may_write_to_its_data_and_its_backups_only(tmp_path):
    backups = tmp_path / "usb" / "backups"
    house = CommandLine(tmp_path / "house", f'[backup]\ndirectory = "{backups}"\n')
    unit = house.run_process("service", "install", "--print", "--user", USER, "--config", "hub.toml").out
    # A disk that is not there yet must not keep the hub from starting.
    assert [str(house.data), f"-{backups}"] == values(unit, "ReadWritePaths")


@pytest.mark.skipif(os.geteuid() != 0, reason="is about root")
def test_service_does_not_run_as_root_unless_that_is_asked(house, monkeypatch):
    monkeypatch.delenv("SUDO_USER", raising=False)
    refused = house.run_process("service", "install", "--print")
    assert (2, "the service should not run as root: name its user with --user NAME (root, if it must be)") == (
        refused.code,
        refused.error,
    )
    assert ["root"] == values(house.run_process("service", "install", "--print", "--user", "root").out, "User")
    monkeypatch.setenv("SUDO_USER", USER)
    assert [USER] == values(house.run_process("service", "install", "--print").out, "User")


def test_service_of_a_user_who_is_not_there_is_refused(house):
    refused = house.run_process("service", "install", "--print", "--user", "nobody-of-that-name")
    assert (2, "there is no user 'nobody-of-that-name' on this machine") == (refused.code, refused.error)


@as_root
def test_ports_below_1024_need_no_more_than_the_unit_has(unit, house):
    """With the unit's capabilities and nothing else of root, in a network of its own."""
    [bounding], [ambient] = values(unit, "CapabilityBoundingSet"), values(unit, "AmbientCapabilities")
    assert "CAP_NET_BIND_SERVICE" == bounding == ambient
    listeners = '[[listen]]\naddress = "0.0.0.0:80"\n[[listen]]\naddress = "0.0.0.0:443"\ntls = "on"\n'
    (house.folder / "hub.toml").write_text(listeners)

    def confined(*capabilities):
        granted = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in capabilities)])
        network = [program("unshare"), "--net"]
        rights = [f"--{kind}-caps={granted}" for kind in ("inh", "ambient")] + [f"--bounding-set={granted}"]
        return [*network, program("setpriv"), "--securebits=+noroot", *rights, "--no-new-privs", PINWHEEL, "run"]

    with begun(confined(ambient), house, unguarded()) as process:
        line = process.stdout.readline()
        assert re.fullmatch(r"ready \S+:80, \S+:443 \(TLS\)\n", line), line + (house.folder / "log").read_text()
    with begun(confined(), house, unguarded()) as process:
        assert 2 == process.wait(patient(30))
        assert "0.0.0.0:80 permission denied" in (house.folder / "log").read_text()


@contextmanager
def begun(command, house, environment=None):
    """A program that runs for the length of the block."""
    with (
        (house.folder / "log").open("w+") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=house.folder, env=environment
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(patient(30))


#: What a service may see of a directory that the shell can write to.
SEEN = {
    "a directory of its own": "mount -t tmpfs none {}",
    "nothing to write to": "mount --bind {0} {0} && mount -o remount,ro,bind {0}",
}


@as_root
@pytest.mark.parametrize("mount", SEEN.values(), ids=SEEN)
def test_backup_comes_to_where_the_shell_can_write_although_the_service_cannot(house, tmp_path, mount):
    target = tmp_path / "elsewhere"
    target.mkdir()
    script = f"{mount.format(target)} && exec {PINWHEEL} run"
    with begun([program("unshare"), "--mount", "sh", "-c", script], house) as process:
        assert process.stdout.readline().startswith("ready "), (house.folder / "log").read_text()
        for again in ([], ["--force"]):
            done = house("backup", target / "hub.tar", *again)
            assert (0, True) == (done.code, "restored in a trial" in done.out), done.err
        archive.read_manifest(target / "hub.tar")
        assert ["hub.tar"] == [path.name for path in target.iterdir()]
        assert [] == [path.name for path in (house.data / "backups").iterdir() if path.name.startswith("for-")]
        (target / "letter.txt").write_text("Dear hub")
        refused = house("backup", target / "letter.txt", "--force")
        assert "exists and is not a backup" in refused.error
        assert "Dear hub" == (target / "letter.txt").read_text()


def test_the_user_of_these_tests_is_an_ordinary_one():
    assert pwd.getpwnam(USER).pw_uid != 0
