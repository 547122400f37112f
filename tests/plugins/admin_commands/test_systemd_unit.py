"""The systemd unit: its hardening, and that the hub works with it."""

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

#: An unprivileged user that every system has.
USER = "daemon"
#: Network and mount namespaces need root.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a namespace of its own")


def program(name):
    """Return the path of a program. If it is missing, skip the test, or fail it with CI=true."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI") != "true":
        pytest.skip(f"needs {name}")
    assert path, f"{name} is missing"
    return path


@pytest.fixture
def unit(pinwheel):
    done = pinwheel.run_process("service", "install", "--print", "--user", USER)
    assert (0, "") == (done.code, done.err)
    return done.out


def values(unit, key):
    """Return the words of all values of a key of the unit."""
    return [value for line in re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE) for value in line.split()]


def test_unit_is_valid_and_has_a_low_exposure_level(unit, tmp_path):
    analyze = program("systemd-analyze")
    path = tmp_path / "pinwheel.service"
    path.write_text(unit)
    verified = subprocess.run(
        [analyze, "verify", path], capture_output=True, text=True, check=False, timeout=patient(30)
    )
    assert [] == [line for line in (verified.stdout + verified.stderr).splitlines() if str(path) in line]
    command = [analyze, "security", "--offline=true", path]
    report = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patient(30)).stdout
    exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", report)[1])
    assert exposure <= 3.0, report


def test_unit_restarts_without_limit_and_limits_memory(unit):
    assert ["0"] == values(unit, "StartLimitIntervalSec")
    assert ["on-failure"] == values(unit, "Restart")
    assert ["75%"] == values(unit, "MemoryMax")
    assert "`MemoryMax=75%`" in (ROOT / "docs" / "operate.md").read_text()


@pytest.mark.parametrize("folder", ["two words", "100%", 'quo"ted', "dollar$HOME", "back\\slash"])
def test_unit_quotes_special_characters_of_paths(tmp_path, folder):
    analyze = program("systemd-analyze")
    pinwheel = CommandLine(tmp_path / folder)
    unit = pinwheel.run_process("service", "install", "--print", "--user", USER).out
    path = tmp_path / "pinwheel.service"
    path.write_text(unit)
    verified = subprocess.run(
        [analyze, "verify", path], capture_output=True, text=True, check=False, timeout=patient(30)
    )
    assert [] == [line for line in (verified.stdout + verified.stderr).splitlines() if str(path) in line]
    [written] = re.findall(r"^ReadWritePaths=(.*)$", unit, re.MULTILINE)
    unquoted = re.sub(r"\\(.)", r"\1", written.strip('"')).replace("%%", "%")
    assert str(pinwheel.data) == unquoted


def test_unit_may_write_only_to_data_and_backups(tmp_path):
    backups = tmp_path / "usb" / "backups"
    pinwheel = CommandLine(tmp_path / "pinwheel", f'[backup]\ndirectory = "{backups}"\n')
    unit = pinwheel.run_process("service", "install", "--print", "--user", USER, "--config", "hub.toml").out
    # "-": the hub starts even if the disk is not mounted yet.
    assert [str(pinwheel.data), f"-{backups}"] == values(unit, "ReadWritePaths")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_service_runs_as_root_only_if_requested(pinwheel, monkeypatch):
    monkeypatch.delenv("SUDO_USER", raising=False)
    rejected = pinwheel.run_process("service", "install", "--print")
    assert (2, "the service should not run as root: name its user with --user NAME (root, if it must be)") == (
        rejected.code,
        rejected.error,
    )
    assert ["root"] == values(pinwheel.run_process("service", "install", "--print", "--user", "root").out, "User")
    monkeypatch.setenv("SUDO_USER", USER)
    assert [USER] == values(pinwheel.run_process("service", "install", "--print").out, "User")


def test_service_of_an_unknown_user_is_rejected(pinwheel):
    rejected = pinwheel.run_process("service", "install", "--print", "--user", "nobody-of-that-name")
    assert (2, "there is no user 'nobody-of-that-name' on this machine") == (rejected.code, rejected.error)


@as_root
def test_capabilities_of_the_unit_suffice_for_ports_below_1024(unit, pinwheel):
    """The hub runs with the unit's capabilities only, in a network namespace."""
    [bounding], [ambient] = values(unit, "CapabilityBoundingSet"), values(unit, "AmbientCapabilities")
    assert "CAP_NET_BIND_SERVICE" == bounding == ambient
    listeners = '[[listen]]\naddress = "0.0.0.0:80"\n[[listen]]\naddress = "0.0.0.0:443"\ntls = "on"\n'
    (pinwheel.folder / "hub.toml").write_text(listeners)

    def confined(*capabilities):
        granted = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in capabilities)])
        network = [program("unshare"), "--net"]
        rights = [f"--{kind}-caps={granted}" for kind in ("inh", "ambient")] + [f"--bounding-set={granted}"]
        return [*network, program("setpriv"), "--securebits=+noroot", *rights, "--no-new-privs", PINWHEEL, "run"]

    with started(confined(ambient), pinwheel, unguarded()) as process:
        line = process.stdout.readline()
        assert re.fullmatch(r"ready \S+:80, \S+:443 \(TLS\)\n", line), line + (pinwheel.folder / "log").read_text()
    with started(confined(), pinwheel, unguarded()) as process:
        assert 2 == process.wait(patient(30))
        assert "0.0.0.0:80 permission denied" in (pinwheel.folder / "log").read_text()


@contextmanager
def started(command, pinwheel, environment=None):
    """Run a program for the length of the block."""
    with (
        (pinwheel.folder / "log").open("w+") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=pinwheel.folder, env=environment
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(patient(30))


#: How a directory that the shell can write to may look to the service.
MOUNTS = {
    "a directory of its own": "mount -t tmpfs none {}",
    "nothing to write to": "mount --bind {0} {0} && mount -o remount,ro,bind {0}",
}


@as_root
@pytest.mark.parametrize("mount", MOUNTS.values(), ids=MOUNTS)
def test_backup_reaches_a_directory_that_only_the_shell_can_write_to(pinwheel, tmp_path, mount):
    target = tmp_path / "elsewhere"
    target.mkdir()
    script = f"{mount.format(target)} && exec {PINWHEEL} run"
    with started([program("unshare"), "--mount", "sh", "-c", script], pinwheel) as process:
        assert process.stdout.readline().startswith("ready "), (pinwheel.folder / "log").read_text()
        for again in ([], ["--force"]):
            done = pinwheel("backup", target / "hub.tar", *again)
            assert (0, True) == (done.code, "restored in a trial" in done.out), done.err
        archive.read_manifest(target / "hub.tar")
        assert ["hub.tar"] == [path.name for path in target.iterdir()]
        assert [] == [path.name for path in (pinwheel.data / "backups").iterdir() if path.name.startswith("for-")]
        (target / "letter.txt").write_text("Dear hub")
        rejected = pinwheel("backup", target / "letter.txt", "--force")
        assert "exists and is not a backup" in rejected.error
        assert "Dear hub" == (target / "letter.txt").read_text()


def test_user_of_these_tests_is_unprivileged():
    assert pwd.getpwnam(USER).pw_uid != 0
