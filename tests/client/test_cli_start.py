"""How a command begins and ends: its help, what it costs, Ctrl-C, words that there are not, and a hub elsewhere."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pty
import resource
import secrets
import signal
import subprocess

import pytest
import trustme
from support.command import CONFIG, PINWHEEL, TLS, CommandLine
from support.totp import one_time_password

from client import operations
from client.remote import Remote

COMMANDS = sorted(entry.name for entry in importlib.metadata.entry_points(group="pinwheel.commands"))


@pytest.fixture
def house(tmp_path):
    return CommandLine(tmp_path / "house")


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory):
    """A house whose hub runs, with an organization and keys of an Admin and of a Staff of that organization."""
    house = CommandLine(tmp_path_factory.mktemp("lived-in"))
    with house.running():
        assert 0 == house.import_template().code
        assert 0 == house("org", "add", "Acme").code
        for email, role, org in (("ada@example.org", "Admin", "1"), ("sam@example.org", "Staff", "Acme")):
            added = house(
                "user", "add", email, "--role", role, "--org", org, "--password-stdin", stdin="a long password\n"
            )
            assert 0 == added.code
        house.keys = {
            name: house("key", "add", f"{name}@example.org", "cli", "--json").json["key"] for name in ("ada", "sam")
        }
        yield house


# -- help -------------------------------------------------------------------------------------------------------------


def test_help_says_in_a_line_what_each_command_does(house):
    for name in COMMANDS:
        first, _, second = name.partition(" ")
        shown = house(*((first, "--help") if second else ("--help",)))
        assert 0 == shown.code
        lines = shown.out.splitlines()
        [number] = [number for number, line in enumerate(lines) if line.split()[:1] == [second or first]]
        # A long name has its line below.
        assert len(" ".join(lines[number : number + 2]).split()) > 3, lines[number]
        own = house(*name.split(), "--help")
        assert (0, "") == (own.code, own.err)
        assert {"--config", "--data", "--json"} <= set(own.out.replace("[", " ").replace("]", " ").split()), name


def cpu_of(*arguments):
    """Seconds of CPU of a command, the least of three."""
    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(arguments, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


@pytest.mark.parametrize(("option", "bare_pythons"), [("--version", 5), ("--help", 20)])
def test_version_and_help_take_little_more_than_python_itself(option, bare_pythons):
    python = cpu_of(PINWHEEL.with_name("python"), "-c", "pass")
    assert cpu_of(PINWHEEL, option) < bare_pythons * python


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("device", "--help"), ("device", "list", "--help")])
def test_what_only_prints_help_imports_neither_a_hub_nor_its_libraries(arguments):
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run([PINWHEEL, *arguments], check=True, capture_output=True, text=True, env=environment)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert set() == loaded & {"trio", "cattrs", "sqlite3", "cryptography", "hub.app", "hub.api.routes", "hub.config"}


def test_the_version_is_that_of_the_package(house):
    version = importlib.metadata.version("pinwheel-hub")
    assert f"{version}\n" == house("--version").out == house.run_process("--version").out


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------

#: Modules that are loaded until it is sent: at the beginning, and so late that it waits for the end of the command.
MOMENTS = [0, 1, 5, 20, 60, 120, 220, 350]


@pytest.mark.parametrize("loaded", MOMENTS)
@pytest.mark.parametrize("command", [("device", "list"), ("run",), ("check",)], ids=" ".join)
def test_ctrl_c_at_any_moment_ends_a_command_without_a_traceback(house, command, loaded):
    """Python says after each module that it is loaded, so moments are counted and not timed."""
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    with subprocess.Popen(
        [PINWHEEL, *command],
        cwd=house.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines, begun, sent = [], 0, False
        try:
            for line in process.stderr:
                lines.append(line)
                begun += begun > 0 or line.rstrip().endswith("hub.interrupts")
                if begun > loaded + 1 and not sent:
                    process.send_signal(signal.SIGINT)
                    sent = True
        finally:
            process.kill()
    said = [line for line in lines if not line.startswith("import time:")]
    # A hub that has begun stops well; a command may have been done before.
    assert process.returncode in ((130, 0, 1) if loaded > 100 else (130,)), said
    assert [] == [line for line in said if "Traceback" in line or "Exception" in line or "Interrupt" in line]


# -- words that there are not -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
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
def test_a_mistyped_word_is_said_with_the_one_that_may_be_meant(house, arguments, said):
    done = house(*arguments)
    assert (2, "") == (done.code, done.out)
    assert said in done.err.splitlines()[-1]


def test_a_mistyped_device_is_said_with_the_one_that_may_be_meant(lived_in):
    assert 0 == lived_in("device", "add", "--template", "TMPL0cli", "--name", "Greenhouse").code
    for name in ("greenhouse", "Grenhouse"):
        assert (
            f"there is no device named {name!r}; did you mean 'Greenhouse'?" == lived_in("device", "show", name).error
        )
    assert "there is no device 99" == lived_in("device", "show", "99").error


def test_a_directory_without_a_hub_is_named_whole(house):
    said = house("device", "list", "--data", "nowhere").error
    assert said.startswith(f"there is no hub data in {house.folder.resolve()}/nowhere; ")


# -- a hub elsewhere --------------------------------------------------------------------------------------------------


def url_of(house, listener=0, name="127.0.0.1"):
    entry = house.state["listen"][listener]
    return f"http{'s' if entry['tls'] else ''}://{name}:{entry['address'].rpartition(':')[2]}"


def test_a_command_works_on_a_hub_elsewhere_with_a_key(lived_in, tmp_path, monkeypatch):
    elsewhere = CommandLine(tmp_path / "elsewhere")
    url, key, token = url_of(lived_in), lived_in.keys["ada"], secrets.token_urlsafe(24)
    assert "Weather" in elsewhere("--url", url, "--key-stdin", "template", "list", stdin=key + "\n").out
    added = elsewhere(
        "--url", url, "--key-stdin", "device", "add", "--template", "TMPL0cli", "--name", "Far", "--token-stdin",
        stdin=f"{key}\n{token}\n",
    )  # fmt: skip
    assert token == added.json["token"]
    monkeypatch.setenv("PINWHEEL_URL", url)
    monkeypatch.setenv("PINWHEEL_KEY", key)
    assert 0 == elsewhere("device", "write", "Far", "V0", "21.5").code
    assert "21.5" in elsewhere("device", "show", "Far").out
    # What is named on the command line is meant, not what is in the environment.
    assert [] == elsewhere("device", "list", "--data", "data", "--json").json


@pytest.mark.parametrize(
    "command",
    [
        ("run",),
        ("check",),
        ("backup", "x.tar"),
        ("restore", "x.tar"),
        ("plugins", "add", "x.py"),
        ("service", "install", "--print"),
    ],
    ids=" ".join,
)
def test_a_command_of_the_hubs_machine_says_so(lived_in, command):
    done = lived_in("--url", url_of(lived_in), "--key-stdin", *command, stdin=lived_in.keys["ada"])
    assert 2 == done.code
    assert f"pinwheel {command[0]} runs on the hub's own machine" in done.error


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--url", "{url}"), 2, "give --user EMAIL, or an API key"),
        (("--key-stdin",), 2, "--key-stdin is for a hub on another machine"),
        (("--url", "{url}", "--key-stdin", "--user", "a@b.c"), 2, "exclude each other"),
        (
            ("--url", "{url}", "--user", "ada@example.org"),
            2,
            "--user asks for the password, and for the one-time code of a second factor, on a terminal",
        ),
        (("--url", "{url}", "--ca", "nowhere.pem", "--key-stdin"), 2, "--ca nowhere.pem: No such file or directory"),
        (
            ("--url", "{url}", "--ca", "weather.toml", "--key-stdin"),
            2,
            "--ca weather.toml: holds no certificate in PEM",
        ),
        (("--url", "nonsense", "--key-stdin"), 1, "is not the address of a hub"),
    ],
)
def test_a_way_to_a_hub_elsewhere_that_leads_nowhere_is_one_line(lived_in, options, code, said):
    options = [option.format(url=url_of(lived_in)) for option in options]
    done = lived_in(*options, "device", "list", stdin="no key\n")
    assert code == done.code
    assert said in done.error


def test_two_hubs_at_once_are_refused(lived_in):
    done = lived_in("--url", url_of(lived_in), "device", "list", "--data", "data")
    assert (2, True) == (done.code, "exclude each other" in done.error)


def test_who_logs_in_is_asked_for_the_password_and_logged_out_at_the_end(lived_in):
    ours, theirs = pty.openpty()
    command = [PINWHEEL, "--url", url_of(lived_in), "--user", "ada@example.org", "device", "list", "--json"]
    # Of a session of its own, whose terminal that is: passwords are asked for there.
    with subprocess.Popen(
        ["setsid", "--ctty", *command],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=lived_in.folder,
    ) as process:
        os.close(theirs)
        shown = b""
        while b"Password of ada@example.org: " not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, b"a long password\n")
        out, err = process.communicate()
    os.close(ours)
    assert (0, b"") == (process.returncode, err)
    assert isinstance(json.loads(out), list)
    assert b"a long password" not in shown


@pytest.fixture
def second_factor(lived_in):
    """The secret of a user who has a second factor, with no failed attempts so far."""
    email = f"{secrets.token_hex(4)}@example.org"
    added = lived_in("user", "add", email, "--role", "Admin", "--password-stdin", stdin="a long password\n")
    assert 0 == added.code
    remote = Remote(url_of(lived_in))
    remote.login(email, "a long password")
    secret = remote(operations.post_otp(password="a long password"))["secret"]
    remote(operations.post_otp_confirm(otp=one_time_password(secret, -30)))
    return email, secret


def with_second_factor(house, email, typed):
    answers = {f"Password of {email}: ": "a long password\n", "One-time code: ": typed}
    return house.run_on_terminal(answers, "--url", url_of(house), "--user", email, "device", "list", "--json")


def test_one_time_code_is_asked_for_when_the_hub_needs_it(lived_in, second_factor):
    email, secret = second_factor
    code = one_time_password(secret)
    shown = with_second_factor(lived_in, email, f"{code}\n")
    assert 0 == shown.code, shown.out
    assert isinstance(json.loads(shown.out.partition("One-time code: ")[2]), list)
    assert code not in shown.out


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ("nonsense\n", 1, "\r\npinwheel: The one-time password is wrong.\r\n"),
        ("\n", 1, "\r\npinwheel: A one-time password is needed.\r\n"),
        ("\x03", 130, "One-time code: \r\n"),
        ("\x04", 1, "\r\npinwheel: One-time code was not entered.\r\n"),
    ],
    ids=["wrong", "empty", "Ctrl-C", "Ctrl-D"],
)
def test_one_time_code_that_is_none_ends_the_command_with_a_line(lived_in, second_factor, typed, code, said):
    shown = with_second_factor(lived_in, second_factor[0], typed)
    assert code == shown.code
    assert shown.out.endswith(said)


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [("\x03", 130, ": \r\n"), ("\x04", 1, "\r\npinwheel: Password of ada@example.org was not entered.\r\n")],
    ids=["Ctrl-C", "Ctrl-D"],
)
def test_password_that_is_not_entered_ends_the_command(lived_in, typed, code, said):
    options = ("--url", url_of(lived_in), "--user", "ada@example.org")
    shown = lived_in.run_on_terminal({"Password of ada@example.org: ": typed}, *options, "device", "list")
    assert code == shown.code
    assert shown.out.endswith(said)


def test_second_factor_without_a_terminal_is_said_to_need_an_api_key(lived_in, second_factor):
    done = lived_in("--url", url_of(lived_in), "--user", second_factor[0], "device", "list", stdin="a long password\n")
    assert 2 == done.code
    assert "the one-time code of a second factor, on a terminal; elsewhere use an API key" in done.error


def test_the_hubs_own_authority_is_trusted_by_its_file(tmp_path):
    house = CommandLine(tmp_path, CONFIG + TLS)
    with house.running():
        assert 0 == house("user", "add", "ada@example.org", "--role", "Admin").code
        key = house("key", "add", "ada@example.org", "cli").out
        url = url_of(house, 1, "localhost")
        trusted = house("--url", url, "--ca", house.data / "tls" / "ca.pem", "--key-stdin", "device", "list", stdin=key)
        assert (0, "") == (trusted.code, trusted.err)
        for options in ((), ("--ca", tmp_path / "other.pem")):
            trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
            refused = house("--url", url, *options, "--key-stdin", "device", "list", stdin=key)
            assert (1, True) == (refused.code, "--ca" in refused.error), refused.err


def test_who_may_not_see_a_template_learns_nothing_of_it(lived_in):
    (lived_in.folder / "secret.toml").write_text('[template]\nid = "TMPL0secret"\nname = "Secret"\n')
    assert 0 == lived_in("template", "import", "secret.toml").code
    (lived_in.folder / "new.csv").write_text("name,template\nX,TMPL0secret\n")

    def add(name, *options):
        options = options or ("--template", "TMPL0secret", "--name", "X")
        url = url_of(lived_in)
        return lived_in("--url", url, "--key-stdin", "device", "add", *options, stdin=lived_in.keys[name]).error

    assert "Template is not found or you don't have access to it." == add("sam")
    assert "line 2: there is no template 'TMPL0secret'" == add("sam", "--csv", "new.csv")
    options = ("--template", "TMPL0secret", "--name", "X", "--org", "Acme")
    assert "is not enabled in organization Acme" in add("ada", *options)


# -- JSON -------------------------------------------------------------------------------------------------------------

#: Of each command a use that prints, in an order in which they work.
USES = """
template import --json weather.toml
template enable TMPL0cli --below --json
template export TMPL0cli --json
template list --json
device add --template TMPL0cli --name Json --json
device list --json
device show Json --json
device write Json V0 21.5 --json
device rename Json Jason --json
device events Jason --json
device log Jason --json
device export Jason out.csv --json
device import Jason out.csv --json
device token Jason --new --json
device transfer Jason --org Jsons --json
device erase Jason --yes --json
device delete Jason --yes --json
user add json@example.org --json
user list --json
user reset-password json@example.org --json
user suspend json@example.org --json
key add json@example.org cli --json
key list --json
key revoke 1 --json
user delete json@example.org --yes --json
org show Jsons --json
org list --json
org add More --json
org transfer More Jsons --json
org apply more.toml --json
org delete Jsons --everything --yes --json
role list --json
role show User --json
role set User users.view on --json
audit list --json
audit verify --json
audit export audit.jsonl --json
backup backup.tar --json
restore backup.tar --yes --json
plugins --json
plugins new json_plugin --json
service install --print --user root --json
service uninstall --print --json
check --json
completion zsh --json
clock --json
clock --repair --drop --yes --json
status --json
""".strip().splitlines()
#: Those that go on until they are interrupted, and those whose lines are JSON each.
OTHERS = {"run", "device watch", "device simulate", "device history"}


def test_every_command_prints_json(house):
    assert 0 == house.import_template().code
    assert 0 == house("org", "add", "Jsons").code
    assert 0 == house("template", "enable", "TMPL0cli", "Jsons").code
    (house.folder / "more.toml").write_text('[organization]\nname = "Applied"\n')
    used = set()
    for line in USES:
        words = line.split()
        used.add(words[0] if words[0] in COMMANDS else " ".join(words[:2]))
        done = house(*words)
        assert 2 == done.code if words[0] == "status" else done.code in (0, 1), done.err
        assert "" == done.err, line
        assert json.loads(done.out) is not None, line
    assert set(COMMANDS) == used | OTHERS


def test_a_backup_overwrites_a_file_only_when_it_is_told_to(house):
    assert 0 == house("org", "add", "Acme").code
    assert 0 == house("backup", "monday.tar").code
    before = (house.folder / "monday.tar").read_bytes()
    refused = house("backup", "monday.tar")
    assert (1, "monday.tar exists already; name another file, or overwrite it with --force") == (
        refused.code,
        refused.error,
    )
    assert before == (house.folder / "monday.tar").read_bytes()
    assert 0 == house("backup", "monday.tar", "--force").code
    assert before != (house.folder / "monday.tar").read_bytes()
    # What is not a backup is never overwritten.
    (house.folder / "letter.txt").write_text("precious")
    assert "exists and is not a backup" in house("backup", "letter.txt", "--force").error
    assert "precious" == (house.folder / "letter.txt").read_text()


def test_a_service_is_of_a_hub_that_is_there(house, tmp_path):
    refused = house("service", "install", "--print", "--data", "nowhere")
    assert (2, True) == (refused.code, f"there is no hub in {house.folder.resolve()}/nowhere" in refused.error)
    unit = house("service", "install", "--print", "--user", "root").out
    assert f"--config {house.folder.resolve()}/hub.toml --data {house.folder.resolve()}/data" in unit


@pytest.mark.parametrize(
    ("words", "completed"),
    [(["device", "s"], ["show", "simulate"]), (["device", "list", "--or"], ["--org"]), (["che"], ["check"])],
    ids=" ".join,
)
def test_a_shell_completes_commands_and_options(tmp_path, words, completed):
    made = subprocess.run([PINWHEEL, "completion", "bash"], check=True, capture_output=True, text=True)
    (tmp_path / "completion").write_text(made.stdout)
    script = (
        f"source {tmp_path}/completion; COMP_WORDS=(pinwheel {' '.join(words)}); COMP_CWORD={len(words)};"
        ' f=$(complete -p pinwheel | sed "s/.*-F \\([^ ]*\\).*/\\1/"); $f; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert completed == sorted(done.stdout.split())
