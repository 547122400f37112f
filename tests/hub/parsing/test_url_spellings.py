"""How the hub's URL may be spelled, and where it appears."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from support.raw_http import connected
from support.spellings import (
    SPELLING_TEMPLATE,
    rows,
)

from hub.clock import Clock
from hub.config import TlsSection, parse
from hub.errors import ConfigError
from hub.net import certificates
from hub.run import running
from hub.testing import LOOPBACK, add_device


@pytest.mark.parametrize("row", rows("url"))
def test_url_of_the_hub_is_accepted_or_rejected(row):
    text = f"[hub]\nurl = {json.dumps(row['text'], ensure_ascii=False)}\n"
    if "is" in row:
        assert row["is"] == parse(text).hub.url
        return
    with pytest.raises(ConfigError) as error:
        parse(text, "hub.toml")
    [problem] = error.value.problems
    assert problem.startswith("hub.toml: hub.url: ")
    assert row["problem"] in problem


@pytest.mark.parametrize("row", [row for row in rows("url") if "is" in row.values[0]])
def test_host_of_the_url_is_in_the_certificate_or_logged_as_omitted(tmp_path, caplog, row):
    names = certificates.local_names(parse(f"[hub]\nurl = {json.dumps(row['text'], ensure_ascii=False)}\n").hub.url)
    certificates.Certificates(TlsSection(), tmp_path, names, Clock()).load()
    certificate = x509.load_pem_x509_certificate((tmp_path / "tls" / "cert.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    host = urlsplit(row["is"]).hostname
    assert row.get("cert", True) is (host in {str(name.value) for name in names})
    assert row.get("cert", True) is (host not in caplog.text)


@pytest.mark.parametrize("name", ["my_pi", "my pi", "x" * 64])
def test_host_name_that_a_certificate_cannot_contain_is_logged_as_omitted(tmp_path, caplog, monkeypatch, name):
    monkeypatch.setattr("socket.gethostname", lambda: name)
    certificates.Certificates(TlsSection(), tmp_path, certificates.local_names(""), Clock()).load()
    assert f"left out of the hub's certificate: {name!r}" in caplog.text


async def test_links_start_with_the_url_of_the_hub(hub_config):
    config = parse(LOOPBACK + '[hub]\nurl = "https://häuschen.example/"\n').with_data(hub_config.hub.data)
    async with running(config) as hub:
        _, token = await add_device(hub, SPELLING_TEMPLATE)
        async with connected(hub) as http:
            await http.get(f"/external/api/update?token={token}&v0=1")
            link = (await http.get(f"/external/api/data/get?token={token}&period=DAY")).json["link"]
    assert link.startswith("https://xn--huschen-5wa.example/reports/")
