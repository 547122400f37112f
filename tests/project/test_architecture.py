"""Rules of the source: the import contracts (pyproject.toml) list every package, and SQL is portable outside the storage."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib

import pytest
from support.paths import ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def contract(name):
    return next(contract for contract in CONTRACTS["contracts"] if contract["name"] == name)


def packages(folder):
    return {path.name for path in folder.iterdir() if (path / "__init__.py").is_file()}


def modules(folder):
    return {path.stem for path in folder.glob("*.py") if path.name != "__init__.py"} | packages(folder)


def test_every_package_has_a_layer():
    layers = {name.strip() for layer in contract("layers")["layers"] for name in layer.split("|")}
    connectors = {f"connectors.{name}" for name in packages(ROOT / "connectors")}
    # No code imports the packages of data and tests.
    assert packages(ROOT) - {"config", "tests", "connectors"} | connectors == layers
    assert packages(ROOT) - {"config", "tests"} == set(CONTRACTS["root_packages"])


def test_every_plugin_is_in_the_contract_of_independence():
    assert {f"plugins.{name}" for name in modules(ROOT / "plugins")} == set(
        contract("plugins are independent")["modules"]
    )


def foreign_imports(folder):
    """(file, module, name) of every import in a folder that imports a name of the core which is not public."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "hub":
                public = getattr(importlib.import_module(node.module), "__all__", ())
                for alias in node.names:
                    # A public module may be imported itself.
                    imported = getattr(importlib.import_module(node.module), alias.name, None)
                    if alias.name not in public and not hasattr(imported, "__all__"):
                        yield str(path.relative_to(ROOT)), node.module, alias.name
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.partition(".")[0] == "hub":
                        yield str(path.relative_to(ROOT)), alias.name, ""


@pytest.mark.parametrize("folder", ["plugins", "connectors"])
def test_only_public_names_are_imported_from_the_core(folder):
    assert [] == list(foreign_imports(folder))


#: Keywords and forms of SQL that only SQLite has, or that it interprets in its own way.
SQLITE_ONLY = re.compile(
    r"\b(json_each|json_extract|json_group_array|ifnull|instr|sqlite_\w+|rowid|glob|unixepoch|strftime)\b"
    r"|\bor (ignore|replace|abort|rollback)\b|\bis (not )?\?|\bin \(\)",
    re.IGNORECASE,
)
#: Folders where they are allowed: the storage, and the history with its own file.
STORAGE = ("hub/storage/", "hub/history/")
STATEMENT = re.compile(r"\b(SELECT|INSERT INTO|UPDATE \S+ SET|DELETE FROM|WHERE|ON CONFLICT)\b")


def sql_texts(path):
    """(line, text) of the literals in a module that look like SQL."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.search(node.value):
            yield node.lineno, node.value


def test_sql_of_sqlite_only_is_in_the_storage():
    foreign = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]}"
        for folder in ("hub", "plugins", "connectors", "client")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not str(path.relative_to(ROOT)).startswith(STORAGE)
        for line, text in sql_texts(path)
        if (match := SQLITE_ONLY.search(text))
    ]
    assert [] == foreign


@pytest.mark.parametrize(
    "sql", ["SELECT 1 WHERE a IS ?", "INSERT OR REPLACE INTO a", "WHERE a IN (SELECT value FROM json_each(?))"]
)
def test_sql_of_sqlite_only_is_detected(sql):
    assert STATEMENT.search(sql) or "INSERT" in sql
    assert SQLITE_ONLY.search(sql)
