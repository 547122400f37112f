"""Encodings, line endings and byte order marks of TOML and CSV files."""

from __future__ import annotations

import codecs
import re

import pytest
from support.command import CONFIG
from support.spellings import (
    SPELLING_TEMPLATE,
    call_api,
)

from client import operations
from hub.config import parse
from hub.parsing import spellings

ENCODINGS = [
    ("utf-8", b""),
    ("utf-8", codecs.BOM_UTF8),
    ("utf-16-le", codecs.BOM_UTF16_LE),
    ("utf-16-be", codecs.BOM_UTF16_BE),
]
UNREADABLE = [
    ("latin-1", "line 2 is not UTF-8 text: byte 0xFC may be Latin-1 or Windows-1252; save the file as UTF-8"),
    ("utf-16-le", "is UTF-16 text without a byte order mark: save it as UTF-8"),
    ("utf-16-be", "is UTF-16 text without a byte order mark: save it as UTF-8"),
]


@pytest.mark.parametrize(("encoding", "mark"), ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_file_is_decoded_in_each_encoding_with_each_line_ending(tmp_path, encoding, mark, end):
    path = tmp_path / "text"
    path.write_bytes(mark + f"# für{end}x = 1{end}".encode(encoding))
    assert "# für\nx = 1\n" == spellings.read_text(path)


@pytest.mark.parametrize(("encoding", "problem"), UNREADABLE)
def test_text_file_in_an_unsupported_encoding_is_rejected_with_a_hint(encoding, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        spellings.decode_text("# a\n# für\n".encode(encoding))


ORG = '[organization]\nname = "Küche {}"\n'


@pytest.mark.parametrize(("encoding", "mark"), ENCODINGS)
def test_toml_file_may_be_in_each_encoding(cli, encoding, mark):
    def save(name, text):
        (cli.folder / name).write_bytes(mark + text.replace("\n", "\r\n").encode(encoding))

    save("t.toml", SPELLING_TEMPLATE.replace('"Spelling"', '"Küche"'))
    save("h.toml", f'# Küche\n{CONFIG}[hub]\ntimezone = "Europe/Berlin"\n')
    save("o.toml", ORG.format(f"{encoding} {len(mark)}"))
    done = cli("check", "--config", "h.toml", "t.toml")
    assert (0, "") == (done.code, done.err)
    assert "TMPL0spell Küche" in cli("template", "import", "t.toml").out
    done = cli("org", "apply", "o.toml")
    assert (0, True) == (done.code, done.out.startswith("+ organization Küche")), done.err


@pytest.mark.parametrize(("encoding", "problem"), UNREADABLE)
def test_toml_file_in_an_unsupported_encoding_is_rejected_with_a_hint(cli, encoding, problem):
    (cli.folder / "bad.toml").write_bytes("# a\n# für\n".encode(encoding))
    assert f"bad.toml: {problem}" == cli("template", "import", "bad.toml").error
    assert f"bad.toml: {problem}" == cli("org", "apply", "bad.toml").error
    assert f"pinwheel: bad.toml: {problem}\n" == cli("check", "bad.toml").err
    assert problem in cli("check", "--config", "bad.toml").err


def test_byte_order_mark_of_a_template_over_http_is_ignored(cli):
    call_api(cli, operations.post_template_import(toml="\ufeff" + SPELLING_TEMPLATE, source="t.toml", prune=False))


def test_byte_order_mark_of_a_secret_file_is_ignored(tmp_path):
    (tmp_path / "secret").write_bytes(codecs.BOM_UTF8 + b"xyz\r\n")
    config = parse(f'[plugins.mine]\nkey = {{ file = "{tmp_path}/secret" }}\n')
    assert {"key": "xyz"} == config.plugins["mine"]


@pytest.mark.parametrize(("encoding", "problem"), UNREADABLE)
def test_csv_file_in_an_unsupported_encoding_is_rejected_with_a_hint(cli, device_id, encoding, problem):
    (cli.folder / "bad.csv").write_bytes("time,pin,value\n1,v2,für\n".encode(encoding))
    assert f"bad.csv: {problem}" == cli("device", "import", device_id, "bad.csv").error
    (cli.folder / "bad.csv").write_bytes("name,template\nfür,TMPL0spell\n".encode(encoding))
    assert f"bad.csv: {problem}" == cli("device", "add", "--csv", "bad.csv").error
