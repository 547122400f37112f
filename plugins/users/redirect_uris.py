"""Which redirect URIs an OAuth2 client may have."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

#: RFC 3986's characters but the fragment's, without those that end a directive or a header that the URI is put into.
_URI = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,=%-]{1,500}")
#: RFC 8252, 7.1: an app's own scheme is a domain name in reverse order.
_APP_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
#: First parts of schemes that look like an app's own but could be taken for a browser's, such as "javascript.x".
_BROWSER_SCHEMES = ("javascript", "vbscript", "data", "livescript", "blob", "file", "about", "view-source")
#: A host name or an address, as it may stand in a Content-Security-Policy.
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]*:[0-9a-f:.]*")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_redirect_uri(uri: str) -> bool:
    """Return whether a client may have this redirect URI: absolute and without fragment (RFC 6749, 3.1.2).

    It is https with a host, http to this machine, or an app's own scheme in RFC 8252's form. A user name or password
    is not allowed: it would look like another host than the one that the URI leads to.
    """
    try:
        parts = urlsplit(uri)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return False
    if _URI.fullmatch(uri) is None or "@" in parts.netloc or not port_is_valid:
        return False
    if parts.scheme in ("https", "http"):
        host = parts.hostname or ""
        return bool(_HOST.fullmatch(host)) and (parts.scheme == "https" or host in _LOOPBACK)
    return _APP_SCHEME.fullmatch(parts.scheme) is not None and parts.scheme.partition(".")[0] not in _BROWSER_SCHEMES


def describe_target(uri: str) -> tuple[str, str]:
    """Return the scheme of a redirect URI and what a user calls its target: a host, or "the app …"."""
    parts = urlsplit(uri)
    return parts.scheme, parts.netloc if parts.scheme in ("https", "http") else f"the app {parts.scheme}"
