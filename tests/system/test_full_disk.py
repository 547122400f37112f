"""A hub on a full disk: a small tmpfs. Needs the permission to mount one."""

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

#: Seconds for anything that must happen.
PATIENCE = patient(45)
SIZE = 24 * 1024 * 1024


@pytest.fixture
def disk(tmp_path):
    """A directory on a small file system."""
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
    """Fill the disk to the last byte; returns the name of the file that does."""
    with (disk / f"filler-{time.monotonic_ns()}").open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return file.name


def get(port, path):
    """(status, body) of a GET request."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_for(condition):
    """Wait until a condition holds, outside of trio."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.05)


@pytest.mark.slow
def test_hub_on_a_full_disk_starts_serves_and_recovers(disk):
    cli = CommandLine(disk / "hub")
    with cli.running():
        cli.import_template()
        _, _, token = cli.add()
        port = cli.state["listen"][0]["address"].rpartition(":")[2]
        assert 200 == get(port, f"/external/api/update?token={token}&v0=5")[0]
        filler = fill(disk)
        # A power cut.
        cli.process.kill()
        cli.process.wait()
    fill(disk)
    with cli.running() as ready:
        port = ready.split()[1].rpartition(":")[2]
        assert (200, "5.0") == get(port, f"/external/api/get?token={token}&v0")
        log = (cli.folder / "log").read_text
        assert "hub.json cannot be written" in log()
        status = cli("status")
        assert (1, True) == (status.code, "its disk is full" in status.err)
        # The database's log exists already, and has some free space.
        wait_for(lambda: get(port, f"/external/api/update?token={token}&v0=6")[0] == 503)
        for file in disk.glob("filler-*"):
            file.unlink()
        wait_for((cli.data / "hub.json").exists)
        wait_for(lambda: get(port, f"/external/api/update?token={token}&v0=7")[0] == 200)
        assert 0 == cli("status").code
    assert filler


@pytest.mark.slow
def test_hub_on_a_full_disk_is_backed_up_to_another_disk(disk, tmp_path):
    cli = CommandLine(disk / "hub")
    with cli.running():
        cli.import_template()
        _, _, token = cli.add("Mine")
        port = cli.state["listen"][0]["address"].rpartition(":")[2]
        assert 200 == get(port, f"/external/api/update?token={token}&v0=5")[0]
        fill(disk)
        done = cli("backup", tmp_path / "b.tar")
        assert (0, "") == (done.code, done.err)
        assert ["b.tar", "disk"] == sorted(path.name for path in tmp_path.iterdir())
    other = CommandLine(tmp_path / "other")
    assert 0 == other("restore", tmp_path / "b.tar", "--yes").code
    with other.running():
        assert ["Mine"] == [device["name"] for device in other("device", "list", "--json").json]
        port = other.state["listen"][0]["address"].rpartition(":")[2]
        assert (200, "5.0") == get(port, f"/external/api/get?token={token}&v0")


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
