"""Files of devices: rows in the configuration file, contents in ``<data>/files``."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from hub import DeviceDeleted, File, NotFound, Rejected, StorageError, Unavailable
from hub.datadir import write_whole

if TYPE_CHECKING:
    from hub import Hub, Transaction
    from hub.storage import Row

log = logging.getLogger(__name__)

#: docs.blynk.io, Upload a file: bytes of a file, and files of a device; one more evicts the oldest.
MAX_SIZE = 5 * 1024 * 1024
MAX_FILES = 10
#: Images by their first bytes. Browsers must never display any other file: it may be a page with a script.
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png", ".png"),
    (b"\xff\xd8\xff", "image/jpeg", ".jpg"),
    (b"GIF8", "image/gif", ".gif"),
)
#: Beginning of the path of every file's URL.
URL_PREFIX = "/device_uploads"


@attrs.frozen(kw_only=True)
class DeviceFile:
    """File of a device: ``kind`` is "file" or "dump", ``size`` is in bytes, ``created`` in ms UTC."""

    id: int
    name: str
    kind: str
    type: str
    size: int
    created: int
    path: str


class FileStore:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._folder = hub.config.data / "files"
        #: Keys of files that are being written and may not be in the table yet.
        self._arriving: set[str] = set()

    async def save(self, device_id: int, kind: str, name: str, content: bytes) -> str:
        """Save a file, and return the path of its URL.

        It replaces the device's file of the same kind and name, and evicts the oldest ones above `MAX_FILES`. Raises
        `Rejected`; `Unavailable` if the disk does not take the file.
        """
        if not content:
            raise Rejected("The file is empty.")
        if len(content) > MAX_SIZE:
            raise Rejected(f"A file can have at most {MAX_SIZE} bytes.")
        media_type, suffix = _detect_type(content)
        key = secrets.token_hex(16) + suffix
        now = self._hub.clock.now()

        def write_file() -> None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_whole(self._folder / key, content)

        self._arriving.add(key)
        try:
            await trio.to_thread.run_sync(write_file)
            evicted = await self._insert((device_id, key, name, kind, media_type, len(content), now))
        except OSError as error:
            raise Unavailable(f"The file cannot be saved: {error.strerror}.") from error
        except BaseException:
            self._path(key).unlink(missing_ok=True)
            raise
        finally:
            self._arriving.discard(key)
        self._unlink(evicted)
        return _url_path(device_id, key)

    async def _insert(self, row: Row) -> list[str]:
        """Insert a file's row, and return the keys of the files that it replaces or evicts."""
        device_id, _, name, kind, *_ = row

        async def write(tx: Transaction) -> list[str]:
            same = (device_id, kind, name)
            evicted = await tx.fetch_all("SELECT id, key FROM files WHERE device = ? AND kind = ? AND name = ?", same)
            sql = "SELECT id, key FROM files WHERE device = ? AND NOT (kind = ? AND name = ?) ORDER BY id"
            others = await tx.fetch_all(sql, same)
            evicted += others[: max(0, len(others) - MAX_FILES + 1)]
            for file_id, _ in evicted:
                await tx.execute("DELETE FROM files WHERE id = ?", (file_id,))
            sql = "INSERT INTO files (device, key, name, kind, type, size, created) VALUES (?, ?, ?, ?, ?, ?, ?)"
            await tx.execute(sql, row)
            return [key for _, key in evicted]

        return await self._hub.storage.transaction(write)

    async def of_device(self, device_id: int) -> list[DeviceFile]:
        """Return the device's files, newest first."""
        sql = "SELECT id, name, kind, type, size, created, key FROM files WHERE device = ? ORDER BY id DESC"
        fields = ("id", "name", "kind", "type", "size", "created")
        return [
            DeviceFile(**dict(zip(fields, row, strict=False)), path=_url_path(device_id, row[-1]))
            for row in await self._hub.storage.configuration.fetch_all(sql, (device_id,))
        ]

    async def at_path(self, path: str) -> File:
        """Return the file at the path of a URL. Raises `NotFound`."""
        _, _, device_id, requested_key = path.split("/", 3)
        # The key is looked up and never joined to a path before: it is the client's text.
        rows = await self._hub.storage.configuration.fetch_all(
            "SELECT key, type, name FROM files WHERE key = ? AND device = CAST(? AS INTEGER)",
            (requested_key, device_id[:18]),
        )
        if not rows or not self._path(rows[0][0]).is_file():
            raise NotFound("There is no such file.")
        [(key, media_type, name)] = rows
        # A file with a name is downloaded, one without is displayed.
        return File(path=self._path(key), type=media_type, name="" if media_type.startswith("image/") else name)

    async def remove(self, device_id: int, file_id: int) -> None:
        """Delete a file of a device. Raises `NotFound`."""

        async def write(tx: Transaction) -> str | None:
            row = await tx.fetch_one("SELECT key FROM files WHERE id = ? AND device = ?", (file_id, device_id))
            await tx.execute("DELETE FROM files WHERE id = ? AND device = ?", (file_id, device_id))
            return None if row is None else str(row[0])

        key = await self._hub.storage.transaction(write)
        if key is None:
            raise NotFound("There is no such file.")
        self._path(key).unlink(missing_ok=True)

    async def run(self) -> None:
        """Sweep at the start and after each deletion of a device, until cancelled."""
        device_deleted = trio.Event()

        def on_device_deleted(_fact: DeviceDeleted) -> None:
            device_deleted.set()

        self._hub.subscribe(DeviceDeleted, on_device_deleted)
        while True:
            try:
                await self.sweep()
            except (StorageError, OSError) as error:
                log.warning("files: %s", error)
            await device_deleted.wait()
            device_deleted = trio.Event()

    async def sweep(self) -> None:
        """Delete contents without a row: their device was deleted, or the hub stopped while it wrote them.

        The folder is listed before the table is read, and files that are arriving are left alone. So every other file
        in the list had its row committed before, and has it still unless its device was deleted.
        """
        names = await trio.to_thread.run_sync(self._list_folder)
        arriving = frozenset(self._arriving)
        keys = {row[0] for row in await self._hub.storage.configuration.fetch_all("SELECT key FROM files")}
        orphans = [name for name in names if name not in keys and name.removesuffix(".partial") not in arriving]
        await trio.to_thread.run_sync(self._unlink, orphans)

    def _list_folder(self) -> list[str]:
        return [path.name for path in self._folder.glob("*.*")] if self._folder.is_dir() else []

    def _unlink(self, names: Iterable[str]) -> None:
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / key


def _detect_type(content: bytes) -> tuple[str, str]:
    """Return (media type, suffix) of a file, by its first bytes."""
    for prefix, media_type, suffix in _IMAGES:
        if content.startswith(prefix):
            return media_type, suffix
    return "application/octet-stream", ".bin"


def _url_path(device_id: int, key: str) -> str:
    return f"{URL_PREFIX}/{device_id}/{key}"
