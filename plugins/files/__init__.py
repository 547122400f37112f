"""Files that devices send: images and crash dumps (docs.blynk.io, Upload a file)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub import DEVICE, PUBLIC, Download, Migration, Rejected, Request, Response, Route, StampColumns, hookimpl
from hub.api import VIEW_DEVICES
from hub.storage import shipped_migrations
from plugins.files.store import MAX_SIZE, URL_PREFIX, DeviceFile, FileStore
from plugins.files.upload_form import parse_upload

if TYPE_CHECKING:
    import trio

    from hub import Hub

#: Bytes of a form besides the file itself.
MAX_FORM = 64 * 1024


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    return shipped_migrations("files", "plugins.files")


@hookimpl
def hub_stamps() -> Sequence[StampColumns]:
    return [StampColumns("files", ("created",), device="device")]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    nursery.start_soon(hub.service(FileStore).run)


class FileRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._files = hub.service(FileStore)

    async def upload(self, request: Request) -> Response:
        hub = self._hub
        device, _ = await hub.access.authenticate_device(request)
        content_type = request.headers.get("content-type", "")
        try:
            name, content = await hub.bodies.decode(request.body, lambda body: parse_upload(content_type, body))
        except Rejected as error:
            hub.reject(request.address, f"device {device.name}: upload: {error}", device.id)
            raise
        is_dump = request.params.get("type", "").upper() == "DUMP"
        path = await self._files.save(device.id, "dump" if is_dump else "file", name, content)
        return Response(body=hub.link(path, request))

    async def device_files(self, request: Request, device_id: int) -> list[DeviceFile]:
        return await self._files.of_device(self._hub.access.device_for(request, device_id).id)

    async def fetch(self, request: Request) -> Download:
        return await self._files.at_path(request.path)

    async def delete(self, request: Request, device_id: int, file_id: int) -> None:
        await self._files.remove(self._hub.access.device_for(request, device_id).id, file_id)


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    api = FileRoutes(hub)
    public, summary = f"{URL_PREFIX}/{{device}}/{{name}}", "A device's file by its URL"
    return [
        Route(
            "POST",
            "/external/api/upload",
            api.upload,
            DEVICE,
            "Upload a file",
            raw_query=True,
            takes="multipart/form-data",
            media=("text/plain",),
            max_body=MAX_SIZE + MAX_FORM,
        ),
        Route("GET", public, api.fetch, PUBLIC, summary, media=("application/octet-stream",)),
        Route("GET", "/api/v1/device/files", api.device_files, VIEW_DEVICES, "The files that a device sent"),
        Route(
            "DELETE",
            "/api/v1/device/file",
            api.delete,
            "org_devices.delete_data",
            "Delete a file that a device sent",
        ),
    ]
