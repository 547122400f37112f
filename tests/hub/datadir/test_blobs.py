"""Blobs: stored completely and durably or not at all, for any chunks and any interruption."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from contextlib import aclosing
from threading import main_thread

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.disk import raise_disk_full
from support.paths import ROOT
from support.patience import patient

from hub.config import parse
from hub.datadir import blobs as blobs_module
from hub.datadir.blobs import MAX_KEY, PARTIAL, Blobs, Stored
from hub.errors import NotFound, StorageError
from hub.run import running


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path)


async def stream(*chunks):
    for chunk in chunks:
        yield chunk


async def content(blobs, key, offset=0):
    async with aclosing(blobs.open(key, offset)) as chunks:
        return b"".join([chunk async for chunk in chunks])


def files_of(blobs):
    return sorted(path.name for path in blobs.folder.rglob("*") if path.is_file())


# -- contents ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20), st.integers(0, 300))
def test_any_bytes_in_any_chunks_are_read_from_any_offset(tmp_path_factory, chunks, buffer_size, offset):
    data = b"".join(chunks)

    async def store_and_read():
        blobs = Blobs(tmp_path_factory.getbasetemp() / "any")
        stored = await blobs.put("some/blob", stream(*chunks))
        assert Stored(len(data), hashlib.sha256(data).hexdigest()) == stored
        assert (data[offset:], len(data)) == (await content(blobs, "some/blob", offset), await blobs.size("some/blob"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blobs_module, "CHUNK", buffer_size)
        trio.run(store_and_read)


async def test_content_of_many_megabytes_is_read_in_chunks(blobs):
    chunk = random.Random(1).randbytes(1 << 20)
    stored = await blobs.put("image", stream(*[chunk] * 12))
    assert 12 << 20 == stored.size
    async with aclosing(blobs.open("image")) as chunks:
        sizes = [len(chunk) async for chunk in chunks]
    assert (12 << 20, blobs_module.CHUNK) == (sum(sizes), max(sizes))


async def test_put_replaces_the_blob_with_the_same_key(blobs):
    await blobs.put("a", stream(b"old content"))
    await blobs.put("a", stream(b"new"))
    assert (b"new", ["a"]) == (await content(blobs, "a"), files_of(blobs))


async def test_reader_continues_with_the_old_content_while_the_blob_is_replaced_and_deleted(blobs, monkeypatch):
    monkeypatch.setattr(blobs_module, "CHUNK", 4)
    await blobs.put("a", stream(b"old content"))
    async with aclosing(blobs.open("a")) as chunks:
        first = await anext(chunks)
        await blobs.put("a", stream(b"new content"))
        await blobs.delete("a")
        assert b"old content" == first + b"".join([chunk async for chunk in chunks])


async def test_missing_blob_is_not_found_and_can_be_deleted(blobs):
    await blobs.put("folder/a", stream(b"1"))
    for key in ("b", "folder", "folder/a/b", "folder/b"):
        with pytest.raises(NotFound):
            await content(blobs, key)
        with pytest.raises(NotFound):
            await blobs.size(key)
        await blobs.delete(key)
    assert ["folder/a"] == await blobs.list()


async def test_blobs_are_listed_by_the_beginning_of_their_keys(blobs):
    assert [] == await blobs.list()
    for key in ("images/b", "images/a", "images-old/a", "a"):
        await blobs.put(key, stream(b"1"))
    assert ["a", "images-old/a", "images/a", "images/b"] == await blobs.list()
    assert ["images/a", "images/b"] == await blobs.list("images/")
    await blobs.delete("images/a")
    assert ["images/b"] == await blobs.list("images/")


@pytest.mark.parametrize(
    "key",
    ["", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/./b", ".a", "a/.b", "a\0", "a\n", "ä", "a b", "a\\b", "-a"]
    + ["a" * (MAX_KEY + 1), f"a{PARTIAL}"],
)
async def test_invalid_key_is_rejected(blobs, key):
    for call in (blobs.put(key, stream(b"1")), content(blobs, key), blobs.size(key), blobs.delete(key)):
        with pytest.raises(ValueError, match="not a key"):
            await call
    assert [] == files_of(blobs)


async def test_longest_key_is_stored(blobs):
    key = "a" * MAX_KEY
    await blobs.put(key, stream(b"1"))
    assert [key] == await blobs.list()


async def test_concurrent_uploads_with_the_same_key_leave_the_content_of_either(blobs, monkeypatch):
    monkeypatch.setattr(blobs_module, "CHUNK", 10)

    async def slow(text):
        for _ in range(10):
            await trio.lowlevel.checkpoint()
            yield text * 10

    async with trio.open_nursery() as nursery:
        for text in (b"a", b"b"):
            nursery.start_soon(blobs.put, "key", slow(text))
    assert await content(blobs, "key") in (b"a" * 100, b"b" * 100)
    assert ["key"] == files_of(blobs)


# -- durability and faults --------------------------------------------------------------------------------------------


async def test_content_name_and_folders_are_on_the_disk_when_put_returns(blobs, disk):
    await blobs.put("folder/a", stream(b"1"))
    data = blobs.folder.parent.name
    [partial] = [step for step in disk.steps if step.endswith(PARTIAL)]
    assert disk.steps.index("sync files") < disk.steps.index(partial)
    assert f"sync {data}" in disk.steps[: disk.steps.index(partial)]
    assert [partial, "name a", "sync folder"] == disk.steps[-3:]
    assert main_thread() not in disk.sync_threads, "the event loop must not wait for the disk"


@pytest.mark.parametrize("call", ["open", "write", "fsync"])
async def test_put_on_a_full_disk_raises_and_leaves_nothing(blobs, monkeypatch, call):
    await blobs.put("existing", stream(b"old"))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, raise_disk_full)
        with pytest.raises(StorageError, match="existing: No space left on device"):
            await blobs.put("existing", stream(b"x" * 1_000_000, b"y"))
    assert (b"old", ["existing"]) == (await content(blobs, "existing"), files_of(blobs))
    await blobs.put("existing", stream(b"new"))
    assert b"new" == await content(blobs, "existing")


async def test_error_of_the_source_leaves_nothing(blobs, monkeypatch):
    monkeypatch.setattr(blobs_module, "CHUNK", 2)

    async def failing():
        yield b"first"
        raise OSError("the client is gone")

    with pytest.raises(OSError, match="the client is gone"):
        await blobs.put("a", failing())
    assert [] == files_of(blobs)


async def test_cancelled_put_leaves_nothing(blobs, monkeypatch):
    monkeypatch.setattr(blobs_module, "CHUNK", 2)
    with trio.CancelScope() as scope:

        async def endless():
            for n in range(1_000):
                yield b"some bytes"
                if n == 5:
                    scope.cancel()

        await blobs.put("a", endless())
    assert scope.cancelled_caught
    assert [] == files_of(blobs)


async def test_start_removes_incompletely_written_blobs(tmp_path):
    blobs = Blobs(tmp_path)
    await blobs.put("images/a", stream(b"1"))
    (blobs.folder / "images" / f"b.0123{PARTIAL}").write_bytes(b"half")
    (blobs.folder / f"c.bin{PARTIAL}").write_bytes(b"half, of an earlier version")
    async with running(parse("").with_data(str(tmp_path)), listen=False) as hub:
        assert (["images/a"], ["a"]) == (await hub.blobs.list(), files_of(hub.blobs))


WRITER = """
import hashlib, random, sys
from pathlib import Path
import trio
from hub.datadir.blobs import Blobs

