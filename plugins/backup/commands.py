"""``pinwheel backup FILE`` and ``pinwheel restore FILE``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from client import Api, operations
from client.cli import add_yes_option, api, confirm, format_time, quantity, show_progress
from hub import Forbidden, RequestError, StartupError, config_of, on_this_machine
from hub.datadir import locked, partial_of, publish, sync
from hub.storage import shipped_migrations
from hub.terminal.interrupts import deferred
from hub.terminal.printing import report
from plugins.backup import archive
from plugins.backup.archive import BLOBS, CHUNK, DATABASES, WITH_BLOBS, BadBackup, Manifest, megabytes
from plugins.backup.targets import check_target, directory_id

#: Seconds between two requests for a backup's progress.
POLL_INTERVAL = 0.2
#: Prefix of the directory into which a backup is unpacked.
UNPACKED_PREFIX = "restoring-"
_WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


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
                step = _make_and_copy(hub, path, config_of(args).data.resolve())
        show_progress(1, 1, step)
        manifest, size = archive.read_manifest(path), path.stat().st_size
        result = {"file": str(args.file), "size": size, "devices": manifest.devices, "templates": manifest.templates}
        report(args, result, f"{args.file}: {megabytes(size)}, restored in a trial", *_describe(manifest))

    parser.set_defaults(run=run)


def _make(hub: Api, path: Path) -> str:
    """Have the hub make a backup, and return the name of its last step.

    Raises `Forbidden` if the hub cannot write there, and `RequestError` if the backup fails.
    """
    hub(operations.post_backup(path=str(path), directory=directory_id(path.parent)))
    while (job := hub(operations.get_backup()))["running"]:
        show_progress(job["done"], job["total"] or 1, job["step"])
        time.sleep(POLL_INTERVAL)
    if job["problem"]:
        raise RequestError(job["problem"])
    return job["step"]


def _make_and_copy(hub: Api, path: Path, data: Path) -> str:
    """Have the hub make a backup in its own directory, and copy it to a path where only this command can write."""
    backups = data / "backups"
    check_target(path, data, backups)
    made, partial = backups / f"for-{os.getpid()}.tar", partial_of(path)
    step = _make(hub, made)
    try:
        with made.open("rb") as source, os.fdopen(os.open(partial, _WRITE_NEW, 0o600), "wb") as target:
            shutil.copyfileobj(source, target, CHUNK)
        publish(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RequestError(f"{path}: {error.strerror}") from error
    finally:
        made.unlink(missing_ok=True)
    return step


def _describe(manifest: Manifest) -> list[str]:
    """Return lines that say what is in a backup, and what is not."""
    sizes = {member.name: member.size for member in manifest.files}
    contents = f"{quantity(manifest.devices, 'device')}, {quantity(manifest.templates, 'template')}"
    blobs = [size for name, size in sizes.items() if name.startswith(BLOBS)]
    tls_files = sum(1 for name in sizes if name.startswith("tls/"))
    return [
        f"  of version {manifest.version}, made {format_time(manifest.created)}",
        f"  configuration  {megabytes(sizes.get('pinwheel.db', 0))}: {contents}",
        f"  history        {megabytes(sizes.get('history.db', 0))}",
        f"  TLS            {tls_files} files",
        f"  uploads        {megabytes(sum(blobs))}: {quantity(len(blobs), 'file')}",
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
        existing = [name for name in DATABASES if (data / name).exists()]
        if not args.json:
            print("\n".join((f"{args.file}:", *_describe(manifest))))
            print(f"{data}: " + (f"{' and '.join(existing)} would be replaced" if existing else "holds nothing yet"))
        with locked(data):
            for unfinished in data.glob(f"{UNPACKED_PREFIX}*"):
                # A restore was killed before it could clean up.
                shutil.rmtree(unfinished, ignore_errors=True)
            archive.check_space(data, manifest.size)
            confirm(args, f"replace the data in {data}")
            with _temporary_directory(data) as unpacked:
                try:
                    archive.unpack(args.file, unpacked, lambda done, total: show_progress(done, total, "unpacking"))
                except BadBackup as error:
                    raise RequestError(f"{error}; nothing was changed") from error
                # An interrupt from here on takes effect when everything is restored and reported.
                with deferred():
                    names = [member.name for member in manifest.files]
                    replaced = [*DATABASES, *(archive.blob_files(data) if manifest.format >= WITH_BLOBS else ())]
                    old = _replace_data(unpacked, data, names, replaced)
                    result = {"restored": str(args.file), "kept": None if old is None else str(old)}
                    report(args, result, "restored" + (f"; the old data is in {old}" if old else ""))
                    sys.stdout.flush()

    parser.set_defaults(run=run)


@contextmanager
def _temporary_directory(data: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=UNPACKED_PREFIX, dir=data))
    try:
        yield folder
    finally:
        with deferred():
            shutil.rmtree(folder, ignore_errors=True)


def _check_version(path: Path, manifest: Manifest) -> None:
    """Raise `StartupError` if this version is too old to read the backup."""
    for name, owners in manifest.schemas.items():
        newest = max(migration.number for migration in shipped_migrations(Path(name).stem))
        if owners.get("core", 0) > newest:
            raise StartupError(f"{path}: was made by a newer version ({manifest.version}); install that one first")


def _replace_data(unpacked: Path, data: Path, names: list[str], replaced: Sequence[str] = DATABASES) -> Path | None:
    """Replace the hub's files by unpacked ones, and return the directory with the old ones; None if there were none.

    Files among ``replaced`` are removed if there are no new ones.
    """
    old = data / time.strftime("before-restore-%Y%m%d-%H%M%S", time.gmtime())
    logs = [f"{name}{suffix}" for name in DATABASES for suffix in ("-wal", "-shm")]
    existing = [name for name in (*names, *replaced, *logs) if (data / name).exists()]
    try:
        for name in dict.fromkeys(existing):
            target = old / name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # A second name: the file keeps its first until the new one replaces it.
            os.link(data / name, target)
        for name in logs:
            (data / name).unlink(missing_ok=True)
        for name in names:
            (data / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            (unpacked / name).replace(data / name)
            if not name.startswith(BLOBS):
                sync((data / name).parent)
        for name in set(replaced) - set(names):
            (data / name).unlink(missing_ok=True)
        # Once for all blobs of a folder, which may be many.
        for folder in {parent for name in names if name.startswith(BLOBS) for parent in Path(name).parents}:
            sync(data / folder)
    except OSError as error:
        raise RequestError(f"{data}: {error.strerror}; what was there is in {old}") from error
    return old if existing else None
