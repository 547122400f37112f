"""``pinwheel check`` and ``pinwheel status``."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from support.command import CONFIG, CommandLine


def test_check_succeeds_for_a_valid_hub_and_template(any_hub):
    done = any_hub("check", "weather.toml")

    assert (0, "") == (done.code, done.err)
    assert "hub.toml" in done.out
    assert "history.db" in done.out


def test_check_reports_errors_of_templates_and_databases_together(pinwheel):
    assert 0 == pinwheel.import_template().code
    (pinwheel.folder / "bad.toml").write_text('[template]\nname = ""\n[[datastream]]\npin = "V256"\nname = "a/b"\n')
    (pinwheel.data / "history.db").write_bytes(b"no database" * 1000)
    done = pinwheel("check", "bad.toml", "missing.toml")

    assert 2 == done.code
    for name in ("bad.toml", "missing.toml", "history.db"):
        assert [line for line in done.err.splitlines() if name in line], name


EVERYTHING_WRONG = """
listen = [{ address = "nowhere", tls = "on" }]
[hub]
timezone = "Mars/Phobos"
[tls]
cert = "missing.pem"
key = "missing.key"
[storage]
flush = "soon"
[plugins.telegram]
token = "x"
[plugins.native]
speed = 3
[plugins.users]
access = "long"
reset = 5
[plugins.mqtt]
max_packet = 1
keep_sessions = "ever"
[plugins.audit]
keep = "x"
color = "red"
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_check_reports_errors_of_all_kinds_together(tmp_path, as_json):
    pinwheel = CommandLine(tmp_path, EVERYTHING_WRONG)
    (pinwheel.data / "plugins").mkdir()
    (pinwheel.data / "plugins" / "broken.py").write_text("1 / 0\n")
    (pinwheel.data / "pinwheel.db").write_bytes(b"no database" * 1000)
    (pinwheel.folder / "bad.toml").write_text('[template]\nname = ""\n[[datastream]]\npin = "V256"\nname = "a/b"\n')
    (pinwheel.folder / "binary.toml").write_bytes(b"\xff\xfe")
    done = pinwheel("check", "bad.toml", "binary.toml", *(["--json"] if as_json else []))
    assert 2 == done.code
    lines = json.loads(done.out)["problems"] if as_json else done.err.splitlines()
    for text in (
        "hub.timezone",
        "listen[0].address",
        "storage.flush",
        "missing.pem",
        "plugins.telegram",
        "plugins.native",
        "plugins.users.access",
        "plugins.users.reset",
        "plugins.mqtt.max_packet: must be",
        "plugins.mqtt.keep_sessions",
        "plugins.audit.keep",
        "plugins.audit: unknown key color",
        "plugin broken",
        "pinwheel.db",
        "V256",
        "a/b",
        "binary.toml",
    ):
        assert 1 <= len([line for line in lines if text in line]), text


def disk_has_space():
    usage = shutil.disk_usage("/tmp")
    return usage.free / usage.total > 0.12


@pytest.mark.skipif(not disk_has_space(), reason="the disk is low, of which the status warns")
def test_status_of_a_healthy_hub_exits_with_0(running_hub):
    done = running_hub("status")
    status = running_hub("status", "--json").json

    assert (0, "") == (done.code, done.err)
    assert "ok" in done.out.splitlines()[0]
    assert ("ok", [], running_hub.state["listen"]) == (status["status"], status["problems"], status["listen"])


def test_status_of_a_stopped_hub_exits_with_2(pinwheel):
    done = pinwheel.run_process("status")
    status = pinwheel("status", "--json")

    assert (2, 2) == (done.code, status.code)
    assert "the hub is not running" in done.out
    assert "critical" == json.loads(status.out)["status"]


@pytest.mark.parametrize(("days", "code"), [(20, 1), (0.5, 2)])
def test_status_warns_before_the_certificate_expires(tmp_path, days, code):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    now = datetime.now(UTC)
    certificate = trustme.CA().issue_cert("localhost", not_before=now - timedelta(1), not_after=now + timedelta(days))
    cert.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    pinwheel = CommandLine(tmp_path / "pinwheel", f'{CONFIG}tls = "auto"\n[tls]\ncert = "{cert}"\nkey = "{key}"\n')
    with pinwheel.running():
        done = pinwheel("status")

    assert code == done.code
    assert "the TLS certificate expires" in done.out
