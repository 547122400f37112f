"""Files of a page: caching by ETag and by hashed names, compression, types, and paths that stay in the folder."""

from __future__ import annotations

import gzip
import hashlib

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.raw_http import connected

from hub.api import StaticFiles, accepts_gzip
from hub.api.static import MAX_FOLDER
from hub.hookspecs import hookimpl

SCRIPT = b"export const answer = 42;\n" * 200
POLICY = {"Content-Security-Policy": "default-src 'self'"}
#: The content of a file whose name has its hash, as a bundler names it.
BUNDLE = b"bundled" * 200
BUNDLE_NAME = f"bundle-{hashlib.sha256(BUNDLE).hexdigest()[:10]}.js"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "static"
    (folder / "js").mkdir(parents=True)
    files = {
        "index.html": b"<!doctype html><title>Page</title>",
        "js/app.js": SCRIPT,
        BUNDLE_NAME: BUNDLE,
        "style-deadbeef.css": b"p { margin: 0 }",
        "logo.png": b"\x89PNG" + b"\x00" * 4_000,
        "noise.svg": b"<svg/>",
        "strange.xyz": b"?" * 2_000,
        "h\N{LATIN SMALL LETTER U WITH DIAERESIS} 1.txt": b"umlaut",
        ".env": b"secret",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def files(folder):
    return StaticFiles(folder, "/app", POLICY)


@pytest.fixture
def hub_plugins(files):
    class Page:
        __name__ = "page"
        PINWHEEL_HOOKS = 1

        @hookimpl
        def hub_routes(self):
            return files.routes("The page")

    return (Page(),)


@pytest.fixture
async def http(hub):
    async with connected(hub) as http:
        yield http


async def test_file_has_its_type_and_headers(http):
    answer = await http.get("/app/js/app.js")
    assert (200, SCRIPT) == (answer.status, answer.body)
    expected = {
        "content-type": "text/javascript; charset=utf-8",
        "cache-control": "no-cache",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'self'",
        "vary": "Accept-Encoding",
        "content-length": str(len(SCRIPT)),
    }
    assert expected.items() <= answer.headers.items()


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("logo.png", "image/png"),
        ("noise.svg", "image/svg+xml"),
        ("strange.xyz", "application/octet-stream"),
        ("h%C3%BC%201.txt", "text/plain; charset=utf-8"),
    ],
)
async def test_media_type_follows_the_suffix(http, name, media_type):
    answer = await http.get(f"/app/{name}")
    assert (200, media_type) == (answer.status, answer.headers["content-type"])


async def test_head_has_the_headers_of_get(http):
    for encoding in ("identity", "gzip"):
        get = await http.ask("GET", "/app/js/app.js", Accept_Encoding=encoding)
        head = await http.ask("HEAD", "/app/js/app.js", Accept_Encoding=encoding)
        assert (200, b"") == (head.status, head.body)
        assert get.headers | {"date": ""} == head.headers | {"date": ""}


async def test_text_is_compressed_for_clients_that_accept_it(http):
    answer = await http.ask("GET", "/app/js/app.js", Accept_Encoding="gzip, deflate, br")
    assert "gzip" == answer.headers["content-encoding"]
    assert len(answer.body) < len(SCRIPT) / 10
    assert SCRIPT == gzip.decompress(answer.body)
    again = await http.ask("GET", "/app/js/app.js", Accept_Encoding="gzip")
    assert answer.body == again.body


@pytest.mark.parametrize("name", ["index.html", "logo.png", "strange.xyz"])
async def test_small_files_and_compressed_types_are_sent_as_they_are(http, folder, name):
    answer = await http.ask("GET", f"/app/{name}", Accept_Encoding="gzip")
    assert "content-encoding" not in answer.headers
    assert (folder / name).read_bytes() == answer.body


async def test_many_clients_at_once_get_the_same_compressed_file(hub):
    bodies = set()

    async def client():
        async with connected(hub) as own:
            bodies.add((await own.ask("GET", "/app/js/app.js", Accept_Encoding="gzip")).body)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(client)
    assert 1 == len(bodies)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_client_that_has_the_file_gets_304(http, encoding):
    first = await http.ask("GET", "/app/js/app.js", Accept_Encoding=encoding)
    etag = first.headers["etag"]
    for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        for method in ("GET", "HEAD"):
            headers = {"Accept_Encoding": encoding, "If_None_Match": condition}
            answer = await http.ask(method, "/app/js/app.js", **headers)
            assert (304, b"", etag) == (answer.status, answer.body, answer.headers["etag"])
            assert "content-length" not in answer.headers
            assert "content-type" not in answer.headers
    assert 200 == (await http.ask("GET", "/app/js/app.js", Accept_Encoding=encoding, If_None_Match='"other"')).status


