"""Every command prints JSON with ``--json``."""

from __future__ import annotations

import json

from support.command import COMMANDS

#: One use of each command that prints a result, in an order in which they succeed.
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
mail log --json
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


#: Commands that run until they are interrupted, commands that print JSON lines, and one that needs a mail server
#: (test_cli_mail.py).
OTHERS = {"run", "device watch", "device simulate", "device history", "mail test"}


def test_every_command_prints_json_with_the_option(pinwheel):
    assert 0 == pinwheel.import_template().code
    assert 0 == pinwheel("org", "add", "Jsons").code
    assert 0 == pinwheel("template", "enable", "TMPL0cli", "Jsons").code
    (pinwheel.folder / "more.toml").write_text('[organization]\nname = "Applied"\n')
    used = set()
    for line in USES:
        words = line.split()
        used.add(words[0] if words[0] in COMMANDS else " ".join(words[:2]))
        done = pinwheel(*words)
        assert 2 == done.code if words[0] == "status" else done.code in (0, 1), done.err
        assert "" == done.err, line
        assert json.loads(done.out) is not None, line
    assert set(COMMANDS) == used | OTHERS
