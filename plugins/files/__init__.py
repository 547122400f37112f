"""Files: those that devices send (docs.blynk.io, Upload a file), and the images of templates (Assets)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub import (
    DEVICE,
    PUBLIC,
    DeviceDeleted,
    Download,
    Migration,
    Rejected,
    Request,
    Response,
    Route,
    StampColumns,
    Template,
    hookimpl,
)
from hub.api import VIEW_DEVICES
from hub.storage import shipped_migrations
from plugins.files import assets
from plugins.files.assets import Asset, AssetStore
from plugins.files.contents import HEADERS
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
    return [StampColumns("files", ("created",), device="device"), StampColumns("files_assets", ("created",))]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    nursery.start_soon(hub.service(FileStore).contents.run, DeviceDeleted)
    nursery.start_soon(hub.service(AssetStore).run)


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
        request.answer_headers |= HEADERS
        return await self._files.at_path(request.path)

    async def delete(self, request: Request, device_id: int, file_id: int) -> None:
        await self._files.remove(self._hub.access.device_for(request, device_id).id, file_id)


@attrs.frozen(kw_only=True)
class RenameAsset:
    """``name`` may have folders: "icons/on.png"."""

    template_id: str
    asset_id: str
    name: str


class AssetRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._assets = hub.service(AssetStore)

    def _template(self, request: Request, template_id: str) -> Template:
        template = self._hub.templates.for_org(self._hub.access.organization_for(request), template_id)
        request.subject = f"template {template.id}"
        return template

    async def upload(self, request: Request, template_id: str, name: str) -> Asset:
        """The body is a PNG, JPEG or ICO image of up to 5 MB."""
        return await self._assets.save(self._template(request, template_id), name, request.stream)

    async def list(self, request: Request, template_id: str) -> list[Asset]:
        return await self._assets.of_template(self._template(request, template_id))

    async def rename(self, request: Request) -> Asset:
        body: RenameAsset = request.body
        return await self._assets.rename(self._template(request, body.template_id), body.asset_id, body.name)

    async def delete(self, request: Request, template_id: str, asset_id: str) -> None:
        await self._assets.remove(self._template(request, template_id), asset_id)

    async def fetch(self, request: Request) -> Download:
        download, version = await self._assets.at_path(request.path)
        request.version(version)
        request.answer_headers |= HEADERS | {"Cache-Control": "no-cache"}
        return download


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
        *_asset_routes(AssetRoutes(hub)),
    ]


def _asset_routes(api: AssetRoutes) -> Sequence[Route]:
    path, view, edit = "/api/v1/template/asset", "templates.view", "templates.edit"
    upload = "Upload an image of a template"
    public, media = f"{assets.URL_PREFIX}/{{id}}", ("application/octet-stream",)
    return [
        Route("GET", public, api.fetch, PUBLIC, "An image of a template by its URL", media=media),
        Route("GET", "/api/v1/template/assets", api.list, view, "The images of a template"),
        Route("POST", path, api.upload, edit, upload, streaming=True, max_body=assets.MAX_SIZE),
        Route("PUT", path, api.rename, edit, "Rename an image of a template", RenameAsset),
        Route("DELETE", path, api.delete, edit, "Delete an image of a template"),
    ]
