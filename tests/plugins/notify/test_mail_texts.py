"""The texts of mails, and how a message becomes a mail."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.mail_server import html_of, plain_of

from plugins.notify.mail import compose
from plugins.notify.outbox import Mail
from plugins.notify.translations import find_text, parse, texts

SENDER = "Pinwheel <hub@example.org>"
DATA = {"organization": "acme", "role": "User", "link": "http://hub/account?code=x", "expires": "2026-07-01"}


def composed(kind="invitation", address="ann@example.org", name="Ann", locale="", data=None, hub_name="Hub"):
    """A mail as its reader's program sees it."""
    mail = Mail(id=7, kind=kind, address=address, name=name, locale=locale, user=None, data=data or DATA, created=0)
    return email.message_from_bytes(bytes(compose(mail, hub_name, SENDER)), policy=email.policy.default)


@pytest.mark.parametrize("kind", texts()["en"])
def test_every_text_is_translated_with_the_same_fields(kind):
    for language in texts():
        assert texts()["en"][kind].fields == texts()[language][kind].fields, language


def test_texts_are_in_english_and_german():
    assert {"en", "de"} == set(texts())


@pytest.mark.parametrize(
    ("locale", "language"),
    [("de", "de"), ("de-AT", "de"), ("DE_de.UTF-8", "de"), ("fr", "en"), ("", "en"), ("../de", "en"), ("d", "en")],
)
def test_language_falls_back_to_english(locale, language):
    assert language == find_text("invitation", locale).language


def test_text_with_a_stray_dollar_sign_is_invalid():
    with pytest.raises(ValueError, match=r"a \$ begins no field in 'costs 5 \$ a month'"):
        parse("en", "Subject\n\ncosts 5 $ a month")


def test_mail_has_plain_text_and_html_with_the_same_link():
    mail = composed()
    assert "multipart/alternative" == mail.get_content_type()
    assert "\nhttp://hub/account?code=x\n" in plain_of(mail)
    assert '<a href="http://hub/account?code=x">http://hub/account?code=x</a>' in html_of(mail)
    assert '<html lang="en">' in html_of(mail)


def test_values_are_no_markup_and_no_fields():
    data = DATA | {"organization": '<b>$link</b> & "x"', "link": 'http://hub/?a=1&b="2"'}
    mail = composed(data=data)
    assert '<b>$link</b> & "x"' in plain_of(mail)
    assert "&lt;b&gt;$link&lt;/b&gt; &amp; &quot;x&quot;" in html_of(mail)
    assert '<a href="http://hub/?a=1&amp;b=&quot;2&quot;">' in html_of(mail)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\u2028", "\x0b", "\x00"])
def test_line_ends_in_values_begin_no_header_and_no_paragraph(end):
    evil = f"x{end}Bcc: victim@example.org{end}{end}http://evil"
    mail = composed(name=evil, data=DATA | {"organization": evil}, hub_name=evil)
    assert mail["Bcc"] is None
    assert "You are invited to x Bcc: victim@example.org http://evil" == mail["Subject"]
    assert all(not line.startswith("http://evil") for line in plain_of(mail).splitlines())
    assert ["ann@example.org"] == [address.addr_spec for address in mail["To"].addresses]


@pytest.mark.parametrize(
    "address",
    ["a@b.c\r\nRCPT TO:<x@y.z>", "a\n@b.c", "<a@b.c>", "a b@c.d", "a@b@c.d", "@b.c", "a@", "a", "a@b..c", "a,b@c.d"],
)
def test_address_that_is_none_is_not_mailed(address):
    with pytest.raises(ValueError, match="is no e-mail address, such as ann@example.org"):
        composed(address=address)


def test_addresses_and_names_in_other_scripts_are_encoded():
    mail = composed(address="ann@bücher.example", name="Änn Ü")
    [address] = mail["To"].addresses
    assert ("Änn Ü", "ann@xn--bcher-kva.example") == (address.display_name, address.addr_spec)
    german = compose(
        Mail(id=1, kind="invitation", address="a@b.c", name="", locale="de", user=None, data=DATA, created=0),
        "Ä",
        SENDER,
    )
    assert bytes(german).isascii()


def test_message_id_is_the_same_at_each_attempt():
    assert composed()["Message-ID"] == composed()["Message-ID"]
    assert composed()["Message-ID"].endswith("@example.org>")


def test_message_without_a_field_names_it():
    with pytest.raises(ValueError, match="the message 'invitation' has no expires, role"):
        composed(data={"organization": "acme", "link": "x"})


@given(st.text(), st.text(), st.text(), st.sampled_from(["en", "de"]))
def test_any_values_make_a_mail(organization, hub_name, name, locale):
    mail = composed(locale=locale, data=DATA | {"organization": organization}, hub_name=hub_name, name=name)
    assert {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"} == set(
        mail.keys()
    )
    assert not any(defect for part in mail.walk() for defect in part.defects)
