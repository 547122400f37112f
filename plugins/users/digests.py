"""Digests of tokens, codes and client secrets: the hub stores these instead of the secrets."""

from __future__ import annotations

import hashlib


def digest(secret: str) -> bytes:
    """Return the SHA-256 of a token, code or client secret.

    One pass without salt is enough: these secrets are random, unlike passwords.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
