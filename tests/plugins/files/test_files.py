"""Files that devices send, by curl as a script would, and by raw bytes where something is wrong with them."""

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
from plugins.files.form import parse_upload, safe_name
from plugins.files.store import MAX_FILES, MAX_SIZE, FileStore

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
UPLOAD = "/external/api/upload"


def form(content, name="coredump.bin", field="upfile"):
    head = f'--XX\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n--XX--\r\n"


async def upload(hub, token, content, name="photo.png", **query):
    more = "".join(f"&{key}={value}" for key, value in query.items())
    headers = {"Content_Type": "multipart/form-data; boundary=XX"}
    return await ask(hub, "POST", f"{UPLOAD}?token={token}{more}", form(content, name), **headers)


@pytest.fixture
async def device(hub):
    return await add_device(hub, THERMOMETER)


async def listed(hub, device):
    return (await ask(hub, "GET", f"/api/v1/device/files?deviceId={device.id}", key=local_key(hub))).json


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
async def test_curl_sends_a_picture_and_fetches_it_by_its_address(hub, device, tmp_path):
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


async def test_a_part_of_a_file_is_fetched(hub, device):
    address = (await upload(hub, device[1], PNG)).text
    path = "/device_uploads" + address.partition("/device_uploads")[2]
    whole = await ask(hub, "GET", path)
    assert (200, "bytes", str(len(PNG))) == (
        whole.status,
        whole.headers["accept-ranges"],
        whole.headers["content-length"],
    )
    for asked, part in (("0-7", PNG[:8]), ("100-", PNG[100:]), ("-5", PNG[-5:]), ("0-999", PNG), ("3-3", PNG[3:4])):
        answer = await ask(hub, "GET", path, Range=f"bytes={asked}")
        assert (206, part) == (answer.status, answer.body), asked
        assert answer.headers["content-range"].endswith(f"/{len(PNG)}")
    for asked in ("500-", "-0"):
        answer = await ask(hub, "GET", path, Range=f"bytes={asked}")
        assert (416, f"bytes */{len(PNG)}") == (answer.status, answer.headers["content-range"])
    for more in ({"Range": "bytes=0-1,3-4"}, {"Range": "lines=1-2"}, {"Range": "bytes=0-1", "If_Range": '"a"'}):
        assert (200, PNG) == ((answer := await ask(hub, "GET", path, **more)).status, answer.body)
    head = await ask(hub, "HEAD", path)
    assert (200, str(len(PNG)), b"") == (head.status, head.headers["content-length"], head.body)


async def test_a_file_of_an_earlier_version_is_still_there(hub, device):
    await upload(hub, device[1], PNG)
    [stored] = (hub.config.data / "files").iterdir()
    key = "0123456789abcdef" * 2 + ".png"
    stored.rename(stored.with_name(key))
    await hub.storage.transaction(lambda tx: tx.execute("UPDATE files SET key = ?", (key,)))
    await hub.service(FileStore).sweep()
    answer = await ask(hub, "GET", f"/device_uploads/{device[0].id}/{key}")
    assert (200, PNG) == (answer.status, answer.body)


async def test_a_crash_leaves_a_dump(hub, device):
    answer = await upload(hub, device[1], b"\x7fELF" + bytes(70_000), "coredump.bin", type="DUMP")
    assert 200 == answer.status
    [kept] = await listed(hub, device[0])
    assert ("coredump.bin", "dump", 70_004) == (kept["name"], kept["kind"], kept["size"])
    fetched = await ask(hub, "GET", kept["path"])
    assert "application/octet-stream" == fetched.headers["content-type"]
    assert "attachment" in fetched.headers["content-disposition"]


async def test_the_same_name_is_replaced_and_the_oldest_makes_room(hub, device):
    for number in range(MAX_FILES + 2):
        assert 200 == (await upload(hub, device[1], PNG, f"{number}.png")).status
    again = await upload(hub, device[1], PNG + b"new", "5.png")
    kept = await listed(hub, device[0])
    assert ["5.png", "11.png", "10.png", "9.png", "8.png", "7.png", "6.png", "4.png", "3.png", "2.png"] == [
        one["name"] for one in kept
    ]
    assert again.text.endswith(kept[0]["path"])
    assert MAX_FILES == len(list((hub.config.data / "files").iterdir()))


async def test_a_file_of_five_megabytes_is_kept_and_a_larger_one_refused(hub, device):
    assert 200 == (await upload(hub, device[1], bytes(MAX_SIZE))).status
    answer = await upload(hub, device[1], bytes(MAX_SIZE + 1))
    assert (400, f"A file can have at most {MAX_SIZE} bytes.") == (answer.status, answer.message)
    assert 413 == (await upload(hub, device[1], bytes(MAX_SIZE + 100_000))).status
    other = await ask(hub, "POST", "/api/v1/device/import", bytes(2 * 1024 * 1024 + 1), local_key(hub))
    assert 413 == other.status


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("text/plain", b"x", "must be multipart/form-data"),
        ("multipart/form-data", b"x", "must be multipart/form-data"),
        ("multipart/form-data; boundary=XX", b"", "no file named upfile"),
        ("multipart/form-data; boundary=XX", b"nonsense", "malformed"),
        ("multipart/form-data; boundary=XX", form(b"x", field="other"), "no file named upfile"),
        ("multipart/form-data; boundary=XX", form(b""), "The file is empty"),
        ("multipart/form-data; boundary=XX", form(b"x")[:-20], "no file named upfile"),
    ],
)
async def test_a_form_that_makes_no_sense_is_refused(hub, device, kind, body, said):
    answer = await ask(hub, "POST", f"{UPLOAD}?token={device[1]}", body, Content_Type=kind)
    assert 400 == answer.status
    assert said in answer.message
    assert [] == await listed(hub, device[0])


