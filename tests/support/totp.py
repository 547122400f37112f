"""One-time passwords (RFC 6238)."""

from __future__ import annotations

import base64
import time

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP


def one_time_password(secret, ahead=0):
    totp = TOTP(base64.b32decode(secret), 6, SHA1(), 30)
    return totp.generate(int(time.time()) + ahead).decode()
