"""The rule of HTTP/1.1 that a malformed request breaks, in words for the client's developer.

The request is never repeated: a token may be in it, and the words also go into the hub's list of refusals.
"""

from __future__ import annotations

import re

#: The rule that is broken, by the beginning of h11's error text.
_RULES = {
    "Missing mandatory Host": "An HTTP/1.1 request needs a Host header (RFC 9112 §3.2).",
    "Found multiple Host": "A request has no more than one Host header (RFC 9112 §3.2).",
    "illegal header line": (
        "A header line is a name, a colon and a value: no space before the colon, no control characters (RFC 9112 §5)."
    ),
    "continuation line": "The first header line must not begin with a space (RFC 9112 §2.2).",
    "conflicting Content-Length": "Content-Length occurs several times with different values (RFC 9112 §6.3).",
    "bad Content-Length": "Content-Length must be a number of bytes in digits (RFC 9110 §8.6).",
    "multiple Transfer-Encoding": "Transfer-Encoding occurs several times; the only supported value is chunked.",
    "Only Transfer-Encoding": "Transfer-Encoding must be chunked; no other value is supported.",
    "illegal chunk header": "A chunk begins with a line that has its size in hexadecimal digits (RFC 9112 §7.1).",
    "malformed chunk footer": "A chunk ends with CR LF, after as many bytes as its size says (RFC 9112 §7.1).",
    "peer unexpectedly closed": "The connection ended in the middle of the request.",
    "peer closed connection": "The connection ended in the middle of the body.",
}
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
#: Bytes that a request target must not contain, and their name.
_FORBIDDEN = (
    (re.compile(rb" "), "a space"),
    (re.compile(rb"[\x80-\xff]"), "characters outside ASCII"),
    (re.compile(rb"[\x00-\x1f\x7f]"), "control characters"),
)


def broken_rule(error: str, head: bytes) -> str:
    """Return the rule that a request breaks as a full sentence, given h11's ``error`` and the request so far."""
    if error.startswith("illegal request line"):
        return _broken_rule_of_request_line(head.partition(b"\n")[0].removesuffix(b"\r"))
    rules = (rule for beginning, rule in _RULES.items() if error.startswith(beginning))
    return next(rules, "This is not HTTP/1.1.")


def _broken_rule_of_request_line(line: bytes) -> str:
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if _METHOD.fullmatch(method) is None or _VERSION.fullmatch(version) is None:
        return "A request begins with a line like GET /path HTTP/1.1: method, target and version (RFC 9112 §3)."
    forbidden = [name for pattern, name in _FORBIDDEN if pattern.search(target)]
    if not forbidden:
        return "There must be a target between the method and the version (RFC 9112 §3)."
    names = " and ".join(forbidden)
    return f"The request target has {names}: they must be percent-encoded, a space as %20, ü as %C3%BC (RFC 3986 §2.1)."
