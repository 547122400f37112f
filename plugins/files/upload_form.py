"""Parsing an upload: the file in a multipart form (RFC 7578), as docs.blynk.io, Upload a file, describes it."""

from __future__ import annotations

import logging
import re

from python_multipart.multipart import MultipartParser, parse_options_header

from hub import Rejected

# The parser logs a warning for each malformed form. The hub records rejected requests itself, and limits how often.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

#: Parts of a form; the parser limits the headers of each.
MAX_PARTS = 16
#: Name of the form's field that has the file.
FIELD = b"upfile"
#: Characters of a file's name.
MAX_NAME = 100
_FORBIDDEN = re.compile(r"[^\w. ()+-]")


def parse_upload(content_type: str, body: bytes) -> tuple[str, bytes]:
    """Return (safe name, content) of the first file ``upfile`` in a form. Raises `Rejected`."""
    main, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if main != b"multipart/form-data" or not boundary:
        raise Rejected("The body must be multipart/form-data.")
    upload = _UploadParser().parse(boundary, body)
    if upload is None:
        raise Rejected("The form has no file named upfile.")
    name, content = upload
    return safe_name(name), content


class _UploadParser:
    """Callbacks of python-multipart that collect the first part named `FIELD`."""

    def __init__(self) -> None:
        self._upload: tuple[str, bytes] | None = None
        self._parts = 0
        # The current part, and its current header.
        self._headers: dict[bytes, bytes] = {}
        self._content = bytearray()
        self._header_name = bytearray()
        self._header_value = bytearray()

    def parse(self, boundary: bytes, body: bytes) -> tuple[str, bytes] | None:
        """Return the file's (name, content); None if the form has none. Raises `Rejected` for a malformed form."""
        # Not an attribute: the reference cycle would keep the memory of each form until the garbage collector runs.
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
            },
        )
        try:
            parser.write(body)
            parser.finalize()
        except ValueError as error:
            raise Rejected("The form is malformed.") from error
        return self._upload

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise Rejected(f"A form can have at most {MAX_PARTS} parts.")
        self._headers.clear()
        self._content.clear()
        self._header_name.clear()
        self._header_value.clear()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _on_part_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if options.get(b"name") == FIELD and self._upload is None:
            self._upload = options.get(b"filename", b"").decode("utf-8", "replace"), bytes(self._content)


def safe_name(name: str) -> str:
    """Return a client's file name without its directories, and with ``_`` for characters of a shell or of HTML."""
    safe = _FORBIDDEN.sub("_", re.split(r"[/\\]", name)[-1])[:MAX_NAME].strip(". ")
    return safe or "file"
