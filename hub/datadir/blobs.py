"""Blobs: contents of any size under a key, such as files that devices upload, streamed to and from the disk.

A blob is a file below ``<data>/files``, and its key is the path there. It is written under another name, which ends
with `PARTIAL`, and renamed when it is complete and on the disk: a reader, and a start after a power cut, finds the
whole content or none.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing, nullcontext
from io import FileIO
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from hub.datadir.durable_files import sync
from hub.errors import NotFound, StorageError

__all__ = ["Blobs", "Stored", "is_key", "stored_blobs"]

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Bytes of one read or write; smaller chunks are joined to so many.
CHUNK = 256 * 1024
#: Characters of a key.
MAX_KEY = 200
#: End of the name of a file that is being written; no key has it.
PARTIAL = ".partial"
_KEY = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]*(/[a-zA-Z0-9_][a-zA-Z0-9_.-]*)*")


@attrs.frozen
class Stored:
    """What was stored: the number of bytes, and their SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


class Blobs:
    """The blobs of a data directory.

    A key consists of ASCII letters, digits, ``_``, ``-`` and ``.``, in parts that are separated by ``/``, and has at
    most `MAX_KEY` characters; no part begins with ``.``. Other keys raise ValueError. The first part of a plugin's keys
    is its own name. Work on files runs in threads. All methods raise `StorageError` if the disk fails.
    """

    def __init__(self, data: Path) -> None:
        self.folder = data / "files"

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> Stored:
        """Store the content of ``chunks`` durably, and replace the blob with the same key.

        If it fails, is cancelled, or ``chunks`` raises, an earlier blob with this key is unchanged. At the end, an
        asynchronous generator is closed.
        """
        upload = _Upload(self._path(key))
        try:
            async with aclosing(chunks) if isinstance(chunks, AsyncGenerator) else nullcontext():
                await _in_thread(key, upload.open)
                buffer = bytearray()
                async for chunk in chunks:
                    buffer += chunk
                    if len(buffer) >= CHUNK:
                        await _in_thread(key, upload.write, buffer)
                        buffer = bytearray()
                return await _in_thread(key, upload.finish, buffer)
        except BaseException:
            with trio.CancelScope(shield=True):
                await _in_thread(key, upload.discard)
            raise

    async def open(self, key: str, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield the content of a blob from an offset on. Raises `NotFound`.

        The content is that of the moment of the first chunk, whatever is stored or deleted meanwhile.
        """
        path = self._path(key)

        def open_file() -> FileIO | None:
            if not path.is_file():
                return None
            file = path.open("rb", buffering=0)
            file.seek(offset)
            return file

        file = await _in_thread(key, open_file)
        if file is None:
            raise _missing(key)
        try:
            while chunk := await _in_thread(key, file.read, CHUNK):
                yield chunk
        finally:
            file.close()

    async def size(self, key: str) -> int:
        """Return the number of bytes of a blob. Raises `NotFound`."""
        path = self._path(key)
        size = await _in_thread(key, lambda: path.stat().st_size if path.is_file() else None)
        if size is None:
            raise _missing(key)
        return size

    async def delete(self, key: str) -> None:
        """Delete a blob, if there is one."""
        path = self._path(key)

        def delete() -> None:
            if path.is_file():
                path.unlink(missing_ok=True)
                sync(path.parent)

        await _in_thread(key, delete)

    async def list(self, prefix: str = "") -> list[str]:
        """Return the keys that begin with a prefix, sorted."""
        blobs = await _in_thread(prefix, stored_blobs, self.folder)
        return sorted(key for key, _ in blobs if key.startswith(prefix))

    async def remove_partial(self) -> None:
        """Remove what a hub that was killed had not written completely. To be called at the start."""

        def remove() -> None:
            for path in self.folder.rglob(f"*{PARTIAL}"):
                path.unlink(missing_ok=True)

        try:
            await _in_thread(self.folder.name, remove)
        except StorageError as error:
            log.warning("files that were not written completely could not be removed: %s", error)

    def _path(self, key: str) -> Path:
        if not is_key(key):
            raise ValueError(f"not a key of a blob: {key[: MAX_KEY + 1]!r}")
        return self.folder / key


def is_key(text: str) -> bool:
    return len(text) <= MAX_KEY and not text.endswith(PARTIAL) and _KEY.fullmatch(text) is not None


def stored_blobs(folder: Path) -> list[tuple[str, Path]]:
    """Return (key, file) of the blobs in a folder, without those that are being written. Raises OSError."""
    stored = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            key = path.relative_to(folder).as_posix()
            if is_key(key):
                stored.append((key, path))
    return stored


class _Upload:
    """The file of one blob while it is written, in threads. Its methods raise OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Two uploads with the same key must not write to the same file.
        self._partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        self._fd: int | None = None
        self._size = 0
        self._hash = hashlib.sha256()

    def open(self) -> None:
        missing = [folder for folder in (self._path.parent, *self._path.parent.parents) if not folder.is_dir()]
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in missing:
            sync(folder.parent)
        self._fd = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes | bytearray) -> None:
        assert self._fd is not None, "it is open"
        self._hash.update(data)
        self._size += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def finish(self, data: bytes | bytearray) -> Stored:
        """Write the last bytes; sync the content, rename the file and sync the directory."""
        self.write(data)
        assert self._fd is not None, "it is open"
        os.fsync(self._fd)
        self._close()
        self._partial.replace(self._path)
        sync(self._path.parent)
        return Stored(self._size, self._hash.hexdigest())

    def discard(self) -> None:
        self._close()
        try:
            self._partial.unlink(missing_ok=True)
        except OSError as error:
            # The next start removes it.
            log.warning("%s could not be removed: %s", self._partial, error.strerror)

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


async def _in_thread(key: str, work: Callable[..., T], *args: object) -> T:
    """Run ``work`` in a thread; a cancelled caller waits for its end. Raises `StorageError` for OSError."""
    try:
        return await trio.to_thread.run_sync(work, *args)
    except OSError as error:
        raise StorageError(f"{key}: {error.strerror or error}") from error


def _missing(key: str) -> NotFound:
    return NotFound(f"There is no file {key}.")
