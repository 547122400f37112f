"""The contents of files: blobs, each with a row in a table of the plugin."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from hub import Fact, StorageError, Unavailable

if TYPE_CHECKING:
    from hub import Hub

log = logging.getLogger(__name__)

#: Headers of all contents: a browser neither guesses another type, nor runs anything that is in one.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
#: An image by its first bytes: the bytes, the media type and the suffix.
ImageType = tuple[bytes, str, str]
PNG: ImageType = (b"\x89PNG\r\n\x1a\n", "image/png", ".png")
JPEG: ImageType = (b"\xff\xd8\xff", "image/jpeg", ".jpg")
GIF: ImageType = (b"GIF8", "image/gif", ".gif")
ICO: ImageType = (b"\x00\x00\x01\x00", "image/x-icon", ".ico")


def detect_type(content: bytes, images: Iterable[ImageType]) -> tuple[str, str] | None:
    """Return (media type, suffix) of one of ``images``, by its first bytes; None for any other content."""
    return next(((media_type, suffix) for prefix, media_type, suffix in images if content.startswith(prefix)), None)


class Contents:
    """The blobs whose keys match ``keys``; ``select`` is the SQL that returns the keys that have a row."""

    def __init__(self, hub: Hub, keys: re.Pattern[str], select: str) -> None:
        self._hub = hub
        self._keys = keys
        self._select = select
        #: Keys of contents that are being written and may not be in the table yet.
        self._arriving: set[str] = set()

    @asynccontextmanager
    async def arriving(self, key: str) -> AsyncIterator[None]:
        """Write a content and its row within this context: if it raises, the content is deleted.

        Raises `Unavailable` if the disk does not take it.
        """
        self._arriving.add(key)
        try:
            yield
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await self.delete([key])
            if isinstance(error, StorageError):
                raise Unavailable(f"The file cannot be saved: {error}.") from error
            raise
        finally:
            self._arriving.discard(key)

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete contents that have no row; the next sweep deletes those that the disk does not delete now."""
        for key in keys:
            try:
                await self._hub.blobs.delete(key)
            except StorageError as error:
                log.warning("files: %s", error)

    async def run(self, owner_deleted: type[Fact], before: Callable[[], Awaitable[None]] | None = None) -> None:
        """Sweep at the start and after each fact that says that an owner of files was deleted, until cancelled.

        ``before`` is called before each sweep; it may delete rows.
        """
        deleted = trio.Event()

        def on_deleted(_fact: Fact) -> None:
            deleted.set()

        self._hub.subscribe(owner_deleted, on_deleted)
        while True:
            try:
                if before is not None:
                    await before()
                await self.sweep()
            except StorageError as error:
                log.warning("files: %s", error)
            await deleted.wait()
            deleted = trio.Event()

    async def sweep(self) -> None:
        """Delete contents without a row: their owner was deleted, or the hub stopped while it wrote them.

        The blobs are listed before the table is read, and contents that are arriving are left alone. So every other
        content in the list had its row committed before, and has it still unless its owner was deleted.
        """
        stored = [key for key in await self._hub.blobs.list() if self._keys.fullmatch(key)]
        arriving = frozenset(self._arriving)
        keys = {row[0] for row in await self._hub.storage.configuration.fetch_all(self._select)}
        await self.delete(key for key in stored if key not in keys and key not in arriving)
