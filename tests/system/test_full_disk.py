"""A real disk that is full: a small tmpfs of its own. Needs the right to mount one."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from support.command import CommandLine
from support.patience import patient

from hub.datadir.blobs import Blobs
from hub.errors import StorageError

#: Seconds for whatever has to come.
PATIENCE = patient(45)
SIZE = 24 * 1024 * 1024


@pytest.fixture
def disk(tmp_path):
    """A directory on a small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk):
    """Leave no byte; returns what takes the room."""
    with (disk / f"filler-{time.monotonic_ns()}").open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return file.name


def answer(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def until(condition):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_a_hub_on_a_full_disk_starts_serves_and_recovers(disk):
    house = CommandLine(disk / "house")
    with house.running():
        house.import_template()
        _, _, token = house.add()
        port = house.state["listen"][0]["address"].rpartition(":")[2]
        assert 200 == answer(port, f"/external/api/update?token={token}&v0=5")[0]
        filler = fill(disk)
        # The power goes.
        house.process.kill()
        house.process.wait()
    fill(disk)
    with house.running() as ready:
        port = ready.split()[1].rpartition(":")[2]
        assert (200, "5.0") == answer(port, f"/external/api/get?token={token}&v0")
        log = (house.folder / "log").read_text
        assert "hub.json cannot be written" in log()
        told = house("status")
        assert (1, True) == (told.code, "its disk is full" in told.err)
        # The log of the database is on the disk already, and has some room in it.
        until(lambda: answer(port, f"/external/api/update?token={token}&v0=6")[0] == 503)
        for file in disk.glob("filler-*"):
            file.unlink()
        until((house.data / "hub.json").exists)
        until(lambda: answer(port, f"/external/api/update?token={token}&v0=7")[0] == 200)
        assert 0 == house("status").code
    assert filler


@pytest.mark.slow
def test_a_hub_on_a_full_disk_is_backed_up_to_another_one(disk, tmp_path):
    house = CommandLine(disk / "house")
    with house.running():
        house.import_template()
        _, _, token = house.add("Mine")
        port = house.state["listen"][0]["address"].rpartition(":")[2]
        assert 200 == answer(port, f"/external/api/update?token={token}&v0=5")[0]
        fill(disk)
        done = house("backup", tmp_path / "b.tar")
        assert (0, "") == (done.code, done.err)
        assert ["b.tar", "disk"] == sorted(path.name for path in tmp_path.iterdir())
    other = CommandLine(tmp_path / "other")
    assert 0 == other("restore", tmp_path / "b.tar", "--yes").code
    with other.running():
        assert ["Mine"] == [device["name"] for device in other("device", "list", "--json").json]
        port = other.state["listen"][0]["address"].rpartition(":")[2]
        assert (200, "5.0") == answer(port, f"/external/api/get?token={token}&v0")


@pytest.mark.slow
async def test_blob_that_does_not_fit_leaves_its_space_free(disk):
    blobs = Blobs(disk)

    async def megabytes(count):
        for _ in range(count):
            yield bytes(1 << 20)

    await blobs.put("images/a", megabytes(4))
    free = shutil.disk_usage(disk).free
    for _ in range(3):
        with pytest.raises(StorageError, match="images/a: No space left"):
            await blobs.put("images/a", megabytes(40))
        assert free == shutil.disk_usage(disk).free
    assert (["images/a"], 4 << 20) == (await blobs.list(), await blobs.size("images/a"))
    await blobs.put("images/a", megabytes(8))
    assert 8 << 20 == await blobs.size("images/a")
