"""Assets of templates: images that are uploaded, referred to, and fetched by browsers without a key."""

from __future__ import annotations

import time
from urllib.parse import quote

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.documents import DOCUMENT, tab, widget, with_changes
from support.raw_http import ask, local_key
from support.tenants import tenants
from support.times import until

from hub.domain.devices import NewDevice
from hub.errors import Rejected
from hub.model import SYSTEM
from hub.slices import SLICE
from hub.templates.document import read, to_toml
from plugins.files import assets
from plugins.files.assets import AssetStore, _check_name

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
JPEG = b"\xff\xd8\xff\xe0" + bytes(50)
ICO = b"\x00\x00\x01\x00" + bytes(50)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
ASSET = "/api/v1/template/asset"


@pytest.fixture
async def template(hub):
    return (await hub.templates.save(to_toml(read(DOCUMENT)), SYSTEM))[0]


async def upload(hub, content=PNG, name="on.png", template="TMPL0room", key=None):
    target = f"{ASSET}?templateId={template}&name={quote(name, safe='')}"
    return await ask(hub, "POST", target, content, key=key or local_key(hub))


async def listed(hub, template="TMPL0room"):
    return (await ask(hub, "GET", f"/api/v1/template/assets?templateId={template}", key=local_key(hub))).json


async def delete(hub, asset):
    return await ask(hub, "DELETE", f"{ASSET}?templateId=TMPL0room&assetId={asset['id']}", key=local_key(hub))