async def test_compressed_file_has_an_etag_of_its_own(http):
    plain = await http.get("/app/js/app.js")
    compressed = await http.ask("GET", "/app/js/app.js", Accept_Encoding="gzip", If_None_Match=plain.headers["etag"])
    assert 200 == compressed.status
    assert plain.headers["etag"] != compressed.headers["etag"]


async def test_file_named_by_its_hash_is_immutable(http, files):
    immutable = "public, max-age=31536000, immutable"
    assert f"/app/{BUNDLE_NAME}" == files.address(BUNDLE_NAME)
    address = files.address("js/app.js")
    assert address.startswith("/app/js/app.")
    for path in (files.address(BUNDLE_NAME), address):
        answer = await http.get(path)
        assert (200, immutable) == (answer.status, answer.headers["cache-control"])
    assert SCRIPT == answer.body
    assert "text/javascript; charset=utf-8" == answer.headers["content-type"]


async def test_digits_that_are_not_the_hash_of_the_file_do_not_make_it_immutable(http):
    assert "no-cache" == (await http.get("/app/style-deadbeef.css")).headers["cache-control"]


def test_changed_file_has_another_address(folder, files):
    before = files.address("js/app.js")
    (folder / "js/app.js").write_bytes(SCRIPT + b"// changed")
    assert before != StaticFiles(folder, "/app").address("js/app.js")


async def test_page_is_served_with_a_slash_at_its_end(http):
    page = await http.get("/app/")
    assert (200, "no-cache") == (page.status, page.headers["cache-control"])
    assert b"<title>Page</title>" in page.body
    redirect = await http.get("/app?tab=1")
    assert (308, "/app/?tab=1") == (redirect.status, redirect.headers["location"])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_start_page_leads_to_the_page_of_the_plugin(http, method):
    redirect = await http.ask(method, "/")
    assert (302, "/app/") == (redirect.status, redirect.headers["location"])


@pytest.mark.parametrize(
    "path",
    [
        "/app/../secret.txt",
        "/app/%2e%2e/secret.txt",
        "/app/..%2fsecret.txt",
        "/app/%2e%2e%5csecret.txt",
        "/app/js/../../secret.txt",
        "/app/js/../index.html",
        "/app//index.html",
        "/app/./index.html",
        "/app/index.html%00",
        "/app/index.html%00.png",
        "/app/%00",
        "/app/js",
        "/app/.env",
        "/app/%2eenv",
        "/app/INDEX.HTML",
        "/app/%ff%fe",
        "/app/" + "x" * 8_000,
        "/app/link.txt",
    ],
)
async def test_path_that_is_no_file_of_the_folder_is_not_found(http, path):
    answer = await http.get(path)
    assert 404 == answer.status
    assert b"secret\n" not in answer.body


async def test_other_methods_are_not_allowed(http):
    answer = await http.ask("POST", "/app/index.html", b"")
    assert (405, "GET, HEAD") == (answer.status, answer.headers["allow"])


def test_link_out_of_the_folder_is_rejected(folder, tmp_path):
    (folder / "inside.txt").symlink_to(folder / "index.html")
    StaticFiles(folder, "/app")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(ValueError, match="link.txt is a link to .*secret.txt, outside of the folder"):
        StaticFiles(folder, "/app")


def test_folder_of_links_is_served_when_it_is_a_link_itself(folder, tmp_path):
    (tmp_path / "alias").symlink_to(folder)
    assert StaticFiles(tmp_path / "alias", "/app").address("js/app.js")


def test_folder_that_is_too_large_is_rejected(folder):
    for number in range(2):
        (folder / f"{number}.bin").write_bytes(bytes(MAX_FOLDER // 2))
    with pytest.raises(ValueError, match="more than 16 MB"):
        StaticFiles(folder, "/app")


def test_missing_folder_and_file_are_rejected(folder, files):
    with pytest.raises(FileNotFoundError):
        StaticFiles(folder / "nothing", "/app")
    with pytest.raises(KeyError):
        files.address("nothing.js")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gzip", True),
        ("GZIP;q=1.0", True),
        ("br;q=1.0, gzip;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("*;q=0.1", True),
        ("", False),
        ("identity", False),
        ("br, deflate", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("*, gzip;q=0", False),
        ("gzipped", False),
    ],
)
def test_weights_of_encodings_decide(header, expected):
    assert expected is accepts_gzip(header)


@given(st.text())
def test_any_header_is_read(header):
    assert accepts_gzip(header) in (True, False)


@given(st.lists(st.sampled_from(["br", "deflate;q=0.5", "identity;q=0", " ", "zstd ; q=1"])))
def test_gzip_among_other_encodings_is_accepted(others):
    assert accepts_gzip(",".join([*others, "gzip;q=0.2"]))
    assert not accepts_gzip(",".join([*others, "gzip;q=0"]))