async def chunks(seed):
    source = random.Random(seed)
    for _ in range(source.randrange(1, 20)):
        yield source.randbytes(60_000)

async def main():
    blobs = Blobs(Path(sys.argv[1]))
    for n in range(100_000):
        await blobs.put(f"images/{n % 3}", chunks(n))
        print(n, flush=True)

trio.run(main)
"""


def content_of(number):
    source = random.Random(number)
    return b"".join([source.randbytes(60_000) for _ in range(source.randrange(1, 20))])


async def test_kill_in_the_middle_of_a_put_leaves_the_old_or_the_new_content(tmp_path):
    blobs = Blobs(tmp_path)
    for stopped_after in (1, 3, 6, 7, 10):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as process:
            with trio.fail_after(patient(30)):
                for line in process.stdout:
                    if int(line) == stopped_after:
                        break
            # It is writing the next blob.
            process.send_signal(signal.SIGKILL)
            stored = stopped_after + len(process.stdout.readlines())
        await blobs.remove_partial()
        assert not [name for name in files_of(blobs) if name.endswith(PARTIAL)]
        keys = await blobs.list("images/")
        assert {f"images/{n % 3}" for n in range(stored + 1)} <= set(keys)
        for key in keys:
            # The newest stored content, or the content that was being stored.
            numbers = [n for n in range(stored - 2, stored + 2) if n >= 0 and n % 3 == int(key[-1])]
            assert await content(blobs, key) in map(content_of, numbers)
