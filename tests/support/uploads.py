"""What the tests of streamed uploads share: a path, sizes, and requests."""

from __future__ import annotations

import io

from support.raw_http import request

from client import Call

MAX_BODY = 1024 * 1024
#: Far more than the kernel's buffers for one connection hold.
LARGE_BODY = 64 * 1024 * 1024
UPLOAD = "/api/v1/test/upload"


def head(path, key, **headers):
    """The head of a POST request, without the body."""
    return request("POST", path, key=key, **headers)


def chunked(*chunks):
    """A body in chunked transfer encoding."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def upload_call(content, path=UPLOAD):
    """A call of the Python client that uploads bytes."""
    return Call("POST", path, content=io.BytesIO(content))