def blobs(hub):
    folder = hub.config.data / "files" / "files"
    return sorted(path.read_bytes() for path in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize(("content", "media_type"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (ICO, "image/x-icon")])
async def test_image_is_uploaded_and_fetched_without_a_key(hub, template, content, media_type):
    uploaded = (await upload(hub, content, "icons/on.svg")).json
    assert ("icons/on.svg", media_type, len(content)) == tuple(uploaded[key] for key in ("name", "type", "size"))
    assert [uploaded] == await listed(hub)
    fetched = await ask(hub, "GET", uploaded["path"])
    assert (200, content) == (fetched.status, fetched.body)
    # The type is that of the bytes, whatever the name says.
    assert media_type == fetched.headers["content-type"]
    assert "nosniff" == fetched.headers["x-content-type-options"]
    assert "default-src 'none'; sandbox" == fetched.headers["content-security-policy"]


async def test_unchanged_image_is_not_sent_again(hub, template):
    path = (await upload(hub)).json["path"]
    first = await ask(hub, "GET", path)
    assert "no-cache" == first.headers["cache-control"]
    again = await ask(hub, "GET", path, If_None_Match=first.headers["etag"])
    assert (304, b"") == (again.status, again.body)
    await upload(hub, JPEG)
    assert 200 == (await ask(hub, "GET", path, If_None_Match=first.headers["etag"])).status


async def test_image_with_the_same_name_replaces_the_content_and_keeps_the_id(hub, template):
    first, second = (await upload(hub)).json, (await upload(hub, JPEG)).json
    assert first["id"] == second["id"]
    assert "image/jpeg" == second["type"]
    assert [JPEG] == blobs(hub)
    assert JPEG == (await ask(hub, "GET", first["path"])).body


async def test_renamed_image_keeps_its_id(hub, template):
    asset = (await upload(hub)).json
    body = {"templateId": "TMPL0room", "assetId": asset["id"], "name": "lamp/on.png"}
    renamed = (await ask(hub, "PUT", ASSET, body, key=local_key(hub))).json
    assert (asset["id"], "lamp/on.png") == (renamed["id"], renamed["name"])
    await upload(hub, JPEG, "other.png")
    conflict = await ask(hub, "PUT", ASSET, body | {"name": "other.png"}, key=local_key(hub))
    assert (409, "The template has another asset named 'other.png'.") == (conflict.status, conflict.message)
    missing = await ask(hub, "PUT", ASSET, body | {"assetId": "none"}, key=local_key(hub))
    assert 404 == missing.status


async def test_images_for_a_light_and_a_dark_theme_are_a_pair(hub, template):
    for name in ("on_light.png", "on_dark.png", "off_dark.png", "x/on_light.png"):
        await upload(hub, name=name)
    by_name = {asset["name"]: asset for asset in await listed(hub)}
    assert ("light", by_name["on_dark.png"]["id"]) == (
        by_name["on_light.png"]["theme"],
        by_name["on_light.png"]["pair"],
    )
    assert ("dark", by_name["on_light.png"]["id"]) == (by_name["on_dark.png"]["theme"], by_name["on_dark.png"]["pair"])
    assert [(None, None)] * 2 == [(by_name[n]["theme"], by_name[n]["pair"]) for n in ("off_dark.png", "x/on_light.png")]


@pytest.mark.parametrize(
    "content", [SVG, b"<?xml version='1.0'?>" + SVG, b"GIF89a" + bytes(9), b"<html>", b"\x89PNG", b""]
)
async def test_anything_but_an_image_is_rejected(hub, template, content):
    answer = await upload(hub, content, "on.png")
    assert (400, True) == (answer.status, "must be a PNG, JPEG or ICO image" in answer.message)
    assert ([], []) == (await listed(hub), blobs(hub))


async def test_image_with_a_script_behind_its_first_bytes_is_not_run(hub, template):
    path = (await upload(hub, PNG + SVG)).json["path"]
    headers = (await ask(hub, "GET", path)).headers
    assert ("image/png", "nosniff") == (headers["content-type"], headers["x-content-type-options"])
    assert "sandbox" in headers["content-security-policy"]


async def test_image_over_the_limit_is_rejected(hub, template):
    answer = await upload(hub, PNG + bytes(assets.MAX_SIZE))
    assert 413 == answer.status
    assert ([], []) == (await listed(hub), blobs(hub))


async def test_number_of_images_of_a_template_is_limited(hub, template, monkeypatch):
    monkeypatch.setattr(assets, "MAX_ASSETS", 2)
    for name in ("a.png", "b.png"):
        assert 200 == (await upload(hub, name=name)).status
    answer = await upload(hub, name="c.png")
    assert (400, "A template can have at most 2 assets; delete some first.") == (answer.status, answer.message)
    # Replacing one is possible.
    assert 200 == (await upload(hub, JPEG, "b.png")).status
    assert 2 == len(blobs(hub))


async def test_bytes_of_the_images_of_a_template_are_limited(hub, template, monkeypatch):
    monkeypatch.setattr(assets, "MAX_TOTAL", 150)
    await upload(hub, name="a.png")
    answer = await upload(hub, name="b.png")
    assert 400 == answer.status
    assert "can have at most 150 bytes; it has 108, and this one has 108" in answer.message
    assert [PNG] == blobs(hub)


@pytest.mark.parametrize("name", ["", "/on.png", "a//b.png", "a/../b.png", "./b.png", "on.png/", "a\nb", "x" * 1001])
async def test_bad_name_is_rejected(hub, template, name):
    answer = await upload(hub, name=name)
    assert (400, True) == (answer.status, "each part between / must have text, and not be . or .." in answer.message)


@given(st.text(max_size=20))
def test_any_name_is_accepted_or_rejected(name):
    try:
        _check_name(name)
    except Rejected:
        return
    assert not {"", ".", ".."}.intersection(name.split("/"))


async def test_image_in_use_is_not_deleted(hub, template):
    asset = (await upload(hub)).json
    url = f"template_asset://{asset['id']}"
    using = read(with_changes(mobile={"tab": [tab(widget("image_gallery", "V1", options={"urls": [url]}))]}))
    await hub.templates.put(lambda: using, SYSTEM)
    answer = await delete(hub, asset)
    assert (409, "The asset is in use by Room (version 2); remove it from there first.") == (
        answer.status,
        answer.message,
    )
    assert 200 == (await ask(hub, "GET", asset["path"])).status

    # A device stays on that version: the asset is still in use.
    await hub.devices.add([NewDevice(name="Hall", template=hub.templates.get("TMPL0room"))], SYSTEM)
    await hub.templates.put(lambda: read(DOCUMENT), SYSTEM, apply=False)
    assert 409 == (await delete(hub, asset)).status
    await hub.templates.put(lambda: read(DOCUMENT), SYSTEM)
    assert 204 == (await delete(hub, asset)).status
    assert (404, []) == ((await ask(hub, "GET", asset["path"])).status, blobs(hub))
    assert 404 == (await delete(hub, asset)).status


async def test_search_for_templates_that_use_an_image_does_not_hold_the_loop(hub, template, monkeypatch):
    asset = (await upload(hub)).json
    rounds, searched_in = 0, []

    async def count_rounds():
        nonlocal rounds
        while True:
            rounds += 1
            await trio.lowlevel.checkpoint()

    def slow_to_toml(_template):
        searched_in.append(rounds)
        time.sleep(SLICE)  # noqa: ASYNC251 - a large template
        return ""

    versions = [attrs.evolve(template, version=number) for number in range(5)]
    monkeypatch.setattr(AssetStore, "_templates_in_use", lambda _: versions)
    monkeypatch.setattr(assets, "to_toml", slow_to_toml)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_rounds)
        assert 204 == (await delete(hub, asset)).status
        nursery.cancel_scope.cancel()
    assert 5 == len(searched_in)
    # Trio runs the tasks of a round in any order, so that two searches may see the same round.
    assert len(set(searched_in)) >= 3


