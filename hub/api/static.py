"""Content that does not change while the hub runs: the files of a page, and what a plugin has rendered once.

Each answer has an ETag, so that a browser that has the content already gets 304, and is compressed for clients that
accept it. A browser asks each time whether its copy is still valid, but never for a file whose name contains the hash
of its content: `StaticFiles.address` returns such a name for every file.

The files of a folder are read when the plugin starts, and a request chooses among those by its whole path. So no path,
however it is spelled, leads to anything else.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import trio

from hub.api.messages import Request, Response
from hub.api.routes import PUBLIC, Route
from hub.errors import NotFound

#: Media types by the suffix of a file; the type of any other is `_UNKNOWN`.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
_UNKNOWN = "application/octet-stream"
#: Types that compression makes smaller; the others are compressed already.
_COMPRESSIBLE = re.compile(r"text/.*|image/svg\+xml|font/ttf|application/(json|manifest\+json|wasm|xml)")
#: Bytes from which a content is compressed: below, it fits into one packet anyway.
MIN_COMPRESSED = 1024
#: Bytes of the files of one folder, which are all in memory.
MAX_FOLDER = 16 * 1024 * 1024
REVALIDATED, IMMUTABLE = "no-cache", "public, max-age=31536000, immutable"
#: Digits of a hash in a name that `StaticFiles.address` makes, and the fewest that are recognized in a file's own name.
_HASH_DIGITS, _MIN_HASH_DIGITS = 16, 8
_HASHES = re.compile(rf"(?<![0-9a-f])[0-9a-f]{{{_MIN_HASH_DIGITS},64}}(?![0-9a-f])")
#: RFC 9110, 12.5.3: an entry of Accept-Encoding with its weight.
_ENCODING = re.compile(r"\s*([A-Za-z0-9*_.-]+)\s*(?:;\s*[qQ]\s*=\s*([0-9.]+)\s*)?")


class StaticContent:
    """Content of one media type, and the answers with it.

    ``headers`` are added to its answers.
    """

    def __init__(self, content: bytes | str, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        self._content = content.encode() if isinstance(content, str) else content
        self.media_type = media_type
        self.hash = hashlib.sha256(self._content).hexdigest()
        self._is_compressible = (
            len(self._content) >= MIN_COMPRESSED and _COMPRESSIBLE.fullmatch(media_type.partition(";")[0]) is not None
        )
        self._compressed: bytes | None = None
        self._lock = trio.Lock()
        self._headers = {**(headers or {}), "X-Content-Type-Options": "nosniff"}
        if self._is_compressible:
            self._headers["Vary"] = "Accept-Encoding"

    async def answer(self, request: Request, *, immutable: bool = False) -> Response:
        """Return the answer to a request for the content: all of it, or 304 if the client has it already.

        ``immutable``: its address is that of this content alone, so clients need not ask again for a year.
        """
        body, etag, encoding = self._content, f'"{self.hash[:32]}"', {}
        if self._is_compressible and accepts_gzip(request.headers.get("accept-encoding", "")):
            compressed = await self._compress()
            if len(compressed) < len(self._content):
                # A strong ETag is that of the bytes as they are sent (RFC 9110, 8.8.3.3).
                body, etag, encoding = compressed, f'"{self.hash[:32]}-gzip"', {"Content-Encoding": "gzip"}
        headers = {"ETag": etag, "Cache-Control": IMMUTABLE if immutable else REVALIDATED, **self._headers}
        if _matches(request.headers.get("if-none-match", ""), etag):
            return Response(status=304, headers=headers)
        return Response(body=body, type=self.media_type, headers=headers | encoding)

    async def _compress(self) -> bytes:
        """Return the content compressed; it is compressed once, in a thread."""
        async with self._lock:
            if self._compressed is None:
                self._compressed = await trio.to_thread.run_sync(lambda: gzip.compress(self._content, 9, mtime=0))
            return self._compressed


class StaticFiles:
    """The files of a folder and its subfolders, below ``path``, such as "/app": then ``index.html`` is the page /app/.

    ``headers`` are added to every answer, such as a Content-Security-Policy. Files whose names begin with a dot are not
    served. Raises ValueError for a link that leads out of the folder, and for more than `MAX_FOLDER` bytes.
    """

    def __init__(self, folder: Path, path: str, headers: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._headers = headers
        self._files: dict[str, StaticContent] = {}
        #: The same files by the names that have the hash of the content, and these names by the files' own.
        self._immutable_files: dict[str, StaticContent] = {}
        self._hashed_names: dict[str, str] = {}
        root, size = folder.resolve(strict=True), 0
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder)
            if not file.is_file() or any(part.startswith(".") for part in name.parts):
                continue
            if not file.resolve().is_relative_to(root):
                raise ValueError(f"{file} is a link to {file.resolve()}, outside of the folder of static files")
            content = file.read_bytes()
            size += len(content)
            if size > MAX_FOLDER:
                raise ValueError(f"the static files in {folder} have more than {MAX_FOLDER >> 20} MB")
            self._add(name.as_posix(), content)

    def _add(self, name: str, content: bytes) -> None:
        path = PurePosixPath(name)
        file = StaticContent(content, TYPES.get(path.suffix.lower(), _UNKNOWN), self._headers)
        is_named_by_hash = any(file.hash.startswith(digits) for digits in _HASHES.findall(path.name))
        hashed_name = name if is_named_by_hash else f"{path.with_suffix('')}.{file.hash[:_HASH_DIGITS]}{path.suffix}"
        self._files[name] = self._immutable_files[hashed_name] = file
        self._hashed_names[name] = hashed_name

    def address(self, name: str) -> str:
        """Return the path at which browsers keep a file without asking again, such as ``/app/app.6f0e….css``.

        Another content has another path. Raises KeyError for a file that does not exist.
        """
        return f"{self._path}/{self._hashed_names[name]}"

    def routes(self, summary: str) -> Sequence[Route]:
        """Return the routes of the files, which everybody may read; ``summary`` describes them all."""
        media = tuple(sorted({file.media_type.partition(";")[0] for file in self._files.values()}))
        routes = [
            Route("GET", f"{self._path}/{{file:path}}", self._serve, PUBLIC, summary, media=media, raw_query=True)
        ]
        if "index.html" in self._files:
            index = ("text/html",)
            routes.append(Route("GET", self._path, self._serve_index, PUBLIC, summary, media=index, raw_query=True))
        return routes

    async def _serve(self, request: Request) -> Response:
        name = request.path.removeprefix(f"{self._path}/")
        if (file := self._immutable_files.get(name)) is not None:
            return await file.answer(request, immutable=True)
        if (file := self._files.get(name)) is not None:
            return await file.answer(request)
        raise NotFound(f"There is no file {request.path}.")

    async def _serve_index(self, request: Request) -> Response:
        if not request.raw_path.endswith("/"):
            # The page's relative addresses, and the scope of its service worker, begin after the slash.
            query = f"?{request.query}" if request.query else ""
            return Response(status=308, headers={"Location": f"{self._path}/{query}"})
        return await self._files["index.html"].answer(request)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip (RFC 9110, 12.5.3)."""
    weights = {}
    for entry in accept_encoding.split(","):
        if match := _ENCODING.fullmatch(entry):
            weights[match[1].lower()] = match[2] is None or match[2].strip("0.") != ""
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))


def _matches(if_none_match: str, etag: str) -> bool:
    """Whether an If-None-Match header has this ETag, by the weak comparison (RFC 9110, 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags
