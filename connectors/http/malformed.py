"""Names the rule that a malformed request breaks, for whoever wrote the client. The request is never repeated.

A token may stand in it, and what is answered here also goes into the hub's list of refusals.
"""

from __future__ import annotations

import re

#: What h11 says of a request's head or body, by how it begins, and the rule in a full sentence.
_RULES = {
    "Missing mandatory Host": "An HTTP/1.1 request needs a Host header (RFC 9112 §3.2).",
    "Found multiple Host": "A request has no more than one Host header (RFC 9112 §3.2).",
    "illegal header line": (
        "A header line is a name, a colon and a value: no space before the colon, no control characters (RFC 9112 §5)."
    ),
    "continuation line": "The first header line must not begin with a space (RFC 9112 §2.2).",
    "conflicting Content-Length": "Content-Length is there several times, with different values (RFC 9112 §6.3).",
    "bad Content-Length": "Content-Length must be a number of bytes in digits (RFC 9110 §8.6).",
    "multiple Transfer-Encoding": "Transfer-Encoding is there several times; only chunked is understood.",
    "Only Transfer-Encoding": "Transfer-Encoding must be chunked: no other is understood.",
    "illegal chunk header": "A chunk begins with a line that has its size in hexadecimal digits (RFC 9112 §7.1).",
    "malformed chunk footer": "A chunk ends with CR LF, after as many bytes as its size says (RFC 9112 §7.1).",
    "peer unexpectedly closed": "The connection ended in the middle of the request.",
    "peer closed connection": "The connection ended in the middle of the body.",
}
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
#: What a request target must not have, and what it is called.
_FORBIDDEN = (
    (re.compile(rb" "), "a space"),
    (re.compile(rb"[\x80-\xff]"), "characters outside ASCII"),
    (re.compile(rb"[\x00-\x1f\x7f]"), "control characters"),
)


def broken_rule(error: str, head: bytes) -> str:
    """The rule of HTTP/1.1 that a request breaks, as a full sentence, given h11's ``error`` and the request so far."""
    if error.startswith("illegal request line"):
        return _of_request_line(head.partition(b"\n")[0].removesuffix(b"\r"))
    found = (rule for beginning, rule in _RULES.items() if error.startswith(beginning))
    return next(found, "This is not HTTP/1.1.")


def _of_request_line(line: bytes) -> str:
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if _METHOD.fullmatch(method) is None or _VERSION.fullmatch(version) is None:
        return "A request begins with a line like GET /path HTTP/1.1: method, target and version (RFC 9112 §3)."
    found = [name for pattern, name in _FORBIDDEN if pattern.search(target)]
    if not found:
        return "There must be a target between the method and the version (RFC 9112 §3)."
    said = " and ".join(found)
    return f"The request target has {said}: they must be percent-encoded, a space as %20, ü as %C3%BC (RFC 3986 §2.1)."
