"""Assets: images of templates, which dashboards refer to as ``template_asset://ID`` (docs.blynk.io, Assets)."""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub import Conflict, Download, NotFound, Rejected, Template, TemplateDeleted
from hub.parsing.spellings import is_name
from hub.slices import Steps
from hub.templates import to_toml
from plugins.files.contents import ICO, JPEG, PNG, Contents, detect_type

if TYPE_CHECKING:
    from hub import Hub, Transaction
    from hub.storage import Row

#: docs.blynk.io, Assets: bytes of an asset, assets and bytes of a template, and characters of a name.
MAX_SIZE = 5 * 1024 * 1024
MAX_ASSETS, MAX_TOTAL = 1_000, 200 * 1024 * 1024
MAX_NAME = 1_000
#: Beginning of the path of every asset's URL.
URL_PREFIX = "/asset"
#: Bytes that identify the type of an image.
_TYPE_BYTES = 8
_KEY = re.compile(r"files/[0-9a-f]{32}\.(ico|jpg|png)")

Theme = Literal["light", "dark"]
#: The id of a template and its version.
_VersionKey = tuple[str, int]


@attrs.frozen(kw_only=True)
class Asset:
    """An image of a template. A template refers to it as ``template_asset://`` and ``id``; its URL has the ``path``.

    ``name`` may have folders ("icons/on.png"). Names that differ in ``_light`` and ``_dark`` before the suffix are a
    pair: each has its ``theme``, and the other one's id as ``pair``. ``size`` is in bytes, ``created`` in ms UTC.
    """

    id: str
    name: str
    type: str
    size: int
    created: int
    path: str
    theme: Theme | None
    pair: str | None


