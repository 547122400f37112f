"""Links to pages of the hub, for reports, files and accounts, and addresses for the line ``ready``.

The base of a link is ``[hub] url`` if that is set. Else it is the host that the client named, if that is one of the
hub's own names and addresses or comes from a trusted proxy: any other Host header would make the hub send its users to
a stranger's page. Else it is this machine's address in its network; loopback only if nothing else is listened on.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

from hub.api.messages import Request
from hub.config import Config
from hub.net.certificates import lan_address, local_names
from hub.net.listener import Listener

#: RFC 3986, 3.2: a host, which is a name or an address, and its port.
_HOST = re.compile(r"([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?", re.ASCII)
#: The note beside a link that opens on this machine only.
ONLY_HERE = "It opens on this machine only: set [hub] url in hub.toml for links that open elsewhere."


def link(path: str, request: Request | None, config: Config, listener: Listener | None) -> str:
    """Return the URL of ``path`` for the client that sent ``request``, or for the hub's terminal if that is None."""
    return f"{_base(request, config, listener)}{path}"


def is_own_origin(origin: str, request: Request, config: Config) -> bool:
    """Whether an Origin header (RFC 6454) names a page of this hub, by a name that is the hub's own.

    It is not enough that Origin and Host are equal: both are the attacker's name in DNS rebinding.
    """
    own = [*_requested_base(request, config), config.hub.url.rstrip("/")]
    return bool(origin) and origin.lower() in {base.lower() for base in own}


def _base(request: Request | None, config: Config, listener: Listener | None) -> str:
    if config.hub.url:
        return config.hub.url.rstrip("/")
    bases = [] if request is None else _requested_base(request, config)
    bases += [f"{'https' if tls else 'http'}://{reachable(address)}" for address, tls in _http(config, listener)]
    return next((base for base in bases if not is_only_here(base)), bases[0] if bases else "")


def _requested_base(request: Request, config: Config) -> list[str]:
    """Return the base by which a client came to the hub, if its Host header can be trusted."""
    match = _HOST.fullmatch(request.host.lower())
    if match is None:
        return []
    name = match[1].strip("[]").removesuffix(".")
    if not request.forwarded and name not in {own.lower() for own in (*local_names(config.hub.url), request.local)}:
        return []
    return [f"{'https' if request.tls else 'http'}://{match[0]}"]


def _http(config: Config, listener: Listener | None) -> Sequence[tuple[str, bool]]:
    """Return (address, whether TLS only) of what serves HTTP; from the configuration while nothing is served."""
    if listener is None:
        # The real port of a port 0 is not known yet.
        served = [(listen.address, listen.tls == "on", listen.serve) for listen in config.listen if listen.port]
    else:
        served = [(entry["address"], entry["tls"], entry["serve"]) for entry in listener.described()]
    return [(address, tls) for address, tls, serve in served if "http" in serve] or [entry[:2] for entry in served]


def reachable(address: str) -> str:
    """Return a listener's address as others in the network reach it: a wildcard becomes this machine's address."""
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
