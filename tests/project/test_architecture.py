"""Rules of the source: the import contracts (pyproject.toml) list every package, and SQL is portable outside the storage."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
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


@pytest.mark.parametrize("name", ["SQLite and asyncio only in", "h11 only in"])
def test_every_module_of_the_client_but_aio_is_in_the_contract(name):
    [listed] = [contract["source_modules"] for contract in CONTRACTS["contracts"] if contract["name"].startswith(name)]
    assert {f"client.{module}" for module in modules(ROOT / "client") - {"aio"}} == {
        module for module in listed if module.startswith("client")
    }


def test_commands_start_without_asyncio():
    """It takes as long to import as all that a command needs."""
    program = "import client.cli, client.remote, sys; print(sorted({'asyncio', 'h11', 'websockets'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "[]" == done.stdout.strip()


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
STATEMENT = re.compile(r"\b(SELECT|INSERT INTO|UPDATE \S+ SET|DELETE FROM|WHERE|ON CONFLICT|PRAGMA)\b")


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


def test_sql_of_the_history_is_in_its_stores():
    modules = {path.name for path in (ROOT / "hub" / "history").glob("*.py") if list(sql_texts(path))}
    assert {"chunkstore.py", "log_table.py"} == modules


@pytest.mark.parametrize(
    "sql", ["SELECT 1 WHERE a IS ?", "INSERT OR REPLACE INTO a", "WHERE a IN (SELECT value FROM json_each(?))"]
)
def test_sql_of_sqlite_only_is_detected(sql):
    assert STATEMENT.search(sql) or "INSERT" in sql
    assert SQLITE_ONLY.search(sql)


#: Who reads the machine's clock: the hub's clock; the watchdog, whose thread watches the loop from outside; what runs
#: before there is a hub or in a process of its own; commands, and the simulated devices.
CLOCK_READERS = {
    "hub/clock.py",
    "hub/watchdog.py",
    "hub/datadir/ownership.py",
    "hub/storage/migrations.py",
    "hub/storage/sqlite.py",
    "hub/testing.py",
    "plugins/backup/archive.py",
    "plugins/backup/worker.py",
    "connectors/simulator/devices.py",
}
CLOCK = re.compile(r"\b(time\.(monotonic|time|time_ns|monotonic_ns)|trio\.current_time|datetime\.now|gmtime\(\))")


def clock_readers():
    """(module, what it reads) of each place that reads the machine's clock itself."""
    for folder in ("hub", "connectors", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute | ast.Call) and (read := CLOCK.search(ast.unparse(node))):
                    yield str(path.relative_to(ROOT)), read[0]


def test_only_the_clock_of_the_hub_reads_the_time():
    readers = {(module, read) for module, read in clock_readers() if not module.endswith("commands.py")}
    assert set() == {(module, read) for module, read in readers if module not in CLOCK_READERS}
    assert CLOCK_READERS == {module for module, _ in readers}
