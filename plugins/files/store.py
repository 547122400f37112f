"""Files of devices: rows in the configuration file, contents as blobs."""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import attrs

from hub import Download, NotFound, Rejected
from plugins.files.contents import GIF, JPEG, PNG, Contents, detect_type

if TYPE_CHECKING:
    from hub import Hub, Transaction
    from hub.storage import Row

#: docs.blynk.io, Upload a file: bytes of a file, and files of a device; one more evicts the oldest.
MAX_SIZE = 5 * 1024 * 1024
MAX_FILES = 10
#: Keys of blobs that have the content of a file.
_KEY = re.compile(r"[0-9a-f]{32}\.(bin|gif|jpg|png)")
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
        self._blobs = hub.blobs
        self.contents = Contents(hub, _KEY, "SELECT key FROM files")

    async def save(self, device_id: int, kind: str, name: str, content: bytes) -> str:
        """Save a file, and return the path of its URL.

        It replaces the device's file of the same kind and name, and evicts the oldest ones above `MAX_FILES`. Raises
        `Rejected`; `Unavailable` if the disk does not take the file.
        """
        if not content:
            raise Rejected("The file is empty.")
        if len(content) > MAX_SIZE:
            raise Rejected(f"A file can have at most {MAX_SIZE} bytes.")
        # Browsers must never display any other file: it may be a page with a script.
        media_type, suffix = detect_type(content, (PNG, JPEG, GIF)) or ("application/octet-stream", ".bin")
        key = secrets.token_hex(16) + suffix
        now = self._hub.clock.now()
        async with self.contents.arriving(key):
            await self._blobs.put(key, _in_one_chunk(content))
            evicted = await self._insert((device_id, key, name, kind, media_type, len(content), now))
        await self.contents.delete(evicted)
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

    async def at_path(self, path: str) -> Download:
        """Return the file at the path of a URL. Raises `NotFound`."""
        _, _, device_id, requested_key = path.split("/", 3)
        rows = await self._hub.storage.configuration.fetch_all(
            "SELECT key, type, name FROM files WHERE key = ? AND device = CAST(? AS INTEGER)",
            (requested_key, device_id[:18]),
        )
        if not rows:
            raise NotFound("There is no such file.")
        [(key, media_type, name)] = rows
        size = await self._blobs.size(key)
        # A file with a name is downloaded, one without is displayed.
        name = "" if media_type.startswith("image/") else name
        read = functools.partial(self._blobs.open, key)
        return Download(size=size, read=read, type=media_type, name=name)

    async def remove(self, device_id: int, file_id: int) -> None:
        """Delete a file of a device. Raises `NotFound`."""

        async def write(tx: Transaction) -> str | None:
            row = await tx.fetch_one("SELECT key FROM files WHERE id = ? AND device = ?", (file_id, device_id))
            await tx.execute("DELETE FROM files WHERE id = ? AND device = ?", (file_id, device_id))
            return None if row is None else str(row[0])

        key = await self._hub.storage.transaction(write)
        if key is None:
            raise NotFound("There is no such file.")
        await self.contents.delete([key])


async def _in_one_chunk(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _url_path(device_id: int, key: str) -> str:
    return f"{URL_PREFIX}/{device_id}/{key}"
