"""Payloads of Blynk's topics as text and values, and how they appear in logs and traces. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: Bytes of a payload that a trace shows.
PREVIEW = 200


def decode_text(payload: bytes) -> str:
    """Decode UTF-8, or Latin-1 if the payload is not UTF-8, as in the native protocol."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload.decode("latin-1")


def decode_values(payload: bytes) -> str | Sequence[str]:
    """Decode a value, or several values separated by NUL."""
    parts = decode_text(payload).split("\0")
    return parts[0] if len(parts) == 1 else parts


def encode_values(texts: Iterable[str]) -> bytes:
    """Encode the values of one datastream, separated by NUL."""
    return "\0".join(texts).encode()


def preview(payload: bytes) -> str:
    """Return the beginning of a payload as text. Control characters in it are not escaped."""
    return decode_text(payload[:PREVIEW])


def redact_token(text: str) -> str:
    """Replace the token in a gateway's topic, which the text is or contains."""
    return re.sub(r"dev/[^/]+", "dev/…", text)
