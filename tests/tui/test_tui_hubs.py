"""The console's file of remembered hubs: private, replaced as a whole, and shared by several consoles."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tui.store import hubs as hubs_module
from tui.store.hubs import MAX_HUBS, HubFileError, Hubs, KnownHub, state_folder

GARAGE = KnownHub("https://garage.lan:9443", "ada@example.org", "token-1", "3f" * 32)
LAB = KnownHub("http://lab.lan:8080")


@pytest.fixture
def hubs(tmp_path):
    return Hubs(tmp_path / "state" / "pinwheel")


def write(hubs, text, mode=0o600):
    hubs.path.parent.mkdir(parents=True)
    hubs.path.write_text(text)
    hubs.path.chmod(mode)


def test_hubs_are_remembered_the_last_used_first(hubs):
    assert [] == hubs.load()
    hubs.remember(GARAGE)
    hubs.remember(LAB)
    hubs.remember(GARAGE)
    assert [GARAGE, LAB] == Hubs(hubs.path.parent).load()
    assert LAB == hubs.find(LAB.url)
    assert hubs.find("http://other.lan") is None


def test_file_and_folder_are_for_their_owner_only(hubs):
    before = os.umask(0)
    try:
        hubs.remember(GARAGE)
    finally:
        os.umask(before)
    assert 0o600 == hubs.path.stat().st_mode & 0o777
    assert 0o700 == hubs.path.parent.stat().st_mode & 0o777


def test_partial_file_of_a_crash_does_not_lend_its_permissions(hubs):
    hubs.path.parent.mkdir(parents=True)
    partial = hubs.path.with_name("hubs.toml.partial")
    partial.write_text("half of a fi")
    partial.chmod(0o666)
    hubs.remember(GARAGE)
    assert [GARAGE] == hubs.load()
    assert not partial.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_file_that_others_may_use_is_refused_with_the_remedy(hubs, mode):
    write(hubs, '[[hub]]\nurl = "http://lab.lan:8080"\n', mode)
    with pytest.raises(HubFileError, match=r"other users may read or write it \(mode 6.*chmod 600"):
        hubs.load()
    with pytest.raises(HubFileError):
        hubs.remember(GARAGE)
    hubs.path.chmod(0o600)
    assert [LAB] == hubs.load()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[hub]\nurl", "is not TOML"),
        ("a = " + "[" * 5000, "is not TOML"),
        ("\x00", "is not TOML"),
        ("hub = 3", r"must list hubs as \[\[hub\]\]"),
        ("hub = [1]", "number 1.*not text"),
        ('[[hub]]\nurl = "http://a"\n[[hub]]\nurl = 7', "number 2.*not text"),
        ('[[hub]]\nurl = "ftp://a"', "without an address"),
        ("[[hub]]\n", "without an address"),
        ('[[hub]]\nurl = "https://a"\ncertificate = "3F:9A"', "64 hexadecimal digits"),
        ("#" * (1024 * 1024 + 1), "has more than"),
    ],
)
def test_file_with_garbage_is_refused_and_not_overwritten(hubs, text, problem):
    write(hubs, text)
    with pytest.raises(HubFileError, match=f"hubs.toml .*{problem}"):
        hubs.load()
    for change in (lambda: hubs.remember(GARAGE), lambda: hubs.forget("http://a"), lambda: hubs.replace_token("a", "")):
        with pytest.raises(HubFileError):
            change()
    assert text == hubs.path.read_text()


def test_bytes_that_are_no_text_are_refused(hubs):
    write(hubs, "")
    hubs.path.write_bytes(b"\xff\xfe")
    with pytest.raises(HubFileError, match="is not TOML"):
        hubs.load()


def test_link_directory_and_pipe_are_refused(hubs, tmp_path):
    (tmp_path / "elsewhere").write_text("")
    hubs.path.parent.mkdir(parents=True)
    hubs.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HubFileError, match="cannot be opened"):
        hubs.load()
    hubs.path.unlink()
    os.mkfifo(hubs.path, 0o600)
    with pytest.raises(HubFileError, match="not a regular file"):
        hubs.load()


def test_token_is_replaced_unless_the_hub_was_forgotten(hubs):
    hubs.remember(GARAGE)
    hubs.remember(LAB)
    assert hubs.replace_token(GARAGE.url, "token-2")
    assert ["", "token-2"] == [hub.refresh_token for hub in hubs.load()]
    hubs.forget(GARAGE.url)
    hubs.forget(GARAGE.url)
    assert not hubs.replace_token(GARAGE.url, "token-3")
    assert [LAB] == hubs.load()
    assert "token-2" not in hubs.path.read_text()


def test_hubs_are_limited(hubs):
    write(hubs, "".join(f'[[hub]]\nurl = "http://hub{number}.lan"\n' for number in range(MAX_HUBS)))
    hubs.remember(GARAGE)
    known = hubs.load()
    assert MAX_HUBS == len(known)
    assert GARAGE == known[0]
    assert "http://hub98.lan" == known[-1].url


def test_consoles_that_change_the_file_at_once_lose_nothing(hubs):
    urls = [f"http://hub{number}.lan" for number in range(12)]
    with ThreadPoolExecutor(len(urls)) as pool:
        list(pool.map(lambda url: Hubs(hubs.path.parent).remember(KnownHub(url)), urls))
    assert set(urls) == {hub.url for hub in hubs.load()}


def test_console_that_holds_the_lock_too_long_is_reported(hubs, monkeypatch):
    monkeypatch.setattr(hubs_module, "PATIENCE", 0.05)
    hubs.remember(LAB)
    held, done = threading.Event(), threading.Event()

    def hold():
        with Hubs(hubs.path.parent)._locked():
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        with pytest.raises(HubFileError, match="Another console"):
            hubs.remember(GARAGE)
        assert [LAB] == hubs.load()
    finally:
        done.set()
        thread.join()


def test_full_disk_leaves_the_old_file(hubs, monkeypatch):
    hubs.remember(GARAGE)

    def fail(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hubs_module.os, "fsync", fail)
    with pytest.raises(HubFileError, match="No space left"):
        hubs.remember(LAB)
    assert [GARAGE] == hubs.load()
    assert {"hubs.toml", "hubs.lock"} == {path.name for path in hubs.path.parent.iterdir()}


def test_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HubFileError, match="cannot be remembered"):
        Hubs(tmp_path / "file" / "pinwheel").remember(LAB)


def test_state_folder_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path / "x" / "pinwheel" == state_folder({"XDG_STATE_HOME": str(tmp_path / "x")})
    for environment in ({}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "relative/path"}):
        assert tmp_path / ".local" / "state" / "pinwheel" == state_folder(environment)


def test_token_is_not_in_the_representation():
    assert "token-1" not in repr(GARAGE)
