"""The version of the installed hub."""

from __future__ import annotations

import os
import sys

#: The name of the directory of the package's metadata, around the version.
_PREFIX, _SUFFIX = "pinwheel_hub-", ".dist-info"


def installed() -> str:
    """Return the version, from the name of the metadata's directory: importlib.metadata takes much longer."""
    for place in sys.path:
        try:
            names = os.listdir(place or ".")  # noqa: PTH208 - pathlib takes as long as the rest
        except OSError:
            continue
        for name in names:
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
                return name[len(_PREFIX) : -len(_SUFFIX)]
    import importlib.metadata

    return importlib.metadata.version("pinwheel-hub")
