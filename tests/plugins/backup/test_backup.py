"""Backups: creation, restore, schedule, and the backup before an upgrade."""

from __future__ import annotations

import io
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
from support.backups import run_backup
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


@pytest.fixture
def config(tmp_path):
    return parse(LOOPBACK + TLS).with_data(str(tmp_path / "data"))


def ignore_progress(_done, _total):
    pass


async def test_backup_under_load_contains_all_acknowledged_values(config, tmp_path):
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
            job = await run_backup(hub, tmp_path / "b.tar")
            stop.set()
        assert "" == job["problem"]
        assert acknowledged[-1] > before, "values are acknowledged during a backup"
        assert {"pinwheel.db", "history.db", "tls/ca.pem", "tls/ca.key", "tls/cert.pem", "tls/key.pem"} == {
            file["name"] for file in job["manifest"]["files"]
        }
        assert 0o600 == (tmp_path / "b.tar").stat().st_mode & 0o777
    folder = tmp_path / "restored"
    folder.mkdir()
    archive.unpack(tmp_path / "b.tar", folder, ignore_progress)
    async with running(config.with_data(str(folder))) as hub:
        [device] = hub.devices.by_id.values()
        assert hub.tokens.device_for(token) is device
        values = [v async for piece in hub.history.points(device.points[0].series, 0, 2**42) for _, v in piece]
        assert [float(n) for n in range(5000)] == values[:5000]
        assert values[-1] >= before
    assert [] == [name for name in os.listdir(tmp_path) if name.startswith(".trial")]


async def chunks_of(content):
    yield content


async def test_time_of_the_last_complete_backup_outlives_a_restart(config, tmp_path):
    async with running(config) as hub:
        assert hub.last_backup is None
        before = hub.clock.now()
        job = await run_backup(hub, tmp_path / "backup.tar")
        created = job["manifest"]["created"]
        assert before <= created == hub.last_backup
    async with running(config) as hub:
        status = (await ask(hub, "GET", "/api/v1/status", key=local_key(hub))).json
        assert created == hub.last_backup == status["lastBackup"]
    (config.data / "backup-last").write_text("yesterday")
    async with running(config) as hub:
        assert hub.last_backup is None


async def test_backup_contains_blobs_and_restores_them_alone(config, tmp_path):
    async with running(config) as hub:
        for key, content in (("images/a", b"x" * 3_000_000), ("b.bin", b"1"), ("empty", b"")):
            await hub.blobs.put(key, chunks_of(content))
        job = await run_backup(hub, tmp_path / "b.tar")
        assert "" == job["problem"]
        sizes = {f["name"]: f["size"] for f in job["manifest"]["files"] if f["name"].startswith("files/")}
        assert {"files/images/a": 3_000_000, "files/b.bin": 1, "files/empty": 0} == sizes
        # What comes after the backup is not there after a restore.
        await hub.blobs.put("b.bin", chunks_of(b"changed"))
        await hub.blobs.put("images/late", chunks_of(b"late"))
        await hub.blobs.delete("images/a")
    done = CommandLine(tmp_path)("restore", "b.tar", "--yes")
    assert 0 == done.code, done.err
    assert "3.0 MB: 3 files" in done.out
    async with running(config) as hub:
        assert ["b.bin", "empty", "images/a"] == await hub.blobs.list()
        assert b"1" == b"".join([chunk async for chunk in hub.blobs.open("b.bin")])
        assert 3_000_000 == await hub.blobs.size("images/a")
    [old] = config.data.glob("before-restore-*")
    assert {"late", "b.bin", "empty"} == {path.name for path in (old / "files").rglob("*") if path.is_file()}


async def test_blob_that_is_deleted_during_a_backup_is_left_out(config, tmp_path):
    async with running(config) as hub:
        for key in ("a", "b"):
            await hub.blobs.put(key, chunks_of(b"content"))
    files = archive.blob_files(config.data)
    (config.data / "files" / "a").unlink()
    about = {"format": archive.FORMAT, "version": "1", "created": 1, "devices": 0, "templates": 0, "schemas": {}}
    archive.write(tmp_path / "b.tar", files, about, ignore_progress)
    assert ["files/b"] == [member.name for member in archive.prove(tmp_path / "b.tar", ignore_progress).files]