async def test_nobody_sends_a_file_without_a_token(hub, device):
    assert (400, "Invalid token.") == ((answer := await upload(hub, "x" * 32, PNG)).status, answer.message)


@pytest.mark.parametrize(
    ("said", "kept"),
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
async def test_a_name_is_no_path(hub, device, said, kept):
    assert kept == safe_name(said)


@given(st.text())
def test_no_name_leads_anywhere(said):
    kept = safe_name(said)
    assert 0 < len(kept) <= 100
    assert not set(kept) & set('/\\\0"<>\r\n')
    assert kept not in (".", "..")


@given(st.binary(max_size=300), st.sampled_from(["XX", "\x00", "", "a;b"]))
def test_no_form_does_more_than_to_be_refused(body, boundary):
    try:
        parse_upload(f"multipart/form-data; boundary={boundary}", body)
    except Rejected:
        pass


@given(st.binary(min_size=1, max_size=2_000))
def test_a_file_in_a_form_is_what_was_sent(content):
    if b"\r\n--XX" not in content:
        assert ("a.bin", content) == parse_upload("multipart/form-data; boundary=XX", form(content, "a.bin"))


@pytest.mark.parametrize(
    "path", ["/device_uploads/1/../hub.json", "/device_uploads/1/x.png", "/device_uploads/x/y", "/device_uploads/2/KEY"]
)
async def test_what_was_not_sent_by_that_device_is_not_there(hub, device, path):
    key = (await upload(hub, device[1], PNG)).text.rpartition("/")[2]
    assert 404 == (await ask(hub, "GET", path.replace("KEY", key))).status


async def test_files_are_for_those_who_may_see_the_device(hub):
    world = await tenants(hub)
    device = await world.device(world.orgs["acme"])
    token = await hub.tokens.rotate(device, SYSTEM)
    await upload(hub, token, PNG)
    path = f"/api/v1/device/files?deviceId={device.id}"
    [kept] = (await world.ask("ada", "GET", path)).json
    assert 404 == (await world.ask("bert", "GET", path)).status
    one = f"/api/v1/device/file?deviceId={device.id}&fileId={kept['id']}"
    assert 404 == (await world.ask("bert", "DELETE", one)).status
    assert 204 == (await world.ask("ada", "DELETE", one)).status
    assert 404 == (await world.ask("ada", "DELETE", one)).status
    assert 404 == (await ask(hub, "GET", kept["path"])).status
    assert [] == list((hub.config.data / "files").iterdir())


async def test_a_device_that_is_deleted_takes_its_files_along(hub_config):
    async with running(hub_config) as hub:
        device, token = await add_device(hub, THERMOMETER)
        await upload(hub, token, PNG)
        await hub.devices.delete(device, SYSTEM)
        folder = hub.config.data / "files"
        await until(lambda: not list(folder.iterdir()))
        (folder / f"{'0' * 32}.bin").write_bytes(b"by a power cut")
        (folder / "image").write_bytes(b"of another plugin")
    async with running(hub_config):
        # Swept beside everything else: a hub does not wait for it to be ready.
        await until(lambda: ["image"] == [path.name for path in folder.iterdir()])


async def test_files_arrive_while_the_folder_is_swept(hub, device):
    """As it is after each deletion of a device."""
    addresses, busy = [], trio.Event()

    async def send(sender):
        for number in range(25):
            answer = await upload(hub, device[1], PNG, f"{sender}.png")
            assert (200, "") == (answer.status, "" if answer.status == 200 else answer.text), number
            # The one before has made room.
            addresses[sender : sender + 1] = [answer.text]

    async def sweep():
        while not busy.is_set():
            await hub.service(FileStore).sweep()

    addresses += [""] * 4
    with trio.fail_after(patient(60)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sweep)
            async with trio.open_nursery() as senders:
                for sender in range(4):
                    senders.start_soon(send, sender)
            busy.set()
    for address in addresses:
        assert 200 == (await ask(hub, "GET", "/device_uploads" + address.partition("/device_uploads")[2])).status


async def test_a_disk_that_takes_nothing_is_said(hub, device):
    (hub.config.data / "files").write_text("in the way")
    answer = await upload(hub, device[1], PNG)
    assert 503 == answer.status
    assert "The file cannot be saved" in answer.message


async def test_malformed_forms_are_put_down_once_and_fill_no_log(hub, device, caplog):
    for n in range(1, 21):
        form = b"--x\r\n" + bytes([n]) * n + b"\r\n\xff\x00broken"
        headers = {"Content_Type": "multipart/form-data; boundary=x"}
        assert 400 == (await ask(hub, "POST", f"{UPLOAD}?token={device[1]}", form, **headers)).status
    assert 20 == len([one for one in hub.rejections.recent if "upload:" in one.reason])
    lines = [record.getMessage() for record in caplog.records]
    assert [f"refused: 127.0.0.1 device {device[0].name}: upload: The form is malformed."] == lines
