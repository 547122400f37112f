"""Files that devices upload: with curl as scripts do, and malformed ones byte by byte."""

from __future__ import annotations

import shutil

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.patience import patient
from support.raw_http import ask, local_key
from support.tenants import THERMOMETER, tenants
from support.times import until

from hub.errors import Rejected
from hub.model import SYSTEM
from hub.run import running
from hub.testing import add_device, address_of
from plugins.files.store import MAX_FILES, MAX_SIZE, FileStore
from plugins.files.upload_form import parse_upload, safe_name

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
UPLOAD = "/external/api/upload"


def multipart(content, name="coredump.bin", field="upfile"):
    head = f'--XX\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n--XX--\r\n"


async def upload(hub, token, content, name="photo.png", **query):
    parameters = "".join(f"&{key}={value}" for key, value in query.items())
    headers = {"Content_Type": "multipart/form-data; boundary=XX"}
    return await ask(hub, "POST", f"{UPLOAD}?token={token}{parameters}", multipart(content, name), **headers)


@pytest.fixture
async def device(hub):
    return await add_device(hub, THERMOMETER)


async def files_of(hub, device):
    return (await ask(hub, "GET", f"/api/v1/device/files?deviceId={device.id}", key=local_key(hub))).json


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
async def test_picture_is_uploaded_and_downloaded_with_curl(hub, device, tmp_path):
    (tmp_path / "photo.png").write_bytes(PNG)
    host, port = address_of(hub)
    target = f"http://{host}:{port}{UPLOAD}?token={device[1]}"
    command = ["curl", "-sS", "-F", f"upfile=@{tmp_path}/photo.png", target]
    address = (await trio.run_process(command, capture_stdout=True)).stdout.decode()
    assert address.startswith(f"http://{host}:{port}/device_uploads/{device[0].id}/")
    assert address.endswith(".png")
    fetched = await trio.run_process(["curl", "-sSi", address], capture_stdout=True)
    head, _, body = fetched.stdout.partition(b"\r\n\r\n")
    assert PNG == body
    assert b"content-type: image/png" in head.lower()


async def test_range_of_a_file_is_downloaded(hub, device):
    address = (await upload(hub, device[1], PNG)).text
    path = "/device_uploads" + address.partition("/device_uploads")[2]
    response = await ask(hub, "GET", path)
    assert (200, "bytes", str(len(PNG))) == (
        response.status,
        response.headers["accept-ranges"],
        response.headers["content-length"],
    )
    for requested, part in (("0-7", PNG[:8]), ("100-", PNG[100:]), ("-5", PNG[-5:]), ("0-999", PNG), ("3-3", PNG[3:4])):
        answer = await ask(hub, "GET", path, Range=f"bytes={requested}")
        assert (206, part) == (answer.status, answer.body), requested
        assert answer.headers["content-range"].endswith(f"/{len(PNG)}")
    for requested in ("500-", "-0"):
        answer = await ask(hub, "GET", path, Range=f"bytes={requested}")
        assert (416, f"bytes */{len(PNG)}") == (answer.status, answer.headers["content-range"])
    for more in ({"Range": "bytes=0-1,3-4"}, {"Range": "lines=1-2"}, {"Range": "bytes=0-1", "If_Range": '"a"'}):
        assert (200, PNG) == ((answer := await ask(hub, "GET", path, **more)).status, answer.body)
    head = await ask(hub, "HEAD", path)
    assert (200, str(len(PNG)), b"") == (head.status, head.headers["content-length"], head.body)


async def test_file_of_an_earlier_version_is_downloaded(hub, device):
    await upload(hub, device[1], PNG)
    [stored] = (hub.config.data / "files").iterdir()
    key = "0123456789abcdef" * 2 + ".png"
    stored.rename(stored.with_name(key))
    await hub.storage.transaction(lambda tx: tx.execute("UPDATE files SET key = ?", (key,)))
    await hub.service(FileStore).contents.sweep()
    answer = await ask(hub, "GET", f"/device_uploads/{device[0].id}/{key}")
    assert (200, PNG) == (answer.status, answer.body)