async def test_restore_of_a_backup_without_blobs_leaves_the_blobs(config, tmp_path):
    async with running(config) as hub:
        assert "" == (await run_backup(hub, tmp_path / "b.tar"))["problem"]
        await hub.blobs.put("a", chunks_of(b"content"))
    rewrite_manifest(tmp_path / "b.tar", lambda manifest: manifest.__setitem__("format", 1))
    done = CommandLine(tmp_path)("restore", "b.tar", "--yes")
    assert 0 == done.code, done.err
    assert b"content" == (config.data / "files" / "a").read_bytes()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-30_000])


def flip_bit(path):
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes((byte[0] ^ 1,)))


def make_empty(path):
    path.write_bytes(b"")


def replace_by_text(path):
    path.write_text("no backup\n" * 1000)


def add_path_traversal(path):
    with tarfile.open(path) as old:
        manifest = json.loads(old.extractfile("manifest.json").read())
    manifest["files"] = [{"name": "../evil", "size": 1, "sha256": "0" * 64}]
    with tarfile.open(path, "w") as tar:
        for name, data in (("manifest.json", json.dumps(manifest).encode()), ("../evil", b"x")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def require_newer_schema(path):
    rewrite_manifest(path, lambda m: m["schemas"]["pinwheel.db"].__setitem__("core", 999))


def require_newer_format(path):
    rewrite_manifest(path, lambda m: m.__setitem__("format", 3))


def rewrite_manifest(path, change):
    with tarfile.open(path) as old:
        size = old.getmember("manifest.json").size
        manifest = json.loads(old.extractfile("manifest.json").read())
    change(manifest)
    with path.open("r+b") as file:
        file.seek(tarfile.BLOCKSIZE)
        file.write(json.dumps(manifest).encode().ljust(size))


@pytest.fixture(scope="module")
def backed_up_hub(tmp_path_factory):
    """The command with a device, values and a backup of them in b.tar."""
    pinwheel = CommandLine(tmp_path_factory.mktemp("backed_up"))
    pinwheel.import_template()
    name, number, _ = pinwheel.add()
    for value in range(3):
        assert 0 == pinwheel("device", "write", number, "V0", value).code
    done = pinwheel("backup", "b.tar")
    assert 0 == done.code, done.err
    assert "1 device, 1 template" in done.out
    assert "not in it: hub.toml, plugins, any code" in done.out
    return pinwheel


@pytest.mark.parametrize(
    ("damage", "error", "code"),
    [
        (truncate, "is truncated or damaged", 1),
        (flip_bit, "is truncated or damaged", 1),
        (make_empty, "is truncated or damaged, or no backup of Pinwheel", 1),
        (replace_by_text, "is truncated or damaged, or no backup of Pinwheel", 1),
        (add_path_traversal, "is truncated or damaged", 1),
        (require_newer_schema, "was made by a newer version", 2),
        (require_newer_format, "was made by a newer version", 1),
    ],
)
def test_invalid_backup_is_reported_in_one_line_and_changes_nothing(
    pinwheel, backed_up_hub, tmp_path, damage, error, code
):
    pinwheel.import_template()
    pinwheel.add("Mine")
    before = {p: p.stat().st_mtime_ns for p in pinwheel.data.rglob("*") if p.is_file() and p.name != "lock"}
    (pinwheel.folder / "bad.tar").write_bytes((backed_up_hub.folder / "b.tar").read_bytes())
    damage(pinwheel.folder / "bad.tar")

    done = pinwheel("restore", "bad.tar", "--yes")
    assert code == done.code
    [line] = done.err.splitlines()
    assert error in line
    assert before == {p: p.stat().st_mtime_ns for p in pinwheel.data.rglob("*") if p.is_file() and p.name != "lock"}
    assert ["Mine"] == [device["name"] for device in pinwheel("device", "list", "--json").json]
    assert not (tmp_path / "evil").exists()


def test_restore_needs_confirmation_and_keeps_the_old_data(pinwheel, backed_up_hub):
    pinwheel.import_template()
    pinwheel.add("Mine")
    unconfirmed = pinwheel("restore", backed_up_hub.folder / "b.tar")
    assert (1, True) == (unconfirmed.code, "pinwheel.db and history.db would be replaced" in unconfirmed.out)
    assert "Run again with --yes." in unconfirmed.err
    done = pinwheel("restore", backed_up_hub.folder / "b.tar", "--yes")
    assert 0 == done.code, done.err
    [name] = [device["name"] for device in pinwheel("device", "list", "--json").json]
    assert name.startswith("Station")
    [old_data] = pinwheel.data.glob("before-restore-*")
    with closing(sqlite3.connect(old_data / "pinwheel.db")) as old:
        assert [("Mine",)] == old.execute("SELECT name FROM devices").fetchall()
    with pinwheel.running():
        running_hub = pinwheel("restore", backed_up_hub.folder / "b.tar", "--yes")
        assert (2, True) == (running_hub.code, "another hub" in running_hub.err)


def test_backup_and_restore_on_a_full_disk_change_nothing(pinwheel, backed_up_hub, monkeypatch):
    pinwheel.import_template()
    pinwheel.add("Mine")
    monkeypatch.setattr(archive, "MARGIN", 1 << 60)
    done = pinwheel("restore", backed_up_hub.folder / "b.tar", "--yes")
    assert (1, True) == (done.code, "are needed and" in done.err)
    needed = float(re.search(r"([\d,.]+) MB are needed", done.err)[1].replace(",", ""))
    free = float(re.search(r"([\d,.]+) MB are free", done.err)[1].replace(",", ""))
    assert needed > free, "the message has the numbers that cause it"
    done = pinwheel("backup", "c.tar")
    assert (1, True) == (done.code, "are needed and" in done.err)
    monkeypatch.undo()

    real = os.open

    def full(path, flags, mode=0o777, **options):
        if "restoring-" in str(path) and str(path).endswith("history.db"):
            raise OSError(28, "No space left on device", str(path))
        return real(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", full)
    done = pinwheel("restore", backed_up_hub.folder / "b.tar", "--yes")
    monkeypatch.undo()
    assert 1 == done.code
    assert "No space left on device; nothing was changed" in done.err
    assert ["Mine"] == [device["name"] for device in pinwheel("device", "list", "--json").json]
    assert [] == list(pinwheel.data.glob("restoring-*"))


def test_command_backs_up_a_running_hub(pinwheel, backed_up_hub):
    with pinwheel.running():
        pinwheel.import_template()
        pinwheel.add()
        done = pinwheel("backup", "b.tar")
        assert 0 == done.code, done.err
        assert "restored in a trial" in done.out
        done = pinwheel("backup", "nowhere/b.tar")
        assert (1, True) == (done.code, "must be the absolute path of a file in an existing directory" in done.err)


def test_failed_replacement_of_a_file_keeps_the_old_one(tmp_path):
    data, new = tmp_path / "data", tmp_path / "new"
    data.mkdir()
    new.mkdir()
    (data / "pinwheel.db").write_text("old")
    with pytest.raises(RequestError, match="what was there is in"):
        _replace_data(new, data, ["pinwheel.db"])
    assert "old" == (data / "pinwheel.db").read_text()


# -- Ctrl-C in a restore ----------------------------------------------------------------------------------------------


def interrupt_after(monkeypatch, steps):
    """Send Ctrl-C before a file operation, counted from 0; return the list of operations, which grows."""
    done = []

    def counted(fn):
        def step(*arguments, **options):
            done.append(fn)
            if len(done) == steps + 1:
                signal.raise_signal(signal.SIGINT)
            return fn(*arguments, **options)

        return step

    for owner, name in (
        (os, "open"), (os, "link"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir"),
        (archive, "inspect"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return done


def files_of(folder):
    """Return the contents of a hub's files by name."""
    paths = [folder / name for name in ("pinwheel.db", "history.db", "pinwheel.db-wal", "history.db-wal")]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in [*paths, *(folder / "tls").glob("*")]
        if path.exists()
    }


def test_ctrl_c_at_any_moment_of_a_restore_leaves_either_the_old_or_the_new_data(backed_up_hub, tmp_path, monkeypatch):
    pinwheel = CommandLine(tmp_path / "pinwheel", CONFIG + TLS)
    with pinwheel.running():
        pinwheel.import_template()
        pinwheel.add("Mine")
    with tarfile.open(backed_up_hub.folder / "b.tar") as tar:
        tar.extractall(tmp_path / "new", filter="data")
    old, new = files_of(pinwheel.data), files_of(tmp_path / "new")
    # Files that are not in the backup stay.
    new |= {name: content for name, content in old.items() if name.startswith("tls/")}
    outcomes = []
    for step in range(1000):
        shutil.rmtree(tmp_path / "trial", ignore_errors=True)
        trial = CommandLine(tmp_path / "trial", CONFIG + TLS)
        shutil.copytree(pinwheel.data, trial.data, dirs_exist_ok=True)
        with monkeypatch.context() as patch:
            steps = interrupt_after(patch, step)
            done = trial("restore", backed_up_hub.folder / "b.tar", "--yes")
        after = files_of(trial.data)
        assert after in (old, new), step
        assert (after == new) == ("restored; the old data is in" in done.out), step
        assert [] == list(trial.data.glob("restoring-*")), step
        if len(steps) <= step:
            break
        assert 130 == done.code, step
        outcomes.append(after == new)
    assert 0 == done.code
    assert {True, False} == set(outcomes)


def test_restore_deletes_the_files_of_a_killed_restore(pinwheel, backed_up_hub):
    (pinwheel.data / "restoring-abc" / "tls").mkdir(parents=True)
    (pinwheel.data / "restoring-abc" / "pinwheel.db").touch()
    assert 0 == pinwheel("restore", backed_up_hub.folder / "b.tar", "--yes").code
    assert [] == list(pinwheel.data.glob("restoring-*"))


def test_ctrl_c_interrupts_the_check_of_a_large_file(tmp_path, monkeypatch):
    with closing(sqlite3.connect(tmp_path / "large.db")) as large:
        large.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
        numbers = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 20000)"
        large.execute(f"INSERT INTO t (b) {numbers} SELECT randomblob(16) FROM n")
        large.commit()

    class Interrupted(sqlite3.Connection):
        def set_progress_handler(self, handler, steps):
            def read_log():
                signal.raise_signal(signal.SIGINT)
                return handler()

            super().set_progress_handler(read_log, steps)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Interrupted))
    with pytest.raises(KeyboardInterrupt):
        hub.storage.inspect(tmp_path / "large.db")


@pytest.mark.parametrize(
    ("keys", "code", "error"), [("\x03", 130, "[y/N] ^C\r\n"), ("\x04", 1, "[y/N] \r\npinwheel: Nothing was done.\r\n")]
)
def test_ctrl_c_and_ctrl_d_cancel_the_confirmation_of_a_restore(pinwheel, backed_up_hub, keys, code, error):
    pinwheel.import_template()
    before = files_of(pinwheel.data)
    printed = pinwheel.run_on_terminal({"[y/N] ": keys}, "restore", backed_up_hub.folder / "b.tar")
    assert code == printed.code
    assert printed.out.replace("^C^C", "^C").endswith(error)
    assert before == files_of(pinwheel.data)
    assert [] == [path.name for path in pinwheel.data.iterdir() if "restor" in path.name]


# -- schedule ---------------------------------------------------------------------------------------------------------


async def test_scheduled_backups_are_rotated_and_followed_by_a_command(tmp_path, monkeypatch):
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
    # A failed attempt also uses up a name.
    reported = log.read_text().splitlines()
    assert reported == sorted(set(reported))
    assert {out} == {Path(name).parent for name in reported}


async def test_backups_with_future_times_do_not_displace_new_ones(tmp_path, monkeypatch):
    """A board without a battery-backed clock may boot with a future time."""
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
        new_backups = set(out.glob("pinwheel-*.tar")) - set(future)
        # A backup with a future time counts as the oldest.
        await until(lambda: 3 == len(list(out.glob("pinwheel-*.tar"))))
        assert new_backups <= set(out.glob("pinwheel-*.tar"))


async def test_failed_backup_raises_an_alarm_until_a_backup_succeeds(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(plugins.backup.schedule, "CHECK_INTERVAL", 0.02)
    flag = tmp_path / "flag"
    # Each hub makes one backup at its start, because there is none.
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
        assert alarms() or (tmp_path / "data" / "backup-failed").exists(), "the failure survives a restart"
        await until(lambda: not (tmp_path / "data" / "backup-failed").exists())
        await until(lambda: not alarms())
    assert 2 == caplog.text.count("alarm: backup: the command"), "once for each hub"
    assert 1 == caplog.text.count("alarm over: backup")


# -- upgrades ---------------------------------------------------------------------------------------------------------


async def test_failed_migration_of_a_database_leaves_both_usable_by_the_old_version(tmp_path, monkeypatch):
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


async def test_backup_overwrites_no_other_file(config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    async with running(config) as hub:
        for path, error in (
            (config.data / "history.db", "is where the hub keeps its own files"),
            (config.data / "tls" / "new.tar", "is where the hub keeps its own files"),
            (tmp_path / "notes.txt", "exists and is not a backup"),
            (tmp_path, "must be the absolute path of a file in an existing directory"),
        ):
            response = await ask(hub, "POST", "/api/v1/backup", {"path": str(path)}, key=local_key(hub))
            assert (400, True) == (response.status, error in response.message)
        assert "" == (await run_backup(hub, tmp_path / "b.tar"))["problem"]
        assert "" == (await run_backup(hub, tmp_path / "b.tar"))["problem"], "a backup may be overwritten by the next"


async def test_backup_that_fails_verification_is_discarded_and_the_previous_one_stays(config, tmp_path, monkeypatch):
    async with running(config) as hub:
        await run_backup(hub, tmp_path / "b.tar")
        before = (tmp_path / "b.tar").read_bytes()
        real = plugins.backup.service.Backups._run_worker

        async def damaged_worker(self, job, task):
            if task["step"] == "prove":
                truncate(archive.partial_of(Path(job.path)))
            await real(self, job, task)

        monkeypatch.setattr(plugins.backup.service.Backups, "_run_worker", damaged_worker)
        job = await run_backup(hub, tmp_path / "b.tar")
        assert "is truncated or damaged" in job["problem"]
    assert before == (tmp_path / "b.tar").read_bytes()
    assert ["b.tar", "data"] == sorted(os.listdir(tmp_path))


async def test_backup_does_not_release_the_database_locks_of_the_hub(config, tmp_path):
    """Otherwise another program that opens the database would delete its write-ahead log when it closes it."""
    data = tmp_path / "data"
    async with running(config) as hub:
        device, _ = await add_device(hub, TEMPLATE)
        await hub.write(Write(device, 0, 1, "test", SYSTEM)).durable()
        assert "" == (await run_backup(hub, tmp_path / "b.tar"))["problem"]
        read_log = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM log').fetchall(); c.close()"
        await trio.run_process([sys.executable, "-c", read_log, str(data / "history.db")])
        for n in range(5):
            await hub.write(Write(device, 0, n, "test", SYSTEM)).durable()
        copy = tmp_path / "as-after-a-power-cut"
        copy.mkdir()
        for path in data.glob("history.db*"):
            if not path.name.endswith("-shm"):
                (copy / path.name).write_bytes(path.read_bytes())
        assert 6 == len(log_entries(copy))
