"""Files that devices send: images, and what is left of a crash (docs.blynk.io, Upload a file)."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio
from python_multipart.multipart import MultipartParser, parse_options_header

from hub.api import DEVICE, PUBLIC, VIEW_DEVICES, File, Request, Response, Route
from hub.datadir import write_whole
from hub.errors import NotFound, Rejected, StorageError, Unavailable
from hub.facts import DeviceDeleted
from hub.hookspecs import hookimpl
from hub.stamps import StampColumns
from hub.storage import Migration, shipped_migrations

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.storage import Row, Transaction

log = logging.getLogger(__name__)
# It warns of each malformed form, whoever sends how many: the hub says so itself, as of other refusals.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

#: docs.blynk.io, Upload a file: bytes of a file, and files of a device, the oldest of which makes room.
MAX_SIZE = 5 * 1024 * 1024
MAX_FILES = 10
#: Bytes that surround a file in a form, and its parts; the headers of each are limited by the parser.
MAX_FORM, MAX_PARTS = 64 * 1024, 16
#: What the body is called, and what is kept of a name: what else it says is nobody's path.
FIELD = b"upfile"
MAX_NAME = 100
_FORBIDDEN = re.compile(r"[^\w. ()+-]")
#: By the first bytes; anything else is served as bytes to keep, never to show.
_TYPES = (
    (b"\x89PNG\r\n\x1a\n", "image/png", ".png"),
    (b"\xff\xd8\xff", "image/jpeg", ".jpg"),
    (b"GIF8", "image/gif", ".gif"),
)
PLACE = "/device_uploads"


@attrs.frozen(kw_only=True)
class DeviceFile:
    """One file of a device."""

    id: int
    name: str
    kind: str
    type: str
    size: int
    created: int
    path: str


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    return shipped_migrations("files", "plugins.files")


@hookimpl
def hub_stamps() -> Sequence[StampColumns]:
    return [StampColumns("files", ("created",), device="device")]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    nursery.start_soon(hub.service(Files).run)


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    files = hub.service(Files)

    async def upload(request: Request) -> Response:
        device, _ = hub.access.authenticate_device(request)
        kind = request.headers.get("content-type", "")
        try:
            name, content = await hub.bodies.decoded(request.body, lambda body: form_file(kind, body))
        except Rejected as error:
            hub.reject(request.address, f"device {device.name}: upload: {error}", device.id)
            raise
        is_dump = request.params.get("type", "").upper() == "DUMP"
        path = await files.keep(device.id, "dump" if is_dump else "file", name, content)
        return Response(body=hub.link(path, request))

    async def listed(request: Request, device_id: int) -> list[DeviceFile]:
        return await files.of(hub.access.device_for(request, device_id).id)

    async def fetch(request: Request) -> File:
        return await files.at(request.path)

    async def delete(request: Request, device_id: int, file_id: int) -> None:
        await files.remove(hub.access.device_for(request, device_id).id, file_id)

    return [
        Route(
            method="POST",
            path="/external/api/upload",
            handler=upload,
            permission=DEVICE,
            summary="Keep a file",
            raw_query=True,
            takes="multipart/form-data",
            media=("text/plain",),
            max_body=MAX_SIZE + MAX_FORM,
        ),
        Route(
            method="GET",
            path=PLACE + "/{device}/{name}",
            media=("application/octet-stream",),
            handler=fetch,
            permission=PUBLIC,
            summary="A device's file by its address",
        ),
        Route(
            method="GET",
            path="/api/v1/device/files",
            handler=listed,
            permission=VIEW_DEVICES,
            summary="The files that a device sent",
        ),
        Route(
            method="DELETE",
            path="/api/v1/device/file",
            handler=delete,
            permission="org_devices.delete_data",
            summary="Delete a file that a device sent",
        ),
    ]


class Files:
    """Rows in the configuration, bytes in ``<data>/files``."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._folder = hub.config.data / "files"
        #: What is written, and not yet in the table.
        self._arriving: set[str] = set()

    async def keep(self, device: int, kind: str, name: str, content: bytes) -> str:
        """Keep a file; one of the same name is replaced, the oldest makes room. Returns its path in the hub's URLs.

        Raises `Rejected`, `Unavailable` when the disk does not take it.
        """
        if not content:
            raise Rejected("The file is empty.")
        if len(content) > MAX_SIZE:
            raise Rejected(f"A file can have at most {MAX_SIZE} bytes.")
        found = next(((type_, end) for begin, type_, end in _TYPES if content.startswith(begin)), None)
        type_, end = found or ("application/octet-stream", ".bin")
        key = secrets.token_hex(16) + end
        now = self._hub.clock.now()

        def write_file() -> None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_whole(self._folder / key, content)

        self._arriving.add(key)
        try:
            await trio.to_thread.run_sync(write_file)
            gone = await self._put((device, key, name, kind, type_, len(content), now))
        except OSError as error:
            raise Unavailable(f"The file cannot be kept: {error.strerror}.") from error
        except BaseException:
            self._path(key).unlink(missing_ok=True)
            raise
        finally:
            self._arriving.discard(key)
        for old in gone:
            self._path(old).unlink(missing_ok=True)
        return f"{PLACE}/{device}/{key}"

    async def _put(self, row: Row) -> list[str]:
        """Add a file to the table; returns the keys of those that make room."""
        device, _, name, kind, *_ = row

        async def write(tx: Transaction) -> list[str]:
            same = (device, kind, name)
            gone = await tx.fetch_all("SELECT id, key FROM files WHERE device = ? AND kind = ? AND name = ?", same)
            sql = "SELECT id, key FROM files WHERE device = ? AND NOT (kind = ? AND name = ?) ORDER BY id"
            others = await tx.fetch_all(sql, same)
            gone += others[: max(0, len(others) - MAX_FILES + 1)]
            for number, _ in gone:
                await tx.execute("DELETE FROM files WHERE id = ?", (number,))
            sql = "INSERT INTO files (device, key, name, kind, type, size, created) VALUES (?, ?, ?, ?, ?, ?, ?)"
            await tx.execute(sql, row)
            return [old for _, old in gone]

        return await self._hub.storage.transaction(write)

    async def of(self, device: int) -> list[DeviceFile]:
        """A device's files, newest first."""
        sql = "SELECT id, name, kind, type, size, created, key FROM files WHERE device = ? ORDER BY id DESC"
        names = ("id", "name", "kind", "type", "size", "created")
        return [
            DeviceFile(**dict(zip(names, row, strict=False)), path=f"{PLACE}/{device}/{row[-1]}")
            for row in await self._hub.storage.configuration.fetch_all(sql, (device,))
        ]

    async def at(self, path: str) -> File:
        """The file at a path of the hub's URLs. Raises `NotFound`."""
        _, _, device, key = path.split("/", 3)
        # Looked up, not joined: what is not in the table is not there.
        rows = await self._hub.storage.configuration.fetch_all(
            "SELECT key, type, name FROM files WHERE key = ? AND device = CAST(? AS INTEGER)", (key, device[:18])
        )
        if not rows or not self._path(rows[0][0]).is_file():
            raise NotFound("There is no such file.")
        [(found, type_, name)] = rows
        return File(path=self._path(found), type=type_, name="" if type_.startswith("image/") else name)

    async def remove(self, device: int, number: int) -> None:
        """Raises `NotFound`."""

        async def write(tx: Transaction) -> str | None:
            row = await tx.fetch_one("SELECT key FROM files WHERE id = ? AND device = ?", (number, device))
            await tx.execute("DELETE FROM files WHERE id = ? AND device = ?", (number, device))
            return None if row is None else str(row[0])

        key = await self._hub.storage.transaction(write)
        if key is None:
            raise NotFound("There is no such file.")
        self._path(key).unlink(missing_ok=True)

    async def run(self) -> None:
        """Delete what belongs to no device, at the start and when one is deleted, until cancelled."""
        wake = trio.Event()

        def gone(_fact: DeviceDeleted) -> None:
            wake.set()

        self._hub.subscribe(DeviceDeleted, gone)
        while True:
            try:
                await self.sweep()
            except (StorageError, OSError) as error:
                log.warning("files: %s", error)
            await wake.wait()
            wake = trio.Event()

    async def sweep(self) -> None:
        """Delete the bytes of files whose device is gone, and what a stop left unfinished.

        Only files that were there before the table is read can be deleted, and none that is being written meanwhile:
        the row of every other one was committed before, and is in the table unless its device was deleted.
        """
        present = await trio.to_thread.run_sync(self._names)
        arriving = frozenset(self._arriving)
        known = {row[0] for row in await self._hub.storage.configuration.fetch_all("SELECT key FROM files")}
        left = [name for name in present if name not in known and name.removesuffix(".partial") not in arriving]
        await trio.to_thread.run_sync(self._unlink, left)

    def _names(self) -> list[str]:
        return [path.name for path in self._folder.glob("*.*")] if self._folder.is_dir() else []

    def _unlink(self, names: Iterable[str]) -> None:
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / key


