"""Ownership of a data directory by one hub."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.storage import meter, started, stored
from support.values import write_value

import hub.datadir
from hub.datadir.ownership import Ownership
from hub.errors import StartupError


async def test_second_hub_on_the_same_data_is_rejected_with_the_process_of_the_first(data):
    async with started(data) as hub:
        with pytest.raises(StartupError, match=rf"process {os.getpid()}\b"):
            async with started(data):
                pass
        device = await meter(hub)
        await write_value(hub, device, 0, "1").durable()


async def test_data_directory_is_released_at_the_stop(data):
    for _ in range(2):
        async with stored(data):
            assert hub.datadir.is_running(data)
        assert not hub.datadir.is_running(data)


def test_check_for_a_running_hub_does_not_prevent_a_start(tmp_path):
    data = tmp_path / "data"
    with hub.datadir.locked(data):
        pass
    check = "import sys, pathlib, hub.datadir\nwhile True: hub.datadir.is_running(pathlib.Path(sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", check, str(data)]) as process:
        try:
            for _ in range(200):
                with hub.datadir.locked(data):
                    assert hub.datadir.is_running(data)
        finally:
            process.kill()
    assert not hub.datadir.is_running(data)


async def test_error_names_a_data_directory_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="file/data"):
        async with started(tmp_path / "file" / "data"):
            pass


def test_ownership_lasts_from_acquire_to_release(data):
    first, second = Ownership(data), Ownership(data)
    assert not first.is_held()
    first.acquire()
    assert (True, True) == (first.is_held(), second.is_held())
    with pytest.raises(StartupError, match="another hub"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()
    assert not first.is_held()


def test_ownership_ends_with_a_process_that_is_killed(data):
    hold = "import sys, pathlib\nfrom hub.datadir.ownership import Ownership\n"
    hold += "Ownership(pathlib.Path(sys.argv[1])).acquire()\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert Ownership(data).is_held()
        process.kill()
    with Ownership(data):
        pass


def test_commands_check_for_a_hub_without_loading_trio():
    check = "import sys, hub.datadir\nassert not {'trio', 'attrs', 'hub.datadir.blobs'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