class AssetStore:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.contents = Contents(hub, _KEY, "SELECT content FROM files_assets")

    async def save(self, template: Template, name: str, chunks: AsyncIterator[bytes]) -> Asset:
        """Save an image of a template; it replaces the asset with the same name, whose id it gets.

        Raises `Rejected` for a bad name, for anything but a PNG, JPEG or ICO image, and for one over the limits;
        `Unavailable` if the disk does not take it.
        """
        _check_name(name)
        start = b""
        async for chunk in chunks:
            start += chunk
            if len(start) >= _TYPE_BYTES:
                break
        image = detect_type(start, (PNG, JPEG, ICO))
        if image is None:
            raise Rejected(f"The asset {name!r} must be a PNG, JPEG or ICO image; this is none, by its first bytes.")
        media_type, suffix = image
        key = f"files/{secrets.token_hex(16)}{suffix}"
        async with self.contents.arriving(key):
            stored = await self._hub.blobs.put(key, _preceded(start, chunks))
            asset_id, replaced = await self._insert(template, name, (key, media_type, stored.size, stored.sha256))
        await self.contents.delete(replaced)
        return next(asset for asset in await self.of_template(template) if asset.id == asset_id)

    async def _insert(self, template: Template, name: str, content: Row) -> tuple[str, list[str]]:
        """Insert or replace the row of an asset; return its id, and the keys that it replaces. Raises `Rejected`."""
        key, media_type, size, sha256 = content

        async def write(tx: Transaction) -> tuple[str, list[str]]:
            same = "SELECT id, content FROM files_assets WHERE template = ? AND name = ?"
            old = await tx.fetch_one(same, (template.id, name))
            others = "SELECT count(*), coalesce(sum(size), 0) FROM files_assets WHERE template = ? AND NOT name = ?"
            [(count, total)] = await tx.fetch_all(others, (template.id, name))
            if count >= MAX_ASSETS:
                raise Rejected(f"A template can have at most {MAX_ASSETS:,} assets; delete some first.")
            if total + size > MAX_TOTAL:
                raise Rejected(
                    f"The assets of a template can have at most {MAX_TOTAL:,} bytes; it has {total:,}, and this one has"
                    f" {size:,}."
                )
            asset_id = secrets.token_urlsafe(16) if old is None else str(old[0])
            row = {"template": template.id, "name": name, "content": key, "type": media_type, "size": size}
            await tx.upsert("files_assets", ("id",), id=asset_id, **row, sha256=sha256, created=self._hub.clock.now())
            return asset_id, [] if old is None else [str(old[1])]

        return await self._hub.storage.transaction(write)

    async def of_template(self, template: Template) -> list[Asset]:
        """Return a template's assets, by name."""
        sql = "SELECT id, name, type, size, created FROM files_assets WHERE template = ? ORDER BY name"
        rows = await self._hub.storage.configuration.fetch_all(sql, (template.id,))
        ids = {name: asset_id for asset_id, name, *_ in rows}
        return [_asset(row, ids) for row in rows]

    async def rename(self, template: Template, asset_id: str, name: str) -> Asset:
        """Give an asset another name. Raises `Rejected`, `NotFound`; `Conflict` if another asset has the name."""
        _check_name(name)

        async def write(tx: Transaction) -> None:
            own = (template.id, asset_id)
            if await tx.fetch_one("SELECT id FROM files_assets WHERE template = ? AND id = ?", own) is None:
                raise _not_found(asset_id)
            same = "SELECT id FROM files_assets WHERE template = ? AND name = ? AND NOT id = ?"
            if await tx.fetch_one(same, (template.id, name, asset_id)) is not None:
                raise Conflict(f"The template has another asset named {name!r}.")
            await tx.execute("UPDATE files_assets SET name = ? WHERE id = ?", (name, asset_id))

        await self._hub.storage.transaction(write)
        return next(asset for asset in await self.of_template(template) if asset.id == asset_id)

    async def remove(self, template: Template, asset_id: str) -> None:
        """Delete an asset. Raises `NotFound`; `Conflict` if a template in use refers to it."""
        seen: set[_VersionKey] = set()
        users = await self._hub.slices.run(self._users_of(asset_id, seen))
        # Templates that were saved meanwhile: at most a few.
        users += await self._hub.slices.run(self._users_of(asset_id, seen))

        async def write(tx: Transaction) -> str:
            own = (template.id, asset_id)
            row = await tx.fetch_one("SELECT content FROM files_assets WHERE template = ? AND id = ?", own)
            if row is None:
                raise _not_found(asset_id)
            if users:
                names = ", ".join(f"{used.name} (version {used.version})" for used in users[:5])
                raise Conflict(f"The asset is in use by {names}; remove it from there first.")
            await tx.execute("DELETE FROM files_assets WHERE id = ?", (asset_id,))
            return str(row[0])

        await self.contents.delete([await self._hub.storage.transaction(write)])

    async def run(self) -> None:
        """Delete what deleted templates have left, at the start and after each deletion, until cancelled."""
        await self.contents.run(TemplateDeleted, self._settle_orphans)

    async def _settle_orphans(self) -> None:
        """Delete the assets of deleted templates; one that another template uses is moved to that one.

        It is put in a folder there that is named after the deleted template.
        """
        sql = "SELECT id, template, name FROM files_assets"
        for asset_id, template_id, name in await self._hub.storage.configuration.fetch_all(sql):
            if template_id in self._hub.templates.by_id:
                continue
            users = await self._hub.slices.run(self._users_of(asset_id, set()))

            async def write(tx: Transaction, asset: Row = (asset_id, template_id, name), users: Any = users) -> None:
                if users:
                    sql = "UPDATE files_assets SET template = ?, name = ? WHERE id = ?"
                    await tx.execute(sql, (users[0].id, f"{asset[1]}/{asset[2]}"[:MAX_NAME], asset[0]))
                else:
                    await tx.execute("DELETE FROM files_assets WHERE id = ?", (asset[0],))

            await self._hub.storage.transaction(write)

    def _users_of(self, asset_id: str, seen: set[_VersionKey]) -> Steps[list[Template]]:
        """Return the templates in use that refer to an asset, without those seen, which it adds to them."""
        users = []
        for template in self._templates_in_use():
            if (template.id, template.version) not in seen:
                seen.add((template.id, template.version))
                if f"template_asset://{asset_id}" in to_toml(template):
                    users.append(template)
                yield
        return users

    def _templates_in_use(self) -> Iterable[Template]:
        """Return the newest version of each template, and those that devices have."""
        newest = {(t.id, t.version): t for t in self._hub.templates.by_id.values()}
        pinned = (device.template for device in self._hub.devices.by_id.values() if device.pinned is not None)
        return (newest | {(t.id, t.version): t for t in pinned}).values()

    async def at_path(self, path: str) -> tuple[Download, str]:
        """Return the asset at the path of a URL, and the hash of its content. Raises `NotFound`."""
        asset_id = path.removeprefix(f"{URL_PREFIX}/")
        sql = "SELECT content, type, size, sha256 FROM files_assets WHERE id = ?"
        rows = await self._hub.storage.configuration.fetch_all(sql, (asset_id,))
        if not rows:
            raise NotFound("There is no such asset.")
        [(key, media_type, size, sha256)] = rows
        read = functools.partial(self._hub.blobs.open, key)
        return Download(size=size, read=read, type=media_type), str(sha256)


def _asset(row: Row, ids: Mapping[str, str]) -> Asset:
    """Return an asset as the API has it; ``ids`` are those of its template's assets by name."""
    asset_id, name, media_type, size, created = row
    theme, pair = _pair_of(name, ids)
    return Asset(
        id=asset_id,
        name=name,
        type=media_type,
        size=size,
        created=created,
        path=f"{URL_PREFIX}/{asset_id}",
        theme=theme,
        pair=pair,
    )


def _pair_of(name: str, ids: Mapping[str, str]) -> tuple[Theme | None, str | None]:
    """Return an asset's theme and the id of the asset for the other theme; None for both if there is no other."""
    stem, dot, suffix = name.rpartition(".")
    themes: tuple[tuple[Theme, Theme], ...] = (("light", "dark"), ("dark", "light"))
    for theme, other in themes:
        pair = ids.get(f"{stem.removesuffix(theme)}{other}{dot}{suffix}")
        if stem.endswith(f"_{theme}") and pair is not None:
            return theme, pair
    return None, None


def _check_name(name: str) -> None:
    """Raise `Rejected` for a name that is no path of folders and a file."""
    parts = name.split("/")
    if not is_name(name, MAX_NAME) or any(not part.strip() or part in (".", "..") for part in parts):
        raise Rejected(
            f"The name {name[:40]!r} must have 1 to {MAX_NAME:,} printable characters; each part between / must"
            " have text, and not be . or .."
        )


def _not_found(asset_id: str) -> NotFound:
    return NotFound(f"The template has no asset {asset_id[:40]!r}.")


async def _preceded(start: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for chunk in chunks:
        yield chunk