async def test_crash_dump_is_uploaded(hub, device):
    response = await upload(hub, device[1], b"\x7fELF" + bytes(70_000), "coredump.bin", type="DUMP")
    assert 200 == response.status
    [dump] = await files_of(hub, device[0])
    assert ("coredump.bin", "dump", 70_004) == (dump["name"], dump["kind"], dump["size"])
    fetched = await ask(hub, "GET", dump["path"])
    assert "application/octet-stream" == fetched.headers["content-type"]
    assert "attachment" in fetched.headers["content-disposition"]


async def test_file_replaces_the_same_name_or_the_oldest(hub, device):
    for number in range(MAX_FILES + 2):
        assert 200 == (await upload(hub, device[1], PNG, f"{number}.png")).status
    again = await upload(hub, device[1], PNG + b"new", "5.png")
    files = await files_of(hub, device[0])
    assert ["5.png", "11.png", "10.png", "9.png", "8.png", "7.png", "6.png", "4.png", "3.png", "2.png"] == [
        file["name"] for file in files
    ]
    assert again.text.endswith(files[0]["path"])
    assert MAX_FILES == len(list((hub.config.data / "files").iterdir()))


async def test_file_size_is_limited(hub, device):
    assert 200 == (await upload(hub, device[1], bytes(MAX_SIZE))).status
    response = await upload(hub, device[1], bytes(MAX_SIZE + 1))
    assert (400, f"A file can have at most {MAX_SIZE} bytes.") == (response.status, response.message)
    assert 413 == (await upload(hub, device[1], bytes(MAX_SIZE + 100_000))).status
    other = await ask(hub, "POST", "/api/v1/device/import", bytes(2 * 1024 * 1024 + 1), local_key(hub))
    assert 413 == other.status


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        ("text/plain", b"x", "must be multipart/form-data"),
        ("multipart/form-data", b"x", "must be multipart/form-data"),
        ("multipart/form-data; boundary=XX", b"", "no file named upfile"),
        ("multipart/form-data; boundary=XX", b"nonsense", "malformed"),
        ("multipart/form-data; boundary=XX", multipart(b"x", field="other"), "no file named upfile"),
        ("multipart/form-data; boundary=XX", multipart(b""), "The file is empty"),
        ("multipart/form-data; boundary=XX", multipart(b"x")[:-20], "no file named upfile"),
    ],
)
async def test_invalid_form_upload_is_rejected(hub, device, content_type, body, error):
    response = await ask(hub, "POST", f"{UPLOAD}?token={device[1]}", body, Content_Type=content_type)
    assert 400 == response.status
    assert error in response.message
    assert [] == await files_of(hub, device[0])


async def test_upload_needs_a_valid_token(hub, device):
    assert (400, "Invalid token.") == ((response := await upload(hub, "x" * 32, PNG)).status, response.message)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/", "file"),
        ("..", "file"),
        ("", "file"),
        ("a\0b\r\nc<script>.png", "a_b__c_script_.png"),
        ("x" * 300, "x" * 100),
        ("фото 1.png", "фото 1.png"),
    ],
)
async def test_file_name_has_no_path(hub, device, name, safe):
    assert safe == safe_name(name)


@given(st.text())
def test_any_file_name_is_made_safe(name):
    safe = safe_name(name)
    assert 0 < len(safe) <= 100
    assert not set(safe) & set('/\\\0"<>\r\n')
    assert safe not in (".", "..")


@given(st.binary(max_size=300), st.sampled_from(["XX", "\x00", "", "a;b"]))
def test_any_form_is_parsed_or_rejected(body, boundary):
    try:
        parse_upload(f"multipart/form-data; boundary={boundary}", body)
    except Rejected:
        pass


