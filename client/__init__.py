"""The API of a hub for Python programs: ``pinwheel`` uses nothing else.

`client.operations` has a function for each operation of the OpenAPI document, made from it, with the types that it
has there. What such a function returns, a hub carries out: one that runs somewhere (`client.remote.Remote`), or the
one that uses a data directory (`client.local.opened`)::

    hub = Remote("http://pi.local:8080", key)
    for device in hub(get_organization_devices(size=100))["content"]:
        print(device["id"], device["name"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.call import Api, Call

__all__ = ["Api", "Call"]


def __getattr__(name: str) -> Any:
    # The script answers Ctrl-C before it loads a library.
    if name in __all__:
        return getattr(import_module("client.call"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
