"""The contracts on imports (pyproject.toml) are about the packages that there are."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def contract(name):
    return next(one for one in CONTRACTS["contracts"] if one["name"] == name)


def packages(folder):
    return {path.name for path in folder.iterdir() if (path / "__init__.py").is_file()}


def modules(folder):
    return {path.stem for path in folder.glob("*.py") if path.name != "__init__.py"} | packages(folder)


def test_every_package_has_its_layer():
    layers = {name.strip() for layer in contract("layers")["layers"] for name in layer.split("|")}
    connectors = {f"connectors.{name}" for name in packages(ROOT / "connectors")}
    # Data and tests are imported by nothing.
    assert packages(ROOT) - {"config", "tests", "connectors"} | connectors == layers
    assert packages(ROOT) - {"config", "tests"} == set(CONTRACTS["root_packages"])


def test_no_plugin_may_import_another():
    assert {f"plugins.{name}" for name in modules(ROOT / "plugins")} == set(
        contract("plugins are independent")["modules"]
    )
