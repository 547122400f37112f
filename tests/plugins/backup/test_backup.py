"""Backups of a running hub, proven and restored; and what is said of bad ones, full disks and failed upgrades."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import tarfile
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio
from support.command import CONFIG, TLS, CommandLine
from support.commits import log_entries
from support.raw_http import ask, local_key
from support.times import until

import hub.storage
import plugins.backup.schedule
import plugins.backup.service
from hub.config import parse
from hub.errors import MigrationError, RequestError
from hub.model import SYSTEM
from hub.run import running
from hub.storage import Migration, open_storage, shipped_migrations
from hub.testing import LOOPBACK, add_device
from hub.writes import Write
from plugins.backup import archive
from plugins.backup.commands import _replace_data

TEMPLATE = '[template]\nid = "TMPL0"\nname = "Meter"\n[[datastream]]\npin = "V0"\nname = "Level"\n'
SECURE = '[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n'


@pytest.fixture
def config(tmp_path):
    return parse(LOOPBACK + SECURE).with_data(str(tmp_path / "data"))


async def backed_up(hub, path):
    answer = await ask(hub, "POST", "/api/v1/backup", {"path": str(path)}, key=local_key(hub))
    assert 200 == answer.status, answer.text
    while True:
        job = (await ask(hub, "GET", "/api/v1/backup", key=local_key(hub))).json
        if not job["running"]:
            return job
        await trio.sleep(0.02)


def quiet(_done, _total):
    pass


async def test_a_backup_while_values_come_holds_all_that_was_there_and_is_proven(config, tmp_path):
    async with running(config) as hub:
        device, token = await add_device(hub, TEMPLATE)
        for n in range(5000):
            receipt = hub.write(Write(device, 0, n, "test", SYSTEM))
        hub.history.close_segment()
        await receipt.durable()
        await until(lambda: not hub.history.is_busy)
        acknowledged, stop = [], trio.Event()

        async def write():
            n = 10_000
            while not stop.is_set():
                await hub.write(Write(device, 0, n, "test", SYSTEM)).durable()
                acknowledged.append(n)
                n += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await until(lambda: acknowledged)
            before = acknowledged[-1]
            job = await backed_up(hub, tmp_path / "b.tar")
            stop.set()
        assert "" == job["problem"]
        assert acknowledged[-1] > before, "nobody waits for a backup"
        assert {"pinwheel.db", "history.db", "tls/ca.pem", "tls/ca.key", "tls/cert.pem", "tls/key.pem"} == {
            file["name"] for file in job["manifest"]["files"]
        }
        assert 0o600 == (tmp_path / "b.tar").stat().st_mode & 0o777
    folder = tmp_path / "restored"
    folder.mkdir()
    archive.unpack(tmp_path / "b.tar", folder, quiet)
    async with running(config.with_data(str(folder))) as hub:
        [device] = hub.devices.by_id.values()
        assert hub.tokens.device_for(token) is device
        found = [v async for piece in hub.history.points(device.points[0].series, 0, 2**42) for _, v in piece]
        assert [float(n) for n in range(5000)] == found[:5000]
        assert found[-1] >= before
    assert [] == [name for name in os.listdir(tmp_path) if name.startswith(".trial")]


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-30_000])


def flipped(path):
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes((byte[0] ^ 1,)))


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("no backup\n" * 1000)


def traversal(path):
    with tarfile.open(path) as old:
        manifest = json.loads(old.extractfile("manifest.json").read())
    manifest["files"] = [{"name": "../evil", "size": 1, "sha256": "0" * 64}]
    with tarfile.open(path, "w") as tar:
        for name, data in (("manifest.json", json.dumps(manifest).encode()), ("../evil", b"x")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            import io

            tar.addfile(info, io.BytesIO(data))


def newer(path):
    rewritten(path, lambda m: m["schemas"]["pinwheel.db"].__setitem__("core", 999))


def newer_format(path):
    rewritten(path, lambda m: m.__setitem__("format", 2))


def rewritten(path, change):
    with tarfile.open(path) as old:
        size = old.getmember("manifest.json").size
        manifest = json.loads(old.extractfile("manifest.json").read())
    change(manifest)
    with path.open("r+b") as file:
        file.seek(tarfile.BLOCKSIZE)
        file.write(json.dumps(manifest).encode().ljust(size))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A house with a device and values, and a backup of it."""
    house = CommandLine(tmp_path_factory.mktemp("good"))
    house.import_template()
    name, number, _ = house.add()
    for value in range(3):
        assert 0 == house("device", "write", number, "V0", value).code
    done = house("backup", "b.tar")
    assert 0 == done.code, done.err
    assert "1 device, 1 template" in done.out
    assert "not in it: hub.toml, plugins, any code" in done.out
    return house


