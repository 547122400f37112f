"""Python client of a hub's API. The ``pinwheel`` command uses it too.

`client.operations` has a typed function for each operation of the OpenAPI document. It returns a `Call`, which a hub
executes: a running one over HTTP (`client.remote.Remote`, or in asyncio `client.aio.AsyncRemote`), or the one of a data
directory, running or not (`client.local.open_api`)::

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
    # Imported on first use: the pinwheel script must handle Ctrl-C before it imports any library.
    if name in __all__:
        return getattr(import_module("client.call"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