@given(st.binary(min_size=1, max_size=2_000))
def test_parsed_file_equals_the_uploaded_one(content):
    if b"\r\n--XX" not in content:
        assert ("a.bin", content) == parse_upload("multipart/form-data; boundary=XX", multipart(content, "a.bin"))


@pytest.mark.parametrize(
    "path", ["/device_uploads/1/../hub.json", "/device_uploads/1/x.png", "/device_uploads/x/y", "/device_uploads/2/KEY"]
)
async def test_file_is_found_only_at_its_own_address(hub, device, path):
    key = (await upload(hub, device[1], PNG)).text.rpartition("/")[2]
    assert 404 == (await ask(hub, "GET", path.replace("KEY", key))).status


async def test_files_need_permission_for_the_device(hub):
    world = await tenants(hub)
    device = await world.device(world.orgs["acme"])
    token = await hub.tokens.rotate(device, SYSTEM)
    await upload(hub, token, PNG)
    path = f"/api/v1/device/files?deviceId={device.id}"
    [file] = (await world.ask("ada", "GET", path)).json
    assert 404 == (await world.ask("bert", "GET", path)).status
    target = f"/api/v1/device/file?deviceId={device.id}&fileId={file['id']}"
    assert 404 == (await world.ask("bert", "DELETE", target)).status
    assert 204 == (await world.ask("ada", "DELETE", target)).status
    assert 404 == (await world.ask("ada", "DELETE", target)).status
    assert 404 == (await ask(hub, "GET", file["path"])).status
    assert [] == list((hub.config.data / "files").iterdir())


async def test_files_of_a_deleted_device_are_deleted(hub_config):
    async with running(hub_config) as hub:
        device, token = await add_device(hub, THERMOMETER)
        await upload(hub, token, PNG)
        await hub.devices.delete(device, SYSTEM)
        folder = hub.config.data / "files"
        await until(lambda: not list(folder.iterdir()))
        (folder / f"{'0' * 32}.bin").write_bytes(b"left by a power cut")
        (folder / "image").write_bytes(b"of another plugin")
    async with running(hub_config):
        # The sweep runs in the background and does not delay the start.
        await until(lambda: ["image"] == [path.name for path in folder.iterdir()])


async def test_uploads_succeed_while_the_folder_is_swept(hub, device):
    """A sweep follows each deletion of a device."""
    addresses, busy = [], trio.Event()

    async def upload_files(sender):
        for number in range(25):
            response = await upload(hub, device[1], PNG, f"{sender}.png")
            assert (200, "") == (response.status, "" if response.status == 200 else response.text), number
            # Each file replaces the sender's previous one.
            addresses[sender : sender + 1] = [response.text]

    async def sweep():
        while not busy.is_set():
            await hub.service(FileStore).contents.sweep()

    addresses += [""] * 4
    with trio.fail_after(patient(60)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sweep)
            async with trio.open_nursery() as senders:
                for sender in range(4):
                    senders.start_soon(upload_files, sender)
            busy.set()
    for address in addresses:
        assert 200 == (await ask(hub, "GET", "/device_uploads" + address.partition("/device_uploads")[2])).status


async def test_failed_write_is_reported(hub, device):
    (hub.config.data / "files").write_text("in the way")
    response = await upload(hub, device[1], PNG)
    assert 503 == response.status
    assert "The file cannot be saved" in response.message


async def test_malformed_forms_are_logged_once(hub, device, caplog):
    for n in range(1, 21):
        multipart = b"--x\r\n" + bytes([n]) * n + b"\r\n\xff\x00broken"
        headers = {"Content_Type": "multipart/form-data; boundary=x"}
        assert 400 == (await ask(hub, "POST", f"{UPLOAD}?token={device[1]}", multipart, **headers)).status
    assert 20 == len([rejection for rejection in hub.rejections.recent if "upload:" in rejection.reason])
    lines = [record.getMessage() for record in caplog.records]
    assert [f"refused: 127.0.0.1 device {device[0].name}: upload: The form is malformed."] == lines