@pytest.mark.parametrize(
    ("spoil", "said", "code"),
    [
        (cut_off, "is truncated or damaged", 1),
        (flipped, "is truncated or damaged", 1),
        (empty, "is truncated or damaged, or no backup of Pinwheel", 1),
        (text, "is truncated or damaged, or no backup of Pinwheel", 1),
        (traversal, "is truncated or damaged", 1),
        (newer, "was made by a newer version", 2),
        (newer_format, "was made by a newer version", 1),
    ],
)
def test_a_bad_backup_is_one_line_and_leaves_everything_as_it_was(good, tmp_path, spoil, said, code):
    house = CommandLine(tmp_path / "house")
    house.import_template()
    house.add("Mine")
    before = {p: p.stat().st_mtime_ns for p in house.data.rglob("*") if p.is_file() and p.name != "lock"}
    (house.folder / "bad.tar").write_bytes((good.folder / "b.tar").read_bytes())
    spoil(house.folder / "bad.tar")

    done = house("restore", "bad.tar", "--yes")
    assert code == done.code
    [line] = done.err.splitlines()
    assert said in line
    assert before == {p: p.stat().st_mtime_ns for p in house.data.rglob("*") if p.is_file() and p.name != "lock"}
    assert ["Mine"] == [device["name"] for device in house("device", "list", "--json").json]
    assert not (tmp_path / "evil").exists()


def test_a_restore_says_what_changes_and_keeps_what_was_there(good, tmp_path):
    house = CommandLine(tmp_path / "house")
    house.import_template()
    house.add("Mine")
    asked = house("restore", good.folder / "b.tar")
    assert (1, True) == (asked.code, "pinwheel.db and history.db would be replaced" in asked.out)
    assert "Run again with --yes." in asked.err
    done = house("restore", good.folder / "b.tar", "--yes")
    assert 0 == done.code, done.err
    [name] = [device["name"] for device in house("device", "list", "--json").json]
    assert name.startswith("Station")
    [kept] = house.data.glob("before-restore-*")
    with closing(sqlite3.connect(kept / "pinwheel.db")) as old:
        assert [("Mine",)] == old.execute("SELECT name FROM devices").fetchall()
    with house.running():
        running_hub = house("restore", good.folder / "b.tar", "--yes")
        assert (2, True) == (running_hub.code, "another hub" in running_hub.err)


