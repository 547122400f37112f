"""Discovery of plugins: those of installed packages, by their entry points, and the files in ``<data>/plugins``."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hub.plugin import Plugin

#: The package whose plugins are built in.
OURS = "pinwheel-hub"

Found = tuple[Plugin, Callable[[], Any]]


def discover(data: Path) -> Iterator[Found]:
    """Yield each plugin with the function that loads its module, those of packages first, sorted by name."""
    for entry, package, version in installed():
        yield Plugin(entry.name, package, version, built_in=package == OURS), entry.load
    folder = data / "plugins"
    for path in sorted(folder.glob("*.py")) if folder.is_dir() else ():
        yield Plugin(path.stem, str(path)), functools.partial(_load_file, path)


@functools.cache
def installed() -> list[tuple[importlib.metadata.EntryPoint, str, str]]:
    """Return (entry point, package, version) of installed plugins, by name; cached, since the lookup is slow."""
    describe = functools.cache(_describe)
    entries = sorted(importlib.metadata.entry_points(group="pinwheel"), key=lambda entry: entry.name)
    return [(entry, *describe(entry.dist)) for entry in entries]


def _describe(dist: importlib.metadata.Distribution | None) -> tuple[str, str]:
    """Return a package's name and version; reading its metadata takes a millisecond."""
    return ("?", "") if dist is None else (dist.name, dist.version)


def _load_file(path: Path) -> types.ModuleType:
    name = f"pinwheel_plugins.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