async def test_images_of_a_deleted_template_are_deleted(hub, template):
    asset = (await upload(hub)).json
    await hub.templates.remove(template, SYSTEM)
    await until(lambda: not blobs(hub))
    assert 404 == (await ask(hub, "GET", asset["path"])).status


async def test_image_that_a_copy_uses_outlives_the_original(hub, template):
    used, unused = (await upload(hub)).json, (await upload(hub, JPEG, "other.png")).json
    gallery = widget("image_gallery", "V1", options={"urls": [f"template_asset://{used['id']}"]})
    copy = read(
        with_changes(template={"id": "TMPL0copy", "name": "Copy"}, mobile={"tab": [tab(gallery)]}),
    )
    await hub.templates.put(lambda: copy, SYSTEM)
    await hub.templates.remove(template, SYSTEM)
    await until(lambda: [PNG] == blobs(hub))
    assert PNG == (await ask(hub, "GET", used["path"])).body
    assert 404 == (await ask(hub, "GET", unused["path"])).status
    assert ["TMPL0room/on.png"] == [asset["name"] for asset in await listed(hub, "TMPL0copy")]


async def test_content_without_a_row_is_swept(hub, template):
    asset = (await upload(hub)).json
    await hub.blobs.put(f"files/{'0' * 32}.png", chunks_of(b"lost"))
    await hub.service(AssetStore).contents.sweep()
    assert [PNG] == blobs(hub)
    assert PNG == (await ask(hub, "GET", asset["path"])).body


async def chunks_of(content):
    yield content


async def test_only_those_who_edit_templates_upload_images(hub, template):
    world = await tenants(hub)
    await world.service.users.change(world.users["rita"], developer=True)
    for name, status in (("rita", 200), ("ada", 403), ("uma", 403)):
        answer = await upload(hub, template="TMPL0thermo", key=world.tokens[name])
        assert status == answer.status, name
    assert 200 == (await world.ask("ada", "GET", "/api/v1/template/assets?templateId=TMPL0thermo")).status
    # The template is not enabled in acme.
    assert 404 == (await world.ask("ada", "GET", "/api/v1/template/assets?templateId=TMPL0room")).status


@pytest.mark.parametrize("path", ["/asset/", "/asset/none", "/asset/..%2f..%2fpinwheel.db", "/asset/%00"])
async def test_image_is_found_only_at_its_own_address(hub, template, path):
    await upload(hub)
    assert 404 == (await ask(hub, "GET", path)).status