def test_a_restore_or_backup_onto_a_full_disk_changes_nothing(good, tmp_path, monkeypatch):
    house = CommandLine(tmp_path / "house")
    house.import_template()
    house.add("Mine")
    monkeypatch.setattr(archive, "MARGIN", 1 << 60)
    done = house("restore", good.folder / "b.tar", "--yes")
    assert (1, True) == (done.code, "are needed and" in done.err)
    needed = float(re.search(r"([\d,.]+) MB are needed", done.err)[1].replace(",", ""))
    free = float(re.search(r"([\d,.]+) MB are free", done.err)[1].replace(",", ""))
    assert needed > free, "it says so itself"
    done = house("backup", "c.tar")
    assert (1, True) == (done.code, "are needed and" in done.err)
    monkeypatch.undo()

    real = os.open

    def full(path, flags, mode=0o777, **more):
        if "restoring-" in str(path) and str(path).endswith("history.db"):
            raise OSError(28, "No space left on device", str(path))
        return real(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", full)
    done = house("restore", good.folder / "b.tar", "--yes")
    monkeypatch.undo()
    assert 1 == done.code
    assert "No space left on device; nothing was changed" in done.err
    assert ["Mine"] == [device["name"] for device in house("device", "list", "--json").json]
    assert [] == list(house.data.glob("restoring-*"))


def test_a_running_hub_is_backed_up_by_the_command(good, tmp_path):
    house = CommandLine(tmp_path / "house")
    with house.running():
        house.import_template()
        house.add()
        done = house("backup", "b.tar")
        assert 0 == done.code, done.err
        assert "restored in a trial" in done.out
        done = house("backup", "nowhere/b.tar")
        assert (1, True) == (done.code, "must be the absolute path of a file in an existing directory" in done.err)


def test_what_was_there_is_kept_when_a_swap_fails(tmp_path):
    data, new = tmp_path / "data", tmp_path / "new"
    data.mkdir()
    new.mkdir()
    (data / "pinwheel.db").write_text("old")
    with pytest.raises(RequestError, match="what was there is in"):
        _replace_data(new, data, ["pinwheel.db"])
    assert "old" == (data / "pinwheel.db").read_text()


# -- Ctrl-C in a restore ----------------------------------------------------------------------------------------------


def interrupt_after(monkeypatch, steps):
    """Ctrl-C before a step with files, counted from 0; returns how many steps there were, as a list that grows."""
    done = []

    def counted(fn):
        def step(*arguments, **more):
            done.append(fn)
            if len(done) == steps + 1:
                signal.raise_signal(signal.SIGINT)
            return fn(*arguments, **more)

        return step

    for owner, name in (
        (os, "open"), (os, "link"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir"),
        (archive, "inspect"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return done


def held(folder):
    """The files of a hub: what each holds, by name."""
    paths = [folder / name for name in ("pinwheel.db", "history.db", "pinwheel.db-wal", "history.db-wal")]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in [*paths, *(folder / "tls").glob("*")]
        if path.exists()
    }


def test_ctrl_c_at_any_moment_of_a_restore_leaves_the_old_data_or_the_new(good, tmp_path, monkeypatch):
    house = CommandLine(tmp_path / "house", CONFIG + TLS)
    with house.running():
        house.import_template()
        house.add("Mine")
    with tarfile.open(good.folder / "b.tar") as tar:
        tar.extractall(tmp_path / "new", filter="data")
    old, new = held(house.data), held(tmp_path / "new")
    # What a backup does not hold stays.
    new |= {name: content for name, content in old.items() if name.startswith("tls/")}
    found = []
    for moment in range(1000):
        shutil.rmtree(tmp_path / "trial", ignore_errors=True)
        trial = CommandLine(tmp_path / "trial", CONFIG + TLS)
        shutil.copytree(house.data, trial.data, dirs_exist_ok=True)
        with monkeypatch.context() as patch:
            steps = interrupt_after(patch, moment)
            done = trial("restore", good.folder / "b.tar", "--yes")
        after = held(trial.data)
        assert after in (old, new), moment
        assert (after == new) == ("restored; the old data is in" in done.out), moment
        assert [] == list(trial.data.glob("restoring-*")), moment
        if len(steps) <= moment:
            break
        assert 130 == done.code, moment
        found.append(after == new)
    assert 0 == done.code
    assert {True, False} == set(found)


def test_rest_of_a_restore_that_was_killed_is_deleted_by_the_next_one(good, tmp_path):
    house = CommandLine(tmp_path / "house")
    (house.data / "restoring-abc" / "tls").mkdir(parents=True)
    (house.data / "restoring-abc" / "pinwheel.db").touch()
    assert 0 == house("restore", good.folder / "b.tar", "--yes").code
    assert [] == list(house.data.glob("restoring-*"))


def test_ctrl_c_does_not_wait_for_the_check_of_a_large_file(tmp_path, monkeypatch):
    with closing(sqlite3.connect(tmp_path / "large.db")) as large:
        large.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
        numbers = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 20000)"
        large.execute(f"INSERT INTO t (b) {numbers} SELECT randomblob(16) FROM n")
        large.commit()

    class Interrupted(sqlite3.Connection):
        def set_progress_handler(self, handler, steps):
            def look():
                signal.raise_signal(signal.SIGINT)
                return handler()

            super().set_progress_handler(look, steps)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Interrupted))
    with pytest.raises(KeyboardInterrupt):
        hub.storage.inspect(tmp_path / "large.db")


