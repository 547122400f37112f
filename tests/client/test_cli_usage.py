"""Help, version, usage errors and shell completion of all commands."""

from __future__ import annotations

import importlib.metadata
import os
import resource
import subprocess
from contextlib import closing

import pytest
from support.command import COMMANDS, PINWHEEL

from client import cli


@pytest.mark.parametrize("command", [*COMMANDS, "device", "template", ""])
def test_help_of_each_command_is_printed(command, capsys):
    with pytest.raises(SystemExit) as exited:
        cli.main([*command.split(), "--help"])
    printed = capsys.readouterr()

    assert (0, "") == (exited.value.code, printed.err)
    assert f"pinwheel {command}".strip() in printed.out
    if command in COMMANDS:
        assert {"--config", "--data"} <= set(printed.out.split())


def test_help_lists_every_command(pinwheel):
    done = pinwheel.run_process("--help")

    assert (0, "") == (done.code, done.err)
    assert [] == [name for name in COMMANDS if name.split()[-1] not in done.out]


def test_version_is_printed(pinwheel):
    assert importlib.metadata.version("pinwheel-hub") == pinwheel.run_process("--version").out.strip()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("device",),
        ("device", "nonsense"),
        ("device", "add"),
        ("device", "show"),
        ("device", "list", "--nonsense"),
        ("device", "token", "1"),
        ("template", "import"),
        ("device", "simulate"),
    ],
)
def test_usage_error_exits_with_2(pinwheel, arguments):
    done = pinwheel(*arguments)

    assert (2, "") == (done.code, done.out)
    assert "usage: pinwheel" in done.err


def test_closed_pipe_is_not_an_error(pinwheel):
    assert 0 == pinwheel.import_template().code
    read, write = os.pipe()
    os.close(read)
    with closing(os.fdopen(write, "w")) as pipe:
        done = subprocess.run(
            [PINWHEEL, "template", "list"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            cwd=pinwheel.folder,
            check=False,
        )

    assert "" == done.stderr


def test_help_describes_each_command_in_a_line(pinwheel):
    for name in COMMANDS:
        first, _, second = name.partition(" ")
        output = pinwheel(*((first, "--help") if second else ("--help",)))
        assert 0 == output.code
        lines = output.out.splitlines()
        [number] = [number for number, line in enumerate(lines) if line.split()[:1] == [second or first]]
        # The description of a long name is on the next line.
        assert len(" ".join(lines[number : number + 2]).split()) > 3, lines[number]
        help_of_command = pinwheel(*name.split(), "--help")
        assert (0, "") == (help_of_command.code, help_of_command.err)
        assert {"--config", "--data", "--json"} <= set(
            help_of_command.out.replace("[", " ").replace("]", " ").split()
        ), name


def cpu_of(*arguments):
    """Return the CPU seconds of a command: the least of three runs."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(arguments, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)


@pytest.mark.parametrize(("option", "bare_pythons"), [("--version", 5), ("--help", 20)])
def test_version_and_help_use_little_more_cpu_than_python(option, bare_pythons):
    python = cpu_of(PINWHEEL.with_name("python"), "-c", "pass")
    assert cpu_of(PINWHEEL, option) < bare_pythons * python


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("device", "--help"), ("device", "list", "--help")])
def test_help_imports_neither_the_hub_nor_its_libraries(arguments):
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run([PINWHEEL, *arguments], check=True, capture_output=True, text=True, env=environment)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert set() == loaded & {"trio", "cattrs", "sqlite3", "cryptography", "hub.app", "hub.api.routes", "hub.config"}


def test_version_is_that_of_the_package(pinwheel):
    version = importlib.metadata.version("pinwheel-hub")
    assert f"{version}\n" == pinwheel("--version").out == pinwheel.run_process("--version").out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("statsu",), "did you mean 'status'?"),
        (("device", "lits"), "did you mean 'list'?"),
        (
            ("device", "list", "--jsno"),
            "pinwheel device list: error: unrecognized arguments: --jsno; did you mean '--json'?",
        ),
        (("device", "list", "--org"), "expected one argument"),
        ((), "the following arguments are required: COMMAND"),
    ],
)
def test_mistyped_command_or_option_is_reported_with_a_suggestion(pinwheel, arguments, error):
    done = pinwheel(*arguments)
    assert (2, "") == (done.code, done.out)
    assert error in done.err.splitlines()[-1]


def test_mistyped_device_is_reported_with_a_suggestion(running_hub):
    assert 0 == running_hub("device", "add", "--template", "TMPL0cli", "--name", "Greenhouse").code
    for name in ("greenhouse", "Grenhouse"):
        assert (
            f"there is no device named {name!r}; did you mean 'Greenhouse'?"
            == running_hub("device", "show", name).error
        )
    assert "there is no device 99" == running_hub("device", "show", "99").error


def test_directory_without_a_hub_is_reported_with_its_full_path(pinwheel):
    error = pinwheel("device", "list", "--data", "nowhere").error
    assert error.startswith(f"there is no hub data in {pinwheel.folder.resolve()}/nowhere; ")


@pytest.mark.parametrize(
    ("words", "completed"),
    [(["device", "s"], ["show", "simulate"]), (["device", "list", "--or"], ["--org"]), (["che"], ["check"])],
    ids=" ".join,
)
def test_shell_completes_commands_and_options(tmp_path, words, completed):
    script_of_shell = subprocess.run([PINWHEEL, "completion", "bash"], check=True, capture_output=True, text=True)
    (tmp_path / "completion").write_text(script_of_shell.stdout)
    script = (
        f"source {tmp_path}/completion; COMP_WORDS=(pinwheel {' '.join(words)}); COMP_CWORD={len(words)};"
        ' f=$(complete -p pinwheel | sed "s/.*-F \\([^ ]*\\).*/\\1/"); $f; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert completed == sorted(done.stdout.split())
