"""Addresses that people open: in links to reports, files and accounts, and in the line ``ready``.

A link is at ``[hub] url`` if that is set. Else at the host by which its reader came to the hub, if that is one of the
hub's own names and addresses, or what a trusted proxy says (a Host of anybody's choice would make the hub send its
users to it). Else at this machine's address in its network; at loopback only when nothing else is listened on.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub.net.tls import lan_address, local_names

if TYPE_CHECKING:
    from hub.api.messages import Request
    from hub.config import Config
    from hub.net.listener import Listener

#: RFC 3986, 3.2: a host, which is a name or an address, and its port.
_HOST = re.compile(r"([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?", re.ASCII)
#: What to say beside a link that opens on this machine only.
ONLY_HERE = "It opens on this machine only: set [hub] url in hub.toml for links that open elsewhere."


def link(path: str, request: Request | None, config: Config, door: Listener | None) -> str:
    """The whole address of ``path`` for whoever sent ``request``; None is somebody at the hub's terminal."""
    return f"{_base(request, config, door)}{path}"


def _base(request: Request | None, config: Config, door: Listener | None) -> str:
    if config.hub.url:
        return config.hub.url.rstrip("/")
    came_by = "" if request is None else _came_by(request, config)
    bases = [came_by] if came_by else []
    bases += [f"{'https' if tls else 'http'}://{reachable(address)}" for address, tls in _http(config, door)]
    return next((base for base in bases if not is_only_here(base)), bases[0] if bases else "")


def _came_by(request: Request, config: Config) -> str:
    """The address by which a client came to the hub; "" when it is not believed."""
    found = _HOST.fullmatch(request.host.lower())
    if found is None:
        return ""
    name = found[1].strip("[]").removesuffix(".")
    if not request.forwarded and name not in {own.lower() for own in (*local_names(config.hub.url), request.local)}:
        return ""
    return f"{'https' if request.tls else 'http'}://{found[0]}"


def _http(config: Config, door: Listener | None) -> Sequence[tuple[str, bool]]:
    """The addresses that serve people over HTTP, and whether with TLS only; as configured while nothing is served."""
    if door is None:
        # Which port 0 will be is not known yet.
        served = [(listen.address, listen.tls == "on", listen.serve) for listen in config.listen if listen.port]
    else:
        served = [(one["address"], one["tls"], one["serve"]) for one in door.described()]
    return [(address, tls) for address, tls, serve in served if "http" in serve] or [one[:2] for one in served]


def reachable(address: str) -> str:
    """A listener's address as others in the network reach it: with this machine's address instead of a wildcard."""
    host, _, port = address.rpartition(":")
    if host == "0.0.0.0":  # noqa: S104 - is compared
        return f"{lan_address(socket.AF_INET) or '127.0.0.1'}:{port}"
    if host == "[::]":
        return f"[{lan_address(socket.AF_INET6) or '::1'}]:{port}"
    return address


def is_only_here(link: str) -> bool:
    """Whether a link opens on this machine only."""
    host = link.partition("://")[2].partition("/")[0]
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