@pytest.mark.parametrize(
    ("typed", "code", "said"), [("\x03", 130, "[y/N] ^C\r\n"), ("\x04", 1, "[y/N] \r\npinwheel: Nothing was done.\r\n")]
)
def test_question_of_a_restore_is_ended_by_ctrl_c_and_ctrl_d(good, tmp_path, typed, code, said):
    house = CommandLine(tmp_path / "house")
    house.import_template()
    before = held(house.data)
    shown = house.run_on_terminal({"[y/N] ": typed}, "restore", good.folder / "b.tar")
    assert code == shown.code
    assert shown.out.replace("^C^C", "^C").endswith(said)
    assert before == held(house.data)
    assert [] == [path.name for path in house.data.iterdir() if "restor" in path.name]


# -- by schedule ------------------------------------------------------------------------------------------------------


async def test_backups_are_made_by_schedule_kept_and_followed_by_a_command(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins.backup.schedule, "CHECK_INTERVAL", 0.02)
    monkeypatch.setattr(plugins.backup.schedule, "seconds", lambda _: 0.2)
    names = iter(f"pinwheel-20260101-{n:06d}.tar" for n in range(1000))
    monkeypatch.setattr(plugins.backup.schedule.time, "strftime", lambda *_: next(names))
    out = tmp_path / "out"
    toml = f'[backup]\nevery = "1m"\nkeep = 2\ndirectory = "{out}"\nafter = "echo $PINWHEEL_BACKUP >> {tmp_path}/log"\n'
    async with running(parse(LOOPBACK + toml).with_data(str(tmp_path / "data"))):
        log = tmp_path / "log"
        await until(lambda: log.exists() and len(log.read_text().splitlines()) >= 3, 30)
        await until(lambda: 2 == len(list(out.glob("pinwheel-*.tar"))))
        assert not (tmp_path / "data" / "backup-failed").exists()
    # An attempt that ended without a backup has used a name up.
    followed = log.read_text().splitlines()
    assert followed == sorted(set(followed))
    assert {out} == {Path(name).parent for name in followed}


async def test_a_backup_from_the_future_keeps_no_other_away(tmp_path, monkeypatch):
    """As it is left by a board that booted with a wrong clock."""
    monkeypatch.setattr(plugins.backup.schedule, "CHECK_INTERVAL", 0.02)
    out = tmp_path / "out"
    out.mkdir()
    future = [out / f"pinwheel-2099010{n}-000000.tar" for n in range(1, 4)]
    for path in future:
        path.touch()
        os.utime(path, (4_070_908_800, 4_070_908_800))
    toml = f'[backup]\nevery = "1h"\nkeep = 3\ndirectory = "{out}"\n'
    async with running(parse(LOOPBACK + toml).with_data(str(tmp_path / "data"))):
        await until(lambda: set(out.glob("pinwheel-*.tar")) - set(future))
        made = set(out.glob("pinwheel-*.tar")) - set(future)
        # It counts as the oldest.
        await until(lambda: 3 == len(list(out.glob("pinwheel-*.tar"))))
        assert made <= set(out.glob("pinwheel-*.tar"))