def form_file(kind: str, body: bytes) -> tuple[str, bytes]:
    """Name and content of the file ``upfile`` in a form (RFC 7578). Raises `Rejected`."""
    main, options = parse_options_header(kind)
    boundary = options.get(b"boundary")
    if main != b"multipart/form-data" or not boundary:
        raise Rejected("The body must be multipart/form-data.")
    found: dict[str, Any] = {}
    header: list[bytes] = [b"", b""]
    headers: dict[bytes, bytes] = {}
    content = bytearray()
    parts = 0

    def begin() -> None:
        nonlocal parts
        parts += 1
        if parts > MAX_PARTS:
            raise Rejected(f"A form can have at most {MAX_PARTS} parts.")
        headers.clear()
        content.clear()
        header[:] = [b"", b""]

    def header_end() -> None:
        headers[header[0].lower()] = header[1]
        header[:] = [b"", b""]

    def end() -> None:
        _, said = parse_options_header(headers.get(b"content-disposition"))
        if said.get(b"name") == FIELD and "content" not in found:
            found["name"] = said.get(b"filename", b"").decode("utf-8", "replace")
            found["content"] = bytes(content)

    def add(place: int, data: bytes, start: int, stop: int) -> None:
        header[place] += data[start:stop]

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": begin,
            "on_part_data": lambda data, start, stop: content.extend(data[start:stop]),
            "on_part_end": end,
            "on_header_field": lambda data, start, stop: add(0, data, start, stop),
            "on_header_value": lambda data, start, stop: add(1, data, start, stop),
            "on_header_end": header_end,
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except ValueError as error:
        raise Rejected("The form is malformed.") from error
    if "content" not in found:
        raise Rejected("The form has no file named upfile.")
    return plain_name(found["name"]), found["content"]


def plain_name(said: str) -> str:
    """What is kept of a file's name: no directories, nothing that a shell or a page could take for something else."""
    name = _FORBIDDEN.sub("_", re.split(r"[/\\]", said)[-1])[:MAX_NAME].strip(". ")
    return name or "file"
