"""``pinwheel backup FILE`` and ``pinwheel restore FILE``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client import Api, operations
from client.cli import add_yes_option, api, confirm, format_time, quantity, show_progress
from hub.config import config_of, on_this_machine
from hub.datadir import locked, partial_of, publish, sync
from hub.errors import Forbidden, RequestError, StartupError
from hub.interrupts import deferred
from hub.printing import report
from hub.storage import shipped_migrations
from plugins.backup import archive
from plugins.backup.archive import DATABASES, BadBackup, Manifest, megabytes

#: Seconds between two looks at how far a backup is.
LOOK_EVERY = 0.2
#: How the name of a directory begins into which a backup is unpacked.
UNFINISHED = "restoring-"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def backup(parser: argparse.ArgumentParser) -> None:
    """Write a backup of the hub, running or stopped, into FILE, and prove it with a trial restore."""
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--force", action="store_true", help="overwrite FILE if it exists")

    def run(args: argparse.Namespace) -> None:
        on_this_machine(args)
        path = args.file.absolute()
        if path.exists() and not args.force:
            raise RequestError(f"{args.file} exists already; name another file, or overwrite it with --force")
        with api(args) as hub:
            try:
                step = _make(hub, path)
            except Forbidden:
                step = _make_and_move(hub, path, config_of(args).data.resolve())
        show_progress(1, 1, step)
        manifest, size = archive.read_manifest(path), path.stat().st_size
        done = {"file": str(args.file), "size": size, "devices": manifest.devices, "templates": manifest.templates}
        report(args, done, f"{args.file}: {megabytes(size)}, restored in a trial", *described(manifest))

    parser.set_defaults(run=run)


def _make(hub: Api, path: Path) -> str:
    """Let the hub write a backup, and return its last step.

    Raises `Forbidden` when the hub cannot write there, and what went wrong as `RequestError`.
    """
    from plugins.backup import directory_id

    hub(operations.post_backup(path=str(path), directory=directory_id(path.parent)))
    while (job := hub(operations.get_backup()))["running"]:
        show_progress(job["done"], job["total"] or 1, job["step"])
        time.sleep(LOOK_EVERY)
    if job["problem"]:
        raise RequestError(job["problem"])
    return job["step"]


def _make_and_move(hub: Api, path: Path, data: Path) -> str:
    """Let the hub write a backup among its own, and take it to where only this command can write."""
    from plugins.backup import check_target

    backups = data / "backups"
    check_target(path, data, backups)
    made, partial = backups / f"for-{os.getpid()}.tar", partial_of(path)
    step = _make(hub, made)
    try:
        with made.open("rb") as source, os.fdopen(os.open(partial, _NEW, 0o600), "wb") as target:
            shutil.copyfileobj(source, target, 1024 * 1024)
        publish(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RequestError(f"{path}: {error.strerror}") from error
    finally:
        made.unlink(missing_ok=True)
    return step


def described(manifest: Manifest) -> list[str]:
    """What is in a backup, and what is not."""
    sizes = {member.name: member.size for member in manifest.files}
    what = f"{quantity(manifest.devices, 'device')}, {quantity(manifest.templates, 'template')}"
    keys = sum(1 for name in sizes if name.startswith("tls/"))
    return [
        f"  of version {manifest.version}, made {format_time(manifest.created)}",
        f"  configuration  {megabytes(sizes.get('pinwheel.db', 0))}: {what}",
        f"  history        {megabytes(sizes.get('history.db', 0))}",
        f"  TLS            {keys} files",
        "  not in it: hub.toml, plugins, any code",
    ]


def restore(parser: argparse.ArgumentParser) -> None:
    """Replace the data of a stopped hub with a backup; the old data is kept beside it."""
    parser.add_argument("file", metavar="FILE", type=Path)
    add_yes_option(parser)

    def run(args: argparse.Namespace) -> None:
        data = config_of(args).data
        manifest = archive.read_manifest(args.file)
        _check_version(args.file, manifest)
        held = [name for name in DATABASES if (data / name).exists()]
        if not args.json:
            print("\n".join((f"{args.file}:", *described(manifest))))
            print(f"{data}: " + (f"{' and '.join(held)} would be replaced" if held else "holds nothing yet"))
        with locked(data):
            for unfinished in data.glob(f"{UNFINISHED}*"):
                # Of a restore that was killed.
                shutil.rmtree(unfinished, ignore_errors=True)
            archive.need_room(data, manifest.size)
            confirm(args, f"replace the data in {data}")
            with _temporary(data) as unpacked:
                try:
                    archive.unpack(args.file, unpacked, lambda done, total: show_progress(done, total, "unpacking"))
                except BadBackup as error:
                    raise RequestError(f"{error}; nothing was changed") from error
                # An interrupt that comes now finds everything restored, and that is said.
                with deferred():
                    kept = _swap(unpacked, data, [member.name for member in manifest.files])
                    done = {"restored": str(args.file), "kept": None if kept is None else str(kept)}
                    report(args, done, "restored" + (f"; the old data is in {kept}" if kept else ""))
                    sys.stdout.flush()

    parser.set_defaults(run=run)


@contextmanager
def _temporary(data: Path) -> Iterator[Path]:
    """A directory for the length of the block."""
    folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=data))
    try:
        yield folder
    finally:
        with deferred():
            shutil.rmtree(folder, ignore_errors=True)


def _check_version(path: Path, manifest: Manifest) -> None:
    """Raises `StartupError` when this version cannot read the backup."""
    for name, owners in manifest.schemas.items():
        known = max(migration.number for migration in shipped_migrations(Path(name).stem))
        if owners.get("core", 0) > known:
            raise StartupError(f"{path}: was made by a newer version ({manifest.version}); install that one first")


def _swap(unpacked: Path, data: Path, names: list[str]) -> Path | None:
    """Put new files in the place of old ones; returns where the old ones are now."""
    kept = data / time.strftime("before-restore-%Y%m%d-%H%M%S", time.gmtime())
    leftovers = [f"{name}{suffix}" for name in DATABASES for suffix in ("-wal", "-shm")]
    old = [name for name in (*names, *DATABASES, *leftovers) if (data / name).exists()]
    try:
        for name in dict.fromkeys(old):
            target = kept / name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # A second name: the file stays where it is until the new one takes its place.
            os.link(data / name, target)
        for name in leftovers:
            (data / name).unlink(missing_ok=True)
        for name in names:
            (data / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            (unpacked / name).replace(data / name)
            sync((data / name).parent)
        for name in set(DATABASES) - set(names):
            (data / name).unlink(missing_ok=True)
    except OSError as error:
        raise RequestError(f"{data}: {error.strerror}; what was there is in {kept}") from error
    return kept if old else None