async def test_a_backup_that_fails_is_an_alarm_until_one_succeeds(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(plugins.backup.schedule, "CHECK_INTERVAL", 0.02)
    flag = tmp_path / "flag"
    # Each hub makes one backup: at its start, when there is none.
    toml = f'[backup]\nevery = "1h"\nafter = "test -e {flag} || {{ echo no disk >&2; exit 3; }}"\n'
    async with running(parse(LOOPBACK + toml).with_data(str(tmp_path / "data"))) as hub:

        def alarms():
            return [alarm.text for alarm in hub.active_alarms() if alarm.id == "backup"]

        await until(alarms)
        assert ["the command after the backup failed (3): no disk"] == alarms()
        flag.touch()
    for path in (tmp_path / "data").rglob("pinwheel-*.tar"):
        path.unlink()
    async with running(parse(LOOPBACK + toml).with_data(str(tmp_path / "data"))) as hub:
        assert alarms() or (tmp_path / "data" / "backup-failed").exists(), "a restart does not forget"
        await until(lambda: not (tmp_path / "data" / "backup-failed").exists())
        await until(lambda: not alarms())
    assert 2 == caplog.text.count("alarm: backup: the command"), "once by each hub"
    assert 1 == caplog.text.count("alarm over: backup")


# -- upgrades ---------------------------------------------------------------------------------------------------------


async def test_a_failed_migration_of_one_file_leaves_both_working_with_the_old_version(tmp_path, monkeypatch):
    data = tmp_path / "data"
    async with running(parse("").with_data(str(data)), listen=False) as started:
        device, _ = await add_device(started, TEMPLATE)
        await started.write(Write(device, 0, 5, "test", SYSTEM)).durable()

    def newer(file):
        sql = "CREATE TABLE more (id INTEGER);" if file == "pinwheel" else "THIS FAILS;"
        return [*shipped_migrations(file), Migration(999, sql)]

    with monkeypatch.context() as patch:
        patch.setattr(hub.storage.databases, "shipped_migrations", newer)
        with pytest.raises(MigrationError):
            async with open_storage(data, {}):
                pass
    async with running(parse("").with_data(str(data)), listen=False) as started:
        [device] = started.devices.by_id.values()
        assert 5.0 == started.writes.latest(device, device.points[0].datastream)[1]
    with closing(sqlite3.connect(data / "pinwheel.db")) as database:
        assert [] == database.execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchall()
    assert Path(data / "backups").exists()


async def test_a_backup_takes_the_place_of_no_other_file(config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    async with running(config) as hub:
        for path, said in (
            (config.data / "history.db", "is where the hub keeps its own files"),
            (config.data / "tls" / "new.tar", "is where the hub keeps its own files"),
            (tmp_path / "notes.txt", "exists and is not a backup"),
            (tmp_path, "must be the absolute path of a file in an existing directory"),
        ):
            answer = await ask(hub, "POST", "/api/v1/backup", {"path": str(path)}, key=local_key(hub))
            assert (400, True) == (answer.status, said in answer.message)
        assert "" == (await backed_up(hub, tmp_path / "b.tar"))["problem"]
        assert "" == (await backed_up(hub, tmp_path / "b.tar"))["problem"], "a backup may be made again"


async def test_a_backup_that_fails_its_trial_is_none_and_leaves_the_one_before(config, tmp_path, monkeypatch):
    async with running(config) as hub:
        await backed_up(hub, tmp_path / "b.tar")
        before = (tmp_path / "b.tar").read_bytes()
        real = plugins.backup.service.Backups._run_worker

        async def spoilt(self, job, what):
            if what["step"] == "prove":
                cut_off(archive.partial_of(Path(job.path)))
            await real(self, job, what)

        monkeypatch.setattr(plugins.backup.service.Backups, "_run_worker", spoilt)
        job = await backed_up(hub, tmp_path / "b.tar")
        assert "is truncated or damaged" in job["problem"]
    assert before == (tmp_path / "b.tar").read_bytes()
    assert ["b.tar", "data"] == sorted(os.listdir(tmp_path))


async def test_a_backup_leaves_the_locks_of_the_hub_alone(config, tmp_path):
    """Another program that looks into the file afterwards must not take what is not merged yet with it."""
    data = tmp_path / "data"
    async with running(config) as hub:
        device, _ = await add_device(hub, TEMPLATE)
        await hub.write(Write(device, 0, 1, "test", SYSTEM)).durable()
        assert "" == (await backed_up(hub, tmp_path / "b.tar"))["problem"]
        look = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM log').fetchall(); c.close()"
        await trio.run_process([sys.executable, "-c", look, str(data / "history.db")])
        for n in range(5):
            await hub.write(Write(device, 0, n, "test", SYSTEM)).durable()
        copy = tmp_path / "as-after-a-power-cut"
        copy.mkdir()
        for path in data.glob("history.db*"):
            if not path.name.endswith("-shm"):
                (copy / path.name).write_bytes(path.read_bytes())
        assert 6 == len(log_entries(copy))
